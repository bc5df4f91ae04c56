//! ext2, ext3 and ext4, by the crate `ext4-view`.

use std::error::Error as StdError;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read};

use super::{Error, Files};
use crate::storage::source::ReadAt;

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
        Ext4::load(Box::new(Source(image))).map(Self).map_err(Error::damaged)
    }
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
        let path = format!("/{path}");
        let Some(stat) = there(self.0.metadata(path.as_str()))? else { return Ok(None) };
        if !stat.file_type().is_regular_file() {
            return Ok(None);
        }
        if stat.len() > most {
            return Err(Error::TooLarge(path, most));
        }
        there(self.0.read(path.as_str()))
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in self.0.read_dir("/").map_err(Error::damaged)? {
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
