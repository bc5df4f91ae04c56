//! The mount and its event loops: made anew, or taken over from a process that has ended.
//!
//! Each event loop is a session of its own on a device of its own, since only those that are known here can be held. The
//! library begins a session with a handshake that a mount has once only: it makes one with us, and then gets the device.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};
use fuser::{MountOption, Notifier, Session, SessionACL};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::serve::broker::Broker;
use crate::serve::fuse::{Adapter, Agreed};
use crate::serve::handover::ledger::{Ledger, Left, Mount};
use crate::serve::handover::{resend, store};
use crate::serve::mountpoint::{self, NAME};

use super::{Config, End, read_ahead};

/// Event loops: more than cores, because each waits for the disk while it reads. As many readers as this at once get
/// from the disk what they would get from the plain file.
const MIN_LOOPS: usize = 16;
const MAX_LOOPS: usize = 32;

/// FUSE_DEV_IOC_CLONE, `_IOR(229, 0, u32)`.
const CLONE: libc::Ioctl = 0x8004_e500_u32 as libc::Ioctl;

/// The mount.
pub(super) struct Mounted {
    broker: Arc<Broker>,
    mountpoint: PathBuf,
    device: (u32, u32),
}

/// How many event loops there are.
pub(super) fn loops() -> usize {
    (2 * std::thread::available_parallelism().map_or(1, usize::from)).clamp(MIN_LOOPS, MAX_LOOPS)
}

/// Finds out whether there is a mount to go on with. If not, the mount point is free when this returns.
///
/// # Errors
/// If it can't be used, with a sentence that says why.
pub(super) fn held(mountpoint: &Path) -> Result<(Option<Arc<Ledger>>, Left)> {
    let (ledger, mut left) = Ledger::open().context("the holder of the mount's descriptors")?;
    // It holds for another mount, too.
    let mut none = Left::default();
    none.looks.clone_from(&left.looks);
    std::mem::swap(&mut none.claims, &mut left.claims);
    match &left.mount {
        // Whoever asks what is mounted there would wait for this process.
        Some(mount) if mount.mountpoint == mountpoint => {
            left.claims = none.claims;
            return Ok((ledger, left));
        }
        Some(mount) => {
            let (now, then) = (mountpoint.display(), mount.mountpoint.display());
            log::warn!("{now} is a mount of its own: that on {then} ends");
            let place = mount.mountpoint.clone();
            drop(left);
            if let Some(ledger) = &ledger {
                ledger.begin_anew()?;
            }
            if mountpoint::is_ours_there(&place) {
                mountpoint::detach(&place)?;
            }
        }
        // It was left by another version, and nobody serves it any more; what the kernel still knows of it says nothing.
        None if store::gives_back() && mountpoint::is_ours_there(mountpoint) => {
            log::warn!("{}: what was open was left by another version, and is lost", mountpoint.display());
            mountpoint::detach(mountpoint)?;
        }
        None => {}
    }
    mountpoint::check(mountpoint)?;
    Ok((ledger, none))
}

/// Mounts, or goes on with the mount that there is; from then on clients are served.
///
/// # Errors
/// If it can't be mounted, with a sentence that says why.
pub(super) fn serve(
    adapter: Adapter,
    config: &Config,
    broker: &Arc<Broker>,
    ledger: Option<&Arc<Ledger>>,
    mut left: Left,
    spare: Vec<OwnedFd>,
    end: &Sender<End>,
) -> Result<(Notifier, Mounted)> {
    let adopted = left.mount.is_some();
    let mount = match left.mount.take() {
        Some(mount) => mount,
        None => {
            left.devices.push(make(&adapter, config, broker)?);
            let device = mountpoint::device(&config.mountpoint)?;
            // A file that is open already would go on as it was.
            read_ahead::raise(broker, device, &config.iso_dir);
            let Agreed { passthrough, resends } = adapter.agreed();
            let (mountpoint, resends) = (config.mountpoint.clone(), resends && config.resend);
            Mount { mountpoint, device, passthrough, resends }
        }
    };
    let first = left.devices.first().context("no device")?.try_clone()?;
    adapter.set_device(first.try_clone()?);
    if adopted {
        let agreed = Agreed { passthrough: mount.passthrough, resends: mount.resends };
        adapter.adopt(agreed, &left);
    }
    let devices = devices(left.devices, spare, &first, &mount, ledger, adopted)?;
    if let Some(ledger) = ledger.filter(|_| !adopted) {
        ledger.mounted(&mount);
        ledger.settle();
    }
    let sessions =
        devices.into_iter().map(|device| session(adapter.clone(), device)).collect::<io::Result<Vec<_>>>()?;
    let notifier = sessions.first().context("no device")?.notifier();
    if adopted {
        // Before anybody reads: what this process has read would come again too.
        if mount.resends {
            resend::resend(first.as_fd()).context("what was under way can't be asked for again")?;
        }
        if let Err(error) = resend::new_epoch(first.as_fd()) {
            log::debug!("names are looked up again after a second: {error}");
        }
    }
    let running = Arc::new(AtomicUsize::new(sessions.len()));
    for session in sessions {
        let (running, end) = (running.clone(), end.clone());
        std::thread::Builder::new().name("fuse".into()).spawn(move || {
            let ended = reason(session.run());
            // Nobody listens if it ends on a signal and this took too long.
            if let Some(reason) = ended {
                let _ = end.send(End::Failed(format!("the event loops ended: {reason}")));
            } else if running.fetch_sub(1, Ordering::AcqRel) == 1 {
                let _ = end.send(End::Unmounted);
            }
        })?;
    }
    Ok((notifier, Mounted { broker: broker.clone(), mountpoint: mount.mountpoint, device: mount.device }))
}

/// Devices that are of no mount yet, for the event loops that none is left for: to be opened by who still has the rights of the
/// start.
///
/// # Errors
/// If they can't be opened.
pub(super) fn spare_devices(left: &Left, mountpoint: &Path) -> Result<Vec<OwnedFd>> {
    let resends = left.mount.as_ref().is_some_and(|mount| mount.resends);
    let there = if resends { left.devices.len() } else { 0 };
    let open = |_| File::options().read(true).write(true).open("/dev/fuse").map(OwnedFd::from);
    let devices = (there..loops()).map(open).collect::<io::Result<_>>();
    devices.map_err(|error| mountpoint::explain(&error, mountpoint))
}

/// Makes the mount, and returns its device.
fn make(adapter: &Adapter, config: &Config, broker: &Broker) -> Result<OwnedFd> {
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        // With allow_other, only the kernel's own check keeps others to the mode bits (libfuse, README.md).
        MountOption::DefaultPermissions,
        MountOption::FSName(NAME.into()),
        MountOption::Subtype(NAME.into()),
    ];
    options.acl = SessionACL::All;
    let session = match broker.mount() {
        Ok(device) => Session::from_fd(adapter.clone(), device, SessionACL::All, fuser::Config::default())
            // The library only unmounts what it has mounted itself.
            .inspect_err(|_| drop(broker.unmount())),
        // fusermount3 may; and it has the better sentences for whatever else is wrong.
        Err(_) => Session::new(adapter.clone(), &config.mountpoint, &options),
    };
    let session = session.map_err(|error| mountpoint::explain(&error, &config.mountpoint))?;
    let device = session.as_fd().try_clone_to_owned()?;
    // It would unmount when it is dropped, also where another process is to go on.
    std::mem::forget(session);
    Ok(device)
}

/// The devices that are read from, one for each event loop; all that has to outlive this process is held.
fn devices(
    mut devices: Vec<OwnedFd>,
    spare: Vec<OwnedFd>,
    first: &OwnedFd,
    mount: &Mount,
    ledger: Option<&Arc<Ledger>>,
    adopted: bool,
) -> Result<Vec<OwnedFd>> {
    let held = ledger.filter(|_| !adopted);
    if let Some(ledger) = held {
        ledger.device(first.as_fd());
    }
    // A kernel that doesn't send again must not be asked by what is held: what this process has read when it dies is
    // answered with ECONNABORTED when its own descriptors go, and else would never be.
    let weak = ledger.is_some() && !mount.resends;
    if weak {
        devices.clear();
        if !adopted {
            log::warn!(
                "should the daemon die, clients get errors for what is under way (Linux 6.9 and newer send it again)"
            );
        }
    }
    for device in spare.into_iter().take(loops().saturating_sub(devices.len())) {
        let device = another(first.as_fd(), device)?;
        if let Some(ledger) = ledger.filter(|_| !weak) {
            ledger.device(device.as_fd());
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Makes it another device of the same mount, with a queue of its own of what it has read.
fn another(device: BorrowedFd<'_>, new: OwnedFd) -> io::Result<OwnedFd> {
    let number = device.as_raw_fd() as u32;
    // SAFETY: the call reads one u32.
    if unsafe { libc::ioctl(new.as_raw_fd(), CLONE, &raw const number) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(new)
}

/// A session on a device whose handshake has been made.
fn session(adapter: Adapter, device: OwnedFd) -> io::Result<Session<Adapter>> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::write(&ours, &handshake())?;
    let session = Session::from_fd(adapter, theirs, SessionACL::All, fuser::Config::default())?;
    // SAFETY: the number stays open, and is the session's alone.
    let replaced = unsafe { libc::dup3(device.as_raw_fd(), session.as_fd().as_raw_fd(), libc::O_CLOEXEC) };
    if replaced < 0 { Err(io::Error::last_os_error()) } else { Ok(session) }
}

/// FUSE_INIT of a kernel that can do everything (Linux, include/uapi/linux/fuse.h: `fuse_in_header`, `fuse_init_in`). What
/// the real one said is known; nothing of the answer is used.
fn handshake() -> Vec<u8> {
    const OPCODE: u32 = 26;
    let header = [104, OPCODE, 2, 0, 1, 0, 0, 0, 0, 0];
    let init = [7, 40, 4 << 20, u32::MAX, u32::MAX].into_iter().chain([0; 11]);
    header.into_iter().chain(init).flat_map(u32::to_ne_bytes).collect()
}

/// Why an event loop has ended, if not because the mount is gone: ECONNABORTED is how the kernel tells of an unmount with
/// requests under way (Linux, fs/fuse/dev.c).
fn reason(ended: io::Result<()>) -> Option<String> {
    let error = ended.err()?;
    (error.raw_os_error() != Some(libc::ECONNABORTED)).then(|| error.to_string())
}

impl Mounted {
    /// Whether the mount is still there, though no event loop serves it any more: its connection was cut
    /// (`/sys/fs/fuse/connections`).
    pub(super) fn is_dead(&self) -> bool {
        let same = match mountpoint::device(&self.mountpoint) {
            Ok(device) => device == self.device,
            Err(error) => error.raw_os_error() == Some(libc::ENOTCONN),
        };
        same && mountpoint::is_ours_there(&self.mountpoint)
    }

    /// Unmounts; files that are still open stay with their readers until the end of this process.
    pub(super) fn unmount(&self) {
        // After `umount -l` another file system may have been mounted there.
        if mountpoint::device(&self.mountpoint).is_ok_and(|device| device != self.device) {
            return;
        }
        if let Err(error) = self.broker.unmount() {
            log::error!("{}: can't unmount: {error}", self.mountpoint.display());
        }
    }
}
