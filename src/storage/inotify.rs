//! inotify(7), wrapped once: what is watched has a number, and events are taken without waiting.
//!
//! It knows neither what is watched nor what becomes of it. A watch ends with what it is on, or with the value.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, Reader};
use rustix::io::Errno;

pub use rustix::fs::inotify::{ReadFlags as Events, WatchFlags as Wanted};

/// A queue of events.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

impl Inotify {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If this user has too many (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        Ok(Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?))
    }

    /// Watches what has this path now, and returns the number that its events have: for the same file the same one.
    ///
    /// # Errors
    /// If it isn't there, or this user watches too many (`fs.inotify.max_user_watches`).
    pub fn watch(&self, path: &Path, wanted: Wanted) -> io::Result<i32> {
        Ok(inotify::add_watch(&self.0, path, wanted)?)
    }

    /// Watches it no longer.
    pub fn forget(&self, watch: i32) {
        // It is gone by itself if what it was on is.
        let _ = inotify::remove_watch(&self.0, watch);
    }

    /// Calls `each` with the number and the kind of every event that is there, and returns whether there was any. When
    /// events were lost, the kind says so (`QUEUE_OVERFLOW`), and the number is -1.
    pub fn take(&self, mut each: impl FnMut(i32, Events)) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(event) => each(event.wd(), event.events()),
                Err(Errno::INTR) => continue,
                Err(_) => return any,
            }
            any = true;
        }
    }

    /// Waits until there is an event.
    pub fn wait(&self) {
        // Interrupted, there is none.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None);
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_number_of_what_they_happened_to() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|name| directory.path().join(name));
        let inotify = Inotify::new().unwrap();
        let numbers = files.each_ref().map(|file| {
            std::fs::write(file, "x").unwrap();
            inotify.watch(file, Wanted::MODIFY).unwrap()
        });
        assert!(!inotify.take(|_, _| panic!("nothing has happened")));
        std::fs::write(&files[1], "y").unwrap();
        inotify.wait();
        let mut seen = Vec::new();
        assert!(inotify.take(|number, events| seen.push((number, events.contains(Events::MODIFY)))));
        assert!(!seen.is_empty() && seen.iter().all(|event| *event == (numbers[1], true)), "{seen:?}");
        inotify.forget(numbers[1]);
        inotify.take(|_, _| ());
        std::fs::write(&files[1], "z").unwrap();
        assert!(!inotify.take(|_, _| ()));
    }
}
