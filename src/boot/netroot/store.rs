//! Where packed drivers are kept from one start to the next: a file for each in the state directory, named by its bytes.
//!
//! What can't be written is kept in memory; what is gone is found out again. Files are served from here as they are, so
//! the directory belongs to whoever runs netrootfs.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::storage::content::{Content, Segments};
use crate::storage::extent::Extent;
use crate::storage::identity::identity;
use crate::storage::source::{FileSource, PageCache, ReadAt};
use crate::storage::state::StateDir;

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

/// The state directory, if there is one.
pub struct Store(Option<Arc<StateDir>>);

impl Store {
    /// Keeps files in `state`; `None` keeps all in memory.
    pub fn new(state: Option<Arc<StateDir>>) -> Self {
        Self(state)
    }

    /// The drivers of an earlier start, if they are still there, byte for byte.
    pub fn open(&self, pack: &Pack) -> Option<Content> {
        let file = self.0.as_ref()?.open(&name(pack.sum)).ok()?;
        let source = FileSource::new(Arc::new(file), PageCache::Keep).ok()?;
        let mut bytes = vec![0; usize::try_from(pack.len).ok().filter(|_| source.len() == pack.len)?];
        source.read_exact_at(&mut bytes, 0).ok()?;
        let whole = Extent { offset: 0, len: pack.len };
        (identity(&bytes) == pack.sum)
            .then(|| Content::Segments(Segments::new(Arc::new(source), pack.sum).extents([&whole])))
    }

    /// Keeps drivers.
    pub fn keep(&self, pack: &Pack, bytes: Vec<u8>) -> Content {
        let kept = self.0.as_ref().and_then(|state| state.write(&name(pack.sum), &bytes).ok());
        kept.and_then(|()| self.open(pack)).unwrap_or(Content::Rendered(bytes))
    }

    /// Forgets all others.
    pub fn keep_only(&self, sums: &HashSet<u64>) {
        let unwanted = |name: &str| sum_of(name).is_some_and(|sum| !sums.contains(&sum));
        self.0.iter().for_each(|state| state.remove_if(unwanted));
    }
}

fn name(sum: u64) -> String {
    format!("{PREFIX}{sum:016x}{SUFFIX}")
}

/// The sum in a name, if that is exactly one of ours.
fn sum_of(file: &str) -> Option<u64> {
    let sum = u64::from_str_radix(file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?, 16).ok()?;
    (name(sum) == file).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn pack(bytes: &[u8]) -> Pack {
        let sum = identity(&bytes);
        Pack { len: bytes.len() as u64, sum, from: "/live/x.squashfs".into(), nbd: true, nics: Vec::new() }
    }

    fn plain(content: &Content) -> Vec<u8> {
        content.read_at(0, usize::MAX).unwrap()
    }

    fn store(directory: &Path) -> Store {
        Store::new(Some(Arc::new(StateDir::take(directory).unwrap())))
    }

    #[test]
    fn what_is_kept_is_there_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let store = store(&path);
        let (one, other) = (pack(b"one"), pack(b"another"));
        assert!(store.open(&one).is_none());
        let kept = store.keep(&one, b"one".to_vec());
        let again = store.open(&one).unwrap();
        assert_eq!((plain(&kept), plain(&again)), (b"one".to_vec(), b"one".to_vec()));
        assert_eq!(kept.identity(), again.identity());
        store.keep(&other, b"another".to_vec());
        let theirs = ["netroot-theirs", "netroot-0x1.cpio.gz", "netroot-00000000000000ff.cpio.gz.old"];
        theirs.iter().for_each(|name| std::fs::write(path.join(name), "").unwrap());
        store.keep_only(&HashSet::from([other.sum]));
        assert!(store.open(&one).is_none() && store.open(&other).is_some());
        assert!(theirs.iter().all(|name| path.join(name).exists()), "what is not ours stays");
        assert_eq!(plain(&again), b"one", "who has it open keeps it");
    }

    #[test]
    fn a_file_of_another_size_or_with_a_damaged_byte_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let one = pack(b"one");
        store.keep(&one, b"one".to_vec());
        for damaged in ["on", "onf", "ones"] {
            std::fs::write(directory.path().join(name(one.sum)), damaged).unwrap();
            assert!(store.open(&one).is_none(), "{damaged}");
        }
    }

    #[test]
    fn without_a_directory_memory_keeps_it() {
        let content = Store::new(None).keep(&pack(b"one"), b"one".to_vec());
        assert_eq!(plain(&content), b"one");
    }
}
