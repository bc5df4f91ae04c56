//! The watch on files that are served: events tell which have been written to, and which only touched.
//!
//! One thread takes the events as they come, within a fraction of a millisecond where the machine has time; who wants to
//! know now takes them himself.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Unchanged;
use crate::storage::inotify::{Events, Inotify, Wanted};

/// `MODIFY` comes with each write, truncation and hole, once it is done; `ATTRIB` with new times, modes and links;
/// `CLOSE_WRITE` when a writer closes, or lets go of a mapping (tried for each with Linux 6.18).
const EVENTS: Wanted = Wanted::MODIFY.union(Wanted::ATTRIB).union(Wanted::CLOSE_WRITE);

/// Files by the number of their watch. One file may have been opened twice: before and after it was written to.
type Watched = HashMap<i32, Vec<Weak<Unchanged>>>;

/// The watch; its thread never ends, and costs nothing while nothing is written.
pub struct FileWatch {
    inotify: Inotify,
    watched: Mutex<Watched>,
}

impl FileWatch {
    /// Starts it, on a queue of its own.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(inotify: Inotify) -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self { inotify, watched: Mutex::default() });
        let of_thread = watch.clone();
        std::thread::Builder::new().name("written".into()).spawn(move || of_thread.follow())?;
        Ok(watch)
    }

    /// Tells this file of what happens to it.
    pub(super) fn add(&self, unchanged: &Arc<Unchanged>) -> io::Result<()> {
        let mut watched = self.watched.lock();
        watched.retain(|&number, files| {
            files.retain(|file| file.strong_count() > 0);
            if files.is_empty() {
                self.inotify.forget(number);
            }
            !files.is_empty()
        });
        let path = format!("/proc/self/fd/{}", unchanged.file.as_raw_fd());
        let number = self.inotify.watch(Path::new(&path), EVENTS)?;
        watched.entry(number).or_default().push(Arc::downgrade(unchanged));
        Ok(())
    }

    /// Tells all files of what has happened up to now, and returns those to which something has.
    pub(super) fn take(&self) -> Vec<Arc<Unchanged>> {
        let watched = self.watched.lock();
        let mut told: Vec<Arc<Unchanged>> = Vec::new();
        self.inotify.take(|number, events| {
            // When events were lost, each file may have had one.
            let lost = events.contains(Events::QUEUE_OVERFLOW);
            let of_it = watched.iter().filter(|(other, _)| lost || **other == number);
            for file in of_it.flat_map(|(_, files)| files).filter_map(Weak::upgrade) {
                file.tell(events);
                if !told.iter().any(|other| Arc::ptr_eq(other, &file)) {
                    told.push(file);
                }
            }
        });
        told
    }

    fn follow(&self) {
        // Between a write and what is done about it, clients can read what was written. It is for root, and else goes on
        // without.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -20);
        loop {
            self.inotify.wait();
            for file in self.take() {
                // Whoever reads it meets the reason.
                let _ = file.check();
            }
        }
    }
}
