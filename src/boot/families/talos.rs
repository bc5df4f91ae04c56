//! Talos: its initramfs holds all of it, and needs no disc.

use super::{Family, Otherwise};

/// Talos.
pub static FAMILY: Family = Family {
    name: "Talos",
    markers: &[&["/boot/initramfs.xz", "/boot/vmlinuz"]],
    kernels: &[("/boot/vmlinuz", "/boot/initramfs.xz")],
    otherwise: Otherwise::ByItself,
    ..Family::UNKNOWN
};
