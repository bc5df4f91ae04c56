//! NixOS: its stage 1 looks for the disc by its label, and knows no network.

use super::Family;

/// NixOS.
pub static FAMILY: Family = Family {
    name: "NixOS",
    markers: &[&["/nix-store.squashfs"]],
    kernels: &[("/boot/bzImage", "/boot/initrd")],
    images: &["/nix-store.squashfs"],
    ..Family::UNKNOWN
};
