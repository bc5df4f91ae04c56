//! antiX and MX: their own live initramfs looks for `antiX/linuxfs` on the disks that it finds.

use super::Family;
use crate::boot::reasons::Caveat;

/// antiX and MX.
pub static FAMILY: Family = Family {
    name: "antiX",
    markers: &[&["/antiX/linuxfs"]],
    kernels: &[("/antiX/vmlinuz", "/antiX/initrd.gz")],
    images: &["/antiX/linuxfs"],
    attached_caveat: Some(Caveat::UnknownDisc),
    ..Family::UNKNOWN
};
