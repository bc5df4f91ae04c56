//! squashfs, of version 4 (Linux, fs/squashfs/squashfs_fs.h).
//!
//! A path is followed from the root directory on, and only the blocks of tables that it leads through are unpacked: an
//! image of half a million names costs what one of ten does. The crates that read squashfs unpack both tables and keep a
//! node for each name, which an ISO of some megabytes can make hundreds of them.

use std::sync::Arc;

use super::{Error, Files, MOST_NAMES, beside, cached};
use crate::storage::source::ReadAt;

mod compression;
mod data;
mod tables;

use data::Data;
use tables::{File, Inode, Tables};

/// An image that is open.
pub(super) struct Squashfs(Tables);

impl Squashfs {
    pub(super) fn open(image: Arc<dyn ReadAt>) -> Result<Self, Error> {
        Tables::open(image).map(Self)
    }

    /// The inode that a path leads to. Links are not followed.
    fn inode(&self, path: &str) -> Result<Option<Inode>, Error> {
        let mut inode = self.0.root()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Inode::Directory(directory) = inode else { return Ok(None) };
            let Some(found) = self.0.find(&directory, name.as_bytes())? else { return Ok(None) };
            inode = self.0.inode(found)?;
        }
        Ok(Some(inode))
    }

    fn file(&self, path: &str) -> Result<Option<File>, Error> {
        match self.inode(path)? {
            Some(Inode::File(file)) => Ok(Some(file)),
            Some(Inode::Link(target)) => {
                let Some(target) = beside(path, &target) else { return Ok(None) };
                match self.inode(&target)? {
                    Some(Inode::File(file)) => Ok(Some(file)),
                    _ => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }
}

impl Files for Squashfs {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        if file.len > most {
            return Err(Error::TooLarge(path.to_owned(), most));
        }
        let data = Data::new(&self.0, &file)?;
        let mut bytes = vec![0; usize::try_from(file.len).map_err(Error::damaged)?];
        data.read_exact_at(&mut bytes, 0)
            .map_err(|error| Error::damaged(format!("{path} can't be read: {error}")))?;
        Ok(Some(bytes))
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        let Inode::Directory(root) = self.0.root()? else {
            return Err(Error::Damaged("its root is no directory".into()));
        };
        let mut names = Vec::new();
        self.0.list(&root, |name, entry| {
            names.extend(std::str::from_utf8(name).ok().filter(|_| entry.is_directory).map(str::to_owned));
            names.len() < MOST_NAMES
        })?;
        Ok(names)
    }

    fn image(&self, path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let data = Data::new(&self.0, &file)?;
        let block = data.block_size();
        Ok(Some(cached(Arc::new(data), block)))
    }
}
