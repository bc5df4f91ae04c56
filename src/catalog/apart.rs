//! The look into an ISO's initrds, kernels and root images in a process of its own, that can do next to nothing.
//!
//! What unpacks and parses is a dozen crates, and what they are given is foreign. So the program starts itself under another
//! name, with the ISO for its standard input; it gives up all that it has, looks, and writes what it has found to its standard
//! output. If it crashes, takes too much memory or too long, that is an outcome like another one, of that ISO.
//!
//! ```text
//! length of the JSON, 8 bytes | JSON | packed drivers of the first kernel, of the second ...
//! ```

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use landlock::{Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::catalog::probe::{self, Looked};
use crate::catalog::reexec::Reexec;
use crate::catalog::scan::{self, IsoFile};
use crate::image::printable;
use crate::storage::identity::identity;
use crate::storage::source::{self, ReadAt as _};

/// The process that looks.
pub const LOOK: Reexec = Reexec("netrootfs-look");

/// Address space: decoders take 224 MiB at most, and drivers about 150.
const MEMORY: u64 = 512 << 20;

/// Seconds of a processor: the largest initrds take ten, on slow machines.
const SECONDS: u64 = 120;

/// Descriptors: the three that it begins with, and some to look at itself by.
const DESCRIPTORS: u64 = 16;

/// Longest JSON: of some dozens of kernels.
const MOST_JSON: u64 = 16 << 20;

/// Longest packed drivers.
const MOST_PACKED: u64 = 128 << 20;

/// The user and group that nothing belongs to.
const NOBODY: u32 = 65534;

/// A variable that makes it fail for the ISO of a volume id, `crash:ONE`, `memory:ONE`, or hang for all, `hang:`. For tests, of
/// builds for these.
const FAULT: &str = "NETROOTFS_LOOK_FAULT";

/// Why a look has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process was ended, by itself or by the kernel.
    #[error("looking into it was ended: {0}")]
    Ended(ExitStatus),
    /// It could not be started, or did not answer as it should.
    #[error("looking into it failed: {0}")]
    Failed(#[from] io::Error),
}

/// Looks into an ISO.
///
/// # Errors
/// If that ends badly: see [`Error`].
pub fn look(disc: &IsoFile) -> Result<Vec<Looked>, Error> {
    let (file, _) = disc.source.origin().ok_or_else(|| io::Error::other("its file isn't known"))?;
    let mut child = LOOK
        .command()
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| name == FAULT))
        .stdin(Stdio::from(file.as_fd().try_clone_to_owned()?))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let answer = child.stdout.take().map_or_else(|| Err(io::ErrorKind::BrokenPipe.into()), receive);
    if answer.is_err() {
        // It may be writing what nobody wants.
        let _ = child.kill();
    }
    match child.wait()? {
        status if status.success() => Ok(answer?),
        status => Err(Error::Ended(status)),
    }
}

/// The path of an ISO, as it is now, for people.
pub fn path_of(disc: &IsoFile) -> String {
    let path = disc.source.origin().and_then(|(file, _)| source::path_of(&file).ok());
    path.map_or_else(|| "an ISO".into(), |path| printable::line(&path.to_string_lossy()))
}

fn receive(mut answer: impl Read) -> io::Result<Vec<Looked>> {
    let mut len = [0; 8];
    answer.read_exact(&mut len)?;
    let json = bytes(&mut answer, u64::from_le_bytes(len), MOST_JSON)?;
    let mut found: Vec<Looked> = serde_json::from_slice(&json)?;
    for looked in &mut found {
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
    LOOK.take_name();
    match confine().and_then(|()| answer()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Gives up everything but what is open.
fn confine() -> io::Result<()> {
    // Nobody waits for it when the daemon is gone.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most) in [
        (Resource::As, MEMORY),
        (Resource::Cpu, SECONDS),
        (Resource::Nofile, DESCRIPTORS),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
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

fn answer() -> io::Result<()> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let disc = scan::open_again(file).map_err(io::Error::other)?;
    fail_as_asked(&disc);
    let found = probe::look(&disc);
    let json = serde_json::to_vec(&found)?;
    let mut out = io::stdout().lock();
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(&json)?;
    for packed in found.iter().filter_map(|looked| looked.packed.as_ref()) {
        out.write_all(packed)?;
    }
    out.flush()
}

fn fail_as_asked(disc: &IsoFile) {
    let Some(fault) = env::var(FAULT).ok().filter(|_| cfg!(debug_assertions)) else { return };
    let label = String::from_utf8_lossy(&disc.facts.volume_id).trim_end().to_owned();
    match fault.split_once(':') {
        Some(("crash", of)) if of == label => std::process::abort(),
        Some(("memory", of)) if of == label => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        // What it may no longer do ends it well, and so shows.
        Some(("open", of)) if of == label && File::open("/etc/passwd").is_err() => std::process::abort(),
        Some(("hang", _)) => std::thread::sleep(Duration::MAX),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let json = |json: &[u8]| [&(json.len() as u64).to_le_bytes(), json].concat();
        assert!(receive(json(b"[]").as_slice()).unwrap().is_empty());
        for bytes in [Vec::new(), json(b"[")[..9].to_vec(), json(b"{}"), u64::MAX.to_le_bytes().to_vec()] {
            assert!(receive(bytes.as_slice()).is_err(), "{bytes:?}");
        }
    }
}
