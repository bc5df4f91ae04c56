//! One boot, from the switch to the end: a mounted netrootfs, the real servers, a machine, and what must hold of it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netrootfs::boot::step::Step;
use netrootfs::tree::render::status::Status;
use testkit::netns::{self, SERVER};
use testkit::netrootfs::{Mounted, Tree};
use testkit::process::{self, wait_for};
use testkit::work::Work;

use crate::support::loaders::Loaders;
use crate::support::qemu::{Card, Firmware, MAC, Machine, one_at_a_time};
use crate::support::report::Report;
use crate::support::root::Root;
use crate::support::servers::{HTTP_PORT, Servers};
use crate::support::trouble::{End, Trouble};

/// A boot takes a minute on two idle cores; the nested form has taken ten on busy ones.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Size of a disk, which takes up what is written to it.
const DISK: u64 = 8 << 30;

/// A machine, what it boots, and what happens to it then.
pub struct Boot<'a> {
    /// The ISO.
    pub label: &'a str,
    /// From firmware to kernel.
    pub loaders: Loaders,
    /// Where its root comes from.
    pub root: Root,
    /// Its network card.
    pub card: Card,
    /// Whether it has a disk, empty at first.
    pub disk: bool,
    /// An accident while it runs.
    pub trouble: Option<Trouble>,
    /// How it ends.
    pub end: End,
}

/// A machine that came up with the right root, and ended as it was to.
pub struct Booted {
    /// Its report.
    pub report: Report,
    /// From the switch to the report.
    pub took: Duration,
    /// Bytes that nbd-server has read for it, up to the report.
    pub nbd_bytes: u64,
    /// Size of the ISO.
    pub iso_bytes: u64,
    /// What is on its disk then, if it has one: file systems by blkid(8), partition by partition.
    pub file_systems: Vec<String>,
    /// Size of the archive that brings NBD, where one is served.
    pub archive_bytes: Option<u64>,
}

impl<'a> Boot<'a> {
    /// A virtual machine that is switched off once it has told how it came up.
    pub fn new(label: &'a str, loaders: Loaders, root: Root) -> Self {
        Self { label, loaders, root, card: Card::Virtio, disk: false, trouble: None, end: End::AtOnce }
    }

    /// Boots it. The name is that of the logs.
    pub fn run(&self, name: &str) -> Result<Booted> {
        let _turn = one_at_a_time();
        let work = Work::new(&format!("boot-{name}"))?;
        let booted = self.run_in(&work);
        let booted = booted.inspect_err(|_| work.print_logs()).context(name.to_owned())?;
        println!(
            "{name}: {} s, {} s of them after the kernel's start",
            booted.took.as_secs(),
            booted.report.uptime
        );
        Ok(booted)
    }

    fn run_in(&self, work: &Work) -> Result<Booted> {
        let Self { label, loaders, root, .. } = self;
        let isos = super::isos::isos()?;
        netns::enter()?;
        let mounted = self.mount(&isos, work)?;
        let tree = mounted.tree();
        // Until the initrd is looked into, the menu may have another way.
        let argument = root.argument(label);
        let menu = tree.tftp.join("pxelinux.cfg/default");
        wait_for(&format!("{argument} in the menu"), Duration::from_secs(120), || {
            Ok(fs::read_to_string(&menu)?.contains(&argument))
        })?;

        let mut servers = Servers::start(&tree, &loaders.dhcp, work)?;
        let start = Instant::now();
        let disk = self.disk.then(|| work.scratch("disk"));
        if let Some(disk) = &disk {
            File::create(disk)?.set_len(DISK)?;
        }
        let mut machine = Machine::start(loaders.firmware, self.card, disk.as_deref(), work)?;
        let report = machine.report(PATIENCE)?;
        let took = start.elapsed();
        let nbd_bytes = servers.nbd_bytes()?;
        ensure!(report.label == *label, "{label} came up as {}", report.label);
        ensure!(report.cmdline.contains(&argument), "without {argument}: {}", report.cmdline);
        check_firmware(&report, loaders.firmware)?;
        loaders.check(&root.files(label), work)?;
        root.check(&report, label, &tree, work)?;
        if root.is_netroot() {
            wait_for_step(Step::Init, &tree)?;
        }
        if let Some(trouble) = self.trouble {
            trouble.make(&mut machine, &mut servers, &tree, work)?;
        }
        if root.is_netroot() && matches!(self.trouble, Some(Trouble::ServerRestarted)) {
            wait_for_step(Step::Back, &tree)?;
        }
        machine.wait_for_end()?;
        self.end.check(&machine.said())?;
        let iso_bytes = fs::metadata(tree.images.join(format!("{label}.iso")))?.len();
        let archive = fs::metadata(tree.tftp.join(format!("netroot_{label}.img")));
        let archive_bytes = archive.ok().map(|archive| archive.len());
        drop(servers);
        mounted.stop()?;
        let file_systems = disk.map_or(Ok(Vec::new()), |disk| file_systems(&disk))?;
        Ok(Booted { report, took, nbd_bytes, iso_bytes, file_systems, archive_bytes })
    }

    fn mount(&self, isos: &Path, work: &Work) -> Result<Mounted> {
        let mountpoint = work.scratch("mnt");
        fs::create_dir(&mountpoint)?;
        // All tests have the same initrds, and one memory of what is in them.
        let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-state");
        fs::create_dir_all(&state)?;
        symlink(state, work.scratch("state"))?;

        let label = self.label;
        let mut text = self.root.config(label);
        let general = if self.loaders.own_menu {
            text += &format!("[[machine]]\nmac = \"{MAC}\"\ndefault = \"{label}\"\n");
            OTHER
        } else {
            label
        };
        let config = work.scratch("netrootfs.toml");
        fs::write(&config, text)?;
        let config = config.to_str().context("the scratch directory's name")?;
        let http = format!("http://{SERVER}:{HTTP_PORT}");
        let watch = self.trouble.map_or("", |_| " netrootfs.watch=1");
        let append = format!("console=tty0 console=ttyS0,115200{}{watch}", self.end.argument());
        let mut options = vec!["--server", SERVER, "--http-url", &http, "--timeout", "2"];
        options.extend(["--append", &append, "--default", general, "--config", config]);
        options.extend(self.root.options());
        Mounted::start(isos, &mountpoint, &options, work)
    }
}

/// The default of all machines where the one that boots has another.
const OTHER: &str = "Live-Nested-12";

/// netroot-init has said that it came so far, or further: the mount knows it, with the machine's card.
fn wait_for_step(step: Step, tree: &Tree) -> Result<()> {
    wait_for(&format!("the step '{}'", step.code()), process::PATIENCE, || {
        let status: Status = serde_json::from_slice(&fs::read(tree.root.join("status.json"))?)?;
        let machine = status.machines.iter().find(|machine| machine.mac.as_deref() == Some(MAC));
        let said = machine.and_then(|machine| machine.step.as_ref()?.code.parse().ok());
        Ok(said.is_some_and(|said: Step| said >= step))
    })
}

/// The type of the file system on each partition of an image.
fn file_systems(disk: &Path) -> Result<Vec<String>> {
    let table = output(Command::new("sfdisk").arg("--json").arg(disk))?;
    let table: serde_json::Value = serde_json::from_str(&table)?;
    let sector = table["partitiontable"]["sectorsize"].as_u64().context("sectorsize")?;
    let partitions = table["partitiontable"]["partitions"].as_array().context("partitions")?;
    let of = |partition: &serde_json::Value| {
        let start = partition["start"].as_u64().context("start")? * sector;
        let mut blkid = Command::new("blkid");
        blkid.args(["--probe", "--match-tag", "TYPE", "--output", "value", "--offset", &start.to_string()]);
        // Status 2: there is none.
        Ok(output(blkid.arg(disk)).unwrap_or_default().trim().to_owned())
    };
    partitions.iter().map(of).collect()
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
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
