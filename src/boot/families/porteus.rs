//! Porteus: its own live initramfs looks for `porteus/` on the disks that it finds.

use super::Family;
use crate::boot::reasons::Caveat;

/// Porteus.
pub static FAMILY: Family = Family {
    name: "Porteus",
    markers: &[&["/porteus/base/*.xzm"]],
    kernels: &[("/boot/syslinux/vmlinuz", "/boot/syslinux/initrd.xz")],
    images: &["/porteus/base/*.xzm"],
    attached_caveat: Some(Caveat::UnknownDisc),
    ..Family::UNKNOWN
};
