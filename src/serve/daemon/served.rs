//! ISOs as they are served: read through the block cache, or handed to the kernel where that is possible.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};

use crate::catalog::scan::Opener;
use crate::storage::cache::{BlockCache, CachedSource};
use crate::storage::passthrough::{DataPath, Keeper, MappedIso, Mapper};
use crate::storage::source::{FileSource, PageCache, ReadAt};
use crate::storage::unchanged::UnchangedSource;

/// Smaller files are read through the cache: to mount and unmount one takes 0.6 ms, as long as it takes to read one of
/// this size from memory that way, and there may be tens of thousands below `trees/`.
const SMALLEST: u64 = 1 << 20;

/// Opens ISOs for serving: through the block cache, which keeps its own copy instead of the kernel's, and only as long as
/// nobody writes another image over them.
pub(super) struct Served {
    pub cache: Arc<BlockCache>,
    /// What hands files to the kernel, if anything does.
    pub mapper: Option<Arc<Mapper>>,
}

/// What hands files to the kernel, as far as that is wanted and possible.
///
/// # Errors
/// If it has to be possible and isn't.
pub(super) fn mapper(path: DataPath, keeper: Option<Arc<dyn Keeper>>) -> Result<Option<Arc<Mapper>>> {
    if path == DataPath::Cache {
        return Ok(None);
    }
    match Mapper::held_by(keeper) {
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
    fn open(&self, file: Arc<File>) -> io::Result<Arc<dyn ReadAt>> {
        let unchanged = Arc::new(UnchangedSource::new(file.clone(), PageCache::DropBehind)?);
        let cached = self.cache.attach(unchanged.clone());
        let mapped = self.mapper.as_ref().map(|mapper| MappedIso::new(mapper, file, unchanged.clone()));
        Ok(Arc::new(Both { cached, unchanged, mapped, refused: AtomicBool::new(false) }))
    }
}

impl Served {
    /// Opens an ISO, or a file that is none: a loader, or drivers that were packed.
    pub(super) fn open_any(&self, file: Arc<File>) -> io::Result<Arc<dyn ReadAt>> {
        self.open(file.clone()).or_else(|_| Ok(Arc::new(FileSource::new(file, PageCache::Keep)?)))
    }
}

/// An ISO that can be read either way.
struct Both {
    cached: CachedSource,
    unchanged: Arc<UnchangedSource>,
    /// What hands its files to the kernel, if anything does.
    mapped: Option<Arc<MappedIso>>,
    /// Whether it has been said that the kernel doesn't.
    refused: AtomicBool,
}

impl ReadAt for Both {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.cached.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.cached.len()
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        self.unchanged.origin()
    }

    fn file_of(&self, ranges: &[Range<u64>]) -> Option<Arc<File>> {
        let lens = ranges.iter().map(|range| range.end.saturating_sub(range.start));
        if lens.fold(0, u64::saturating_add) < SMALLEST {
            return None;
        }
        let mapped = self.mapped.as_ref()?;
        match mapped.file(ranges) {
            Ok(file) => Some(file),
            Err(reason) => {
                let level = match reason.is_of_the_iso() && !self.refused.swap(true, Ordering::Relaxed) {
                    true => log::Level::Info,
                    false => log::Level::Debug,
                };
                log::log!(level, "{}: read through the block cache: {reason}", mapped.name());
                None
            }
        }
    }
}
