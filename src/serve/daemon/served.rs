//! ISOs as they are served: read through the block cache, or handed to the kernel where that is possible.

use std::fs::File;
use std::io;
use std::sync::Arc;

use anyhow::{Result, anyhow};

use crate::catalog::scan::{Opened, Opener};
use crate::storage::backing::Backing;
use crate::storage::cache::BlockCache;
use crate::storage::inotify::Inotify;
use crate::storage::passthrough::{DataPath, Keeper, MappedIso, Mapper, Mounter};
use crate::storage::source::PageCache;
use crate::storage::unchanged::{FileWatch, Unchanged, UnchangedSource};

/// Opens ISOs for serving: through the block cache, which keeps its own copy instead of the kernel's, and only as long as
/// nobody writes into them.
pub(super) struct Served {
    pub cache: Arc<BlockCache>,
    /// What hands files to the kernel, if anything does.
    pub mapper: Option<Arc<Mapper>>,
    /// What tells that they are written to.
    pub watch: Option<Arc<FileWatch>>,
}

/// What hands files to the kernel, as far as that is wanted and possible; `mounter` mounts for it.
///
/// # Errors
/// If it has to be possible and isn't.
pub(super) fn mapper(
    path: DataPath,
    mounter: Arc<dyn Mounter>,
    keeper: Option<Arc<dyn Keeper>>,
) -> Result<Option<Arc<Mapper>>> {
    if path == DataPath::Cache {
        return Ok(None);
    }
    match Mapper::with(mounter, keeper) {
        Ok(mapper) => Ok(Some(mapper)),
        Err(reason) if path == DataPath::Kernel => Err(anyhow!("--data-path kernel: {reason}")),
        Err(reason) => {
            log::info!(
                "ISOs are read through the block cache, as the kernel can't read them by itself: {reason}"
            );
            Ok(None)
        }
    }
}

impl Opener for Served {
    fn open(&self, file: Arc<File>) -> io::Result<Opened> {
        let unchanged = Unchanged::new(file.clone(), self.watch.as_ref())?;
        // Directories and menus are a few scattered kilobytes: not worth blocks of the cache.
        let plain = Arc::new(UnchangedSource::new(unchanged.clone(), PageCache::Keep)?);
        let source = Arc::new(UnchangedSource::new(unchanged, PageCache::DropBehind)?);
        let mapped = self.mapper.as_ref().map(|mapper| MappedIso::new(mapper, file, source.clone()));
        let cached = Arc::new(self.cache.attach(source.clone()));
        Ok(Opened { served: Backing::new(cached, source, mapped), plain })
    }
}

/// What tells that files are written to; without it, their times do.
pub(super) fn watch(queue: io::Result<Inotify>) -> Option<Arc<FileWatch>> {
    let watch = queue.and_then(FileWatch::start);
    watch
        .inspect_err(|error| log::warn!("ISOs are not watched: {error}; who touches one has written to it"))
        .ok()
}
