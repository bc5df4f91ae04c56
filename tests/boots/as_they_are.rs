//! Boots unmodified ISOs block by block: nothing in them knows NBD, and `tftp/netroot_<LABEL>.img` brings it. What then
//! happens to a machine happens here too: trouble with the server and the cable, and an orderly end.
//!
//! A few of many: the module `matrix` has the others.

use anyhow::{Result, ensure};

use crate::support::boot::Boot;
use crate::support::loaders::Loaders;
use crate::support::qemu::Card;
use crate::support::root::Root;
use crate::support::trouble::{End, Trouble};

#[test]
fn live_boot_and_ifupdown_outlive_their_server() -> Result<()> {
    boot(
        "netroot-debian",
        Boot {
            trouble: Some(Trouble::ServerRestarted),
            end: End::PowerOff,
            ..Boot::new("Live-Debian-12", Loaders::pxelinux(), Root::Netroot)
        },
    )
}

#[test]
fn live_boot_and_network_manager_outlive_a_pulled_cable() -> Result<()> {
    boot(
        "netroot-trixie",
        Boot {
            card: Card::E1000,
            trouble: Some(Trouble::CableOut),
            end: End::Reboot,
            ..Boot::new("Live-Debian-13", Loaders::uefi_ipxe_of_the_card(), Root::Netroot)
        },
    )
}

#[test]
fn dracut_without_nbd_shuts_down() -> Result<()> {
    boot(
        "netroot-stock",
        Boot { end: End::PowerOff, ..Boot::new("Live-Stock-12", Loaders::grub(), Root::Netroot) },
    )
}

fn boot(name: &str, boot: Boot<'_>) -> Result<()> {
    let booted = boot.run(name)?;
    // 24 MB of it have been read on purpose, and what only a running system needs is left.
    let (read, whole) = (booted.nbd_bytes, booted.iso_bytes);
    ensure!(read < whole, "{read} bytes were read over NBD, and the ISO has {whole}");
    Ok(())
}
