//! UEFI machines take their loaders from a mounted netrootfs: OVMF's own PXE, up to where the loader asks for its menu.
//! The other modules have whole boots.
//!
//! Needs root, QEMU, OVMF, dnsmasq, xorriso and Debian's loaders; what is missing is an error, never a pass. dnsmasq
//! serves TFTP too, since its log says which file went to whom.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testkit::netns::{BRIDGE, GUESTS, SERVER, wait_for_listener};
use testkit::netrootfs::Mounted;
use testkit::process::{Process, run, wait_for};
use testkit::work::Work;

use crate::support::qemu::{Card, Firmware, Machine, one_at_a_time};

const LABEL: &str = "UEFI-TEST";

/// OVMF needs some ten seconds on an idle core.
const PATIENCE: Duration = Duration::from_secs(180);

const SIGNED_GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed";
const UNSIGNED_GRUB: &str = "/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi";

#[test]
fn secure_boot_refuses_an_unsigned_grub() -> Result<()> {
    // Otherwise no boot with Secure Boot would prove anything.
    let bootfile = "efi/UEFI-TEST/bootx64.efi";
    let asked = boot("uefi-refused", UNSIGNED_GRUB, bootfile, Firmware::SecureBoot, End::Refused)?;
    came_in_order(&asked, &[bootfile, "efi/UEFI-TEST/grubx64.efi"])
}

#[test]
fn secure_boot_takes_the_chain_of_the_host() -> Result<()> {
    let asked =
        boot("uefi-host", SIGNED_GRUB, "bootx64.efi", Firmware::SecureBoot, End::AskedFor("grub/grub.cfg"))?;
    came_in_order(&asked, &["bootx64.efi", "grubx64.efi", "grub/grub.cfg"])
}

#[test]
fn syslinux_for_uefi_finds_modules_menu_and_kernel_beside_itself() -> Result<()> {
    let last = End::AskedFor("efi64/initrd_UEFI-TEST.img");
    let asked = boot("uefi-syslinux", SIGNED_GRUB, "efi64/syslinux.efi", Firmware::Uefi, last)?;
    let wanted =
        ["efi64/ldlinux.e64", "efi64/pxelinux.cfg/default", "efi64/menu.c32", "efi64/vmlinuz_UEFI-TEST"];
    came_in_order(&asked, &wanted)
}

/// When a machine has come as far as it is to come.
#[derive(Clone, Copy)]
enum End {
    /// It has asked for this file, below `tftp/`.
    AskedFor(&'static str),
    /// shim has refused what it was to start.
    Refused,
}

/// Boots a machine; what it has asked for, below `tftp/`.
fn boot(test: &str, grub: &str, bootfile: &str, firmware: Firmware, end: End) -> Result<Vec<String>> {
    let _turn = one_at_a_time();
    let work = Work::new(test)?;
    try_boot(grub, bootfile, firmware, end, &work).inspect_err(|_| work.print_logs())
}

fn try_boot(grub: &str, bootfile: &str, firmware: Firmware, end: End, work: &Work) -> Result<Vec<String>> {
    make_iso(grub, work)?;
    let mountpoint = work.scratch("mnt");
    fs::create_dir(&mountpoint)?;
    testkit::netns::enter()?;
    let options = ["--server", SERVER, "--timeout", "1", "--default", LABEL];
    let mounted = Mounted::start(&work.scratch("isos"), &mountpoint, &options, work)?;
    let tftp = mounted.tree().tftp;
    let _dnsmasq = dnsmasq(&tftp, bootfile, work)?;
    let machine = Machine::start(firmware, Card::Virtio, None, work)?;
    wait_for("the machine to come so far", PATIENCE, || {
        let refused = machine.said().contains("Security Violation");
        match end {
            End::Refused => Ok(refused),
            End::AskedFor(_) if refused => bail!("the machine says: Security Violation"),
            End::AskedFor(path) => Ok(requests(&tftp, work)?.iter().any(|asked| asked == path)),
        }
    })?;
    requests(&tftp, work)
}

/// An ISO with Debian's shim, this GRUB, and a menu that makes it one that is served.
fn make_iso(grub: &str, work: &Work) -> Result<()> {
    let root = work.scratch("root");
    fs::create_dir_all(root.join("EFI/BOOT"))?;
    fs::create_dir_all(root.join("boot/grub"))?;
    fs::create_dir_all(work.scratch("isos"))?;
    for (from, to) in [("/usr/lib/shim/shimx64.efi.signed", "BOOTX64.EFI"), (grub, "grubx64.efi")] {
        fs::copy(from, root.join("EFI/BOOT").join(to))
            .with_context(|| format!("{from}: is its package installed?"))?;
    }
    fs::write(root.join("vmlinuz"), "no kernel")?;
    fs::write(root.join("initrd"), "no initrd")?;
    let menu = "menuentry 'Test' {\n linux /vmlinuz quiet\n initrd /initrd\n}\n";
    fs::write(root.join("boot/grub/grub.cfg"), menu)?;
    let iso = work.scratch("isos/test.iso");
    let options = ["-as", "mkisofs", "-quiet", "-R", "-V", LABEL, "-o"];
    run(Command::new("xorriso").args(options).arg(iso).arg(root))
}

/// DHCP and TFTP. shim looks for its GRUB in the directory of the name in the DHCP answer's own field, which dnsmasq
/// leaves empty where it can, unless it is told not to.
fn dnsmasq(tftp: &Path, bootfile: &str, work: &Work) -> Result<Process> {
    let server = Process::spawn(
        Command::new("dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--bind-interfaces"])
            .args(["--dhcp-no-override", "--enable-tftp"])
            .arg(format!("--tftp-root={}", tftp.display()))
            .arg(format!("--interface={BRIDGE}"))
            .arg(format!("--dhcp-leasefile={}", work.scratch("leases").display()))
            .arg(format!("--dhcp-range={GUESTS},1h"))
            .arg(format!("--dhcp-boot={bootfile}"))
            .args(["--dhcp-option=3", "--dhcp-option=6"]),
        work,
    )?;
    wait_for_listener("udp", 67)?;
    Ok(server)
}

/// Files that have been asked for by TFTP, found or not.
fn requests(tftp: &Path, work: &Work) -> Result<Vec<String>> {
    let log = fs::read(work.log("dnsmasq"))?;
    let log = String::from_utf8_lossy(&log);
    let root = format!("{}/", tftp.display());
    let path = |line: &str| {
        let (_, rest) = line.split_once(&root)?;
        Some(rest.split(' ').next()?.to_owned())
    };
    Ok(log.lines().filter(|line| line.starts_with("dnsmasq-tftp: ")).filter_map(path).collect())
}

fn came_in_order(asked: &[String], wanted: &[&str]) -> Result<()> {
    let mut rest = asked.iter();
    for path in wanted {
        ensure!(rest.any(|other| other == path), "{path} is not asked for, or too early: {asked:?}");
    }
    Ok(())
}
