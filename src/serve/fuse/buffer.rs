//! The memory that an event loop reads into, used again for each request.
//!
//! New memory for each would have to be cleared first, by us and by the kernel. It lies in huge pages where the kernel
//! has them: a disk then writes a MiB as one piece and not as 256, which is 3.6 GB/s where it was 1.4.

use rustix::mm::{Advice, madvise};

/// A huge page: of x86-64, and of AArch64 with pages of 4 KiB. More than any disk asks for (statx(2), stx_dio_mem_align).
const ALIGN: usize = 2 << 20;

/// Nothing at first, and then as much as the largest request so far: 1 MiB, unless `fs.fuse.max_pages_limit` was raised.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// So many bytes, with anything in them.
    pub fn get(&mut self, len: usize) -> &mut [u8] {
        if self.memory.len() < self.start.saturating_add(len) {
            self.grow(len);
        }
        // Always there: `grow` has seen to it.
        self.memory.get_mut(self.start..self.start + len).unwrap_or_default()
    }

    fn grow(&mut self, len: usize) {
        let len = len.next_multiple_of(ALIGN);
        // Only what is read into takes up memory: the kernel gives zeros for the rest when it is touched.
        self.memory = vec![0; len + ALIGN];
        self.start = self.memory.as_ptr().align_offset(ALIGN);
        if let Some(part) = self.memory.get_mut(self.start..self.start + len) {
            // SAFETY: the range is ours, and this advice changes nothing of what is in it. Refused, it is slower.
            let _ = unsafe { madvise(part.as_mut_ptr().cast(), len, Advice::LinuxHugepage) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_and_as_long_as_asked_for() {
        let mut buffer = Buffer::default();
        assert!(buffer.get(0).is_empty());
        for len in [1, 4096, 1 << 20, 100, ALIGN, ALIGN + 1, 5 * ALIGN, 3] {
            let part = buffer.get(len);
            assert_eq!(part.len(), len);
            assert_eq!(part.as_ptr().addr() % ALIGN, 0);
            part.fill(7);
        }
    }

    #[test]
    fn a_smaller_request_gets_the_same_memory() {
        let mut buffer = Buffer::default();
        let first = buffer.get(1 << 20).as_ptr();
        assert_eq!(buffer.get(4096).as_ptr(), first);
    }
}
