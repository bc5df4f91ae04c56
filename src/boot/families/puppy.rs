//! Puppy: its own live initramfs looks for its `.sfs` files on the disks that it finds. Drivers have one of their own.

use super::Family;
use crate::boot::reasons::Caveat;

/// Puppy.
pub static FAMILY: Family = Family {
    name: "Puppy",
    markers: &[&["/puppy_*.sfs"]],
    kernels: &[("/vmlinuz", "/initrd.gz"), ("/vmlinuz", "/initrd.xz")],
    images: &["/zdrv_*.sfs", "/kbuild-*.sfs", "/puppy_*.sfs"],
    attached_caveat: Some(Caveat::UnknownDisc),
    ..Family::UNKNOWN
};
