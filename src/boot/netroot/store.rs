//! Where packed drivers are kept from one start to the next: a file for each in the state directory, named by its bytes.
//!
//! What can't be written is kept in memory; what is gone is found out again. Files are served from here as they are, so
//! the directory belongs to whoever runs netrootfs.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::storage::content::{Content, Segments};
use crate::storage::extent::Extent;
use crate::storage::source::{FileSource, PageCache, ReadAt};

const PREFIX: &str = "netroot-";
const SUFFIX: &str = ".cpio.gz";

/// Packed drivers, as they are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Size in bytes.
    pub len: u64,
    /// A number that stands for the bytes.
    pub sum: u64,
    /// The image in the ISO that they come from.
    pub from: String,
    /// Whether nbd is among them.
    pub nbd: bool,
    /// The network drivers.
    pub nics: Vec<String>,
}

/// The directory, if there is one.
pub struct Store(Option<PathBuf>);

impl Store {
    /// Keeps files in `directory`; `None` keeps all in memory.
    pub fn new(directory: Option<&Path>) -> Self {
        Self(directory.map(Path::to_owned))
    }

    /// The drivers of an earlier start, if they are still there.
    pub fn open(&self, pack: &Pack) -> Option<Content> {
        let file = File::open(self.path(pack.sum)?).ok()?;
        let source = FileSource::new(Arc::new(file), PageCache::Keep).ok()?;
        let whole = Extent { offset: 0, len: pack.len };
        (source.len() == pack.len)
            .then(|| Content::Segments(Segments::new(Arc::new(source), pack.sum).extents([&whole])))
    }

    /// Keeps drivers.
    pub fn keep(&self, pack: &Pack, bytes: Vec<u8>) -> Content {
        let kept = self.path(pack.sum).and_then(|path| write(&path, &bytes).ok());
        kept.and_then(|()| self.open(pack)).unwrap_or(Content::Rendered(bytes))
    }

    /// Forgets all others.
    pub fn keep_only(&self, sums: &HashSet<u64>) {
        let entries = self.0.as_ref().and_then(|directory| std::fs::read_dir(directory).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
            let sum = name.strip_suffix(SUFFIX).and_then(|sum| u64::from_str_radix(sum, 16).ok());
            if sum.is_none_or(|sum| !sums.contains(&sum)) {
                // One that can't be removed costs some space.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, sum: u64) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(format!("{PREFIX}{sum:016x}{SUFFIX}")))
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    // Two ISOs of one kernel may be looked into at the same time.
    let thread = std::thread::current().id();
    let new = path.with_extension(format!("new-{thread:?}"));
    let mut out = File::create(&new)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(bytes: &[u8]) -> Pack {
        let sum = crate::storage::identity::identity(&bytes);
        Pack { len: bytes.len() as u64, sum, from: "/live/x.squashfs".into(), nbd: true, nics: Vec::new() }
    }

    fn plain(content: &Content) -> Vec<u8> {
        content.read_at(0, usize::MAX).unwrap()
    }

    #[test]
    fn what_is_kept_is_there_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(&directory.path().join("state")));
        let (one, other) = (pack(b"one"), pack(b"another"));
        assert!(store.open(&one).is_none());
        let kept = store.keep(&one, b"one".to_vec());
        let again = store.open(&one).unwrap();
        assert_eq!((plain(&kept), plain(&again)), (b"one".to_vec(), b"one".to_vec()));
        assert_eq!(kept.identity(), again.identity());
        store.keep(&other, b"another".to_vec());
        std::fs::write(directory.path().join("state/netroot-left.new-x"), "").unwrap();
        std::fs::write(directory.path().join("state/initrds.json"), "").unwrap();
        store.keep_only(&HashSet::from([other.sum]));
        assert!(store.open(&one).is_none() && store.open(&other).is_some());
        assert_eq!(std::fs::read_dir(directory.path().join("state")).unwrap().count(), 2);
        assert_eq!(plain(&again), b"one", "who has it open keeps it");
    }

    #[test]
    fn a_file_of_another_size_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path()));
        let one = pack(b"one");
        store.keep(&one, b"one".to_vec());
        std::fs::write(store.path(one.sum).unwrap(), "on").unwrap();
        assert!(store.open(&one).is_none());
    }

    #[test]
    fn without_a_directory_memory_keeps_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for directory in [None, Some(file.path())] {
            let content = Store::new(directory).keep(&pack(b"one"), b"one".to_vec());
            assert_eq!(plain(&content), b"one");
        }
    }
}
