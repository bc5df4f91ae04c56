//! Boots an unmodified live ISO over NBD with `netroot-init` in an archive beside its initramfs, QEMU taking the place of
//! firmware and loader; and lets the NBD server be away, before and in the middle.
//!
//! Needs QEMU, nbdkit, xorriso, cpio, the ISOs of `scripts/live-iso` and the program of `scripts/netroot-init`: run it by
//! `scripts/boot-test`, which sees to all of it. What is missing is an error, never a pass.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use testkit::ports;
use testkit::process::{Process, run, wait_for};
use testkit::work::Work;

use crate::support::isos::isos;
use crate::support::report::Report;
use crate::support::servers::nbdkit;

const LABEL: &str = "Live-Debian-12";
const ISO: &str = "debian.iso";
/// Where QEMU's own network shows this host.
const HOST: &str = "10.0.2.2";
/// From the kernel's start to a multi-user system, on a busy host under TCG.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn an_unmodified_iso_boots_and_outlasts_its_server() -> Result<()> {
    let work = Work::new("netroot-boot")?;
    try_boot(&work).inspect_err(|_| work.print_logs())
}

fn try_boot(work: &Work) -> Result<()> {
    let isos = isos()?;
    let isos = isos.as_path();
    let port = ports::free();
    let mut machine = Machine::start(&isos.join(ISO), &format!("netroot.nbd={HOST}:{port}/{ISO}"), work)?;

    // Without a server it says so and asks, and without an answer tries again.
    machine.wait_for_words(&format!("no NBD server listens on port {port} of {HOST}"))?;
    machine.wait_for_words("press r to try again, i to run /init without the disk")?;
    let server = nbdkit(isos, port, work)?;
    machine.wait_for_words(&format!("/dev/nbd0 is {HOST}:{port}/{ISO}: the disc '{LABEL}'"))?;

    // A server that is gone is called until another is there; the reads wait.
    machine.wait_for_words("Welcome to")?;
    drop(server);
    machine.wait_for_words("is gone; calling it again")?;
    let _server = nbdkit(isos, port, work)?;
    machine.wait_for_words("is back after")?;

    let report = machine.report_of(isos)?;
    ensure!(report.firmware == "bios", "{}", report.firmware);
    println!("{LABEL} by netroot-init: {} s after the kernel's start", report.uptime);
    Ok(())
}

#[test]
fn a_machine_goes_on_with_another_server_when_its_own_hangs_and_when_that_dies() -> Result<()> {
    let work = Work::new("netroot-servers")?;
    try_servers(&work).inspect_err(|_| work.print_logs())
}

fn try_servers(work: &Work) -> Result<()> {
    let isos = isos()?;
    let ports = [ports::free(), ports::free()];
    let [first, second] = ports.map(|port| nbdkit(&isos, port, work));
    let (mut own, mut other) = ((ports[0], first?), (ports[1], second?));
    let [a, b] = ports;
    let nbd = format!("netroot.nbd=/{ISO} netroot.servers={HOST}:{a},{HOST}:{b} netroot.connections=2");
    let mut machine = Machine::start(&isos.join(ISO), &nbd, work)?;
    machine.wait_for_words("with several NBD servers there is one connection")?;
    // Which one is its own, its card's address decides.
    machine.wait_for_words(&format!("/dev/nbd0 is {HOST}:"))?;
    if machine.said().contains(&format!("/dev/nbd0 is {HOST}:{b}/")) {
        std::mem::swap(&mut own, &mut other);
    }

    machine.wait_for_words("Welcome to")?;
    own.1.signal(Signal::STOP)?;
    machine.wait_for_words(&format!("the NBD server {HOST}:{} has answered nothing for 10 s", own.0))?;
    machine.wait_for_words(&format!("the NBD server {HOST}:{} takes its place", other.0))?;
    own.1.signal(Signal::CONT)?;
    drop(other.1);
    machine.wait_for_words(&format!("the NBD server {HOST}:{} takes its place", own.0))?;
    machine.report_of(&isos).map(drop)
}

/// The archive beside the ISO's own initramfs: `netroot-init` alone, as that one has nbd and its modprobe.
fn archive(work: &Work) -> Result<Vec<u8>> {
    let program = Path::new(env!("CARGO_BIN_EXE_netrootfs"))
        .with_file_name(format!("netroot-init-{}", std::env::consts::ARCH));
    let tree = work.scratch("archive");
    fs::create_dir_all(tree.join("netrootfs"))?;
    fs::copy(&program, tree.join("netrootfs/init"))
        .with_context(|| format!("{}: run scripts/netroot-init", program.display()))?;
    let archive = work.scratch("archive.gz");
    let pack = "set -o pipefail; find netrootfs | cpio --quiet -o -H newc -R 0:0 | gzip >\"$1\"";
    run(Command::new("bash").args(["-c", pack, "bash"]).arg(&archive).current_dir(&tree))?;
    Ok(fs::read(archive)?)
}

struct Machine {
    process: Process,
    serial: PathBuf,
}

impl Machine {
    /// Boots it with these arguments for the disk.
    fn start(iso: &Path, nbd: &str, work: &Work) -> Result<Self> {
        let (kernel, initrd, serial) =
            (work.scratch("vmlinuz"), work.scratch("initrd.img"), work.log("serial"));
        for (name, file) in [("/live/vmlinuz", &kernel), ("/live/initrd.img", &initrd)] {
            let mut command = Command::new("xorriso");
            command.args(["-osirrox", "on", "-indev"]).arg(iso).args(["-extract", name]).arg(file);
            run(&mut command)?;
        }
        run(Command::new("chmod").arg("u+w").arg(&initrd))?;
        File::options().append(true).open(&initrd)?.write_all(&archive(work)?)?;
        let arguments = format!(
            "console=ttyS0 boot=live components rdinit=/netrootfs/init {nbd} BOOTIF=01-52-54-00-12-34-56"
        );
        let process = Process::spawn(
            Command::new("qemu-system-x86_64")
                .args(["-machine", "q35,accel=tcg", "-cpu", "max,-erms", "-m", "1024"])
                .args(["-display", "none", "-monitor", "none", "-no-reboot", "-device", "virtio-rng-pci"])
                .args([
                    "-netdev",
                    "user,id=net",
                    "-device",
                    "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56",
                ])
                .arg("-kernel")
                .arg(kernel)
                .arg("-initrd")
                .arg(initrd)
                .args(["-append", &arguments, "-serial", &format!("file:{}", serial.display())]),
            work,
        )?;
        Ok(Self { process, serial })
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.serial).unwrap_or_default()).into_owned()
    }

    fn wait_for_words(&mut self, words: &str) -> Result<()> {
        wait_for(&format!("'{words}'"), PATIENCE, || {
            let said = self.said();
            if said.contains(words) {
                return Ok(true);
            }
            Report::read(&said)?;
            self.process.ensure_runs()?;
            Ok(false)
        })
    }

    /// The live system's report, which says that it came up from the ISO's every byte.
    fn report_of(&mut self, isos: &Path) -> Result<Report> {
        let report = self.report()?;
        ensure!(report.label == LABEL, "{LABEL} came up as {}", report.label);
        let size = fs::metadata(isos.join(ISO))?.len();
        ensure!(report.nbd_bytes == size, "{} bytes of {size}", report.nbd_bytes);
        let medium =
            report.mounts.iter().any(|mount| mount.starts_with("/dev/nbd0 /run/live/medium iso9660 ro"));
        ensure!(medium, "the medium is not /dev/nbd0: {:?}", report.mounts);
        Ok(report)
    }

    /// The live system's report, once it has switched itself off.
    fn report(&mut self) -> Result<Report> {
        wait_for("the live system's report and its power-off", PATIENCE, || {
            let ended = self.process.ended()?.is_some();
            if ended && Report::read(&self.said())?.is_none() {
                bail!("QEMU has ended without a report");
            }
            Ok(ended)
        })?;
        Report::read(&self.said())?.context("no report")
    }
}
