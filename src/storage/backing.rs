//! A backing file as it is served: how its bytes are read, and what else can be asked of it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::storage::passthrough::MappedIso;
use crate::storage::source::ReadAt;
use crate::storage::unchanged::{Unchanged, UnchangedSource};

/// A source, with what makes files of it that the kernel reads by itself, and with what tells whether it has changed.
#[derive(Clone)]
pub struct Backing {
    source: Arc<dyn ReadAt>,
    /// What knows the file, if `source` doesn't.
    origin: Option<Arc<dyn ReadAt>>,
    unchanged: Option<Arc<Unchanged>>,
    mapped: Option<Arc<MappedIso>>,
}

impl Backing {
    /// A file that is read no longer once it has changed; `cached` reads `source`.
    pub fn new(
        cached: Arc<dyn ReadAt>,
        source: Arc<UnchangedSource>,
        mapped: Option<Arc<MappedIso>>,
    ) -> Self {
        let unchanged = Some(source.unchanged().clone());
        Self { source: cached, origin: Some(source), unchanged, mapped }
    }

    /// A file of just those ranges, one after the other, that the kernel can read by itself; `None` if reads have to come
    /// through here.
    pub fn file_of(&self, ranges: &[Range<u64>]) -> Option<Arc<File>> {
        self.mapped.as_ref()?.offer(ranges)
    }

    /// Whether nobody else has it.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.source) == 1
    }

    /// Looks whether it is still what it was, as far as that is known.
    ///
    /// # Errors
    /// If it isn't.
    pub fn check(&self) -> io::Result<()> {
        self.unchanged.as_ref().map_or(Ok(()), |unchanged| unchanged.check())
    }
}

impl<R: ReadAt + 'static> From<Arc<R>> for Backing {
    fn from(source: Arc<R>) -> Self {
        Self { source, origin: None, unchanged: None, mapped: None }
    }
}

impl From<Arc<dyn ReadAt>> for Backing {
    fn from(source: Arc<dyn ReadAt>) -> Self {
        Self { source, origin: None, unchanged: None, mapped: None }
    }
}

impl ReadAt for Backing {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        // What a cache still holds are right bytes, but of an image that is no more.
        self.unchanged.as_ref().map_or(Ok(()), |unchanged| unchanged.said())?;
        self.source.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.source.len()
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        self.origin.as_ref().unwrap_or(&self.source).origin()
    }
}
