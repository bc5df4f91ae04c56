//! Promises of time, measured so that only netrootfs can break them.
//!
//! The time in which something on this machine waited for the processor, a disk or memory doesn't count, as the kernel
//! tells it (Linux, Documentation/accounting/psi.rst). So a promise is held to the second on a machine that does nothing
//! else, and on a busy one only as far as that had time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::process::{PATIENCE, wait_for};

/// The promise: what happens to an ISO, or to the configuration file, is in the tree within this time.
pub const PROMISE: Duration = Duration::from_secs(2);

/// Waits until something is so.
///
/// # Errors
/// If it took longer than [`PROMISE`], and what `done` says.
pub fn promised(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    let watch = Stopwatch::start();
    wait_for(what, PATIENCE, done)?;
    let took = watch.took();
    ensure!(took <= PROMISE, "{what}: after {took:?} and not {PROMISE:?}");
    Ok(())
}

/// Measures the time that a machine has had for something.
pub struct Stopwatch {
    began: Instant,
    withheld: Duration,
}

impl Stopwatch {
    /// Begins to measure.
    pub fn start() -> Self {
        Self { began: Instant::now(), withheld: withheld() }
    }

    /// The time since then, without that in which something on this machine had to wait.
    pub fn took(&self) -> Duration {
        let withheld = withheld().saturating_sub(self.withheld);
        self.began.elapsed().saturating_sub(withheld)
    }
}

/// For how long anything on this machine has waited since its start; zero where the kernel doesn't tell.
fn withheld() -> Duration {
    let total = |resource| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
        let some = text.lines().find(|line| line.starts_with("some "))?;
        some.rsplit_once("total=")?.1.parse().ok()
    };
    let micros = ["cpu", "io", "memory"].into_iter().filter_map(total).sum();
    Duration::from_micros(micros)
}
