//! Files that the kernel has been given to read by itself, by the number that it has given them.
//!
//! The numbers belong to the mount and not to a process: one that comes after this one answers with the same, or the kernel
//! refuses to open the file (Linux, fs/fuse/iomode.c, `fuse_inode_uncached_io_start`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use fuser::{FileHandle, FopenFlags, ReplyOpen};
use parking_lot::Mutex;

use crate::serve::broker::Broker;
use crate::serve::handover::ledger::Ledger;
use crate::storage::workers::{Limits, Workers};

/// Who closes a file waits for nothing else, so taking back is done beside.
const ENDS: Limits =
    Limits { name: "backings", threads: 1, per_key: 1, waiting: usize::MAX, patience: None, nice: false };

/// Numbers are given in a row, one after the other; so many after the last one that is written down may have been given by
/// a process that died before it wrote.
const STRAY: u32 = 4;

/// The giver of files to the kernel.
pub struct Backings(Arc<Shared>);

struct Shared {
    device: OnceLock<OwnedFd>,
    broker: Arc<Broker>,
    ledger: Option<Arc<Ledger>>,
    /// Whoever gives, until it is written down.
    giving: Mutex<()>,
    ends: Workers,
}

/// A file that the kernel has been given. It is held here too, so that it can be reached as long as somebody reads it.
pub(super) struct Backing {
    ino: u64,
    id: u32,
    shared: Arc<Shared>,
    _file: Option<Arc<File>>,
}

impl Backings {
    /// Gives them by the broker, and writes down in the ledger what is given.
    pub fn new(broker: Arc<Broker>, ledger: Option<Arc<Ledger>>) -> Self {
        let (device, giving, ends) = (OnceLock::new(), Mutex::default(), Workers::new(ENDS));
        Self(Arc::new(Shared { device, broker, ledger, giving, ends }))
    }

    /// The device by which all of it goes.
    pub fn set_device(&self, device: OwnedFd) {
        // There is one mount.
        let _ = self.0.device.set(device);
    }

    /// Gives a file to the kernel, for all who open that inode.
    ///
    /// # Errors
    /// If it doesn't take it.
    pub(super) fn give(&self, ino: u64, file: Arc<File>) -> io::Result<Backing> {
        let Shared { device, broker, ledger, giving, .. } = &*self.0;
        let device = device.get().ok_or(io::ErrorKind::NotConnected)?;
        let _one = giving.lock();
        let backing = self.adopt(ino, broker.give(device.as_fd(), file.as_fd())?, Some(file));
        if let Some(ledger) = ledger {
            ledger.backed(ino, backing.id);
        }
        Ok(backing)
    }

    /// One that was given by the process before this one.
    pub(super) fn adopt(&self, ino: u64, id: u32, file: Option<Arc<File>>) -> Backing {
        Backing { ino, id, shared: self.0.clone(), _file: file }
    }

    /// Takes back what nobody reads any more, and what may have been given last.
    pub(super) fn end(&self, ids: &[u32], last: Option<u32>) {
        let after = last.map_or(0, |last| last.saturating_add(1));
        for id in ids.iter().copied().chain(after..after.saturating_add(STRAY)) {
            self.0.take_back(id);
        }
    }
}

impl Backing {
    /// Answers an open with it.
    pub fn answer(&self, reply: ReplyOpen, handle: FileHandle) {
        // SAFETY: the number stays the kernel's until this is dropped, which is after the last file that is open by it.
        let id = unsafe { reply.wrap_backing(self.id) };
        reply.opened_passthrough(handle, FopenFlags::empty(), &id);
        // Closing is ours; the library would do it here, without the right to.
        let _ = id.into_raw();
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let (id, shared) = (self.id, self.shared.clone());
        if let Some(ledger) = &shared.ledger {
            ledger.ending(self.ino, id);
        }
        self.shared.ends.run(0, move || shared.take_back(id));
    }
}

impl Shared {
    /// Takes a file back.
    fn take_back(&self, id: u32) {
        let Some(device) = self.device.get() else { return };
        match (self.broker.take_back(device.as_fd(), id), &self.ledger) {
            (Ok(()), Some(ledger)) => ledger.ended(id),
            (Ok(()), None) => {}
            // The mount may be gone, and all that was given to it.
            (Err(error), _) => log::debug!("backing file {id} stays the kernel's: {error}"),
        }
    }
}
