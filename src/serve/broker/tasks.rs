//! The side that does as it is asked: each question on a thread of its own, until nobody can ask any more.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::serve::clients::Peers;
use crate::serve::{hook, mountpoint, privileges};
use crate::storage::passthrough::mount::Mounted;

use super::kernel::{self, Kernel};
use super::{Answer, BROKER, Question, message};

/// What it can be asked to do.
#[derive(Clone)]
pub struct Tasks {
    mountpoint: PathBuf,
    command: Option<String>,
    kernel: Arc<Kernel>,
    peers: Arc<Peers>,
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
    BROKER.begin()?;
    if tasks.command.is_none() {
        privileges::keep_for_broker()?;
    }
    let socket = io::stdin();
    while let Some((question, fds)) = message::receive::<Question>(socket.as_fd())? {
        let mut fds = fds.into_iter();
        let Some(asker) = fds.next() else { break };
        let fds: Vec<_> = fds.collect();
        // To start a thread would take longer.
        if question.is_quick() {
            tasks.answer(&asker, &question, &fds);
            continue;
        }
        let tasks = tasks.clone();
        let answer = move || tasks.answer(&asker, &question, &fds);
        std::thread::Builder::new().name("broker".into()).spawn(answer)?;
    }
    Ok(())
}

impl Tasks {
    /// What is fixed.
    pub fn new(mountpoint: PathBuf, command: Option<String>) -> Self {
        Self { mountpoint, command, kernel: Arc::default(), peers: Arc::default() }
    }

    /// Does what is asked, with the descriptors that came with it; the answer, and what goes with that.
    ///
    /// # Errors
    /// If it can't.
    pub fn done(&self, question: &Question, fds: &[BorrowedFd<'_>]) -> io::Result<(Answer, Vec<OwnedFd>)> {
        let answer = match (question, fds, &self.command) {
            (Question::Mount, ..) => {
                return Ok((Answer::Mounted, vec![mountpoint::mount(&self.mountpoint)?]));
            }
            (Question::Unmount, ..) => {
                if mountpoint::is_ours_there(&self.mountpoint) {
                    mountpoint::unmount(&self.mountpoint)?;
                }
                Answer::Unmounted
            }
            (Question::ReadAhead { device, kib }, ..) => {
                std::fs::write(mountpoint::read_ahead(*device), kib.to_string())?;
                Answer::Raised
            }
            (Question::Who(pid), ..) => Answer::Is(self.peers.of(*pid)),
            (Question::Run, _, Some(command)) => {
                Answer::Ran(hook::run(command)?.map(ExitStatusExt::into_raw))
            }
            (Question::Run, _, None) => return Err(io::Error::other("there is no command")),
            (Question::Map { len, ranges }, [iso], _) => {
                let Mounted { file, metadata } = self.kernel.map(*iso, *len, ranges)?;
                return Ok((Answer::Mapped, vec![file.into(), metadata.into()]));
            }
            (Question::Revoke { len, ranges }, [metadata], _) => {
                self.kernel.revoke(*metadata, *len, ranges)?;
                Answer::Revoked
            }
            (Question::Give, [device, file], _) => Answer::Given(kernel::give(*device, *file)?),
            (Question::Alive, ..) => Answer::Alive,
            (Question::TakeBack(id), [device], _) => {
                kernel::take_back(*device, *id)?;
                Answer::TakenBack
            }
            _ => return Err(io::Error::other("it has not the descriptors that are needed")),
        };
        Ok((answer, Vec::new()))
    }

    /// Does it, and answers who has asked.
    fn answer(&self, asker: &OwnedFd, question: &Question, fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let (answer, given) = self
            .done(question, &fds)
            .unwrap_or_else(|error| (Answer::Failed(error.raw_os_error(), error.to_string()), Vec::new()));
        let given: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        let taken = message::send(asker.as_fd(), &answer, &given, true);
        // Who doesn't wait any more would never take it back.
        if let (Err(_), Answer::Given(id), [device, ..]) = (taken, answer, fds.as_slice()) {
            let _ = kernel::take_back(*device, id);
        }
    }
}
