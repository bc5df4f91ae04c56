//! CPU time that something takes.

use std::fs;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::speed::processes::family;

/// Clock ticks in a second, as /proc/stat counts them (USER_HZ, on every architecture of Linux).
const TICKS: f64 = 100.0;

/// A measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    pub bytes: u64,
    pub seconds: f64,
    /// CPU seconds of the readers, which are this process, and of the daemon.
    pub cpu: f64,
    /// CPU seconds of the whole machine, in hundredths.
    pub machine_cpu: f64,
}

impl Sample {
    /// Bytes a second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }
}

/// Clocks as they stood at the start.
pub struct Meter {
    daemon: Option<u32>,
    cpu: f64,
    machine: f64,
}

impl Meter {
    /// Starts measuring this process and a daemon's with all that come from it.
    pub fn start(daemon: Option<u32>) -> Self {
        Self { daemon, cpu: cpu(daemon), machine: machine() }
    }

    /// The time that it took.
    pub fn stop(self, bytes: u64, seconds: f64) -> Sample {
        Sample { bytes, seconds, cpu: cpu(self.daemon) - self.cpu, machine_cpu: machine() - self.machine }
    }
}

fn cpu(daemon: Option<u32>) -> f64 {
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let daemon = daemon.map(family).unwrap_or_default();
    seconds(own.tv_sec, own.tv_nsec) + daemon.into_iter().filter_map(|pid| of_process(pid).ok()).sum::<f64>()
}

fn seconds(whole: i64, nanos: i64) -> f64 {
    whole as f64 + nanos as f64 / 1e9
}

/// CPU seconds of another process, its ended threads with it; /proc/PID/stat only has hundredths.
fn of_process(pid: u32) -> Result<f64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls only write to where the pointers lead: to the two variables above.
    let failed = unsafe {
        libc::clock_getcpuclockid(libc::pid_t::try_from(pid)?, &raw mut clock) != 0
            || libc::clock_gettime(clock, &raw mut time) != 0
    };
    anyhow::ensure!(!failed, "no CPU clock of process {pid}");
    Ok(seconds(time.tv_sec, time.tv_nsec))
}

/// Seconds that any CPU was busy (proc_stat(5): user, nice, system, and then irq, softirq, steal).
fn machine() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let fields: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().map(|&field| fields[field]).sum::<f64>() / TICKS
}
