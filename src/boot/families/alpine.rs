//! Alpine: its initramfs looks for `.boot_repository` on every disc that it finds.

use super::Family;

/// Alpine.
pub static FAMILY: Family = Family {
    name: "Alpine",
    markers: &[&["/apks/.boot_repository"]],
    kernels: &[("/boot/vmlinuz-lts", "/boot/initramfs-lts"), ("/boot/vmlinuz-virt", "/boot/initramfs-virt")],
    args: "modules=loop,squashfs quiet",
    images: &["/boot/modloop-*"],
    ..Family::UNKNOWN
};
