//! The service manager, told more than that the tree is ready (sd_notify(3)): a line on what is served, and that the event
//! loops answer, where it wants to know that (`WatchdogSec=`).
//!
//! An answer is one that came through the mount, as a client's does: loops that all hang let the watchdog run out, and the
//! manager starts another process, which goes on with the mount.

use std::env;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;

use crate::serve::handover::store::Store;

/// The manager, if there is one.
#[derive(Default)]
pub struct Manager {
    store: Option<Store>,
    said: Mutex<String>,
}

impl Manager {
    /// Finds it by the environment.
    pub fn find() -> Self {
        // Without it nobody asks how things are.
        let store = Store::find().unwrap_or_default();
        Self { store, said: Mutex::default() }
    }

    /// Shows a line, if it is another than before.
    pub fn status(&self, line: String) {
        let Some(store) = &self.store else { return };
        let mut said = self.said.lock();
        if *said != line {
            // A manager that is gone has nobody to show it to.
            let _ = store.status(&line);
            *said = line;
        }
    }

    /// Tells from now on that the mount answers, as often as the manager wants to hear it.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn watch(&self, mountpoint: PathBuf) -> io::Result<()> {
        let Some(limit) = watchdog() else { return Ok(()) };
        let Some(store) = Store::find()? else { return Ok(()) };
        // Half of the limit, as sd_watchdog_enabled(3) advises.
        std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            loop {
                // The kernel keeps no answer to this: an event loop has to give it.
                if rustix::fs::statvfs(&mountpoint).is_ok() && store.alive().is_err() {
                    return;
                }
                std::thread::sleep(limit / 2);
            }
        })?;
        Ok(())
    }
}

/// The time after which the manager takes this process for hung.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|time| ours && *time > 0).map(Duration::from_micros)
}
