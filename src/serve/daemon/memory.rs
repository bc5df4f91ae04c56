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

    /// Set in the process that this test is alone in.
    const ALONE: &str = "NETROOTFS_TEST_ALONE";

    #[test]
    fn what_is_not_touched_takes_up_nothing() {
        const PIECE: usize = 16 << 20;
        if std::env::var_os(ALONE).is_none() {
            // What other tests' threads have freed before lies in the heaps of threads, and is taken first.
            let name = "serve::daemon::memory::tests::what_is_not_touched_takes_up_nothing";
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            let output = command.args(["--exact", name]).env(ALONE, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        map_large_pieces();
        // Freed, it would be what the next one is made of.
        let first = std::hint::black_box(vec![1_u8; PIECE]);
        assert!(resident(&first) > 4000);
        drop(first);
        let mut second = std::hint::black_box(vec![0_u8; PIECE]);
        assert!(resident(&second) < 10);
        second[PIECE / 2] = 1;
        assert!((1..1000).contains(&resident(&second)));
    }
}
