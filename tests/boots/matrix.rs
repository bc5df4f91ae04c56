//! The rows of netrootfs-numbers(7)'s table of unmodified ISOs: each test boots one, by netroot or for comparison by HTTP, and writes
//! its row into `boot-matrix/` below cargo's directory for tests.
//!
//! Takes half an hour. Run by `scripts/boot-matrix [FILTER…]`, which prints the table of all rows that there are. A row is
//! taken away before its boot, so that none is left of a boot that fails.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::support::boot::{Boot, Booted};
use crate::support::loaders::Loaders;
use crate::support::qemu::{Card, Firmware};
use crate::support::root::Root;
use crate::support::trouble::{End, Trouble};

/// An ISO of `scripts/live-iso`, `scripts/debian-cd` or `scripts/live-build`.
struct Iso {
    label: &'static str,
    what: &'static str,
}

const DEBIAN: Iso = Iso { label: "Live-Debian-12", what: "Debian 12, live-boot" };
const DEBIAN_NETWORKD: Iso = Iso { label: "Live-Networkd-12", what: "Debian 12, live-boot" };
const DEBIAN_NM: Iso = Iso { label: "Live-NM-12", what: "Debian 12, live-boot" };
const TRIXIE: Iso = Iso { label: "Live-Debian-13", what: "Debian 13, live-boot" };
const TRIXIE_NETWORKD: Iso = Iso { label: "Live-Networkd-13", what: "Debian 13, live-boot" };
const LIVE_BUILD: Iso = Iso { label: "Live-Build-12", what: "Debian 12, an ISO of live-build" };
const STOCK: Iso = Iso { label: "Live-Stock-12", what: "dracut 059, squashfs" };
const STOCK_NESTED: Iso = Iso { label: "Live-StockNested-12", what: "dracut 059, ext4 in squashfs" };
const BARE: Iso = Iso { label: "Live-Bare-12", what: "dracut 059 without network, squashfs" };
const BARE_NESTED: Iso =
    Iso { label: "Live-BareNested-12", what: "dracut 059 without network, ext4 in squashfs" };
const BARE_EROFS: Iso = Iso { label: "Live-Erofs-13", what: "dracut 106 without network, EROFS" };
const DEBIAN_INSTALLER: Iso = Iso { label: "Installer-CD-13", what: "Debian 13's installer, by preseed" };
const INSTALLER: Iso = Iso { label: "Installer-12", what: "installer that looks for its label" };

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian12_ifupdown_bios_pxelinux_virtio() -> Result<()> {
    row("11-debian12-ifupdown", &DEBIAN, Loaders::pxelinux(), Card::Virtio, Some(Trouble::ServerRestarted))
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian12_ifupdown_bios_pxelinux_e1000() -> Result<()> {
    row("12-debian12-ifupdown-e1000", &DEBIAN, Loaders::pxelinux(), Card::E1000, Some(Trouble::CableOut))
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian12_ifupdown_http() -> Result<()> {
    http("13-debian12-http", &DEBIAN, Loaders::pxelinux(), "trees/Live-Debian-12/live/filesystem.squashfs")
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian12_networkd_uefi_grub_virtio() -> Result<()> {
    row("14-debian12-networkd", &DEBIAN_NETWORKD, Loaders::grub(), Card::Virtio, Some(Trouble::CableOut))
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian12_nm_bios_ipxe_virtio() -> Result<()> {
    row("15-debian12-nm", &DEBIAN_NM, Loaders::ipxe(), Card::Virtio, Some(Trouble::NetworkAway))
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian12_ifupdown_secure_boot() -> Result<()> {
    row("16-debian12-secure-boot", &DEBIAN, Loaders::shim_of(DEBIAN.label), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian13_nm_uefi_ipxe_e1000() -> Result<()> {
    row(
        "21-debian13-nm-ipxe",
        &TRIXIE,
        Loaders::uefi_ipxe_of_the_card(),
        Card::E1000,
        Some(Trouble::CableOut),
    )
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian13_nm_bios_pxelinux_e1000() -> Result<()> {
    row("22-debian13-nm-pxelinux", &TRIXIE, Loaders::pxelinux(), Card::E1000, Some(Trouble::ServerRestarted))
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian13_nm_http() -> Result<()> {
    http("23-debian13-http", &TRIXIE, Loaders::pxelinux(), "trees/Live-Debian-13/live/filesystem.squashfs")
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian13_networkd_uefi_grub_virtio() -> Result<()> {
    row("24-debian13-networkd", &TRIXIE_NETWORKD, Loaders::grub(), Card::Virtio, Some(Trouble::CableOut))
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn live_build_bios_pxelinux_virtio() -> Result<()> {
    row("25-live-build", &LIVE_BUILD, Loaders::pxelinux(), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn live_build_uefi_grub_virtio() -> Result<()> {
    row("26-live-build-uefi", &LIVE_BUILD, Loaders::grub(), Card::Virtio, Some(Trouble::CableOut))
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn dracut_squashfs_uefi_grub_virtio() -> Result<()> {
    row("31-stock", &STOCK, Loaders::grub(), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn dracut_squashfs_http() -> Result<()> {
    http("32-stock-http", &STOCK, Loaders::pxelinux(), "images/liveos_Live-Stock-12.img")
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn dracut_nested_bios_pxelinux_virtio() -> Result<()> {
    row("33-stock-nested", &STOCK_NESTED, Loaders::pxelinux(), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn dracut_nested_http() -> Result<()> {
    http("34-stock-nested-http", &STOCK_NESTED, Loaders::pxelinux(), "images/liveos_Live-StockNested-12.img")
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn bare_squashfs_bios_pxelinux_virtio() -> Result<()> {
    row("41-bare", &BARE, Loaders::pxelinux(), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn bare_nested_bios_ipxe_virtio() -> Result<()> {
    row("42-bare-nested", &BARE_NESTED, Loaders::ipxe(), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn bare_erofs_uefi_ipxe_e1000() -> Result<()> {
    row("43-bare-erofs", &BARE_EROFS, Loaders::uefi_ipxe_of_the_card(), Card::E1000, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn installer_bios_pxelinux_virtio() -> Result<()> {
    row("51-installer", &INSTALLER, Loaders::pxelinux(), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn installer_uefi_ipxe_virtio() -> Result<()> {
    row("52-installer-uefi", &INSTALLER, Loaders::uefi_ipxe(), Card::Virtio, None)
}

#[test]
#[ignore = "half an hour for all of them: scripts/boot-matrix"]
fn debian_installer_partitions_a_disk_unattended() -> Result<()> {
    let boot = Boot {
        card: Card::E1000,
        disk: true,
        ..Boot::new(DEBIAN_INSTALLER.label, Loaders::pxelinux(), Root::Netroot)
    };
    let booted = write("53-debian-installer", &DEBIAN_INSTALLER, boot)?;
    let on_disk = |mount: &String| mount.starts_with("/dev/sda1 /target ext4 ");
    ensure!(booted.report.mounts.iter().any(on_disk), "not on /target: {:?}", booted.report.mounts);
    ensure!(booted.file_systems.contains(&"ext4".into()), "on the disk: {:?}", booted.file_systems);
    ensure!(booted.file_systems.contains(&"swap".into()), "on the disk: {:?}", booted.file_systems);
    Ok(())
}

/// The row of an ISO that is booted as it is, block by block.
fn row(name: &str, iso: &Iso, loaders: Loaders, card: Card, trouble: Option<Trouble>) -> Result<()> {
    let boot = Boot { card, trouble, end: End::PowerOff, ..Boot::new(iso.label, loaders, Root::Netroot) };
    write(name, iso, boot).map(drop)
}

/// The row of the same ISO with a copy of its root image in the machine's memory.
fn http(name: &str, iso: &Iso, loaders: Loaders, image: &'static str) -> Result<()> {
    let boot = Boot { end: End::PowerOff, ..Boot::new(iso.label, loaders, Root::Http(image)) };
    write(name, iso, boot).map(drop)
}

fn write(name: &str, iso: &Iso, boot: Boot<'_>) -> Result<Booted> {
    let rows = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-matrix");
    fs::create_dir_all(&rows)?;
    let file = rows.join(name);
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let booted = boot.run(&format!("matrix-{name}"))?;
    ensure!(booted.report.kernel.starts_with("6."), "a kernel {}", booted.report.kernel);
    let row = format!("| {} |\n", cells(iso, &boot, &booted).join(" | "));
    print!("{row}");
    fs::write(file, row)?;
    Ok(booted)
}

/// The columns are named in `scripts/boot-matrix`.
fn cells(iso: &Iso, boot: &Boot<'_>, booted: &Booted) -> [String; 11] {
    let mb = |bytes: u64| bytes.div_ceil(1_000_000);
    let report = &booted.report;
    let firmware = match boot.loaders.firmware {
        Firmware::Bios => "BIOS",
        Firmware::Uefi => "UEFI",
        Firmware::SecureBoot => "Secure Boot",
    };
    let then = match boot.trouble {
        None => "off",
        Some(Trouble::ServerRestarted) => "nbd-server restarted, off",
        Some(Trouble::NetworkAway) => "30 s without network, off",
        Some(Trouble::CableOut) => "30 s without cable, off",
    };
    let (kernel, _) = report.kernel.split_at(report.kernel.match_indices('.').nth(1).map_or(0, |(at, _)| at));
    let (manager, _) = report.manager.split_once(' ').unwrap_or((&report.manager, ""));
    let netroot = boot.root.is_netroot();
    let archive = booted.archive_bytes.filter(|_| netroot);
    [
        format!("{}, Linux {kernel}", iso.what),
        (if manager == "none" { "–" } else { manager }).to_owned(),
        format!("{firmware}, {}", boot.loaders.name),
        format!("{:?}", boot.card).to_lowercase(),
        (if netroot { "netroot" } else { "HTTP" }).to_owned(),
        format!("{} s", booted.took.as_secs()),
        format!("{} MB", mb(report.used)),
        if netroot {
            format!("{} of {} MB", mb(booted.nbd_bytes), mb(booted.iso_bytes))
        } else {
            "–".into()
        },
        archive.map_or("–".into(), |bytes| format!("{} KB", bytes.div_ceil(1000))),
        report.netroot_took().map_or("–".into(), |seconds| format!("{seconds:.1} s")),
        then.to_owned(),
    ]
}
