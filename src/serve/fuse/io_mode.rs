//! Which way the open files of each inode are read.
//!
//! The kernel lets all files of an inode that are open at a time be read the same way: either it asks for the bytes, or
//! it takes them from one backing file (Linux, fs/fuse/iomode.c). So the first one that is opened decides, and its way
//! is kept until the last one is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How the open files of one inode are read: from a backing file, or by asking (`None`).
type Way<B> = Option<Arc<B>>;

/// The ways of all inodes that have open files; `B` stands for a backing file.
pub(super) struct Ways<B>(Mutex<HashMap<u64, (Way<B>, usize)>>);

impl<B> Ways<B> {
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    /// A file of this inode is opened. `first` says which way, if there is none yet.
    pub fn enter(&self, ino: u64, first: impl FnOnce() -> Option<B>) -> Way<B> {
        let mut ways = self.lock();
        let (way, files) = ways.entry(ino).or_insert_with(|| (first().map(Arc::new), 0));
        *files += 1;
        way.clone()
    }

    /// One of its files is closed.
    pub fn leave(&self, ino: u64) {
        let mut ways = self.lock();
        let Some((_, files)) = ways.get_mut(&ino) else { return };
        *files = files.saturating_sub(1);
        let gone = if *files == 0 { ways.remove(&ino) } else { None };
        // Closing a backing file may end a mount, which others need not wait for.
        drop(ways);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (Way<B>, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_open_file_decides_until_the_last_is_closed() {
        let ways = Ways::new();
        let backing = ways.enter(7, || Some("backing")).unwrap();
        assert!(Arc::ptr_eq(&ways.enter(7, || panic!("it is decided")).unwrap(), &backing));
        assert!(ways.enter(8, || None).is_none(), "another inode");
        ways.leave(7);
        assert!(ways.enter(7, || panic!("one is open")).is_some());
        ways.leave(7);
        ways.leave(7);
        assert_eq!(Arc::strong_count(&backing), 1, "it is still held");
        assert!(ways.enter(7, || None).is_none());
        assert!(ways.enter(7, || panic!("it is decided")).is_none());
    }

    #[test]
    fn closing_what_is_not_open_changes_nothing() {
        let ways = Ways::new();
        ways.leave(7);
        assert!(ways.enter(7, || Some(1)).is_some());
    }
}
