//! Boots diskless machines from a mounted netrootfs: firmware, DHCP, loader, menu, kernel, initrd, NBD or HTTP, root,
//! multi-user.
//!
//! Needs root, QEMU, the servers and the ISOs of `scripts/live-iso`: run it by `scripts/boot-test`, which sees to all of
//! it. What is missing is an error, never a pass.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

mod support {
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

use support::netrootfs::Mounted;
use support::process::wait_for;
use support::qemu::{Firmware, MAC, Machine};
use support::report::Report;
use support::root::Root;
use support::servers::{HTTP_PORT, Servers};
use support::way::Way;
use support::work::Work;

/// An ISO whose squashfs holds the root itself.
const FLAT: &str = "Live-Flat-12";
/// An ISO whose squashfs holds an ext4 image.
const NESTED: &str = "Live-Nested-12";
/// An ISO whose initrd can fetch an image over HTTP, and can't do NBD. Its loaders are in its El Torito image only.
const STOCK: &str = "Live-Stock-12";
/// An ISO with live-boot.
const DEBIAN: &str = "Live-Debian-12";

/// A boot takes a minute on two idle cores; the nested form has taken five on busy ones.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn squashfs_by_its_root_image() -> Result<()> {
    boot("pxelinux-flat-image", FLAT, &Way::pxelinux(), Root::NbdImage)
}

#[test]
fn squashfs_by_the_whole_iso_as_this_machine_s_own_default() -> Result<()> {
    boot("pxelinux-flat-iso", FLAT, &Way::pxelinux_of_a_machine(), Root::NbdIso)
}

#[test]
fn nested_by_its_root_image() -> Result<()> {
    boot("pxelinux-nested-image", NESTED, &Way::pxelinux(), Root::NbdImage)
}

#[test]
fn nested_by_the_whole_iso() -> Result<()> {
    boot("pxelinux-nested-iso", NESTED, &Way::pxelinux(), Root::NbdIso)
}

#[test]
fn bios_by_ipxe() -> Result<()> {
    boot("ipxe-flat", FLAT, &Way::ipxe(), Root::NbdImage)
}

#[test]
fn uefi_by_ipxe() -> Result<()> {
    boot("uefi-ipxe-flat", FLAT, &Way::uefi_ipxe(), Root::NbdIso)
}

#[test]
fn uefi_by_grub() -> Result<()> {
    boot("uefi-grub-flat", FLAT, &Way::grub(), Root::NbdImage)
}

#[test]
fn secure_boot_by_the_loaders_of_the_iso() -> Result<()> {
    boot("secure-boot-flat", FLAT, &Way::shim_of(FLAT), Root::NbdIso)
}

#[test]
fn without_nbd_over_http() -> Result<()> {
    boot("secure-boot-stock", STOCK, &Way::shim_of(STOCK), Root::Http("images/liveos_Live-Stock-12.img"))
}

#[test]
fn live_boot_over_http() -> Result<()> {
    let image = "trees/Live-Debian-12/live/filesystem.squashfs";
    boot("pxelinux-debian", DEBIAN, &Way::pxelinux(), Root::Http(image))
}

/// One machine at a time. Two at once on two cores took as long altogether, and the nested form, which suffers most from
/// a busy host, five minutes instead of one and a half.
static TURN: Mutex<()> = Mutex::new(());

fn boot(name: &str, label: &str, way: &Way, root: Root) -> Result<()> {
    let _turn = TURN.lock();
    let work = Work::new(&format!("boot-{name}"))?;
    let start = Instant::now();
    let booted = try_boot(label, way, &root, &work);
    let report = booted.inspect_err(|_| work.print_logs()).context(name.to_owned())?;
    println!("{name}: {} s, {} s of them after the kernel's start", start.elapsed().as_secs(), report.uptime);
    Ok(())
}

fn try_boot(label: &str, way: &Way, root: &Root, work: &Work) -> Result<Report> {
    let isos = std::env::var_os("NETROOTFS_BOOT_ISOS")
        .context("NETROOTFS_BOOT_ISOS, the directory of the test ISOs, is not set: run scripts/boot-test")?;
    let mountpoint = work.scratch("mnt");
    fs::create_dir(&mountpoint)?;
    // All tests have the same initrds, and one memory of what is in them.
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-state");
    fs::create_dir_all(&state)?;
    symlink(state, work.scratch("state"))?;

    support::netns::enter()?;
    let http = format!("http://{}:{HTTP_PORT}", support::netns::SERVER);
    let mut options = vec!["--server", support::netns::SERVER, "--http-url", &http];
    options.extend(["--append", "console=tty0 console=ttyS0,115200", "--timeout", "2"]);
    let config = work.scratch("netrootfs.toml");
    fs::write(&config, format!("[[machine]]\nmac = \"{MAC}\"\ndefault = \"{label}\"\n"))?;
    let config = config.to_str().context("the scratch directory's name")?;
    match way.own_menu {
        true => options.extend(["--default", NESTED, "--config", config]),
        false => options.extend(["--default", label]),
    }
    options.extend(root.options());
    let mounted = Mounted::start(Path::new(&isos), &mountpoint, &options, work)?;
    let tree = mounted.tree();
    // Until the initrd is looked into, the menu may have another way.
    let argument = root.argument(label);
    let menu = tree.tftp.join("pxelinux.cfg/default");
    wait_for(&format!("{argument} in the menu"), Duration::from_secs(120), || {
        Ok(fs::read_to_string(&menu)?.contains(&argument))
    })?;

    let servers = Servers::start(&tree, &way.dhcp, work)?;
    let report = Machine::start(way.firmware, work)?.report(PATIENCE)?;
    ensure!(report.label == label, "{label} came up as {}", report.label);
    ensure!(report.cmdline.contains(&argument), "without {argument}: {}", report.cmdline);
    check_firmware(&report, way.firmware)?;
    way.check(label, work)?;
    root.check(&report, label, &tree, work)?;
    drop(servers);
    mounted.stop()?;
    Ok(report)
}

fn check_firmware(report: &Report, firmware: Firmware) -> Result<()> {
    let name = if firmware == Firmware::Bios { "bios" } else { "efi" };
    ensure!(report.firmware == name, "started by {}", report.firmware);
    if firmware == Firmware::SecureBoot {
        for sentence in ["Secure boot enabled", "Kernel is locked down"] {
            ensure!(report.says.iter().any(|line| line == sentence), "no '{sentence}': {:?}", report.says);
        }
    }
    Ok(())
}
