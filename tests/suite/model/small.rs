//! A small live ISO whose files are known byte for byte, in as many builds as there are numbers.

use std::sync::OnceLock;

use crate::support::isos::{Files, pattern, squashfs};

/// Sizes that are no multiple of a sector, page or block.
const KERNEL: usize = 10_001;
const INITRD: usize = 50_004;
const ROOT: usize = 30_005;

/// Volume id, bytes 41 to 72, and when the volume was made, bytes 814 to 829 (ECMA-119, 8.4.7 and 8.4.26).
const VOLUME_ID: std::ops::Range<usize> = 16 * 2048 + 40..16 * 2048 + 72;
const CREATED: std::ops::Range<usize> = 16 * 2048 + 813..16 * 2048 + 829;

/// An ISO and the files in it.
#[derive(Debug, Clone)]
pub struct Small {
    pub iso: Vec<u8>,
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
    pub root: Vec<u8>,
}

impl Small {
    /// Build number `build` of the volume of that name.
    pub fn new(volume: &str, build: u64) -> Self {
        static BASE: OnceLock<Small> = OnceLock::new();
        let base = BASE.get_or_init(|| {
            let base = Self::files(0);
            let files = Files::new()
                .with("images/pxeboot/vmlinuz", &base.kernel)
                .with("images/pxeboot/initrd.img", &base.initrd)
                .with("LiveOS/squashfs.img", &base.root);
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("base.iso");
            files.xorriso(&["-R", "-no-pad", "-V", "BASE"], &path);
            Self { iso: std::fs::read(path).unwrap(), ..base }
        });
        let mut disc = Self { iso: base.iso.clone(), ..Self::files(build) };
        for (old, new) in
            [(&base.kernel, &disc.kernel), (&base.initrd, &disc.initrd), (&base.root, &disc.root)]
        {
            let at = (0..base.iso.len()).step_by(2048).find(|&at| base.iso[at..].starts_with(old)).unwrap();
            disc.iso[at..at + new.len()].copy_from_slice(new);
        }
        disc.iso[VOLUME_ID].copy_from_slice(format!("{volume:<32}").as_bytes());
        disc.iso[CREATED].copy_from_slice(format!("{:016}", 2_026_010_100_000_000 + build).as_bytes());
        disc
    }

    fn files(build: u64) -> Self {
        let root = [squashfs(4), pattern(3 * build + 3, ROOT - 4)].concat();
        Self {
            iso: Vec::new(),
            kernel: pattern(3 * build + 1, KERNEL),
            initrd: pattern(3 * build + 2, INITRD),
            root,
        }
    }
}
