//! ext2, ext3 and ext4, by the crate `ext4-view`.

use std::error::Error as StdError;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, Metadata};

use super::{Error, Files, MOST_DIRECTORY, MOST_NAMES, MOST_TARGET, beside};
use crate::storage::source::ReadAt;

/// Where the superblock begins, and its bytes up to the last field that is looked at (Linux, fs/ext4/ext4.h).
const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_LEN: usize = 0x154;

/// Largest blocks, as a shift from 1 KiB (EXT4_MAX_BLOCK_LOG_SIZE). The crate keeps some, however large they are said to be.
const LARGEST_BLOCK: u64 = 6;

/// Block groups: as many as 8 TiB have, of 128 MiB each. For each one the crate takes memory before it reads its descriptor.
const MOST_GROUPS: u64 = 1 << 16;

/// A file system that is open.
pub(super) struct Ext4Files(Ext4);

struct Source(Arc<dyn ReadAt>);

impl Ext4Read for Source {
    fn read(
        &mut self,
        start: u64,
        target: &mut [u8],
    ) -> Result<(), Box<dyn StdError + Send + Sync + 'static>> {
        Ok(self.0.read_exact_at(target, start)?)
    }
}

impl Ext4Files {
    pub(super) fn open(image: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let mut superblock = [0; SUPERBLOCK_LEN];
        image.read_exact_at(&mut superblock, SUPERBLOCK).map_err(Error::damaged)?;
        check(&superblock)?;
        Ext4::load(Box::new(Source(image))).map(Self).map_err(Error::damaged)
    }

    /// What an absolute path leads to. Links are not followed: for the target of one the crate takes as much memory as its
    /// inode says.
    fn inode(&self, path: &str) -> Result<Option<Metadata>, Error> {
        for (end, _) in path.match_indices('/') {
            if !self.is_directory(path.get(..end).filter(|path| !path.is_empty()).unwrap_or("/"))? {
                return Ok(None);
            }
        }
        there(self.0.symlink_metadata(path))
    }

    /// Whether there is a directory, in one that is known as such. Few blocks can be so many of one that it seems large.
    fn is_directory(&self, path: &str) -> Result<bool, Error> {
        match there(self.0.symlink_metadata(path))? {
            Some(stat) if stat.is_dir() && stat.len() > MOST_DIRECTORY => {
                Err(Error::Damaged(format!("{path} is a directory of {} bytes", stat.len())))
            }
            found => Ok(found.is_some_and(|stat| stat.is_dir())),
        }
    }

    /// The path of a regular file, or of one beside it that it is a link to; and its length.
    fn file(&self, path: &str) -> Result<Option<(String, u64)>, Error> {
        let mut path = format!("/{path}");
        let Some(mut stat) = self.inode(&path)? else { return Ok(None) };
        if stat.is_symlink() {
            if stat.len() > MOST_TARGET {
                return Err(Error::Damaged(format!("{path} is a link of {} bytes", stat.len())));
            }
            let Some(target) = there(self.0.read_link(path.as_str()))? else { return Ok(None) };
            let Some(beside) = beside(&path, target.as_ref()) else { return Ok(None) };
            let Some(found) = self.inode(&beside)? else { return Ok(None) };
            (path, stat) = (beside, found);
        }
        Ok(stat.file_type().is_regular_file().then(|| (path, stat.len())))
    }
}

/// Refuses what a superblock says where the crate would believe it at any cost.
fn check(superblock: &[u8; SUPERBLOCK_LEN]) -> Result<(), Error> {
    let field = |at: usize| {
        let bytes = superblock.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(bytes.map_or(0, u32::from_le_bytes))
    };
    // s_log_block_size, s_blocks_count_lo and _hi, s_blocks_per_group.
    if field(0x18) > LARGEST_BLOCK {
        return Err(Error::Damaged(format!("blocks of more than {} KiB", 1 << LARGEST_BLOCK)));
    }
    let groups = (field(0x4) | field(0x150) << 32).checked_div(field(0x20));
    if groups.is_none_or(|groups| groups > MOST_GROUPS) {
        return Err(Error::Damaged(format!("more than {MOST_GROUPS} block groups")));
    }
    Ok(())
}

/// `None` for a file that isn't there.
fn there<T>(found: Result<T, Ext4Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => Ok(None),
        Err(error) => Err(Error::damaged(error)),
    }
}

impl Files for Ext4Files {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some((path, len)) = self.file(path)? else { return Ok(None) };
        if len > most {
            return Err(Error::TooLarge(path, most));
        }
        there(self.0.read(path.as_str()))
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        self.is_directory("/")?;
        for entry in self.0.read_dir("/").map_err(Error::damaged)?.take(MOST_NAMES) {
            let entry = entry.map_err(Error::damaged)?;
            if let Ok(name) = entry.file_name().as_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn image(&self, _path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        // Nobody puts the root's image into an ext4.
        Ok(None)
    }
}
