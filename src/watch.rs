//! Notices that the directory of ISOs has changed: by inotify where the kernel sees every change, by polling where it
//! doesn't.
//!
//! It only says "look again", debounced; looking is cheap, and what has changed is found by it. A missed event costs one
//! polling interval and nothing else.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::{Errno, read};

/// Polling interval where inotify sees everything: it bounds the harm of an event lost by the kernel, and finds files
/// behind symbolic links into other directories.
const SELDOM: Duration = Duration::from_secs(10);

/// Polling interval on network file systems, and while a file is being written: together with the quiet time of
/// [`crate::settled`], a new ISO appears within two seconds.
const OFTEN: Duration = Duration::from_millis(500);

/// Events that come in a row count as one, up to the second time.
const DEBOUNCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// What can end in a new, whole, changed or missing ISO. Not `MODIFY`: a copy would send thousands.
const EVENTS: inotify::WatchFlags = inotify::WatchFlags::CLOSE_WRITE
    .union(inotify::WatchFlags::MOVED_TO)
    .union(inotify::WatchFlags::MOVED_FROM)
    .union(inotify::WatchFlags::CREATE)
    .union(inotify::WatchFlags::DELETE)
    .union(inotify::WatchFlags::ATTRIB);

/// How often to poll: shared between the watching thread and who knows what is needed.
#[derive(Clone, Default)]
pub struct Pace(Arc<AtomicU64>);

impl Pace {
    /// Polls often if changes may go unnoticed or something is about to become whole.
    pub fn set_often(&self, often: bool) {
        let interval = if often { OFTEN } else { SELDOM };
        self.0.store(interval.as_millis() as u64, Ordering::Relaxed);
    }

    fn interval(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => OFTEN,
            millis => Duration::from_millis(millis),
        }
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
) -> std::io::Result<()> {
    // Without inotify (a limit of the user's, say) polling does it alone, more often.
    let events = watch(directory);
    if let Err(error) = &events {
        log::warn!("{}: no inotify ({error}); polling", directory.display());
    }
    let work = move || {
        loop {
            let changed = match &events {
                Ok(events) => wait(events, pace.interval()),
                Err(_) => {
                    std::thread::sleep(OFTEN);
                    false
                }
            };
            if changed && let Ok(events) = &events {
                settle(events);
            }
            if !look_again() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("watch".into()).spawn(work)?;
    Ok(())
}

fn watch(directory: &Path) -> Result<OwnedFd, Errno> {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&events, directory, EVENTS | inotify::WatchFlags::ONLYDIR)?;
    Ok(events)
}

/// Waits for an event, at most so long.
fn wait(events: &OwnedFd, longest: Duration) -> bool {
    let timeout = Timespec::try_from(longest).ok();
    let mut waiting = [PollFd::new(events, PollFlags::IN)];
    let ready = poll(&mut waiting, timeout.as_ref()).is_ok_and(|count| count > 0);
    if ready {
        drain(events);
    }
    ready
}

/// Waits until no more events come.
fn settle(events: &OwnedFd) {
    let (pause, longest) = DEBOUNCE;
    let since = Instant::now();
    while since.elapsed() < longest && wait(events, pause) {}
}

fn drain(events: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    while read(events, &mut buffer).is_ok_and(|(bytes, _)| !bytes.is_empty()) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_new_file_is_noticed_long_before_the_next_poll() {
        let directory = tempfile::tempdir().unwrap();
        let pace = Pace::default();
        pace.set_often(false);
        let (sender, receiver) = channel();
        start(directory.path(), pace, move || sender.send(Instant::now()).is_ok()).unwrap();
        let before = Instant::now();
        std::fs::write(directory.path().join("a.iso"), "x").unwrap();
        let noticed = receiver.recv_timeout(SELDOM * 2).unwrap();
        assert!(noticed.duration_since(before) < SELDOM / 2);
    }

    #[test]
    fn without_events_it_polls() {
        let pace = Pace::default();
        pace.set_often(true);
        let (sender, receiver) = channel();
        let directory = tempfile::tempdir().unwrap();
        start(directory.path(), pace, move || sender.send(()).is_ok()).unwrap();
        for _ in 0..2 {
            receiver.recv_timeout(SELDOM).unwrap();
        }
    }
}
