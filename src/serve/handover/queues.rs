//! Queues of events (inotify(7)) that others hold, too, so that nobody waits for their end.
//!
//! The kernel takes some 10 ms to end each, while all processors let go of its watches (Linux, fs/notify/mark.c,
//! `fsnotify_wait_marks_destroyed`), and whoever waits for the end of a process learns of it only then. With the holder having
//! them as well, they end when the next process is there, in a thread of its own.

use std::io;
use std::os::fd::AsFd;

use super::store::Store;
use crate::storage::inotify::Inotify;

/// What each queue is held as.
pub(super) const QUEUE: &str = "queue";

/// Makes a queue.
///
/// # Errors
/// As [`Inotify::new`].
pub fn open() -> io::Result<Inotify> {
    let queue = Inotify::new()?;
    // Not held, it costs the time that it costs without a holder.
    if let Ok(Some(store)) = Store::find() {
        let _ = store.hold(QUEUE, queue.as_fd());
    }
    Ok(queue)
}
