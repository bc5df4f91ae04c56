//! The look into an ISO's initrds, kernels and root images in a process of its own, that can do next to nothing.
//!
//! What unpacks and parses is a dozen crates, and what they are given is foreign. So the program starts itself under another
//! name, with the ISO for its standard input; it gives up all that it has, looks, and writes what it has found to its standard
//! output. If it crashes, takes too much memory or too long, that is an outcome like another one, of that ISO; if the ISO can't
//! be read just now, or the host has no memory or process for it, it has none.
//!
//! ```text
//! length of the JSON, 8 bytes | JSON | packed drivers of the first kernel, of the second ...
//! ```
//!
//! The JSON is `{"Ok": [...]}`, or `{"Err": 5}` with the system's error number (errno(3)) where the ISO can't be read.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use landlock::{Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::process::{
    Gid, Resource, Rlimit, Signal, Uid, getpid, getrlimit, kill_process, set_parent_process_death_signal,
    setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::catalog::probe::{self, Looked};
use crate::catalog::reexec::Reexec;
use crate::catalog::scan::{self, IsoFile, Opened, Opener};
use crate::image::printable;
use crate::storage::descriptors;
use crate::storage::identity::identity;
use crate::storage::source::noted::{self, Noted};
use crate::storage::source::{self, FileSource, PageCache, ReadAt as _};

/// The process that looks.
pub const LOOK: Reexec = Reexec("netrootfs-look");

/// Address space: decoders take 224 MiB at most, and drivers about 150.
const MEMORY: u64 = 512 << 20;

/// Seconds of a processor, for an ISO of next to nothing; each MiB of it has one more, up to the most: the largest initrds take
/// ten, on slow machines. Then it is sent SIGXCPU, so that SIGKILL is what somebody else sends: the kernel where memory is
/// short, say.
const SECONDS: u64 = 4;
const MOST_SECONDS: u64 = 120;

/// Descriptors: the three that it begins with, and some to look at itself by.
const DESCRIPTORS: u64 = 16;

/// Longest JSON: of some dozens of kernels.
const MOST_JSON: u64 = 16 << 20;

/// Longest packed drivers.
const MOST_PACKED: u64 = 128 << 20;

/// The user and group that nothing belongs to.
const NOBODY: u32 = 65534;

/// A variable that makes it fail for the ISO of a volume id, `crash:ONE`, `kill:ONE`, `memory:ONE`, or hang for all, `hang:`.
/// For tests, of builds for these.
const FAULT: &str = "NETROOTFS_LOOK_FAULT";

/// Why a look has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process was ended, by itself or by the kernel.
    #[error("looking into it was ended: {0}")]
    Ended(ExitStatus),
    /// It did not answer as it should.
    #[error("looking into it failed: {0}")]
    Failed(#[from] io::Error),
    /// It could not be started.
    #[error("looking into it can't be begun: {0}")]
    NotBegun(#[source] io::Error),
    /// The ISO can't be read.
    #[error("looking into it ended where it can't be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl Error {
    /// Whether it says nothing of the ISO, but of how things stand now.
    pub fn is_of_this_moment(&self) -> bool {
        match self {
            Self::Ended(status) => status.signal() == Some(libc::SIGKILL),
            Self::Failed(_) => false,
            Self::NotBegun(_) | Self::Unreadable(_) => true,
        }
    }
}

/// What it says: the outcome, or the error number of the system's that it has met.
type Answer = Result<Vec<Looked>, i32>;

/// Reads as it is, and notes that it can't.
struct Noting(noted::Errno);

impl Opener for Noting {
    fn open(&self, file: Arc<File>) -> io::Result<Opened> {
        let source = Arc::new(FileSource::new(file, PageCache::Keep)?);
        let plain = Arc::new(Noted::new(source.clone(), self.0.clone()));
        Ok(Opened { served: source.into(), plain })
    }
}

/// Looks into an ISO.
///
/// # Errors
/// If that ends badly: see [`Error`].
pub fn look(disc: &IsoFile) -> Result<Vec<Looked>, Error> {
    let file = disc.source.origin().ok_or_else(|| io::Error::other("its file isn't known"));
    let (file, _) = file.map_err(Error::NotBegun)?;
    // Of other ISOs it needs nothing, and theirs may hang.
    descriptors::alone(&[file.as_fd()], look_alone).map_err(Error::NotBegun)?
}

fn look_alone(iso: Vec<OwnedFd>) -> Result<Vec<Looked>, Error> {
    let mut child = start(iso).map_err(Error::NotBegun)?;
    let answer = child.stdout.take().map_or_else(|| Err(io::ErrorKind::BrokenPipe.into()), receive);
    if answer.is_err() {
        // It may be writing what nobody wants.
        let _ = child.kill();
    }
    let status = child.wait()?;
    // Without a whole answer it has ended by itself, or been ended; else it was the line above.
    let ended = answer.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::UnexpectedEof, |_| true);
    match answer {
        _ if ended && !status.success() => Err(Error::Ended(status)),
        Err(error) => Err(Error::Failed(error)),
        Ok(Err(number)) => Err(Error::Unreadable(io::Error::from_raw_os_error(number))),
        Ok(Ok(found)) => Ok(found),
    }
}

fn start(iso: Vec<OwnedFd>) -> io::Result<Child> {
    let mut command = LOOK.command();
    command.env_clear().envs(env::vars_os().filter(|(name, _)| name == FAULT));
    for iso in iso {
        command.stdin(iso);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// The path of an ISO, as it is now, for people.
pub fn path_of(disc: &IsoFile) -> String {
    let path = disc.source.origin().and_then(|(file, _)| source::path_of(&file).ok());
    path.map_or_else(|| "an ISO".into(), |path| printable::line(&path.to_string_lossy()))
}

fn receive(mut answer: impl Read) -> io::Result<Answer> {
    let mut len = [0; 8];
    answer.read_exact(&mut len)?;
    let json = bytes(&mut answer, u64::from_le_bytes(len), MOST_JSON)?;
    let mut found: Answer = serde_json::from_slice(&json)?;
    for looked in found.iter_mut().flatten() {
        let Some(pack) = looked.netroot.pack() else { continue };
        let packed = bytes(&mut answer, pack.len, MOST_PACKED)?;
        if identity(&packed) != pack.sum {
            return Err(io::Error::other("drivers of another sum"));
        }
        looked.packed = Some(packed);
    }
    Ok(found)
}

fn bytes(from: &mut impl Read, len: u64, most: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len.min(most + 1)).map_err(io::Error::other)?;
    if len as u64 > most {
        return Err(io::Error::other("an answer that is too long"));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Looks, in the process that was started for it.
pub fn run() -> ExitCode {
    match LOOK.begin().and_then(|()| confine()).and_then(|()| answer()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Gives up everything but what is open.
fn confine() -> io::Result<()> {
    // Nobody waits for it when the daemon is gone.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most) in
        [(Resource::As, MEMORY), (Resource::Nofile, DESCRIPTORS), (Resource::Core, 0), (Resource::Fsize, 0)]
    {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let seconds = seconds(rustix::fs::fstat(io::stdin())?.st_size as u64);
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 1) })?;
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        // That has taken the signal away (PR_SET_PDEATHSIG(2const)).
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    // No path, no port, no other process: as far as this kernel knows how to.
    let abi = landlock::ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self())
        .map_err(io::Error::other)?;
    Ok(())
}

/// Seconds of a processor for an ISO of that many bytes.
fn seconds(len: u64) -> u64 {
    (SECONDS + (len >> 20)).min(MOST_SECONDS)
}

fn answer() -> io::Result<()> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let met = noted::Errno::default();
    let disc = scan::open_again(file, &Noting(met.clone())).map_err(io::Error::other);
    let found = disc.map(|disc| {
        fail_as_asked(&disc);
        probe::look(&disc)
    });
    // Whatever has been found without that is no outcome.
    let found: Answer = met.get().map_or_else(|| found.map(Ok), |number| Ok(Err(*number)))?;
    let json = serde_json::to_vec(&found)?;
    let mut out = io::stdout().lock();
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(&json)?;
    for packed in found.iter().flatten().filter_map(|looked| looked.packed.as_ref()) {
        out.write_all(packed)?;
    }
    out.flush()
}

fn fail_as_asked(disc: &IsoFile) {
    let Some(fault) = env::var(FAULT).ok().filter(|_| cfg!(debug_assertions)) else { return };
    let label = String::from_utf8_lossy(&disc.facts.volume_id).trim_end().to_owned();
    match fault.split_once(':') {
        Some(("crash", of)) if of == label => std::process::abort(),
        Some(("kill", of)) if of == label => {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        Some(("memory", of)) if of == label => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        // What it may no longer do ends it well, and so shows.
        Some(("open", of)) if of == label && File::open("/etc/passwd").is_err() => std::process::abort(),
        Some(("seconds", of)) if of == label && getrlimit(Resource::Cpu).current < Some(MOST_SECONDS) => {
            let _ = kill_process(getpid(), Signal::XCPU);
        }
        Some(("hang", _)) => std::thread::sleep(Duration::MAX),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_iso_has_little_time() {
        assert_eq!([0, 20 << 20, 4 << 30].map(seconds), [4, 24, 120]);
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let json = |json: &[u8]| [&(json.len() as u64).to_le_bytes(), json].concat();
        assert!(receive(json(b"{\"Ok\":[]}").as_slice()).unwrap().unwrap().is_empty());
        assert_eq!(receive(json(b"{\"Err\":5}").as_slice()).unwrap().err(), Some(5));
        for bytes in
            [Vec::new(), json(b"[")[..9].to_vec(), json(b"{}"), json(b"[]"), u64::MAX.to_le_bytes().to_vec()]
        {
            assert!(receive(bytes.as_slice()).is_err(), "{bytes:?}");
        }
    }
}
