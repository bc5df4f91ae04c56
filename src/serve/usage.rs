//! What is opened and read, counted: file by file, by who reads the bytes; and what was answered with an error.
//!
//! A read adds to a number of its own handle, so that readers don't wait for each other's. What the kernel reads by itself
//! is not seen here, only that the file was opened. It knows nothing of who asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use strum::{EnumCount as _, VariantArray as _};

/// Kinds of errors; their names are for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumCount, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Failure {
    /// No such name or inode.
    NotFound,
    /// An inode that only a process before this one knew.
    Stale,
    /// A directory, a file or a link where it is none.
    WrongType,
    /// A handle that isn't open.
    BadHandle,
    /// A directory or file of an ISO that can't be served.
    IsoUnreadable,
    /// Bytes of an ISO that can't be read.
    ReadFailed,
    /// An error of our own.
    Internal,
}

/// Whole seconds since 1970, as far as they can be told.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The counters.
#[derive(Default)]
pub struct Usage {
    files: Mutex<BTreeMap<String, Arc<Counts>>>,
    errors: [AtomicU64; Failure::COUNT],
}

/// The counters of a file.
#[derive(Default)]
struct Counts {
    opens: AtomicU64,
    opens_by_kernel: AtomicU64,
    /// Of handles that are closed.
    bytes: AtomicU64,
}

/// One open file, and how much of it has been read.
pub struct Reading {
    /// Its path; empty where that is not known.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was opened.
    pub since: SystemTime,
    bytes: AtomicU64,
    by_kernel: AtomicBool,
    closed: AtomicBool,
    /// Its number, once it has one.
    handle: AtomicU64,
    counts: Option<Arc<Counts>>,
}

/// What is known of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileUse {
    /// How often it was opened for the kernel to read by itself.
    pub opens_by_kernel: u64,
    /// How often otherwise.
    pub opens: u64,
    /// How many handles are open now.
    pub open: u64,
    /// Bytes that were read otherwise than by the kernel itself.
    pub bytes: u64,
}

impl Usage {
    /// A file is opened.
    pub fn opened(&self, path: String, size: u64) -> Arc<Reading> {
        let counts = (!path.is_empty()).then(|| self.files.lock().entry(path.clone()).or_default().clone());
        if let Some(counts) = &counts {
            counts.opens.fetch_add(1, Ordering::Relaxed);
        }
        Arc::new(Reading { counts, ..Reading::new(path, size) })
    }

    /// Something was answered with an error of that kind.
    pub fn failed(&self, kind: Failure) {
        if let Some(count) = self.errors.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often something was, by kind.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Failure::VARIANTS.iter().zip(&self.errors);
        counts.map(|(kind, count)| (kind.into(), count.load(Ordering::Relaxed)))
    }

    /// Forgets files that are gone and that nobody has open.
    pub fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        self.files.lock().retain(|path, counts| Arc::strong_count(counts) > 1 || is_there(path));
    }

    /// What is known of each file that ever was opened; `open` are the handles that are open now.
    pub fn files(&self, open: &[Arc<Reading>]) -> BTreeMap<String, FileUse> {
        let count = |counts: &Counts| {
            let by_kernel = counts.opens_by_kernel.load(Ordering::Relaxed);
            FileUse {
                opens_by_kernel: by_kernel,
                opens: counts.opens.load(Ordering::Relaxed).saturating_sub(by_kernel),
                open: 0,
                bytes: counts.bytes.load(Ordering::Relaxed),
            }
        };
        let mut files: BTreeMap<String, FileUse> =
            self.files.lock().iter().map(|(path, counts)| (path.clone(), count(counts))).collect();
        for reading in open {
            if let Some(file) = files.get_mut(&reading.path) {
                file.open += 1;
                file.bytes += reading.bytes.load(Ordering::Relaxed);
            }
        }
        files
    }
}

impl Reading {
    fn new(path: String, size: u64) -> Self {
        Self {
            path,
            size,
            since: SystemTime::now(),
            bytes: AtomicU64::new(0),
            by_kernel: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            handle: AtomicU64::new(0),
            counts: None,
        }
    }

    /// One that was closed before this process began; `bytes` as in [`Reading::bytes`].
    pub fn past(path: String, size: u64, since: SystemTime, bytes: Option<u64>) -> Self {
        let reading = Self { since, closed: AtomicBool::new(true), ..Self::new(path, size) };
        reading.bytes.store(bytes.unwrap_or(0), Ordering::Relaxed);
        reading.by_kernel.store(bytes.is_none(), Ordering::Relaxed);
        reading
    }

    /// Gives it the number of its handle.
    pub fn enter(&self, handle: u64) {
        self.handle.store(handle, Ordering::Relaxed);
    }

    /// The number of its handle.
    pub fn handle(&self) -> u64 {
        self.handle.load(Ordering::Relaxed)
    }

    /// So many bytes were read.
    pub fn has_read(&self, len: usize) {
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// The kernel reads it by itself.
    pub fn by_kernel(&self) {
        if !self.by_kernel.swap(true, Ordering::Relaxed)
            && let Some(counts) = &self.counts
        {
            counts.opens_by_kernel.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It is closed.
    pub fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed)
            && let Some(counts) = &self.counts
        {
            counts.bytes.fetch_add(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether it is still open.
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// How many bytes have been read; `None` where the kernel reads them.
    pub fn bytes(&self) -> Option<u64> {
        (!self.by_kernel.load(Ordering::Relaxed)).then(|| self.bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_counted_while_it_is_open_and_afterwards() {
        let usage = Usage::default();
        let (one, two) = (usage.opened("a".into(), 9), usage.opened("a".into(), 9));
        one.has_read(5);
        two.has_read(7);
        two.by_kernel();
        let open = [one.clone(), two.clone()];
        let counts = |opens, opens_by_kernel, open, bytes| FileUse { opens_by_kernel, opens, open, bytes };
        assert_eq!(usage.files(&open)["a"], counts(1, 1, 2, 12));
        one.close();
        one.close();
        assert_eq!(usage.files(std::slice::from_ref(&two))["a"], counts(1, 1, 1, 12));
        assert_eq!((one.is_open(), one.bytes(), two.bytes()), (false, Some(5), None));
    }

    #[test]
    fn a_file_that_is_gone_is_forgotten_when_nobody_has_it_open() {
        let usage = Usage::default();
        let open = usage.opened("gone".into(), 9);
        drop(usage.opened("left".into(), 9));
        usage.keep_only(|_| false);
        assert_eq!(usage.files(&[]).into_keys().collect::<Vec<_>>(), ["gone"]);
        drop(open);
        usage.keep_only(|_| false);
        assert!(usage.files(&[]).is_empty());
    }

    #[test]
    fn errors_are_counted_by_kind() {
        let usage = Usage::default();
        usage.failed(Failure::Internal);
        usage.failed(Failure::ReadFailed);
        let counted: Vec<_> = usage.errors().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("read-failed", 1), ("internal", 1)]);
    }
}
