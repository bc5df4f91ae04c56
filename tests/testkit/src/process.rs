//! Programs that a test starts: output into a log file, killed when the value goes.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::work::Work;

/// Longer than anything takes on a very busy machine, where only what happens matters and not when.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A child process with a name for messages.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`; what it says goes into a log of its name.
    pub fn spawn(command: &mut Command, work: &Work) -> Result<Self> {
        let name = program_name(command);
        let log = File::create(work.log(&name))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} doesn't start: is it installed?"))?;
        Ok(Self { name, child })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// An error if it has ended: for what is to run on.
    pub fn ensure_runs(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => bail!("{} has ended ({status})", self.name),
            None => Ok(()),
        }
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self, patience: Duration) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        wait_for(&format!("{} to end after SIGTERM", self.name), patience, || Ok(self.ended()?.is_some()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end; an error if that isn't a good one.
pub fn run(command: &mut Command) -> Result<()> {
    let name = program_name(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} doesn't start: is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    Ok(())
}

/// Asks again and again, until `done` says yes, or fails, or `patience` is over.
pub fn wait_for(what: &str, patience: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    const INTERVAL: Duration = Duration::from_millis(50);
    let deadline = Instant::now() + patience;
    while !done()? {
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        sleep(INTERVAL);
    }
    Ok(())
}

fn program_name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
