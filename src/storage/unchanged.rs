//! An ISO that is read for as long as its bytes are the same.
//!
//! Who writes into a file in place (`cp new.iso live.iso`, `rsync --inplace`, one sector by `dd`) changes the bytes under
//! clients that have it open. From the first write on every read fails: a mixture is worse than none, and that the bytes
//! may be the same is not looked at. New times, mode, owner or names, or an open for writing without a write, change
//! nothing; but a new time of modification without one of access (`touch -m`) is told by the kernel as a write is.
//!
//! The file's size and times are asked for after each read. If they differ, inotify tells a write from a touch; a time of
//! modification that changed without either is a write through a mapping. Where the kernel sees not all that happens
//! (NFS, SMB, FUSE: see [`writers::is_remote`]), another size or time of modification counts as a write; what leaves both
//! as they were, and doesn't change the volume descriptor, goes unnoticed there.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::storage::extent::SECTOR;
use crate::storage::identity::identity;
use crate::storage::inotify::Events;
use crate::storage::source::{FileSource, PageCache, ReadAt, path_of};
use crate::storage::writers;

mod watch;

pub use watch::FileWatch;

/// Where the primary volume descriptor lies: sector 16 (ECMA-119, 6.2.1). Volume id, size and the time of its making in
/// hundredths of a second tell one image from another.
const DESCRIPTOR: u64 = 16 * SECTOR;

/// How long to wait for the event that explains a new time: utimensat(2) sets the time first and tells then. A write of
/// gigabytes in one call tells when it is done; whoever reads meanwhile gets the error that it is.
const EXPLANATION: Duration = Duration::from_secs(1);

/// What is said of a file with another descriptor than before.
pub(super) const OVERWRITTEN: &str = "another image was written over it";

/// The part of stat(2) that matters here. Times in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file whose bytes are to stay as they are.
pub struct Unchanged {
    file: Arc<File>,
    /// `None` if it is too short to have one.
    descriptor: Option<Vec<u8>>,
    len: u64,
    /// Tells what happens to it; `None` where not all is seen.
    watch: Option<Arc<FileWatch>>,
    stamp: Mutex<Stamp>,
    /// Events that came since.
    written: AtomicBool,
    touched: AtomicBool,
    /// Why it is no longer read. Never taken back.
    reason: OnceLock<String>,
    revoke: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Unchanged {
    /// From now on no change is missed; `watch` is what tells, if anything does.
    ///
    /// # Errors
    /// If the file can't be looked at.
    pub fn new(file: Arc<File>, watch: Option<&Arc<FileWatch>>) -> io::Result<Arc<Self>> {
        let watch = watch.filter(|_| !writers::is_remote(&file));
        let new = |watch: Option<&Arc<FileWatch>>| -> io::Result<Arc<Self>> {
            let source = FileSource::new(file.clone(), PageCache::Keep)?;
            Ok(Arc::new(Self {
                descriptor: descriptor(&source)?,
                len: source.len(),
                watch: watch.cloned(),
                stamp: Mutex::new(stamp(&file)?),
                file: file.clone(),
                written: AtomicBool::new(false),
                touched: AtomicBool::new(false),
                reason: OnceLock::new(),
                revoke: OnceLock::new(),
            }))
        };
        let Some(watch) = watch else { return new(None) };
        let watched = new(Some(watch))?;
        match watch.add(&watched) {
            Ok(()) => Ok(watched),
            Err(error) => {
                log::warn!("{}: not watched ({error}): who touches it has written to it", watched.name());
                new(None)
            }
        }
    }

    /// Looks whether it is still what it was.
    ///
    /// # Errors
    /// If it isn't, now and from then on.
    pub fn check(&self) -> io::Result<()> {
        self.said()?;
        let now = stamp(&self.file)?;
        if self.written.load(Ordering::Relaxed) {
            self.give_up(self.reason_of(now));
        } else if *self.stamp.lock() != now
            && let Some(reason) = self.explain()?
        {
            self.give_up(reason);
        }
        self.said()
    }

    /// Finds out what a new stamp comes from: `None` if the bytes are what they were.
    fn explain(&self) -> io::Result<Option<String>> {
        let mut known = self.stamp.lock();
        let since = Instant::now();
        loop {
            // Before the events: one that comes later is of another stamp.
            let now = stamp(&self.file)?;
            let others = self.watch.as_ref().map(|watch| watch.take()).unwrap_or_default();
            others
                .iter()
                .filter(|other| !std::ptr::eq(other.as_ref(), self))
                .for_each(|other| other.settle());
            match self.judge(*known, now, since.elapsed() > EXPLANATION) {
                Some(None) => *known = now,
                Some(reason) => return Ok(reason),
                None => {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
            }
            return Ok(None);
        }
    }

    /// Whether a difference is one of the bytes, and which; `None` if that can't be told yet.
    fn judge(&self, known: Stamp, now: Stamp, late: bool) -> Option<Option<String>> {
        if self.written.load(Ordering::Relaxed) || now.len != known.len {
            return Some(Some(self.reason_of(now)));
        }
        let touched = self.touched.swap(false, Ordering::Relaxed);
        if now.modified == known.modified || (touched && self.watch.is_some()) {
            let same = FileSource::new(self.file.clone(), PageCache::Keep)
                .and_then(|source| descriptor(&source))
                .is_ok_and(|now| now == self.descriptor);
            return Some((!same).then(|| OVERWRITTEN.into()));
        }
        match self.watch {
            None => Some(Some("its time has changed, and nobody tells why".into())),
            Some(_) if late => Some(Some("it was written to through a mapping, or unseen".into())),
            Some(_) => None,
        }
    }

    fn reason_of(&self, now: Stamp) -> String {
        match now.len < self.len {
            true => format!("it was cut short, to {} bytes of {}", now.len, self.len),
            false => "it was written to".into(),
        }
    }

    /// An error if it is known that it has changed. Asks nobody, and never waits.
    ///
    /// # Errors
    /// Why.
    pub fn said(&self) -> io::Result<()> {
        self.reason.get().map_or(Ok(()), |reason| Err(io::Error::other(reason.clone())))
    }

    /// Whether the kernel tells of all that happens to it.
    pub fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// Has this called once when it has changed, by whoever finds out.
    pub(super) fn on_change(&self, revoke: impl Fn() + Send + Sync + 'static) {
        // There is one mapping of an ISO.
        let _ = self.revoke.set(Box::new(revoke));
        if self.said().is_err() {
            self.revoked();
        }
    }

    fn give_up(&self, reason: String) {
        if self.reason.set(reason.clone()).is_ok() {
            log::error!("{}: {reason}; what clients have open of it can't be read any more", self.name());
            self.revoked();
        }
    }

    fn revoked(&self) {
        if let Some(revoke) = self.revoke.get() {
            revoke();
        }
    }

    /// An event has come. What is to be done about it comes later.
    fn tell(&self, events: Events) {
        if events.contains(Events::ATTRIB) {
            self.touched.store(true, Ordering::Relaxed);
        }
        if events.contains(Events::MODIFY) {
            self.written.store(true, Ordering::Relaxed);
        }
    }

    /// Does what is to be done, without waiting for an explanation.
    fn settle(&self) {
        if self.written.load(Ordering::Relaxed) {
            self.give_up(stamp(&self.file).map_or_else(|error| error.to_string(), |now| self.reason_of(now)));
        }
    }

    /// Another number when the file was written to, as far as size, time of modification and descriptor tell: for a
    /// process that comes after this one. Names and modes may change.
    fn fingerprint(&self) -> u64 {
        let Stamp { len, modified, .. } = *self.stamp.lock();
        identity(&(&self.descriptor, len, modified))
    }

    /// Where it lies now, for people.
    pub fn name(&self) -> String {
        path_of(&self.file).map(|path| path.display().to_string()).unwrap_or_default()
    }
}

/// The bytes of a file, for as long as they are what they were.
pub struct UnchangedSource {
    source: FileSource,
    unchanged: Arc<Unchanged>,
}

impl UnchangedSource {
    /// Reads the file in this way.
    ///
    /// # Errors
    /// If its length can't be read.
    pub fn new(unchanged: Arc<Unchanged>, pages: PageCache) -> io::Result<Self> {
        let source = FileSource::new(unchanged.file.clone(), pages)?;
        Ok(Self { source, unchanged })
    }

    /// The facts of the file.
    pub fn unchanged(&self) -> &Arc<Unchanged> {
        &self.unchanged
    }

    /// The file as it is, without a look whether it has changed.
    pub fn unchecked(&self) -> &FileSource {
        &self.source
    }
}

impl ReadAt for UnchangedSource {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.unchanged.said()?;
        self.source.read_exact_at(buf, offset)?;
        // Afterwards: a write sets the time before it changes the bytes (Linux, file_modified()).
        self.unchanged.check()
    }

    fn len(&self) -> u64 {
        self.source.len()
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        Some((self.unchanged.file.clone(), self.unchanged.fingerprint()))
    }
}

/// `None` if it is too short to have one.
fn descriptor(source: &FileSource) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; SECTOR as usize];
    match source.read_exact_at(&mut bytes, DESCRIPTOR) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let stat = file.metadata()?;
    let (modified, changed) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
    Ok(Stamp { len: stat.len(), modified, changed })
}

#[cfg(test)]
mod tests;
