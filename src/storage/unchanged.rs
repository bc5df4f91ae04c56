//! An ISO that is read for as long as it is the same one.
//!
//! Who writes another image over a file (`cp new.iso live.iso`) changes the bytes under clients that have it open. A
//! mixture of two images is worse than none: from then on every read fails. A file that was only touched, or written
//! again with the same image, is read on.
//!
//! It asks for length and modification time after each read, and compares the volume descriptor if they differ. What a
//! cache before it still holds stays readable; those are the old bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::storage::extent::SECTOR;
use crate::storage::identity::identity;
use crate::storage::source::{FileSource, PageCache, ReadAt};

/// Where the primary volume descriptor lies: sector 16 (ECMA-119, 6.2.1). Volume id, size and the time of its making in
/// hundredths of a second tell one image from another.
const DESCRIPTOR: u64 = 16 * SECTOR;

/// Length in bytes, modification time in seconds and nanoseconds.
type Stamp = (u64, i64, i64);

/// A file that is one image.
pub struct UnchangedSource {
    file: Arc<File>,
    source: FileSource,
    descriptor: [u8; SECTOR as usize],
    stamp: Mutex<Stamp>,
    overwritten: AtomicBool,
}

impl UnchangedSource {
    /// Wraps an open file that begins with an image.
    ///
    /// # Errors
    /// If the volume descriptor can't be read.
    pub fn new(file: Arc<File>, pages: PageCache) -> io::Result<Self> {
        let stamp = stamp(&file)?;
        let source = FileSource::new(file.clone(), pages)?;
        let descriptor = descriptor(&source)?;
        Ok(Self { file, source, descriptor, stamp: Mutex::new(stamp), overwritten: AtomicBool::new(false) })
    }

    /// Looks whether it is still the same image, if length or time say that something was written.
    ///
    /// # Errors
    /// If it isn't.
    pub fn check(&self) -> io::Result<()> {
        self.look(false)
    }

    /// [`UnchangedSource::check`] for who knows that something was written: within a tick of the clock, that need not show
    /// in the time.
    ///
    /// # Errors
    /// If it is not the same image.
    pub fn compare(&self) -> io::Result<()> {
        self.look(true)
    }

    fn look(&self, written: bool) -> io::Result<()> {
        if self.overwritten.load(Ordering::Relaxed) {
            return Err(overwritten());
        }
        let now = stamp(&self.file)?;
        let mut known = self.stamp.lock();
        if *known == now && !written {
            return Ok(());
        }
        // A file that was cut short is met as such where bytes are missing.
        if descriptor(&self.source).is_ok_and(|bytes| bytes == self.descriptor) {
            *known = now;
            return Ok(());
        }
        self.overwritten.store(true, Ordering::Relaxed);
        Err(overwritten())
    }
}

impl ReadAt for UnchangedSource {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(buf, offset)?;
        // Afterwards: a write sets the time before it changes the bytes (Linux, file_modified()).
        self.check()
    }

    fn len(&self) -> u64 {
        self.source.len()
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        let stamp = *self.stamp.lock();
        Some((self.file.clone(), identity(&(&self.descriptor, stamp))))
    }
}

fn descriptor(source: &FileSource) -> io::Result<[u8; SECTOR as usize]> {
    let mut bytes = [0; SECTOR as usize];
    source.read_exact_at(&mut bytes, DESCRIPTOR).map(|()| bytes)
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let stat = file.metadata()?;
    Ok((stat.len(), stat.mtime(), stat.mtime_nsec()))
}

fn overwritten() -> io::Error {
    io::Error::other("another image was written over it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, SystemTime};

    fn image(fill: u8) -> Vec<u8> {
        let mut bytes = vec![0; 100_000];
        bytes[DESCRIPTOR as usize + 100] = fill;
        bytes[90_000] = fill;
        bytes
    }

    /// A source on a file, and the file open for writing. The file is old, so that each write shows in its time.
    fn source() -> (UnchangedSource, File) {
        let temp = tempfile::NamedTempFile::new().unwrap();
        temp.as_file().write_all_at(&image(1), 0).unwrap();
        temp.as_file().set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
        let source = UnchangedSource::new(Arc::new(temp.reopen().unwrap()), PageCache::Keep).unwrap();
        (source, temp.into_file())
    }

    fn read(source: &UnchangedSource, offset: u64) -> io::Result<u8> {
        let mut byte = [0];
        source.read_exact_at(&mut byte, offset).map(|()| byte[0])
    }

    #[test]
    fn another_image_written_over_it_is_an_error_from_then_on() {
        let (source, file) = source();
        assert_eq!(read(&source, 90_000).unwrap(), 1);
        file.write_all_at(&image(2), 0).unwrap();
        assert!(read(&source, 90_000).is_err());
        file.write_all_at(&image(1), 0).unwrap();
        assert!(read(&source, 0).is_err(), "nobody knows what was read meanwhile");
    }

    #[test]
    fn a_file_that_was_touched_or_written_again_is_read_on() {
        let (source, file) = source();
        file.set_modified(SystemTime::now()).unwrap();
        assert_eq!(read(&source, 90_000).unwrap(), 1);
        file.write_all_at(&image(1), 0).unwrap();
        assert_eq!(read(&source, 90_000).unwrap(), 1);
    }

    #[test]
    fn a_file_that_was_emptied_is_an_error_though_it_is_filled_again() {
        let (source, file) = source();
        file.set_len(0).unwrap();
        assert!(read(&source, 10).is_err());
        file.write_all_at(&image(2), 0).unwrap();
        assert!(read(&source, 10).is_err());
    }

    #[test]
    fn a_file_that_was_cut_short_has_the_bytes_that_are_left() {
        let (source, file) = source();
        file.set_len(91_000).unwrap();
        assert_eq!(read(&source, 90_000).unwrap(), 1);
        assert_eq!(read(&source, 95_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
