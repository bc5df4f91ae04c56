//! Debian's installer: cdrom-detect in its initrd looks for the disc in drives, and has no drivers for a network.

use super::Family;

/// Debian's installer.
pub static FAMILY: Family = Family {
    name: "Debian installer",
    markers: &[&["/.disk/base_installable"]],
    kernels: &[
        ("/install.amd/vmlinuz", "/install.amd/initrd.gz"),
        ("/install/vmlinuz", "/install/initrd.gz"),
    ],
    ..Family::UNKNOWN
};
