//! Boots diskless machines from a mounted netrootfs: firmware, TFTP, menu, kernel, initrd, NBD, root, multi-user.
//!
//! Needs root, QEMU, the three servers and the ISOs of `scripts/live-iso`: run it by `scripts/boot-test`, which sees to
//! all of it. What is missing is an error, never a pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

mod support {
    pub mod netns;
    pub mod netrootfs;
    pub mod process;
    pub mod qemu;
    pub mod report;
    pub mod servers;
    pub mod work;
}

use support::netrootfs::Mounted;
use support::qemu::Machine;
use support::report::Report;
use support::servers::{Servers, Tree};
use support::work::Work;

/// An ISO whose squashfs holds the root itself.
const FLAT: &str = "Live-Flat-12";
/// An ISO whose squashfs holds an ext4 image.
const NESTED: &str = "Live-Nested-12";

/// A boot takes a minute on two idle cores; the nested form has taken five on busy ones.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn squashfs_by_its_root_image() -> Result<()> {
    boot(FLAT, Export::Image)
}

#[test]
fn squashfs_by_the_whole_iso() -> Result<()> {
    boot(FLAT, Export::Iso)
}

#[test]
fn nested_by_its_root_image() -> Result<()> {
    boot(NESTED, Export::Image)
}

#[test]
fn nested_by_the_whole_iso() -> Result<()> {
    boot(NESTED, Export::Iso)
}

/// What the machine gets as `/dev/nbd0`.
#[derive(Clone, Copy)]
enum Export {
    Image,
    Iso,
}

impl Export {
    /// The value of `--root-export`.
    fn option(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Iso => "iso",
        }
    }

    /// The export's name.
    fn name(self, label: &str) -> String {
        match self {
            Self::Image => label.to_owned(),
            Self::Iso => format!("{label}.iso"),
        }
    }

    /// The file behind it.
    fn file(self, label: &str, tree: &Tree) -> PathBuf {
        tree.images.join(match self {
            Self::Image => format!("liveos_{label}.img"),
            Self::Iso => format!("{label}.iso"),
        })
    }
}

/// One machine at a time. Two at once on two cores took as long altogether, and the nested form, which suffers most from
/// a busy host, five minutes instead of one and a half.
static TURN: Mutex<()> = Mutex::new(());

fn boot(label: &str, export: Export) -> Result<()> {
    let _turn = TURN.lock();
    let how = format!("{label} as {}", export.option());
    let work = Work::new(&format!("boot-{label}-{}", export.option()))?;
    let start = Instant::now();
    let report = try_boot(label, export, &work).inspect_err(|_| work.print_logs()).context(how.clone())?;
    println!("{how}: {} s, {} s of them after the kernel's start", start.elapsed().as_secs(), report.uptime);
    Ok(())
}

fn try_boot(label: &str, export: Export, work: &Work) -> Result<Report> {
    let isos = std::env::var_os("NETROOTFS_BOOT_ISOS")
        .context("NETROOTFS_BOOT_ISOS, the directory of the test ISOs, is not set: run scripts/boot-test")?;
    let mountpoint = work.scratch("mnt");
    fs::create_dir(&mountpoint)?;

    support::netns::enter()?;
    let mounted = Mounted::start(
        Path::new(&isos),
        &mountpoint,
        &[
            "--server",
            support::netns::SERVER,
            "--append",
            "console=tty0 console=ttyS0,115200",
            "--default",
            label,
            "--timeout",
            "2",
            "--root-export",
            export.option(),
        ],
        work,
    )?;
    let tree = mounted.tree();
    let servers = Servers::start(&tree, "pxelinux.0", work)?;
    let report = Machine::bios(work)?.report(PATIENCE)?;
    check(&report, label, export, &tree)?;
    drop(servers);
    mounted.stop()?;
    Ok(report)
}

/// The right root, from the right export, all the way through the network.
fn check(report: &Report, label: &str, export: Export, tree: &Tree) -> Result<()> {
    ensure!(report.label == label, "{label} came up as {}", report.label);
    let name = export.name(label);
    ensure!(report.asks_for(&name), "not by the export {name}: {}", report.cmdline);
    let size = fs::metadata(export.file(label, tree))?.len();
    ensure!(report.nbd_bytes == size, "/dev/nbd0 has {} bytes, the export {name} {size}", report.nbd_bytes);
    // The whole ISO of a hybrid image shows up as a partition too.
    ensure!(
        report.layers.iter().any(|layer| layer.starts_with("/dev/nbd0")),
        "the root doesn't lie on /dev/nbd0: {:#?}",
        report.layers
    );
    Ok(())
}
