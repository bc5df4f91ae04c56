//! The rights of the daemon: before it looks at anything of an ISO's, it gives up all that serving doesn't take.
//!
//! Mounting, what the kernel needs to read ISOs by itself, looking at other processes and the administrator's command are
//! left to the [`broker`], so that the daemon can never get anything back (`no_new_privs`). By Landlock it and all that it starts writes nowhere but where it is told, mounts
//! nothing where others see it, connects by TCP to nobody, and signals and looks at nobody else, as far as the kernel has it.
//! What it reads isn't bounded: a link in the directory of ISOs may lead anywhere. All of that is a thread's, so it is done
//! before there is a second one. Whoever is not root has no rights, and needs fusermount3, which must be able to get some.
//!
//! [`broker`]: super::broker

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::process::{Gid, Uid, parent_process_death_signal, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::catalog::people::Account;

/// The rights that are kept (capabilities(7)).
const KEPT: CapabilitySet = CapabilitySet::empty()
    // To read ISOs of others, and to write into a state directory of somebody else's.
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    // To see whether somebody writes an ISO of another user.
    .union(CapabilitySet::LEASE)
    // To look into ISOs as nobody, and to end what does.
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL);

/// The rights of the broker where it runs no command: to mount, also on a directory of somebody else's, and to look at
/// processes.
const BROKER: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_PTRACE);

/// The newest version of Landlock that is asked for; each kernel does what it can of it.
const LANDLOCK: ABI = ABI::V6;

/// Where a daemon may write.
#[derive(Debug, Default)]
pub struct Bounds<'a> {
    /// The state directory.
    pub state_dir: Option<&'a Path>,
    /// The log file, which may be made anew.
    pub log_file: Option<&'a Path>,
}

/// Whether there is something to give up.
pub fn has_any() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives up all that serving doesn't take, for ever. As a `user` it keeps nothing.
///
/// # Errors
/// If the kernel doesn't let it.
pub fn give_up(bounds: &Bounds<'_>, user: Option<&Account>) -> io::Result<()> {
    set_no_new_privs(true)?;
    bind(bounds).map_err(io::Error::other)?;
    match user {
        Some(user) => become_user(user),
        None => keep(KEPT),
    }
}

fn become_user(user: &Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.groups.iter().map(|&group| Gid::from_raw(group)).collect();
    let signal = parent_process_death_signal()?;
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // That has taken it away (PR_SET_PDEATHSIG(2const)).
    set_parent_process_death_signal(signal)?;
    keep(CapabilitySet::empty())
}

/// Gives up all that the broker doesn't need where it runs no command, for ever.
///
/// # Errors
/// If the kernel doesn't let it.
pub fn keep_for_broker() -> io::Result<()> {
    set_no_new_privs(true)?;
    keep(BROKER)
}

fn keep(wanted: CapabilitySet) -> io::Result<()> {
    let now = rustix::thread::capabilities(None)?;
    // In a container it may have fewer from the beginning.
    let kept = now.permitted.intersection(wanted);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// Lets it write nowhere else.
fn bind(bounds: &Bounds<'_>) -> Result<(), RulesetError> {
    let write = AccessFs::WriteFile;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::Signal)?
        .create()?;
    // What stands for nothing.
    rules = allow(rules, Path::new("/dev/null"), write.into())?;
    if let Some(state) = bounds.state_dir {
        rules = allow(rules, state, write | AccessFs::MakeReg | AccessFs::RemoveFile)?;
    }
    if let Some(directory) = bounds.log_file.and_then(Path::parent) {
        rules = allow(rules, directory, write | AccessFs::MakeReg)?;
    }
    rules.restrict_self().map(drop)
}

/// Allows that below a path. One that isn't there can't be written either.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(place) => rules.add_rule(PathBeneath::new(place, access)),
        Err(_) => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    use rustix::mount::{MountFlags, mount};
    use rustix::process::{Pid, test_kill_process};

    #[test]
    fn a_thread_without_rights_writes_only_where_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["state", "log", "elsewhere"] {
            fs::create_dir(at(name)).unwrap();
        }
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let denied = |done: io::Result<()>| done.unwrap_err().kind() == ErrorKind::PermissionDenied;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let bounds = Bounds { state_dir: Some(&at("state")), log_file: Some(&at("log/file")) };
                give_up(&bounds, None).unwrap();
                fs::write(at("state/new"), "text").unwrap();
                fs::rename(at("state/new"), at("state/old")).unwrap();
                fs::remove_file(at("state/old")).unwrap();
                fs::write(at("log/file"), "line").unwrap();
                File::options().write(true).open("/dev/null").unwrap();
                fs::read_dir("/etc").unwrap();
                assert_eq!(fs::read(at("log/file")).unwrap(), b"line");

                assert!(denied(fs::write(at("elsewhere/file"), "text")));
                assert!(denied(fs::remove_file(at("log/file"))));
                assert!(denied(fs::remove_dir(at("elsewhere"))));
                assert!(denied(fs::create_dir(at("state/directory"))));
                assert!(denied(File::options().read(true).write(true).open("/dev/fuse").map(drop)));
                let shell = format!("echo text > {}", at("elsewhere/file").display());
                assert!(!Command::new("/bin/sh").args(["-c", &shell]).status().unwrap().success());
                let mounted = mount("none", at("elsewhere"), "tmpfs", MountFlags::empty(), None);
                assert!(denied(mounted.map_err(io::Error::from)));
                assert!(denied(TcpStream::connect(address).map(drop)));
                assert!(denied(fs::read_link("/proc/1/exe").map(drop)));
                let init = Pid::from_raw(1).unwrap();
                assert!(denied(test_kill_process(init).map_err(io::Error::from)));
            });
        });
        assert!(!at("elsewhere/file").exists());
    }
}
