//! Large pieces of memory, as the C library hands them out.

/// Pieces of so many bytes are mapped: more than anything that comes and goes while a client reads, less than the 16 MiB that
/// the FUSE library sets aside for each event loop and each handshake, and touches a page of.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 8 << 20;

/// Has each large piece mapped by itself: it takes up what is touched of it, and goes back to the kernel when it is freed.
/// Otherwise glibc maps only what is larger than anything that was freed so far (mallopt(3), `M_MMAP_THRESHOLD`), and fills the
/// next one with zeros itself: 10 ms and 16 MiB for nothing.
pub(super) fn map_large_pieces() {
    // SAFETY: it takes numbers. Refused, all works as it does without. The second is what glibc would choose with the first.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    /// Pages of it that are in memory (mincore(2)).
    fn resident(piece: &[u8]) -> usize {
        let size = rustix::param::page_size();
        let whole = piece.get(piece.as_ptr().align_offset(size)..).unwrap();
        let mut pages = vec![0_u8; whole.len().div_ceil(size)];
        // SAFETY: the range is ours, and there is a byte for each of its pages.
        let done =
            unsafe { libc::mincore(whole.as_ptr().cast_mut().cast(), whole.len(), pages.as_mut_ptr()) };
        assert_eq!(done, 0);
        pages.iter().filter(|&&page| page & 1 != 0).count()
    }

    #[test]
    fn what_is_not_touched_takes_up_nothing() {
        const PIECE: usize = 16 << 20;
        // Of some 4000: who touches a byte may get 512 of them (Documentation/admin-guide/mm/transhuge.rst), as malloc(3) does
        // with what it writes in front.
        const FEW: usize = 2000;
        let again = || {
            map_large_pieces();
            // Freed, it would be what the next one is made of.
            let first = std::hint::black_box(vec![1_u8; PIECE]);
            assert!(resident(&first) > 4000);
            drop(first);
            std::hint::black_box(vec![0_u8; PIECE])
        };
        // Another test's thread may free a piece just then, and glibc choose by that once more (malloc/malloc.c, `__libc_free`).
        let untouched = |piece: &Vec<u8>| resident(piece) < FEW;
        let mut second =
            std::iter::repeat_with(again).take(10).find(untouched).expect("one that takes up nothing");
        second[PIECE / 2] = 1;
        assert!((1..FEW).contains(&resident(&second)));
    }
}
