//! The rights of the daemon: as root it keeps those that serving takes, and gives up all others before it looks at anything.
//!
//! Rights are a thread's, so this is done before there is a second one. What root starts gets all of them back; only where
//! nothing is to be started (no `--on-change`) is that ruled out for ever (`no_new_privs`). Whoever is not root has none,
//! and needs fusermount3, which must be able to get some.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// The rights that are kept (capabilities(7)).
const KEPT: CapabilitySet = CapabilitySet::empty()
    // To mount, to have the kernel read ISOs by itself, to unmount.
    .union(CapabilitySet::SYS_ADMIN)
    // To read ISOs of others, and to write into a state directory of somebody else's.
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    // To see whether somebody writes an ISO of another user.
    .union(CapabilitySet::LEASE)
    // To look into ISOs as nobody.
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    // To see which machine the process of another user's server is connected to.
    .union(CapabilitySet::SYS_PTRACE)
    // To end a command that takes too long and runs as somebody else.
    .union(CapabilitySet::KILL);

/// Gives up all that serving doesn't take. `starts_commands` says whether there is a command of the administrator's.
///
/// # Errors
/// If the kernel doesn't let it.
pub fn give_up(starts_commands: bool) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if !starts_commands {
        set_no_new_privs(true)?;
    }
    let now = rustix::thread::capabilities(None)?;
    // In a container it may have fewer from the beginning.
    let kept = now.permitted.intersection(KEPT);
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )?;
    Ok(())
}
