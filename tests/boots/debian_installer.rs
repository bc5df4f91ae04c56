//! The installer of Debian as it lies on its CD, with nothing of a network in its initramfs: it finds the attached disk as a
//! disc in a drive, and loads its components from it.
//!
//! All programs and components are Debian's (`tests/debian-cd`); where a mirror has lost those of the release that find the CD and
//! load from it, they are those of the stable one.

use anyhow::{Result, ensure};

use crate::support::boot::Boot;
use crate::support::loaders::Loaders;
use crate::support::qemu::Card;
use crate::support::root::Root;

#[test]
fn the_installer_loads_its_components_on_a_bios_machine() -> Result<()> {
    let boot = Boot { card: Card::E1000, ..Boot::new("Installer-CD-12", Loaders::pxelinux(), Root::Netroot) };
    loads_components("debian-cd-bios", boot)
}

#[test]
#[ignore = "at length: scripts/boot-test --all"]
fn the_installer_loads_its_components_on_a_uefi_machine() -> Result<()> {
    loads_components("debian-cd-uefi", Boot::new("Installer-CD-12", Loaders::grub(), Root::Netroot))
}

fn loads_components(name: &str, boot: Boot<'_>) -> Result<()> {
    let report = boot.run(name)?.report;
    let on_cdrom = |mount: &String| mount.starts_with("/dev/nbd0 /cdrom iso9660 ");
    ensure!(report.mounts.iter().any(on_cdrom), "/dev/nbd0 is not on /cdrom: {:?}", report.mounts);
    for kind in ["ext4", "nic", "sata"] {
        let name = format!("{kind}-modules-");
        let loaded = report.components.iter().any(|component| component.starts_with(&name));
        ensure!(loaded, "{name}… has not been loaded: {:?}", report.components);
    }
    ensure!(report.manager.contains("installed"), "netcfg is not done: {}", report.manager);
    Ok(())
}
