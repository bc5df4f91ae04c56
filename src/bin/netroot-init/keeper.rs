//! The keeper: a process that stays behind and holds on to the address and to the NBD server.
//!
//! The live system's own network manager may drop the address, at the latest at shutdown, while the root still hangs on it:
//! the keeper puts it back. It renews the lease, and calls the server again when the connection is gone. Its name begins with
//! `@`, by which systemd spares it at the change of root and at shutdown (systemd.io/ROOT_STORAGE_DAEMONS). Nothing that
//! it does may need the disk, so all of it is locked in memory. Three loops, one thread each, that know nothing of each other.

mod connection;
mod network;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::io::FdFlags;
use rustix::mm::MlockAllFlags;

use crate::address::Held;
use crate::console::{complain, hold_open};
use crate::dial::{Connection, RemoteDisk};
use crate::disk::Kernel;

pub use connection::Kept as Disk;

/// The name by which systemd knows whom to spare.
pub const NAME: &str = "@netroot";
/// It has nothing to do until it says that it is ready.
const READY: &str = "ready";
/// A thread here needs a few KiB; all of it is locked in memory.
const STACK: usize = 128 * 1024;

/// The address, and the disk if there is one, that the keeper holds on to.
#[derive(Debug)]
pub struct Kept {
    held: Held,
    disk: Option<Disk<Kernel>>,
}

/// Leaves a keeper behind, and waits until it is ready.
///
/// # Errors
/// The obstacle to that.
pub fn leave(held: &Held, remote: &RemoteDisk, first: &Connection, sockets: &[&TcpStream]) -> Result<()> {
    let mut words = held.words();
    words.extend(connection::words(remote, first));
    for socket in sockets {
        rustix::io::fcntl_setfd(socket, FdFlags::empty())?;
        words.push(format!("socket={}", socket.as_raw_fd()));
    }
    let mut child = Command::new("/proc/self/exe")
        .arg0(NAME)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut answer) = child.stdout.take() {
        answer.read_to_string(&mut said)?;
    }
    match said.trim() {
        READY => Ok(()),
        "" => bail!("it ended at once"),
        sentence => bail!("{sentence}"),
    }
}

/// Runs as the process of that name: says that it is ready and holds on, for ever.
pub fn run(words: &[String]) -> ExitCode {
    match prepare(words) {
        Ok(kept) => kept.hold(),
        Err(error) => {
            let _ = write!(io::stdout(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(words: &[String]) -> Result<Kept> {
    let kept = Kept::from_words(words)?;
    let nothing = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    hold_open().context("/dev/kmsg")?;
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = rustix::process::setsid(); // it may lead a session already
    rustix::process::chdir("/")?;
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
        .context("can't be locked in memory")?;
    let mut answer = io::stdout();
    writeln!(answer, "{READY}")?;
    answer.flush()?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(kept)
}

impl Kept {
    /// An address alone.
    pub fn address(held: Held) -> Self {
        Self { held, disk: None }
    }

    fn from_words(words: &[String]) -> Result<Self> {
        let held = Held::from_words(words).context("the keeper doesn't understand its address")?;
        let disk = Disk::from_words(words).context("the keeper doesn't understand its disk")?;
        Ok(Self { held, disk: Some(disk) })
    }

    /// Holds on, for ever.
    pub fn hold(self) -> ! {
        let Self { held, disk } = self;
        if let Some(terms) = held.terms {
            let held = held.clone();
            beside("lease", move || network::keep_lease(&held, terms));
        }
        let address = held.clone();
        beside("address", move || network::keep_address(&address));
        if let Some(disk) = disk {
            disk.keep(Some(&held));
        }
        loop {
            thread::park();
        }
    }
}

/// Does it in a thread of that name.
pub fn beside(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work) {
        complain(&format!("the keeper of the {name} doesn't start: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_needs_all_its_words() {
        let words: Vec<_> =
            "if=2 mac=52:54:00:12:34:56 address=10.0.2.15/24".split(' ').map(str::to_owned).collect();
        let error = Kept::from_words(&words).unwrap_err();
        assert!(error.to_string().contains("disk"), "{error}");
        assert!(Kept::from_words(&[]).unwrap_err().to_string().contains("address"));
    }
}
