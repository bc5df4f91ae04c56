//! Which parts of a file are in memory: mincore(2), over a mapping that nobody reads.
//!
//! Of a file that the kernel reads by itself from another one, the pages are those of the other one, and so is the mapping
//! (Linux, fs/fuse/passthrough.c). Nothing is read, and nothing comes into memory by it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

/// Most that is mapped at a time, in bytes: a page has an answer of a byte.
const WINDOW: u64 = 1 << 30;

/// The ranges of a file that are in memory, in bytes, ascending; two with less than `gap` bytes between them are one.
///
/// # Errors
/// If the file belongs to somebody else, of which the kernel tells nobody but root, or can't be mapped.
pub fn ranges(file: &File, gap: u64) -> io::Result<Vec<Range<u64>>> {
    let stat = file.metadata()?;
    let user = rustix::process::geteuid();
    if !user.is_root() && user.as_raw() != stat.uid() {
        let reason = "only root, or whom the file belongs to, is told what is in memory of it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    let (page, mut found) = (page_size() as u64, Vec::<Range<u64>>::new());
    for window in (0..stat.len()).step_by(WINDOW as usize) {
        let pages = pages(file, window, WINDOW.min(stat.len() - window) as usize)?;
        let starts = (window..).step_by(page as usize);
        for (start, _) in starts.zip(pages).filter(|(_, page)| page & 1 != 0) {
            let end = stat.len().min(start + page);
            match found.last_mut() {
                Some(last) if start < last.end.saturating_add(gap) || start == last.end => last.end = end,
                _ => found.push(start..end),
            }
        }
    }
    Ok(found)
}

/// A byte a page, whose lowest bit says whether the page is in memory.
fn pages(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut answers = vec![0; len.div_ceil(page_size())];
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let start = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, offset)? };
    // SAFETY: the kernel writes a byte for each page of the mapping, and `answers` has as many.
    let failed = unsafe { libc::mincore(start, len, answers.as_mut_ptr()) } != 0;
    let error = io::Error::last_os_error();
    // SAFETY: it is the mapping from above, and nothing points into it.
    unsafe { munmap(start, len)? };
    if failed { Err(error) } else { Ok(answers) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use rustix::fs::{Advice, fadvise};

    /// A file on a disk of which nothing is in memory, and which is not read ahead.
    fn file(len: usize) -> File {
        // /tmp may be in memory; where the sources lie there is a disk.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&vec![7; len]).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        file
    }

    #[test]
    fn what_was_read_is_in_memory_and_what_is_near_is_one_range() {
        let page = page_size() as u64;
        let file = file(64 * page_size() + 5);
        assert_eq!(ranges(&file, 0).unwrap(), []);
        for at in [3, 4, 7, 40, 64] {
            file.read_at(&mut [0], at * page).unwrap();
        }
        let apart = [3 * page..5 * page, 7 * page..8 * page, 40 * page..41 * page, 64 * page..64 * page + 5];
        assert_eq!(ranges(&file, 0).unwrap(), apart);
        let near = [3 * page..8 * page, 40 * page..41 * page, 64 * page..64 * page + 5];
        assert_eq!(ranges(&file, 3 * page).unwrap(), near);
        let all = 3 * page..64 * page + 5;
        assert_eq!(ranges(&file, u64::MAX).unwrap(), [all]);
    }

    #[test]
    fn of_nothing_nothing_is_in_memory() {
        assert_eq!(ranges(&tempfile::tempfile().unwrap(), 0).unwrap(), []);
    }
}
