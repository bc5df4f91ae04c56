//! Notices that the directory of ISOs has changed: by inotify where the kernel sees every change, by polling where it
//! doesn't.
//!
//! It only says "look again", debounced; looking is cheap, and what has changed is found by it. A missed event costs one
//! polling interval and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, write};

use crate::storage::inotify::{Inotify, Wanted};

/// Polling interval where inotify sees everything: it bounds the harm of an event lost by the kernel, and
/// finds what was mounted on the directory.
const SELDOM: Duration = Duration::from_secs(10);

/// Polling interval on network file systems, for symbolic links, and while a file is being written: together with the quiet time of
/// [`crate::storage::writers`], a new ISO appears within two seconds.
const OFTEN: Duration = Duration::from_millis(500);

/// Events that come in a row count as one, up to the second time.
const DEBOUNCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// What can end in a new, whole, changed or missing ISO. `MODIFY` tells when one begins to be written over.
const EVENTS: Wanted = Wanted::CLOSE_WRITE
    .union(Wanted::MODIFY)
    .union(Wanted::MOVED_TO)
    .union(Wanted::MOVED_FROM)
    .union(Wanted::CREATE)
    .union(Wanted::DELETE)
    .union(Wanted::ATTRIB)
    .union(Wanted::MOVE_SELF)
    .union(Wanted::DELETE_SELF)
    .union(Wanted::ONLYDIR);

/// How often to poll: shared between the watching thread and who knows what is needed.
#[derive(Clone)]
pub struct Pace {
    often: Arc<AtomicBool>,
    /// Readable after a change, which must not wait for the end of a long interval.
    changed: Arc<OwnedFd>,
}

impl Pace {
    /// Often, until more is known.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn new() -> io::Result<Self> {
        let changed = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { often: Arc::new(AtomicBool::new(true)), changed: Arc::new(changed) })
    }

    /// Polls often if changes may go unnoticed or something is about to become whole.
    pub fn set_often(&self, often: bool) {
        if self.often.swap(often, Ordering::Relaxed) != often {
            // It fails only if it is readable already.
            let _ = write(&*self.changed, &1_u64.to_ne_bytes());
        }
    }

    fn interval(&self) -> Duration {
        if self.often.load(Ordering::Relaxed) { OFTEN } else { SELDOM }
    }
}

/// Starts a thread that calls `look_again` after each change and at each polling interval, until that returns `false`.
///
/// # Errors
/// If the thread can't be started.
pub fn start(
    directory: &Path,
    pace: Pace,
    mut look_again: impl FnMut() -> bool + Send + 'static,
) -> io::Result<()> {
    // Without inotify (a limit of the user's, say) polling does it alone, more often.
    let mut watch = Watch::new(directory);
    if let Err(error) = &watch {
        log::warn!("{}: no inotify ({error}); polling", directory.display());
    }
    let work = move || {
        loop {
            match &mut watch {
                Ok(watch) => {
                    if watch.wait(&pace) {
                        watch.settle();
                    }
                    watch.renew();
                }
                Err(_) => std::thread::sleep(OFTEN),
            }
            if !look_again() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("watch".into()).spawn(work)?;
    Ok(())
}

/// The inotify watch on a directory, and on what is mounted.
struct Watch {
    events: Inotify,
    /// Has an error pending when the table of mounts has changed (proc_pid_mountinfo(5)): on the directory, say.
    mounts: Option<File>,
    directory: PathBuf,
    /// None while there is no such directory.
    number: Option<i32>,
}

impl Watch {
    fn new(directory: &Path) -> io::Result<Self> {
        let events = Inotify::new()?;
        let number = match events.watch(directory, EVENTS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            number => Some(number?),
        };
        let mounts = File::open("/proc/self/mountinfo").ok();
        Ok(Self { events, mounts, directory: directory.to_owned(), number })
    }

    /// Watches what has the directory's name now: it may have been replaced, or something mounted on it. For the same
    /// directory this changes nothing.
    fn renew(&mut self) {
        let Ok(number) = self.events.watch(&self.directory, EVENTS) else { return };
        if let Some(old) = self.number.replace(number)
            && old != number
        {
            self.events.forget(old);
        }
    }

    /// Waits for an event, at most for the polling interval, however that changes meanwhile.
    fn wait(&self, pace: &Pace) -> bool {
        let since = Instant::now();
        loop {
            let Some(left) = pace.interval().checked_sub(since.elapsed()) else { return false };
            let mut waiting =
                vec![PollFd::new(&self.events, PollFlags::IN), PollFd::new(&*pace.changed, PollFlags::IN)];
            waiting.extend(self.mounts.as_ref().map(|mounts| PollFd::new(mounts, PollFlags::PRI)));
            let timeout = Timespec::try_from(left).ok();
            // Interrupted, it has waited less than it might.
            let _ = poll(&mut waiting, timeout.as_ref());
            let mounted = waiting.get(2).is_some_and(|mounts| mounts.revents().contains(PollFlags::PRI));
            drop(waiting);
            // How often is all that it says.
            let _ = read(&*pace.changed, &mut [0_u8; 8]);
            if mounted {
                return true;
            }
            if self.events.take(|_, _| ()) {
                return true;
            }
        }
    }

    /// Waits until no more events come.
    fn settle(&self) {
        let (pause, longest) = DEBOUNCE;
        let since = Instant::now();
        while since.elapsed() < longest {
            // Not until the next event: a copy sends thousands.
            std::thread::sleep(pause);
            if !self.events.take(|_, _| ()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_new_file_is_noticed_long_before_the_next_poll() {
        let directory = tempfile::tempdir().unwrap();
        let pace = Pace::new().unwrap();
        pace.set_often(false);
        let (sender, receiver) = channel();
        start(directory.path(), pace, move || sender.send(Instant::now()).is_ok()).unwrap();
        let before = Instant::now();
        std::fs::write(directory.path().join("a.iso"), "x").unwrap();
        let noticed = receiver.recv_timeout(SELDOM * 2).unwrap();
        assert!(noticed.duration_since(before) < SELDOM / 2);
    }

    #[test]
    fn a_new_pace_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pace = Pace::new().unwrap();
        pace.set_often(false);
        let (sender, receiver) = channel();
        start(directory.path(), pace.clone(), move || sender.send(()).is_ok()).unwrap();
        assert!(receiver.recv_timeout(OFTEN * 2).is_err(), "it polls seldom");
        pace.set_often(true);
        receiver.recv_timeout(SELDOM / 2).unwrap();
    }

    #[test]
    fn without_events_it_polls() {
        let pace = Pace::new().unwrap();
        pace.set_often(true);
        let (sender, receiver) = channel();
        let directory = tempfile::tempdir().unwrap();
        start(directory.path(), pace, move || sender.send(()).is_ok()).unwrap();
        for _ in 0..2 {
            receiver.recv_timeout(SELDOM).unwrap();
        }
    }
}
