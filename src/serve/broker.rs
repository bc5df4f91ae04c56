//! A process with rights beside the daemon, which may then be bound ([`privileges`]): it mounts, unmounts and has the kernel
//! read ahead, makes what the kernel needs to read ISOs by itself (`kernel.rs`), looks which machine a server's process is
//! connected to, and runs the administrator's command.
//!
//! The program starts itself under another name before it gives anything up. The mount point and the command are on that
//! command line, so a question (`message.rs`) has no more in it than a kind, numbers and what the daemon has open: whoever
//! takes over the daemon can unmount the tree, run the command, change read-ahead and have what they can read be read by the
//! kernel, and that is all. Each question comes with a socket for its answer, so none waits for another, and clients wait
//! for none for long. It ends when nobody can ask any more. Where there is nothing to give up, the daemon does all of it itself.
//!
//! [`privileges`]: super::privileges

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::catalog::reexec::Reexec;
use crate::serve::background;
use crate::serve::clients::Who;
use crate::serve::handover::store::VARIABLES;
use crate::storage::descriptors;
use crate::storage::passthrough::Mounter;
use crate::storage::passthrough::mount::Mounted;

mod kernel;
mod message;
mod tasks;

use tasks::Tasks;
pub use tasks::run;

/// The process that has the rights.
pub const BROKER: Reexec = Reexec("netrootfs-broker");

/// How long a client waits for an answer, and then for one to whether there are any; it does without then.
const PATIENCE: Duration = Duration::from_secs(2);
const ALIVE_WITHIN: Duration = Duration::from_secs(1);

/// How long nobody else waits when there was none.
const SILENCE: Duration = Duration::from_secs(10);

/// The side that asks.
pub struct Broker {
    tasks: Tasks,
    /// `None` where the daemon does it itself.
    socket: Option<OwnedFd>,
    /// Whether it has ever answered.
    heard: AtomicBool,
    /// Since when there is no answer.
    silent: Mutex<Option<Instant>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Mount,
    Unmount,
    ReadAhead {
        device: (u32, u32),
        kib: u64,
    },
    Who(u32),
    Run,
    /// With the ISO.
    Map {
        len: u64,
        ranges: Vec<Range<u64>>,
    },
    /// With the metadata.
    Revoke {
        len: u64,
        ranges: Vec<Range<u64>>,
    },
    /// With a device of the mount and the file.
    Give,
    /// With a device of the mount.
    TakeBack(u32),
    /// Whether it answers anything.
    Alive,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// With the device.
    Mounted,
    Unmounted,
    Raised,
    Is(Who),
    /// With the status that wait(2) has; `None` if the command had to be ended.
    Ran(Option<i32>),
    /// With the file and the metadata.
    Mapped,
    Revoked,
    Given(u32),
    TakenBack,
    Alive,
    /// With the error's number, if it has one.
    Failed(Option<i32>, String),
}

impl Broker {
    /// Does it all in this process.
    pub fn here(mountpoint: &Path, command: Option<&str>) -> Self {
        Self {
            tasks: Tasks::new(mountpoint.into(), command.map(str::to_owned)),
            socket: None,
            heard: AtomicBool::new(false),
            silent: Mutex::default(),
        }
    }

    /// Starts the process; the daemon may wait for its end. In the `background` it keeps no terminal and no directory.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(mountpoint: &Path, command: Option<&str>, background: bool) -> io::Result<(Self, Child)> {
        let (ours, theirs) = message::pair()?;
        let mut program = BROKER.command();
        program.arg(mountpoint).args(command);
        for name in VARIABLES {
            program.env_remove(name);
        }
        program.env_remove(background::CHILD);
        if background {
            program.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        }
        let (out, err) = (io::stdout(), io::stderr());
        let given = [theirs.as_fd(), out.as_fd(), err.as_fd()];
        let given = if background { &given[..1] } else { &given[..] };
        // With all that it is made of, which ends there.
        let start = move |given: Vec<OwnedFd>| {
            let set = [Command::stdin, Command::stdout, Command::stderr];
            for (set, fd) in set.into_iter().zip(given) {
                set(&mut program, fd);
            }
            program.spawn()
        };
        let child = descriptors::alone(given, start)??;
        Ok((Self { socket: Some(ours), ..Self::here(mountpoint, command) }, child))
    }

    /// Mounts, and returns the device.
    ///
    /// # Errors
    /// If it can't.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        let (answer, fds) = self.ask(&Question::Mount, &[])?;
        match (&answer, fds.into_iter().next()) {
            (Answer::Mounted, Some(device)) => Ok(device),
            _ => Err(unexpected(&answer)),
        }
    }

    /// Unmounts, if a netrootfs is mounted there.
    ///
    /// # Errors
    /// If it can't.
    pub fn unmount(&self) -> io::Result<()> {
        match self.ask(&Question::Unmount, &[])?.0 {
            Answer::Unmounted => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Has the kernel read so many KiB ahead on the file system of that device number.
    ///
    /// # Errors
    /// If it can't.
    pub fn read_ahead(&self, device: (u32, u32), kib: u64) -> io::Result<()> {
        match self.ask(&Question::ReadAhead { device, kib }, &[])?.0 {
            Answer::Raised => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Who is behind a process; nobody where that can't be found out.
    pub fn who(&self, pid: u32) -> Who {
        match self.ask(&Question::Who(pid), &[]) {
            Ok((Answer::Is(who), _)) => who,
            _ => Who::Nobody,
        }
    }

    /// Runs the command, and returns when it has ended or had to be: see [`run`](crate::serve::hook::run).
    ///
    /// # Errors
    /// If it can't be run.
    pub fn run(&self) -> io::Result<Option<ExitStatus>> {
        match self.ask(&Question::Run, &[])?.0 {
            Answer::Ran(status) => Ok(status.map(ExitStatus::from_raw)),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Gives the kernel a mapping to read by itself, by a device of the mount; the number by which it goes there.
    ///
    /// # Errors
    /// If it can't.
    pub fn give(&self, device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<u32> {
        match self.ask(&Question::Give, &[device, file])?.0 {
            Answer::Given(id) => Ok(id),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Takes it back, if it is there.
    ///
    /// # Errors
    /// If it can't.
    pub fn take_back(&self, device: BorrowedFd<'_>, id: u32) -> io::Result<()> {
        match self.ask(&Question::TakeBack(id), &[device])?.0 {
            Answer::TakenBack => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }

    fn ask(&self, question: &Question, fds: &[BorrowedFd<'_>]) -> io::Result<(Answer, Vec<OwnedFd>)> {
        let Some(socket) = &self.socket else { return self.tasks.done(question, fds) };
        let silent =
            || io::Error::new(io::ErrorKind::TimedOut, format!("{} doesn't answer in time", BROKER.0));
        // It may take its time to start.
        let patience = question.patience().filter(|_| self.heard.load(Ordering::Relaxed));
        if patience.is_some() && self.silent.lock().is_some_and(|since| since.elapsed() < SILENCE) {
            return Err(silent());
        }
        let (ours, theirs) = message::pair()?;
        let fds: Vec<_> = std::iter::once(theirs.as_fd()).chain(fds.iter().copied()).collect();
        message::send(socket.as_fd(), question, &fds, patience.is_none())?;
        drop(theirs);
        let came = patience.map_or(Ok(true), |patience| message::comes(ours.as_fd(), patience))?;
        let received = message::receive(ours.as_fd())?;
        let silent_now = !came && received.is_none() && (question.is_quick() || !self.is_alive());
        *self.silent.lock() = silent_now.then(Instant::now);
        let (answer, fds) = received.ok_or_else(|| match came {
            true => io::Error::new(io::ErrorKind::BrokenPipe, format!("{} has ended", BROKER.0)),
            false => silent(),
        })?;
        self.heard.store(true, Ordering::Relaxed);
        match answer {
            Answer::Failed(Some(number), _) => Err(io::Error::from_raw_os_error(number)),
            Answer::Failed(None, said) => Err(io::Error::other(said)),
            answer => Ok((answer, fds)),
        }
    }

    /// Whether it answers, and only what it was asked takes long: an ISO's disk may hang.
    fn is_alive(&self) -> bool {
        matches!(self.ask(&Question::Alive, &[]), Ok((Answer::Alive, _)))
    }
}

impl Mounter for Broker {
    fn map(&self, iso: BorrowedFd<'_>, len: u64, ranges: &[Range<u64>]) -> io::Result<Mounted> {
        let (answer, fds) = self.ask(&Question::Map { len, ranges: ranges.to_vec() }, &[iso])?;
        let mut fds = fds.into_iter().map(File::from);
        match (&answer, fds.next(), fds.next()) {
            (Answer::Mapped, Some(file), Some(metadata)) => Ok(Mounted { file, metadata }),
            _ => Err(unexpected(&answer)),
        }
    }

    fn revoke(&self, metadata: &File, len: u64, ranges: &[Range<u64>]) -> io::Result<()> {
        match self.ask(&Question::Revoke { len, ranges: ranges.to_vec() }, &[metadata.as_fd()])?.0 {
            Answer::Revoked => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }
}

impl Question {
    /// Whether nothing can hold it up, so that it needs no thread of its own.
    fn is_quick(&self) -> bool {
        matches!(self, Self::Give | Self::TakeBack(_) | Self::Alive)
    }

    /// How long the answer is waited for, where a client waits with it.
    fn patience(&self) -> Option<Duration> {
        match self {
            Self::Who(_) | Self::Map { .. } | Self::Revoke { .. } | Self::Give => Some(PATIENCE),
            Self::Alive => Some(ALIVE_WITHIN),
            Self::Mount | Self::Unmount | Self::ReadAhead { .. } | Self::Run | Self::TakeBack(_) => None,
        }
    }
}

fn unexpected(answer: &Answer) -> io::Error {
    io::Error::other(format!("an answer to something else: {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_that_was_not_said_at_the_start() {
        let broker = Broker::here(Path::new("/nowhere"), None);
        assert_eq!(broker.run().unwrap_err().to_string(), "there is no command");
        broker.unmount().unwrap();
        assert_eq!(broker.who(u32::MAX), Who::Nobody);
        let status = Broker::here(Path::new("/nowhere"), Some("exit 3")).run().unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
    }

    #[test]
    fn who_is_silent_is_asked_again_later_only() {
        let (ours, theirs) = message::pair().unwrap();
        let heard = AtomicBool::new(true);
        let broker = Broker { socket: Some(ours), heard, ..Broker::here(Path::new("/nowhere"), None) };
        let map = || broker.map(theirs.as_fd(), 0, &[]).err().unwrap();
        assert_eq!(map().kind(), io::ErrorKind::TimedOut);
        assert_eq!(map().kind(), io::ErrorKind::TimedOut);
        assert!(
            matches!(message::receive(theirs.as_fd()).unwrap(), Some((Question::Map { .. }, fds)) if fds.len() == 2)
        );
        assert!(matches!(message::receive(theirs.as_fd()).unwrap(), Some((Question::Alive, _))));
        drop(theirs);
        *broker.silent.lock() = None;
        assert_eq!(
            broker.give(io::stdin().as_fd(), io::stdin().as_fd()).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn what_takes_long_holds_up_nobody_else() {
        let (ours, theirs) = message::pair().unwrap();
        let broker = Broker {
            socket: Some(ours),
            heard: AtomicBool::new(true),
            ..Broker::here(Path::new("/nowhere"), None)
        };
        std::thread::scope(|scope| {
            // One that never comes to an end with a mapping.
            scope.spawn(|| {
                let mut hung = Vec::new();
                while let Some((question, mut fds)) = message::receive::<Question>(theirs.as_fd()).unwrap() {
                    match question {
                        Question::Map { .. } => hung.push(fds),
                        _ => {
                            message::send(fds.remove(0).as_fd(), &Answer::Alive, &[], true).unwrap();
                        }
                    }
                }
                assert_eq!(hung.len(), 2, "asked again at once");
            });
            for _ in 0..2 {
                let map = broker.map(io::stdin().as_fd(), 0, &[]).err().unwrap();
                assert_eq!(map.kind(), io::ErrorKind::TimedOut);
            }
            assert!(broker.silent.lock().is_none() && broker.is_alive());
            drop(broker);
        });
    }
}
