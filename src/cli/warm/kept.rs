//! Which parts of images boots have read, kept in the state directory.
//!
//! By the inode number in the tree, which is another one as soon as the bytes are others. What is kept of an image is never
//! more than a hint: it is read as far as the image has it, and what can't be understood is as if it had never been.

use std::io;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::storage::state::StateDir;

/// Names of the file in the state directory, and of its lock. The daemon knows neither.
const FILE_NAME: &str = "warm.json";
const LOCK: &str = "warm.lock";

/// Version of its format.
const VERSION: u32 = 1;

/// Longest file: a boot of the Debian in netrootfs-many(7) takes 1.2 KB.
const MAX_LEN: u64 = 64 << 20;

/// What is kept.
pub struct Kept(Vec<Image>);

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    images: Vec<Image>,
}

#[derive(Serialize, Deserialize)]
struct Image {
    /// Path in the tree.
    path: String,
    inode: u64,
    ranges: Vec<Range<u64>>,
}

/// The state directory, for who reads or changes what is kept in it.
///
/// # Errors
/// If it can't be made or written, or somebody else is at it.
pub fn take(directory: &Path) -> Result<StateDir> {
    StateDir::take_by(directory, LOCK).with_context(|| format!("state directory {}", directory.display()))
}

impl Kept {
    /// Reads it.
    pub fn load(state: &StateDir) -> Self {
        let bytes = state.read(FILE_NAME, MAX_LEN).unwrap_or_default();
        let stored: Option<Stored> = serde_json::from_slice(&bytes).ok();
        let stored = stored.filter(|stored| stored.version == VERSION);
        Self(stored.map(|stored| stored.images).unwrap_or_default())
    }

    /// What is kept of an image.
    pub fn of(&self, path: &str, inode: u64) -> Option<&[Range<u64>]> {
        let image = self.0.iter().find(|image| image.path == path && image.inode == inode)?;
        Some(&image.ranges)
    }

    /// Keeps it, in the place of what was kept of an image of that path.
    pub fn put(&mut self, path: &str, inode: u64, ranges: Vec<Range<u64>>) {
        self.0.retain(|image| image.path != path);
        self.0.push(Image { path: path.to_owned(), inode, ranges });
    }

    /// Writes it.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save(self, state: &StateDir) -> io::Result<()> {
        let stored = Stored { version: VERSION, images: self.0 };
        state.write(FILE_NAME, &serde_json::to_vec(&stored)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_of_an_image_until_another_one_has_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let state = take(directory.path()).unwrap();
        let ranges = vec![0..4096, 8192..9000];
        let mut kept = Kept::load(&state);
        kept.put("images/One.iso", 7, ranges.clone());
        kept.put("images/Two.iso", 8, ranges.clone());
        kept.save(&state).unwrap();
        let mut kept = Kept::load(&state);
        assert_eq!(kept.of("images/One.iso", 7), Some(ranges.as_slice()));
        assert_eq!((kept.of("images/One.iso", 9), kept.of("images/Three.iso", 7)), (None, None));
        kept.put("images/One.iso", 9, Vec::new());
        assert_eq!(kept.of("images/One.iso", 7), None);
        assert!(kept.of("images/One.iso", 9).is_some() && kept.of("images/Two.iso", 8).is_some());
    }

    #[test]
    fn what_can_not_be_understood_is_as_if_it_had_never_been() {
        let directory = tempfile::tempdir().unwrap();
        let state = take(directory.path()).unwrap();
        for junk in ["", "{\"version\":1,\"ima", "{\"version\":9,\"images\":[]}", "[]"] {
            std::fs::write(directory.path().join(FILE_NAME), junk).unwrap();
            assert!(Kept::load(&state).0.is_empty(), "{junk}");
        }
    }
}
