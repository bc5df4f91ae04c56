//! Notices that a directory has changed, that of the ISOs or those of the host's loaders: by inotify where the kernel sees
//! every change, by polling where it doesn't.
//!
//! It only says "look again", debounced; looking is cheap, and what has changed is found by it. A missed event costs one
//! polling interval and nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
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

/// How long to wait until the directories are watched.
const PATIENCE: Duration = Duration::from_secs(1);

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

    /// Seldom, for directories that inotify sees all of.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn seldom() -> io::Result<Self> {
        let pace = Self::new()?;
        pace.set_often(false);
        Ok(pace)
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

/// Starts a thread with a queue of its own that calls `look_again` after each change in one of the directories and at each
/// polling interval, until that returns `false`. A directory that isn't there is seen when it comes.
///
/// # Errors
/// If the thread can't be started.
pub fn start(
    queue: io::Result<Inotify>,
    directories: &[&Path],
    pace: Pace,
    mut look_again: impl FnMut() -> bool + Send + 'static,
) -> io::Result<()> {
    let directories: Vec<PathBuf> = directories.iter().map(|directory| directory.to_path_buf()).collect();
    let (sender, watches) = channel();
    let work = move || {
        let first = directories.first().cloned().unwrap_or_default();
        // Without inotify (a limit of the user's, say) polling does it alone, more often.
        let mut watch = queue.and_then(|queue| Watch::new(queue, directories));
        if let Err(error) = &watch {
            log::warn!("{}: no inotify ({error}); polling", first.display());
        }
        // Whoever has lost patience doesn't listen.
        let _ = sender.send(());
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
    // One that doesn't answer is watched when it does.
    let _ = watches.recv_timeout(PATIENCE);
    Ok(())
}

/// The inotify watches on directories, and on what is mounted.
struct Watch {
    events: Inotify,
    /// Has an error pending when the table of mounts has changed (proc_pid_mountinfo(5)): on a directory, say.
    mounts: Option<File>,
    directories: Vec<PathBuf>,
    numbers: BTreeSet<i32>,
}

impl Watch {
    fn new(events: Inotify, directories: Vec<PathBuf>) -> io::Result<Self> {
        let mut watch = Self {
            events,
            mounts: File::open("/proc/self/mountinfo").ok(),
            directories,
            numbers: BTreeSet::new(),
        };
        watch.numbers = watch.directories.iter().map(|path| watch.nearest(path)).collect::<Result<_, _>>()?;
        Ok(watch)
    }

    /// Watches what has the directories' names now: one may have been replaced, or something mounted on it. For the same
    /// directory this changes nothing.
    fn renew(&mut self) {
        let now = self.directories.iter().map(|path| self.nearest(path)).collect::<Result<BTreeSet<_>, _>>();
        // What can't be watched is polled.
        let Ok(now) = now else { return };
        self.numbers.difference(&now).for_each(|old| self.events.forget(*old));
        self.numbers = now;
    }

    /// Watches a directory, or where it would come.
    fn nearest(&self, directory: &Path) -> io::Result<i32> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let watch = |path: &Path| self.events.watch(path, EVENTS);
        let watched = directory.ancestors().map(watch).find(|watched| !watched.as_ref().is_err_and(missing));
        watched.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
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
        let pace = Pace::seldom().unwrap();
        let (sender, receiver) = channel();
        start(Inotify::new(), &[directory.path()], pace, move || sender.send(Instant::now()).is_ok())
            .unwrap();
        let before = Instant::now();
        std::fs::write(directory.path().join("a.iso"), "x").unwrap();
        let noticed = receiver.recv_timeout(SELDOM * 2).unwrap();
        assert!(noticed.duration_since(before) < SELDOM / 2);
    }

    #[test]
    fn each_of_several_directories_is_watched_and_one_that_is_missing_is_seen_when_it_comes() {
        let top = tempfile::tempdir().unwrap();
        let (there, missing) = (top.path().join("there"), top.path().join("a/b/c"));
        std::fs::create_dir(&there).unwrap();
        let mut watch = Watch::new(Inotify::new().unwrap(), vec![there.clone(), missing.clone()]).unwrap();
        let noticed = |watch: &mut Watch| {
            watch.renew();
            watch.events.take(|_, _| ())
        };
        assert!(!noticed(&mut watch));
        std::fs::write(there.join("file"), "x").unwrap();
        assert!(noticed(&mut watch));
        std::fs::create_dir(top.path().join("a")).unwrap();
        assert!(noticed(&mut watch));
        std::fs::create_dir_all(&missing).unwrap();
        assert!(noticed(&mut watch));
        std::fs::write(missing.join("file"), "x").unwrap();
        assert!(noticed(&mut watch));
        // Nobody wants to know any more what happens beside it.
        std::fs::write(top.path().join("beside"), "x").unwrap();
        assert!(!noticed(&mut watch));
    }

    #[test]
    fn a_new_pace_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pace = Pace::seldom().unwrap();
        let (sender, receiver) = channel();
        start(Inotify::new(), &[directory.path()], pace.clone(), move || sender.send(()).is_ok()).unwrap();
        // Whatever is mounted meanwhile is an event.
        let quiet = || receiver.recv_timeout(OFTEN * 2).is_err();
        assert!((0..20).any(|_| quiet()), "it polls seldom");
        pace.set_often(true);
        receiver.recv_timeout(SELDOM / 2).unwrap();
    }

    #[test]
    fn without_events_it_polls() {
        let pace = Pace::new().unwrap();
        pace.set_often(true);
        let (sender, receiver) = channel();
        let directory = tempfile::tempdir().unwrap();
        start(Inotify::new(), &[directory.path()], pace, move || sender.send(()).is_ok()).unwrap();
        for _ in 0..2 {
            receiver.recv_timeout(SELDOM).unwrap();
        }
    }
}
