//! Slax: its own live initramfs looks for `slax/` on the disks that it finds.

use super::Family;
use crate::boot::reasons::Caveat;

/// Slax.
pub static FAMILY: Family = Family {
    name: "Slax",
    markers: &[&["/slax/*.sb"]],
    kernels: &[("/slax/boot/vmlinuz", "/slax/boot/initrfs.img")],
    images: &["/slax/*.sb"],
    attached_caveat: Some(Caveat::UnknownDisc),
    ..Family::UNKNOWN
};
