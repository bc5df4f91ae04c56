//! The sectors that were read last, kept in memory: who goes through a directory for each name that may be in it reads it from
//! the file once.
//!
//! It is for a look that ends soon. It doesn't notice that the file changes meanwhile: whoever looks finds that out afterwards.

use std::io;
use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use super::ReadAt;
use crate::storage::extent::SECTOR;

/// Sectors that are kept: 128 KiB. The directories that boot files lie in take some ten.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Gives what lies within one sector from memory, if it was read not long ago.
pub struct Recent<R> {
    inner: R,
    sectors: Mutex<LruCache<u64, Box<[u8]>>>,
}

impl<R: ReadAt> Recent<R> {
    /// Has nothing yet.
    pub fn new(inner: R) -> Self {
        Self { inner, sectors: Mutex::new(LruCache::new(KEPT)) }
    }
}

impl<R: ReadAt> ReadAt for Recent<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (number, start) = (offset / SECTOR, (offset % SECTOR) as usize);
        let end = start + buf.len();
        let len = self.len().saturating_sub(number * SECTOR).min(SECTOR) as usize;
        if end > len {
            return self.inner.read_exact_at(buf, offset);
        }
        let mut sectors = self.sectors.lock();
        let sector = sectors.try_get_or_insert(number, || {
            let mut sector = vec![0; len].into_boxed_slice();
            self.inner.read_exact_at(&mut sector, number * SECTOR).map(|()| sector)
        })?;
        // All sectors but the last are whole, and that has as many bytes as the file has there.
        buf.copy_from_slice(sector.get(start..end).unwrap_or_default());
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::storage::source::testing::{Counting, Faulty};

    fn bytes(len: u64) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    fn source(len: u64) -> Recent<Counting<Vec<u8>>> {
        Recent::new(Counting::new(bytes(len)))
    }

    fn check(source: &impl ReadAt, offset: u64, len: usize) {
        let mut buf = vec![0; len];
        source.read_exact_at(&mut buf, offset).unwrap();
        assert_eq!(buf, bytes(offset + len as u64)[offset as usize..], "{len} bytes at {offset}");
    }

    #[test]
    fn a_sector_is_read_once() {
        let source = source(3 * SECTOR + 100);
        for (offset, len) in [(0, 2048), (0, 512), (1536, 512), (2047, 1), (100, 0)] {
            check(&source, offset, len);
        }
        check(&source, 3 * SECTOR + 10, 90);
        check(&source, 3 * SECTOR, 100);
        assert_eq!(source.inner.reads(), [(0, 2048), (3 * SECTOR, 100)]);
    }

    #[test]
    fn longer_reads_and_those_past_the_end_are_the_files() {
        let source = source(3 * SECTOR + 100);
        check(&source, 2000, 100);
        check(&source, 0, 3 * SECTOR as usize + 100);
        let past = [(3 * SECTOR, 101), (3 * SECTOR + 100, 1), (u64::MAX, 1), (u64::MAX - 2048, 2048)];
        for (offset, len) in past {
            let error = source.read_exact_at(&mut vec![0; len], offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len} bytes at {offset}");
        }
        assert_eq!(source.inner.reads().len(), 2 + past.len());
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let source = source(100 * SECTOR);
        for number in 0..100 {
            check(&source, number * SECTOR, 10);
        }
        check(&source, 99 * SECTOR + 5, 10);
        assert_eq!(source.inner.reads().len(), 100);
        check(&source, 0, 10);
        assert_eq!((source.inner.reads().len(), source.sectors.lock().len()), (101, KEPT.get()));
    }

    #[test]
    fn what_could_not_be_read_is_not_kept() {
        let broken = AtomicBool::new(true);
        let fault =
            |_, _| if broken.load(Ordering::Relaxed) { Err(io::ErrorKind::Other.into()) } else { Ok(()) };
        let source = Recent::new(Faulty::new(bytes(SECTOR), fault));
        source.read_exact_at(&mut [0; 4], 0).unwrap_err();
        broken.store(false, Ordering::Relaxed);
        check(&source, 0, 4);
    }
}
