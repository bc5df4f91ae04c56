//! How the open files of each inode are read: by asking, or from a backing file.
//!
//! The kernel lets all files of an inode that are open at a time be read in the same way only: either it asks for the bytes, or
//! it takes them from one backing file (Linux, fs/fuse/iomode.c). So the first one that is opened decides, and its mode
//! is kept until the last one is closed. While it decides, others of this inode wait, and nobody else.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// How the open files of one inode are read: from a backing file, or by asking (`None`).
type IoMode<B> = Option<Arc<B>>;

/// The modes of all inodes that have open files, and how many; `B` stands for a backing file.
pub(super) struct IoModes<B>(Mutex<HashMap<u64, (Decision<B>, usize)>>);

/// Empty until the first one has decided.
type Decision<B> = Arc<OnceLock<IoMode<B>>>;

impl<B> IoModes<B> {
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    /// A file of this inode is opened. `first` says which io_mode, if there is none yet.
    pub fn enter(&self, ino: u64, first: impl FnOnce() -> Option<B>) -> IoMode<B> {
        let mut io_modes = self.0.lock();
        let (decision, files) = io_modes.entry(ino).or_default();
        *files += 1;
        let decision = decision.clone();
        drop(io_modes);
        decision.get_or_init(|| first().map(Arc::new)).clone()
    }

    /// The io_mode of an inode that has open files.
    pub fn of(&self, ino: u64) -> IoMode<B> {
        self.0.lock().get(&ino).and_then(|(decision, _)| decision.get().cloned().flatten())
    }

    /// So many files of this inode are open from before, in this io_mode.
    pub fn adopt(&self, ino: u64, io_mode: Option<B>, files: usize) {
        self.0.lock().insert(ino, (Arc::new(OnceLock::from(io_mode.map(Arc::new))), files));
    }

    /// One of its files is closed.
    pub fn leave(&self, ino: u64) {
        let mut io_modes = self.0.lock();
        let Some((_, files)) = io_modes.get_mut(&ino) else { return };
        *files = files.saturating_sub(1);
        let gone = if *files == 0 { io_modes.remove(&ino) } else { None };
        // Closing a backing file may end a mount, which others need not wait for.
        drop(io_modes);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_open_file_decides_until_the_last_is_closed() {
        let io_modes = IoModes::new();
        let backing = io_modes.enter(7, || Some("backing")).unwrap();
        assert!(Arc::ptr_eq(&io_modes.enter(7, || panic!("it is decided")).unwrap(), &backing));
        assert!(io_modes.enter(8, || None).is_none(), "another inode");
        io_modes.leave(7);
        assert!(io_modes.enter(7, || panic!("one is open")).is_some());
        io_modes.leave(7);
        io_modes.leave(7);
        assert_eq!(Arc::strong_count(&backing), 1, "it is still held");
        assert!(io_modes.enter(7, || None).is_none());
        assert!(io_modes.enter(7, || panic!("it is decided")).is_none());
    }

    #[test]
    fn only_files_of_the_same_inode_wait_for_the_decision() {
        let io_modes = IoModes::new();
        let backing = io_modes.enter(7, || {
            assert!(io_modes.enter(8, || None).is_none());
            io_modes.leave(8);
            assert!(io_modes.of(7).is_none(), "it is not decided");
            Some(1)
        });
        assert_eq!((backing, io_modes.of(7)), (Some(Arc::new(1)), Some(Arc::new(1))));
    }

    #[test]
    fn closing_what_is_not_open_changes_nothing() {
        let io_modes = IoModes::new();
        io_modes.leave(7);
        assert!(io_modes.enter(7, || Some(1)).is_some());
    }
}
