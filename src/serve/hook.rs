//! Runs the administrator's command after a change: once for changes that come in a row, never twice at a time.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::serve::background;
use crate::serve::handover::store::VARIABLES;

/// Changes that follow each other within the first time are one; a run waits no longer than the second.
const DEBOUNCE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// How long a run may take. Restarting servers takes seconds; what hangs would keep all later changes from them.
const LIMIT: Duration = Duration::from_secs(300);

/// The thread that runs the command.
pub struct Hook(Sender<u64>);

impl Hook {
    /// Starts it; `run` is what runs the command, and `done` is told for which catalog it has been. It ends when this is
    /// dropped.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(
        command: &str,
        run: impl Fn() -> io::Result<Option<ExitStatus>> + Send + 'static,
        done: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, changes) = channel();
        let command = command.to_owned();
        std::thread::Builder::new()
            .name("on-change".into())
            .spawn(move || follow(&changes, &command, run, done))?;
        Ok(Self(sender))
    }

    /// Tells of a change to the catalog of that number. It doesn't wait.
    pub fn changed(&self, catalog: u64) {
        // The thread lives as long as this does.
        let _ = self.0.send(catalog);
    }
}

fn follow(
    changes: &Receiver<u64>,
    command: &str,
    run: impl Fn() -> io::Result<Option<ExitStatus>>,
    done: impl Fn(u64),
) {
    let (pause, longest) = DEBOUNCE;
    while let Ok(mut catalog) = changes.recv() {
        let since = Instant::now();
        while since.elapsed() < longest {
            match changes.recv_timeout(pause) {
                Ok(later) => catalog = later,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        log::info!("running: {command}");
        match run() {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(status)) => log::error!("'{command}' failed: {status}"),
            Ok(None) => log::error!("'{command}' was ended: it took more than {} seconds", LIMIT.as_secs()),
            Err(error) => log::error!("'{command}' can't be run: {error}"),
        }
        done(catalog);
    }
}

/// Runs a command of the administrator's, and waits for its end; `None` if that had to be made.
///
/// # Errors
/// If there is no shell.
pub fn run(command: &str) -> io::Result<Option<ExitStatus>> {
    let mut shell = Command::new("/bin/sh");
    for name in VARIABLES {
        shell.env_remove(name);
    }
    shell.args(["-c", command]).env_remove(background::CHILD).process_group(0);
    wait(shell.spawn()?, LIMIT)
}

/// Waits for the end of a command; `None` if it had to be made, of all that it has started in its process group too.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if since.elapsed() > limit {
            // It has not been waited for, so the number is still its own.
            if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_has_started() {
        let child = Command::new("/bin/sh").args(["-c", "sleep 1000 & sleep 1000"]).process_group(0).spawn();
        let child = child.unwrap();
        let group = Pid::from_raw(child.id().cast_signed()).unwrap();
        assert!(wait(child, Duration::ZERO).unwrap().is_none());
        // What is killed is gone when its parent, or the first process, has seen it.
        let deadline = Instant::now() + Duration::from_secs(60);
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(Instant::now() < deadline, "it still runs");
            std::thread::yield_now();
        }
        let quick = Command::new("/bin/sh").args(["-c", "exit 3"]).spawn().unwrap();
        assert_eq!(wait(quick, LIMIT).unwrap().unwrap().code(), Some(3));
    }

    #[test]
    fn changes_in_a_row_are_one_run() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let command = format!("echo run >> {}", log.display());
        let (done, catalogs) = channel();
        let hook =
            Hook::start(&command.clone(), move || run(&command), move |catalog| done.send(catalog).unwrap());
        let hook = hook.unwrap();
        for catalog in 1..=100 {
            hook.changed(catalog);
        }
        assert_eq!(catalogs.recv_timeout(Duration::from_secs(20)), Ok(100));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "run\n");
        drop(hook);
        assert!(catalogs.recv().is_err());
    }
}
