//! Debian's installer, as it lies on CDs and DVDs (debian-cd), with all of its components in `pool/`.
//!
//! Its initrd has no network and looks for a disc in a drive, which the attached disk is by a rule of udev in the second
//! initramfs. The drivers lie in packages of its own. When netcfg takes the root's address for its own, netroot-init puts it
//! back.

use super::Family;

/// debian-installer.
pub static FAMILY: Family = Family {
    name: "debian-installer",
    markers: &[&["/install*/initrd.gz", "/.disk/info", "/dists/*/Release"]],
    kernels: &[
        ("/install.amd/vmlinuz", "/install.amd/initrd.gz"),
        ("/install.a64/vmlinuz", "/install.a64/initrd.gz"),
        ("/install/vmlinuz", "/install/initrd.gz"),
    ],
    args: "--- quiet",
    packages: &["/pool/main/l/linux*/*.udeb"],
    ..Family::UNKNOWN
};
