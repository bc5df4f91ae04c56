//! Watching ISOs that the kernel reads by itself: inotify tells of each write, and the ISO is looked at.
//!
//! An event comes within a fraction of a millisecond, where the machine has time. It tells of `write`, `truncate` and
//! their like, not of writes through a mapping of the file, nor of what other machines do.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::MappedIso;

/// When pages are dropped again after a revocation, for those that were being read or came in late.
const AGAIN: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(200), Duration::from_secs(2)];

/// ISOs by watch descriptor. One file may have been opened twice: before and after it was replaced by itself.
type Watched = HashMap<i32, Vec<Weak<MappedIso>>>;

/// The watch; its thread ends never, and costs nothing while nothing is written.
pub(super) struct Watch {
    events: Arc<OwnedFd>,
    watched: Arc<Mutex<Watched>>,
}

impl Watch {
    pub fn start() -> io::Result<Self> {
        let events = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let watched = Arc::<Mutex<Watched>>::default();
        std::thread::Builder::new().name("mapped".into()).spawn({
            let (events, watched) = (events.clone(), watched.clone());
            move || follow(&events, &watched)
        })?;
        Ok(Self { events, watched })
    }

    /// Has the ISO looked at whenever its file is written.
    pub fn add(&self, iso: &Arc<MappedIso>) -> io::Result<()> {
        let mut watched = self.watched.lock();
        watched.retain(|&descriptor, isos| {
            isos.retain(|iso| iso.strong_count() > 0);
            // It is gone by itself if the file is.
            let _ = isos.is_empty().then(|| inotify::remove_watch(&self.events, descriptor));
            !isos.is_empty()
        });
        let path = format!("/proc/self/fd/{}", iso.iso.as_raw_fd());
        let descriptor = inotify::add_watch(&self.events, path, WatchFlags::MODIFY)?;
        let isos = watched.entry(descriptor).or_default();
        if !isos.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(iso))) {
            isos.push(Arc::downgrade(iso));
        }
        Ok(())
    }
}

fn follow(events: &OwnedFd, watched: &Mutex<Watched>) {
    // Between a write and what is done about it, clients can read what was written. It is for root, and else goes on
    // without.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -20);
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    loop {
        let (descriptor, all) = match reader.next() {
            Ok(event) => (event.wd(), event.events().contains(ReadFlags::QUEUE_OVERFLOW)),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                log::error!("ISOs are no longer watched: {error}");
                return;
            }
        };
        let of_it = |(number, isos): (&i32, &Vec<Weak<MappedIso>>)| {
            if all || *number == descriptor {
                isos.iter().filter_map(Weak::upgrade).collect()
            } else {
                Vec::new()
            }
        };
        let isos: Vec<_> = watched.lock().iter().flat_map(of_it).collect();
        for iso in isos {
            if let Err(reason) = iso.look() {
                log::error!("{}: {reason}; what clients have open of it can't be read any more", iso.name());
                let forget = move || {
                    for pause in AGAIN {
                        std::thread::sleep(pause);
                        iso.forget_pages();
                    }
                };
                if let Err(error) = std::thread::Builder::new().name("forget".into()).spawn(forget) {
                    log::error!("pages of it stay in memory: {error}");
                }
            }
        }
    }
}
