//! Files that the kernel has been given to read by itself, by the number that it has given them.
//!
//! The numbers belong to the mount and not to a process: one that comes after this one answers with the same, or the kernel
//! refuses to open the file (Linux, fs/fuse/iomode.c, `fuse_inode_uncached_io_start`).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use fuser::{BackingId, FileHandle, FopenFlags, ReplyOpen};

use crate::serve::handover::ledger::Ledger;

/// FUSE_DEV_IOC_BACKING_CLOSE, `_IOW(229, 2, u32)`.
const BACKING_CLOSE: libc::Ioctl = 0x4004_e502_u32 as libc::Ioctl;

/// Numbers are given in a row, one after the other; so many after the last one that is written down may have been given by
/// a process that died before it wrote.
const STRAY: u32 = 4;

/// The giver of files to the kernel.
pub(super) struct Backings {
    device: Arc<OnceLock<OwnedFd>>,
    ledger: Option<Arc<Ledger>>,
}

/// A file that the kernel has been given. It is held here too, so that it can be reached as long as somebody reads it.
pub(super) struct Backing {
    ino: u64,
    id: u32,
    device: Arc<OnceLock<OwnedFd>>,
    ledger: Option<Arc<Ledger>>,
    _file: Option<Arc<File>>,
}

impl Backings {
    pub fn new(ledger: Option<Arc<Ledger>>) -> Self {
        Self { device: Arc::default(), ledger }
    }

    /// The device by which all of it goes.
    pub fn set_device(&self, device: OwnedFd) {
        // There is one mount.
        let _ = self.device.set(device);
    }

    /// Gives a file to the kernel, for all who open that inode.
    ///
    /// # Errors
    /// If it doesn't take it.
    pub fn give(&self, ino: u64, file: Arc<File>) -> io::Result<Backing> {
        let device = self.device.get().ok_or(io::ErrorKind::NotConnected)?;
        let backing = self.adopt(ino, BackingId::create_raw(device, &*file)?, Some(file));
        if let Some(ledger) = &self.ledger {
            ledger.backed(ino, backing.id);
        }
        Ok(backing)
    }

    /// One that was given by the process before this one.
    pub fn adopt(&self, ino: u64, id: u32, file: Option<Arc<File>>) -> Backing {
        let (device, ledger) = (self.device.clone(), self.ledger.clone());
        Backing { ino, id, device, ledger, _file: file }
    }

    /// Takes back what nobody reads any more, and what may have been given last.
    pub fn end(&self, ids: impl Iterator<Item = u32>, last: Option<u32>) {
        let after = last.map_or(0, |last| last.saturating_add(1));
        for id in ids.chain(after..after.saturating_add(STRAY)) {
            close(&self.device, id);
        }
    }
}

impl Backing {
    /// Answers an open with it.
    pub fn answer(&self, reply: ReplyOpen, handle: FileHandle) {
        // SAFETY: the number stays the kernel's until this is dropped, which is after the last file that is open by it.
        let id = unsafe { reply.wrap_backing(self.id) };
        reply.opened_passthrough(handle, FopenFlags::empty(), &id);
        // Closing is ours.
        let _ = id.into_raw();
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        close(&self.device, self.id);
        if let Some(ledger) = &self.ledger {
            ledger.unbacked(self.ino, self.id);
        }
    }
}

/// Takes a file back. One that isn't there is none.
fn close(device: &OnceLock<OwnedFd>, id: u32) {
    if let Some(device) = device.get() {
        // SAFETY: the call reads one u32.
        let _ = unsafe { libc::ioctl(device.as_raw_fd(), BACKING_CLOSE, &raw const id) };
    }
}
