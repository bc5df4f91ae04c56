//! Goes to the background the way FUSE programs do: the command returns when the tree is usable, or with the reason why
//! it isn't.
//!
//! The program starts itself again as a child in a session of its own. The child has its standard output for a pipe and
//! writes one line into it when it is ready; if the pipe closes without that line, the child has failed and has said why
//! on standard error.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

/// The variable that tells the child that it is one. What the child starts must not see it.
pub const CHILD: &str = "NETROOTFS_BACKGROUND";

/// Whether this process is the one that stays.
pub fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Starts the child and waits until it is ready or has failed.
///
/// # Errors
/// If it can't be started.
pub fn start() -> Result<ExitCode> {
    let program = env::current_exe().context("the program's own path")?;
    let mut child = Command::new(program)
        .args(env::args_os().skip(1))
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("going to the background")?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line)?;
    }
    if line == "ready\n" {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// In the child, first thing: a session of its own, so that the end of a terminal isn't ours. But until it is ready, who
/// interrupts the waiting parent means both.
pub fn detach() {
    // It fails only for a leader of a process group, which a child isn't.
    let _ = rustix::process::setsid();
    // Every signal number is accepted.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

/// Whether this process is to be told to end when the one that started it ends.
///
/// # Errors
/// There should be none.
pub fn end_with_parent(wanted: bool) -> io::Result<()> {
    Ok(set_parent_process_death_signal(wanted.then_some(Signal::TERM))?)
}

/// In the child: says that the tree is usable, and lets go of the terminal and the working directory.
///
/// # Errors
/// If /dev/null can't be opened.
pub fn ready() -> io::Result<()> {
    set_parent_process_death_signal(None)?;
    let mut pipe = io::stdout();
    // A parent that was interrupted meanwhile doesn't need to know.
    let _ = pipe.write_all(b"ready\n").and_then(|()| pipe.flush());
    let_go()
}

/// Lets go of the terminal and the working directory.
///
/// # Errors
/// If /dev/null can't be opened.
pub fn let_go() -> io::Result<()> {
    env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
