//! Boots diskless machines from a mounted netrootfs: firmware, DHCP, loader, menu, kernel, initrd, NBD or HTTP, root,
//! multi-user.
//!
//! Needs root, QEMU, the servers and the ISOs of `scripts/live-iso`: run it by `scripts/boot-test`, which sees to all of
//! it. What is missing is an error, never a pass.

use anyhow::Result;

use crate::support::boot::Boot;
use crate::support::loaders::Loaders;
use crate::support::root::Root;

/// An ISO whose squashfs holds the root itself.
const FLAT: &str = "Live-Flat-12";
/// An ISO whose squashfs holds an ext4 image.
const NESTED: &str = "Live-Nested-12";
/// An ISO whose initrd can fetch an image over HTTP, and can't do NBD. Its loaders are in its El Torito image only.
const STOCK: &str = "Live-Stock-12";
/// An ISO with live-boot.
const DEBIAN: &str = "Live-Debian-12";

#[test]
fn squashfs_by_its_root_image_as_this_machine_s_own_default() -> Result<()> {
    boot("pxelinux-flat-image", FLAT, Loaders::pxelinux_of_a_machine(), Root::NbdImage)
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn squashfs_by_the_whole_iso() -> Result<()> {
    boot("pxelinux-flat-iso", FLAT, Loaders::pxelinux(), Root::NbdIso)
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn nested_by_its_root_image() -> Result<()> {
    boot("pxelinux-nested-image", NESTED, Loaders::pxelinux(), Root::NbdImage)
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn nested_by_the_whole_iso() -> Result<()> {
    boot("pxelinux-nested-iso", NESTED, Loaders::pxelinux(), Root::NbdIso)
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn bios_by_ipxe() -> Result<()> {
    boot("ipxe-flat", FLAT, Loaders::ipxe(), Root::NbdImage)
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn uefi_by_ipxe() -> Result<()> {
    boot("uefi-ipxe-flat", FLAT, Loaders::uefi_ipxe(), Root::NbdIso)
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn uefi_by_grub() -> Result<()> {
    boot("uefi-grub-flat", FLAT, Loaders::grub(), Root::NbdImage)
}

#[test]
fn secure_boot_by_the_loaders_of_the_iso() -> Result<()> {
    boot("secure-boot-flat", FLAT, Loaders::shim_of(FLAT), Root::NbdIso)
}

#[test]
fn without_nbd_over_http() -> Result<()> {
    boot("secure-boot-stock", STOCK, Loaders::shim_of(STOCK), Root::Http("images/liveos_Live-Stock-12.img"))
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn live_boot_over_http() -> Result<()> {
    let image = "trees/Live-Debian-12/live/filesystem.squashfs";
    boot("pxelinux-debian", DEBIAN, Loaders::pxelinux(), Root::Http(image))
}

fn boot(name: &str, label: &str, loaders: Loaders, root: Root) -> Result<()> {
    Boot::new(label, loaders, root).run(name).map(|_| ())
}
