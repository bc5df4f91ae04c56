//! The installer of Proxmox.

use super::Family;

/// Proxmox.
pub static FAMILY: Family = Family {
    name: "Proxmox",
    markers: &[&["/boot/linux26"]],
    kernels: &[("/boot/linux26", "/boot/initrd.img")],
    images: &["/pve-base.squashfs", "/pve-installer.squashfs"],
    ..Family::UNKNOWN
};
