//! Where bytes come from: one read operation, many backing stores.
//!
//! A [`ReadAt`] is a run of bytes of known length that can be read at any offset, by many threads at once. The ISO
//! file is one, a window into it is one, and the block cache that stands before it is one: they stack. A read gives all
//! the bytes that were asked for or an error; a length never changes, and bytes past it are never given, even if the
//! file has grown since.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::storage::identity::identity;
use direct::Direct;

pub mod bounded;
pub mod cursor;
mod direct;
pub mod limited_reads;
pub mod noted;
pub mod recent;
#[doc(hidden)]
pub mod testing;

/// Positioned reads without a shared cursor.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Whatever the backing store says; [`io::ErrorKind::UnexpectedEof`] if it ends before `buf` is full. A short read
    /// is never padded with zeros.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// The file that the bytes are in, and a number that is another when another image is in it; `None` if they are in
    /// none.
    fn origin(&self) -> Option<(Arc<File>, u64)> {
        None
    }

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The fate of the kernel's copy of the pages that a [`FileSource`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageCache {
    /// They stay, as after any read.
    Keep,
    /// There are none, as far as disk and reader allow it (`O_DIRECT`), or they are dropped once read (`RWF_DONTCACHE`,
    /// Linux ≥ 6.14); but what was there before is used, and stays. Where kernel and file system know neither, they stay.
    DropBehind,
}

/// `RWF_DONTCACHE` of `include/uapi/linux/fs.h`; rustix has no name for it yet.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// An open file, with the length that it had when it was wrapped.
#[derive(Debug)]
pub struct FileSource {
    file: Arc<File>,
    len: u64,
    drop_behind: AtomicBool,
    direct: Option<Direct>,
}

impl FileSource {
    /// Wraps an open regular file.
    ///
    /// # Errors
    /// If its length can't be read.
    pub fn new(file: Arc<File>, pages: PageCache) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let drop_behind = AtomicBool::new(pages == PageCache::DropBehind);
        let direct = if pages == PageCache::DropBehind { Direct::of(&file) } else { None };
        Ok(Self { file, len, drop_behind, direct })
    }

    /// The file itself, for whoever hands its descriptor to the kernel.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// How the pages are treated by now: [`PageCache::DropBehind`] turns into [`PageCache::Keep`] with the first read
    /// that the kernel refuses to do that way.
    pub fn page_cache(&self) -> PageCache {
        if self.drop_behind.load(Ordering::Relaxed) { PageCache::DropBehind } else { PageCache::Keep }
    }

    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.page_cache() == PageCache::Keep {
            return self.file.read_at(buf, offset);
        }
        if let Some(result) = self.direct.as_ref().and_then(|direct| direct.read(buf, offset)) {
            return result;
        }
        match preadv2(&*self.file, &mut [IoSliceMut::new(buf)], offset, DONTCACHE) {
            // EOPNOTSUPP: this kernel or file system; ENOSYS: no preadv2; EINVAL: what some file systems say instead.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.drop_behind.store(false, Ordering::Relaxed);
                self.file.read_at(buf, offset)
            }
            result => Ok(result?),
        }
    }
}

impl ReadAt for FileSource {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.len)?;
        fill(buf, offset, |rest, at| self.read_some(rest, at))
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        let stat = self.file.metadata().ok()?;
        Some((self.file.clone(), identity(&(self.len, stat.mtime(), stat.mtime_nsec()))))
    }
}

/// A run of bytes inside another source.
#[derive(Debug, Clone)]
pub struct Window<R> {
    inner: R,
    offset: u64,
    len: u64,
}

impl<R: ReadAt> Window<R> {
    /// The `len` bytes of `inner` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if `inner` ends before they do.
    pub fn new(inner: R, offset: u64, len: u64) -> io::Result<Self> {
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > inner.len()) {
            return Err(ends_early(inner.len(), offset, len));
        }
        Ok(Self { inner, offset, len })
    }
}

impl<R: ReadAt> ReadAt for Window<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.len)?;
        // Can't overflow: `offset` is at most `len`, and `self.offset + len` was computed at the start.
        self.inner.read_exact_at(buf, self.offset + offset)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted =
            usize::try_from(offset).ok().and_then(|start| self.get(start..start.checked_add(buf.len())?));
        let Some(bytes) = wanted else {
            return Err(ends_early(ReadAt::len(self), offset, buf.len() as u64));
        };
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        ReadAt::len(self.as_slice())
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Arc<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        (**self).len()
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        (**self).origin()
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        (**self).len()
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        (**self).origin()
    }
}

/// Where a file lies now, for people: the kernel knows it, also when it has another name by now, or none
/// (proc_pid_fd(5)).
///
/// # Errors
/// If there is no /proc.
pub fn path_of(file: &File) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Refuses a read that goes past `total`.
#[doc(hidden)]
pub fn check_range(offset: u64, len: usize, total: u64) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= total => Ok(()),
        _ => Err(ends_early(total, offset, len as u64)),
    }
}

fn ends_early(total: u64, offset: u64, len: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("it ends at byte {total}, before the {len} bytes at {offset} do"),
    )
}

/// Calls `read_some` until `buf` is full.
fn fill(
    buf: &mut [u8],
    offset: u64,
    mut read_some: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let len = buf.len() as u64;
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset + done as u64;
        match read_some(rest, at) {
            Ok(0) => return Err(ends_early(at, offset, len)),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn digits(len: usize) -> Vec<u8> {
        (0..len).map(|i| b'0' + (i % 10) as u8).collect()
    }

    fn temp(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    fn read(source: &(impl ReadAt + ?Sized), offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buf = vec![b'?'; len];
        source.read_exact_at(&mut buf, offset).map(|()| buf)
    }

    fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn a_file_reads_at_any_offset_with_both_page_cache_settings() {
        for pages in [PageCache::Keep, PageCache::DropBehind] {
            let source = FileSource::new(temp(&digits(10_000)), pages).unwrap();
            assert_eq!(source.len(), 10_000);
            assert_eq!(read(&source, 9_993, 7).unwrap(), b"3456789");
            assert_eq!(read(&source, 0, 10_000).unwrap(), digits(10_000));
            assert_eq!(read(&source, 10_000, 0).unwrap(), b"");
        }
    }

    #[test]
    fn a_file_system_without_dontcache_is_read_plainly_and_remembered() {
        // tmpfs, which memfds live on, lacks FOP_DONTCACHE; so does everything before Linux 6.14.
        let mut file = File::from(memfd_create("source", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(&digits(100)).unwrap();
        let source = FileSource::new(Arc::new(file), PageCache::DropBehind).unwrap();
        assert_eq!(source.page_cache(), PageCache::DropBehind);
        assert_eq!(read(&source, 42, 3).unwrap(), b"234");
        assert_eq!(source.page_cache(), PageCache::Keep);
        assert_eq!(read(&source, 50, 3).unwrap(), b"012");
    }

    #[test]
    fn a_file_that_got_shorter_is_an_error_and_not_zeros() {
        for pages in [PageCache::Keep, PageCache::DropBehind] {
            let file = temp(&digits(10_000));
            let source = FileSource::new(Arc::clone(&file), pages).unwrap();
            file.set_len(5_000).unwrap();
            assert_eq!(kind(read(&source, 4_000, 2_000)), ErrorKind::UnexpectedEof);
            assert_eq!(kind(read(&source, 6_000, 1_000)), ErrorKind::UnexpectedEof);
            assert_eq!(read(&source, 4_990, 10).unwrap(), b"0123456789");
        }
    }

    #[test]
    fn a_file_that_grew_keeps_the_length_it_had_when_opened() {
        let file = temp(&digits(100));
        let source = FileSource::new(Arc::clone(&file), PageCache::Keep).unwrap();
        file.set_len(200).unwrap();
        assert_eq!(source.len(), 100);
        assert_eq!(kind(read(&source, 95, 10)), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_interrupted_read_is_repeated_and_a_partial_one_continued() {
        let mut calls = Vec::new();
        let mut buf = [0; 10];
        fill(&mut buf, 100, |rest, at| {
            calls.push((at, rest.len()));
            if calls.len() == 2 {
                return Err(ErrorKind::Interrupted.into());
            }
            let n = rest.len().min(6);
            rest[..n].fill(b'x');
            Ok(n)
        })
        .unwrap();
        assert_eq!(calls, [(100, 10), (106, 4), (106, 4)]);
        assert_eq!(&buf, b"xxxxxxxxxx");
    }

    #[test]
    fn an_error_after_some_bytes_is_that_error() {
        let result = fill(&mut [0; 10], 0, |_, at| match at {
            0 => Ok(4),
            _ => Err(ErrorKind::PermissionDenied.into()),
        });
        assert_eq!(kind(result), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_window_shows_only_its_bytes() {
        let window = Window::new(digits(100), 42, 5).unwrap();
        assert_eq!(window.len(), 5);
        assert_eq!(read(&window, 0, 5).unwrap(), b"23456");
        assert_eq!(read(&window, 3, 2).unwrap(), b"56");
        assert_eq!(kind(read(&window, 3, 3)), ErrorKind::UnexpectedEof);
        assert_eq!(kind(read(&window, u64::MAX, 1)), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_window_past_the_end_is_refused() {
        assert_eq!(kind(Window::new(digits(100), 96, 5)), ErrorKind::UnexpectedEof);
        assert_eq!(kind(Window::new(digits(100), 1, u64::MAX)), ErrorKind::UnexpectedEof);
        assert!(Window::new(digits(100), 100, 0).unwrap().is_empty());
    }

    #[test]
    fn windows_stack_on_shared_sources() {
        let shared: Arc<dyn ReadAt> = Arc::new(digits(100));
        let outer = Window::new(shared, 10, 50).unwrap();
        let inner = Window::new(&outer, 10, 10).unwrap();
        assert_eq!(read(&inner, 0, 3).unwrap(), b"012");
    }

    #[test]
    fn memory_refuses_what_it_does_not_have() {
        assert_eq!(kind(read(&digits(10), 8, 3)), ErrorKind::UnexpectedEof);
        assert_eq!(kind(read(&digits(10), u64::MAX, 3)), ErrorKind::UnexpectedEof);
    }
}
