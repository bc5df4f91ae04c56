//! Runs the administrator's command after a change: once for changes that come in a row, never twice at a time.

use std::io;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::serve::background;
use crate::serve::handover::store::VARIABLES;

/// Changes that follow each other within the first time are one; a run waits no longer than the second.
const DEBOUNCE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// The thread that runs the command.
pub struct Hook(Sender<()>);

impl Hook {
    /// Starts it. It ends when this is dropped.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(command: &str) -> io::Result<Self> {
        let (sender, changes) = channel();
        let command = command.to_owned();
        std::thread::Builder::new().name("on-change".into()).spawn(move || follow(&changes, &command))?;
        Ok(Self(sender))
    }

    /// Tells of a change. It doesn't wait.
    pub fn changed(&self) {
        // The thread lives as long as this does.
        let _ = self.0.send(());
    }
}

fn follow(changes: &Receiver<()>, command: &str) {
    let (pause, longest) = DEBOUNCE;
    while changes.recv().is_ok() {
        let since = Instant::now();
        while since.elapsed() < longest {
            match changes.recv_timeout(pause) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        run(command);
    }
}

fn run(command: &str) {
    log::info!("running: {command}");
    let mut shell = Command::new("/bin/sh");
    for name in VARIABLES {
        shell.env_remove(name);
    }
    match shell.args(["-c", command]).env_remove(background::CHILD).status() {
        Ok(status) if status.success() => {}
        Ok(status) => log::error!("'{command}' failed: {status}"),
        Err(error) => log::error!("'{command}' can't be run: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_a_row_are_one_run() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let hook = Hook::start(&format!("echo run >> {}", log.display())).unwrap();
        for _ in 0..100 {
            hook.changed();
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&log).unwrap_or_default().is_empty() {
            assert!(Instant::now() < deadline, "the command has not run");
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "run\n");
    }
}
