//! Alpine, from the switch to OpenRC: its own kernel and init program find the attached disk as their medium, and install
//! their root in memory from the packages on it.
//!
//! All of it is Alpine's but for the signature: `scripts/alpine-iso` says what its ISO is made of.

use anyhow::{Result, ensure};

use crate::support::boot::Boot;
use crate::support::loaders::Loaders;
use crate::support::qemu::Card;
use crate::support::root::Root;

const LABEL: &str = "alpine-virt_3.23.6_x86_64";

#[test]
fn alpine_installs_itself_in_memory_on_a_bios_machine() -> Result<()> {
    boots("alpine-bios", Boot::new(LABEL, Loaders::pxelinux(), Root::Netroot))
}

#[test]
fn alpine_boots_by_a_card_whose_driver_only_its_modloop_has() -> Result<()> {
    let loaders = Loaders::uefi_ipxe_of_the_card();
    boots("alpine-e1000e", Boot { card: Card::E1000e, ..Boot::new(LABEL, loaders, Root::Netroot) })
}

fn boots(name: &str, boot: Boot<'_>) -> Result<()> {
    let report = boot.run(name)?.report;
    let medium = |mount: &String| mount.starts_with("/dev/nbd0 /media/nbd0 iso9660 ro");
    ensure!(report.mounts.iter().any(medium), "/dev/nbd0 is not the medium: {:?}", report.mounts);
    let modloop = |line: &String| line.ends_with(" /media/nbd0/boot/modloop-virt");
    ensure!(report.loops.iter().any(modloop), "no modloop out of the medium: {:?}", report.loops);
    for package in ["alpine-base", "busybox", "openrc"] {
        let installed = report.components.iter().any(|component| component == package);
        ensure!(installed, "{package} is not installed: {:?}", report.components);
    }
    Ok(())
}
