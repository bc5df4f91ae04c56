//! A process with rights beside the daemon, which may then be bound ([`privileges`]): it mounts, unmounts and has the kernel
//! read ahead, looks which machine a server's process is connected to, and runs the administrator's command.
//!
//! The program starts itself under another name before it gives anything up. The mount point and the command are on that
//! command line, so a question has no more in it than a kind and numbers: whoever takes over the daemon can unmount the
//! tree, run the command and change read-ahead, and that is all. Each question comes with a socket for its answer, so none waits for
//! another. It ends when nobody can ask any more. Where there is nothing to give up, the daemon does all of it itself.
//!
//! [`privileges`]: super::privileges

use std::env;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::serve::clients::{Peers, Who};
use crate::serve::handover::store::VARIABLES;
use crate::serve::{background, hook, mountpoint, privileges};

/// The name that the program has then, as `ps` shows it.
const NAME: &str = "netrootfs-broker";

/// The program that runs, whatever lies under its name by now (proc_pid_exe(5)).
const PROGRAM: &str = "/proc/self/exe";

/// Longest question or answer: the longest has the name of a process, or a sentence.
const MOST: usize = 4096;

/// The side that asks.
pub struct Broker {
    tasks: Tasks,
    /// `None` where the daemon does it itself.
    socket: Option<OwnedFd>,
}

/// What it can be asked to do.
#[derive(Clone)]
struct Tasks {
    mountpoint: PathBuf,
    command: Option<String>,
    peers: Arc<Peers>,
}

impl Tasks {
    fn new(mountpoint: PathBuf, command: Option<String>) -> Self {
        Self { mountpoint, command, peers: Arc::default() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Mount,
    Unmount,
    ReadAhead { device: (u32, u32), kib: u64 },
    Who(u32),
    Run,
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
    /// With the error's number, if it has one.
    Failed(Option<i32>, String),
}

impl Broker {
    /// Does it all in this process.
    pub fn here(mountpoint: &Path, command: Option<&str>) -> Self {
        Self { tasks: Tasks::new(mountpoint.into(), command.map(str::to_owned)), socket: None }
    }

    /// Starts the process; the daemon may wait for its end. In the `background` it keeps no terminal and no directory.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(mountpoint: &Path, command: Option<&str>, background: bool) -> io::Result<(Self, Child)> {
        let (ours, theirs) = pair()?;
        let mut program = Command::new(PROGRAM);
        program.arg0(NAME).arg(mountpoint).args(command).stdin(Stdio::from(theirs));
        for name in VARIABLES {
            program.env_remove(name);
        }
        program.env_remove(background::CHILD);
        if background {
            program.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        }
        let child = program.spawn()?;
        Ok((Self { socket: Some(ours), ..Self::here(mountpoint, command) }, child))
    }

    /// Mounts, and returns the device.
    ///
    /// # Errors
    /// If it can't.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        match self.ask(&Question::Mount)? {
            (Answer::Mounted, Some(device)) => Ok(device),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// Unmounts, if a netrootfs is mounted there.
    ///
    /// # Errors
    /// If it can't.
    pub fn unmount(&self) -> io::Result<()> {
        match self.ask(&Question::Unmount)?.0 {
            Answer::Unmounted => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Has the kernel read so many KiB ahead on the file system of that device number.
    ///
    /// # Errors
    /// If it can't.
    pub fn read_ahead(&self, device: (u32, u32), kib: u64) -> io::Result<()> {
        match self.ask(&Question::ReadAhead { device, kib })?.0 {
            Answer::Raised => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Who is behind a process; nobody where that can't be found out.
    pub fn who(&self, pid: u32) -> Who {
        match self.ask(&Question::Who(pid)) {
            Ok((Answer::Is(who), _)) => who,
            _ => Who::Nobody,
        }
    }

    /// Runs the command, and returns when it has ended or had to be: see [`hook::run`].
    ///
    /// # Errors
    /// If it can't be run.
    pub fn run(&self) -> io::Result<Option<ExitStatus>> {
        match self.ask(&Question::Run)?.0 {
            Answer::Ran(status) => Ok(status.map(ExitStatus::from_raw)),
            answer => Err(unexpected(&answer)),
        }
    }

    fn ask(&self, question: &Question) -> io::Result<(Answer, Option<OwnedFd>)> {
        let Some(socket) = &self.socket else { return self.tasks.done(question) };
        let (ours, theirs) = pair()?;
        send(socket.as_fd(), question, Some(theirs.as_fd()))?;
        drop(theirs);
        let (answer, fd) = receive(ours.as_fd())?
            .ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the process for it has ended"))?;
        match answer {
            Answer::Failed(Some(number), _) => Err(io::Error::from_raw_os_error(number)),
            Answer::Failed(None, said) => Err(io::Error::other(said)),
            answer => Ok((answer, fd)),
        }
    }
}

impl Tasks {
    fn done(&self, question: &Question) -> io::Result<(Answer, Option<OwnedFd>)> {
        let answer = match (question, &self.command) {
            (Question::Mount, _) => return Ok((Answer::Mounted, Some(mountpoint::mount(&self.mountpoint)?))),
            (Question::Unmount, _) => {
                if mountpoint::is_ours_there(&self.mountpoint) {
                    mountpoint::unmount(&self.mountpoint)?;
                }
                Answer::Unmounted
            }
            (Question::ReadAhead { device, kib }, _) => {
                std::fs::write(mountpoint::read_ahead(*device), kib.to_string())?;
                Answer::Raised
            }
            (Question::Who(pid), _) => Answer::Is(self.peers.of(*pid)),
            (Question::Run, Some(command)) => Answer::Ran(hook::run(command)?.map(ExitStatusExt::into_raw)),
            (Question::Run, None) => return Err(io::Error::other("there is no command")),
        };
        Ok((answer, None))
    }
}

fn unexpected(answer: &Answer) -> io::Error {
    io::Error::other(format!("an answer to something else: {answer:?}"))
}

/// Whether this process is to do as it is asked, and nothing else.
pub fn is_here() -> bool {
    env::args_os().next().is_some_and(|name| name == NAME)
}

/// Does as it is asked, in the process that was started for it.
pub fn run() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(mountpoint) = arguments.next().map(PathBuf::from) else { return ExitCode::FAILURE };
    let command = arguments.next().map(OsString::into_string).transpose();
    let Ok(command) = command else { return ExitCode::FAILURE };
    match attend(&Tasks::new(mountpoint, command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn attend(tasks: &Tasks) -> io::Result<()> {
    // Who stops the daemon often means all its processes, and it unmounts at the end. What is started gets none of this.
    for signal in [SIGHUP, SIGINT, SIGTERM, SIGUSR1] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    if tasks.command.is_none() {
        privileges::keep_for_broker()?;
    }
    let socket = io::stdin();
    while let Some((question, Some(asker))) = receive::<Question>(socket.as_fd())? {
        let tasks = tasks.clone();
        std::thread::Builder::new().name("broker".into()).spawn(move || {
            let (answer, fd) = tasks
                .done(&question)
                .unwrap_or_else(|error| (Answer::Failed(error.raw_os_error(), error.to_string()), None));
            // Who doesn't wait any more has ended.
            let _ = send(asker.as_fd(), &answer, fd.as_ref().map(AsFd::as_fd));
        })?;
    }
    Ok(())
}

/// Sockets that keep messages apart, and tell when the other one is closed.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn send(to: BorrowedFd<'_>, message: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next message with its descriptor; `None` when there will be no more.
fn receive<T: for<'de> Deserialize<'de>>(from: BorrowedFd<'_>) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = [0; MOST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg(from, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.by_ref().flatten().next();
    match bytes.get(..received.bytes).unwrap_or_default() {
        [] => Ok(None),
        message => Ok(Some((serde_json::from_slice(message)?, fd))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_message_comes_with_its_descriptor_and_the_end_is_told() {
        let (one, other) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(one.as_fd(), &Question::Who(7), Some(file.as_fd())).unwrap();
        send(one.as_fd(), &Question::Run, None).unwrap();
        drop(one);
        let (question, fd) = receive::<Question>(other.as_fd()).unwrap().unwrap();
        assert!(matches!(question, Question::Who(7)));
        assert_ne!(fd.unwrap().as_raw_fd(), file.as_raw_fd());
        assert!(matches!(receive::<Question>(other.as_fd()).unwrap(), Some((Question::Run, None))));
        assert!(receive::<Question>(other.as_fd()).unwrap().is_none());
    }

    #[test]
    fn nothing_is_done_that_was_not_said_at_the_start() {
        let broker = Broker::here(Path::new("/nowhere"), None);
        assert_eq!(broker.run().unwrap_err().to_string(), "there is no command");
        broker.unmount().unwrap();
        assert_eq!(broker.who(u32::MAX), Who::Nobody);
        let status = Broker::here(Path::new("/nowhere"), Some("exit 3")).run().unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
    }
}
