//! Gentoo: genkernel's initramfs looks for the disc by its own marks.

use super::Family;

/// Gentoo.
pub static FAMILY: Family = Family {
    name: "Gentoo",
    markers: &[&["/image.squashfs"]],
    kernels: &[("/boot/gentoo", "/boot/gentoo.igz")],
    images: &["/image.squashfs"],
    ..Family::UNKNOWN
};
