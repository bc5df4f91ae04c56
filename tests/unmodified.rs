//! Boots unmodified ISOs block by block: nothing in them knows NBD, and `tftp/netroot_<LABEL>.img` brings it. What then
//! happens to a machine happens here too: trouble with the server and the cable, and an orderly end.
//!
//! A few of many: tests/matrix.rs has the others. Needs what tests/boot.rs needs, and is run by `scripts/boot-test` too.

use anyhow::{Result, ensure};

// Shared with other boots.
#[allow(dead_code)]
mod support {
    pub mod after;
    pub mod boot;
    pub mod netns;
    pub mod netrootfs;
    pub mod process;
    pub mod qemu;
    pub mod report;
    pub mod root;
    pub mod servers;
    pub mod way;
    pub mod work;
}

use support::after::{End, Trouble};
use support::boot::Boot;
use support::qemu::Card;
use support::root::Root;
use support::way::Way;

#[test]
fn live_boot_and_ifupdown_outlive_their_server() -> Result<()> {
    boot(
        "netroot-debian",
        Boot {
            trouble: Some(Trouble::ServerRestarted),
            end: End::PowerOff,
            ..Boot::new("Live-Debian-12", Way::pxelinux(), Root::Netroot)
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
            ..Boot::new("Live-Debian-13", Way::uefi_ipxe_of_the_card(), Root::Netroot)
        },
    )
}

#[test]
fn dracut_without_nbd_shuts_down() -> Result<()> {
    boot(
        "netroot-stock",
        Boot { end: End::PowerOff, ..Boot::new("Live-Stock-12", Way::grub(), Root::Netroot) },
    )
}

fn boot(name: &str, boot: Boot<'_>) -> Result<()> {
    let booted = boot.run(name)?;
    // 24 MB of it have been read on purpose, and what only a running system needs is left.
    let (read, whole) = (booted.nbd_bytes, booted.iso_bytes);
    ensure!(read < whole, "{read} bytes were read over NBD, and the ISO has {whole}");
    Ok(())
}
