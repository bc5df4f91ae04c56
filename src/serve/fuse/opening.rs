//! The answer to an open: a handle, the backing file by which the kernel reads where it can, and who is behind it.
//!
//! What it may have to wait for, it waits for beside the event loops.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{Errno, FileHandle, FopenFlags, INodeNo, ReplyOpen};

use crate::serve::clients::Who;

use super::backing::Backing;
use super::{Adapter, run};

/// Who opens a file.
pub(super) enum Asker {
    /// It has been found out.
    Known(Who),
    /// It can be found out from this process, which stays while the file is open.
    Process(u32),
}

/// An open that is to be answered.
pub(super) struct Opening {
    pub(super) adapter: Adapter,
    /// Of the request.
    pub(super) number: u64,
    pub(super) ino: INodeNo,
    pub(super) direct: bool,
    pub(super) reply: ReplyOpen,
}

impl Opening {
    pub(super) fn run(self, asker: Asker) {
        let Adapter { operations, slow, .. } = &self.adapter;
        // EROFS can't read past the page cache for others (`O_DIRECT`), so it is not asked to.
        let hand_over = self.adapter.hand_over.is_some() && self.adapter.agreed().passthrough && !self.direct;
        let waits_for = operations.waits_for(self.ino.0);
        let waits_for =
            waits_for.or_else(|| operations.hand_over_waits_for(self.ino.0).filter(|_| hand_over));
        slow.clone().run(waits_for, move || self.answer(hand_over, asker));
    }

    fn answer(self, hand_over: bool, asker: Asker) {
        let Self { adapter, number, ino, direct, reply } = self;
        let Adapter { operations, io_modes, backings, refused, clients, .. } = adapter;
        if let Some(handle) = operations.opened_before(number, ino.0) {
            return opened(reply, handle, io_modes.of(ino.0));
        }
        let prepared = run(operations.usage(), "open", ino, "", || {
            let handle = operations.open_for(number, ino.0)?;
            Ok((handle, if hand_over { operations.file(handle)? } else { None }))
        });
        let (handle, file) = match prepared {
            Ok(prepared) => prepared,
            Err(errno) => return reply.error(errno),
        };
        let io_mode = io_modes.enter(ino.0, || {
            backings
                .give(ino.0, file?)
                .inspect_err(|error| {
                    // In a user namespace of its own it never takes one; said once, it is said.
                    let level = if refused.swap(true, Ordering::Relaxed) {
                        log::Level::Debug
                    } else {
                        log::Level::Info
                    };
                    log::log!(level, "inode {}: read through the block cache: {error}", ino.0);
                })
                .ok()
        });
        if direct && io_mode.is_some() {
            io_modes.leave(ino.0);
            operations.release(handle);
            return reply.error(Errno::EINVAL);
        }
        if let Some(reading) = operations.reading(handle) {
            if io_mode.is_some() {
                reading.by_kernel();
            }
            match asker {
                Asker::Known(who) => clients.opened(&who, &reading),
                Asker::Process(pid) => clients.find(pid, move |clients, who| clients.opened(&who, &reading)),
            }
        }
        opened(reply, handle, io_mode);
    }
}

/// Answers an open, with the backing file that all open files of this inode are read from, if they are.
fn opened(reply: ReplyOpen, handle: u64, backing: Option<Arc<Backing>>) {
    match backing {
        // What is cached is cached with the backing file.
        Some(backing) => backing.answer(reply, FileHandle(handle)),
        // The bytes of an inode never change, so what is cached stays right.
        None => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
    }
}
