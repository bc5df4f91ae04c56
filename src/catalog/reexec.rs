//! This program, started again under another name, for what is done in a process of its own.

use std::env;
use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::set_name;

use crate::storage::signals;

/// The program that runs, whatever lies under its name by now (proc_pid_exe(5)).
const PROGRAM: &str = "/proc/self/exe";

/// One of its names, as `ps` shows it: Linux cuts the one that `ps` has beside that after 15 bytes.
pub struct Reexec(pub &'static str);

impl Reexec {
    /// What starts it under that name.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg0(self.0);
        command
    }

    /// Whether this process was started so.
    pub fn is_here(&self) -> bool {
        env::args_os().next().is_some_and(|name| name == self.0)
    }

    /// In the process: takes the name for it, too, since the file that was started is called `exe`, and so would that be; and
    /// signals, which whoever starts it may have left to others.
    ///
    /// # Errors
    /// There should be none.
    pub fn begin(&self) -> io::Result<()> {
        let _ = CString::new(self.0).map(|name| set_name(&name));
        signals::take()
    }
}
