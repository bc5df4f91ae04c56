//! Reading a file around the page cache (`O_DIRECT`): the disk writes into the reader's memory, nothing is copied, and no
//! page of the file stays behind.
//!
//! What is in the page cache already, because the file was just written or somebody else reads it, is taken from there:
//! [`Direct::read`] declines such a range, and every one that the disk can't give at this alignment. So it only makes
//! reads faster and never says anything about the bytes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, open, statx};

/// Reads shorter than that are not worth asking first what is in the page cache.
const LEAST: usize = 4096;

/// The same file, open for reading around the page cache.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    /// What the memory's address has to be a multiple of.
    memory: usize,
    /// What offset and length have to be multiples of.
    offset: u64,
}

impl Direct {
    /// `None` where the file system can't do it or doesn't say how (`STATX_DIOALIGN`, Linux ≥ 6.1).
    pub fn of(file: &File) -> Option<Self> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let stat = statx(CWD, &*path, AtFlags::empty(), StatxFlags::DIOALIGN).ok()?;
        if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN)
            && stat.stx_dio_offset_align > 0
        {
            let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
            let file = open(&*path, flags, Mode::empty()).ok()?.into();
            let memory = stat.stx_dio_mem_align.max(1) as usize;
            return Some(Self { file, memory, offset: stat.stx_dio_offset_align.into() });
        }
        None
    }

    /// Reads some bytes, as [`FileExt::read_at`] does; `None` if they are to be read in the ordinary way.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> Option<io::Result<usize>> {
        let fits = (buf.len() as u64).is_multiple_of(self.offset)
            && offset.is_multiple_of(self.offset)
            && buf.as_ptr().addr().is_multiple_of(self.memory);
        if buf.len() < LEAST || !fits || pages_in_memory(&self.file, offset, buf.len()) != Some(0) {
            return None;
        }
        // Whatever the disk says against it (EINVAL), or about a bad sector: the ordinary way says it as it is.
        self.file.read_at(buf, offset).ok().map(Ok)
    }
}

/// How many pages of a range are in the page cache; `None` if the kernel doesn't tell: it is older than Linux 6.5, or the
/// file belongs to somebody else.
fn pages_in_memory(file: &File, offset: u64, len: usize) -> Option<u64> {
    // `struct cachestat_range` and `struct cachestat` of include/uapi/linux/mman.h.
    let range = [offset, len as u64];
    let mut stat = [0_u64; 5];
    // 451 everywhere but on Alpha, where it is another call, which takes no such arguments.
    const CACHESTAT: libc::c_long = 451;
    // SAFETY: the kernel reads two and writes five 64-bit numbers; both arrays have as many.
    let failed =
        unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), stat.as_mut_ptr(), 0_u32) != 0 };
    let [cached, ..] = stat;
    (!failed).then_some(cached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const PAGE: usize = 4096;

    /// A file on a disk, and its bytes.
    fn file() -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..16 * PAGE).map(|i| (i / 7) as u8).collect();
        // /tmp may be in memory; where the sources lie there is a disk.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
        (file, bytes)
    }

    fn forget(file: &File) {
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }

    /// Memory with a page-aligned part of that length.
    fn aligned(memory: &mut Vec<u8>, len: usize) -> &mut [u8] {
        memory.resize(len + PAGE, 0);
        let start = memory.as_ptr().align_offset(PAGE);
        &mut memory[start..start + len]
    }

    #[test]
    fn what_is_not_in_memory_is_read_and_leaves_nothing_there() {
        let (file, bytes) = file();
        forget(&file);
        let direct = Direct::of(&file).expect("a file system with O_DIRECT");
        let mut memory = Vec::new();
        let buf = aligned(&mut memory, 4 * PAGE);
        assert_eq!(direct.read(buf, 2 * PAGE as u64).unwrap().unwrap(), 4 * PAGE);
        assert!(*buf == bytes[2 * PAGE..6 * PAGE]);
        assert_eq!(pages_in_memory(&file, 0, bytes.len()), Some(0));
    }

    #[test]
    fn what_is_in_memory_is_left_to_others() {
        let (file, _) = file();
        let direct = Direct::of(&file).expect("a file system with O_DIRECT");
        let mut memory = Vec::new();
        assert!(direct.read(aligned(&mut memory, 4 * PAGE), 0).is_none());
    }

    #[test]
    fn what_is_not_aligned_is_left_to_others() {
        let (file, _) = file();
        forget(&file);
        let direct = Direct::of(&file).expect("a file system with O_DIRECT");
        let mut memory = Vec::new();
        let buf = aligned(&mut memory, 4 * PAGE);
        assert!(direct.read(buf, 3).is_none());
        assert!(direct.read(&mut buf[..PAGE + 3], 0).is_none());
        assert!(direct.read(&mut buf[1..PAGE + 1], 0).is_none());
        assert!(direct.read(&mut buf[..512], 0).is_none());
    }
}
