//! A diskless machine that boots from the network, and what it says on its serial line.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LockResult, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::netns::TAP;
use testkit::process::{Process, wait_for};
use testkit::work::Work;

use crate::support::report::Report;

/// The firmware of a machine. There is no other way to boot than the network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, and the network card's iPXE ROM.
    Bios,
    /// OVMF and its own PXE; the card's ROM only where that has no driver.
    Uefi,
    /// The same with Secure Boot on, by Microsoft's keys.
    SecureBoot,
}

/// The network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    /// Of virtual machines.
    Virtio,
    /// Of real machines, whose driver Debian's kernel for clouds doesn't have.
    E1000,
    /// Of real machines, and in no initramfs that isn't made for networks.
    E1000e,
}

/// Waits for the turn to run a machine, and has it for as long as the value lives. Two at once on two cores took as long
/// altogether, and the nested form, which suffers most from a busy host, five minutes instead of one and a half.
pub fn one_at_a_time() -> LockResult<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock()
}

/// The network card's address.
pub const MAC: &str = "52:54:00:aa:bb:01";

/// A machine that is switched on; switched off when the value goes.
pub struct Machine {
    process: Process,
    serial: PathBuf,
    console: PathBuf,
    monitor: PathBuf,
}

/// An orderly end takes some ten seconds, half a minute on a busy machine.
const POWER_OFF: Duration = Duration::from_secs(180);

impl Machine {
    /// Switches one on, with this image as its disk.
    ///
    /// TCG, as KVM is rarely to be had where tests run. Without erms, as TCG does `rep stosb` byte by byte: the kernel
    /// then clears pages by eight bytes a step, which saves a tenth to a third of the boot. Never without svm: systemd
    /// in the guest fails with 226/NAMESPACE.
    pub fn start(firmware: Firmware, card: Card, disk: Option<&Path>, work: &Work) -> Result<Self> {
        let serial = work.log("serial");
        let console = work.scratch("console");
        let monitor = work.scratch("monitor");
        let disk = disk.map(|disk| format!("id=disk,if=none,format=raw,file={}", disk.display()));
        let disk = disk.iter().flat_map(|disk| ["-drive", disk, "-device", "ide-hd,drive=disk"]);
        let process = Process::spawn(
            // One processor: with two, TCG may run into the int3 by which Linux changes its own code.
            Command::new("qemu-system-x86_64")
                .args(["-cpu", "max,-erms", "-m", "1024"])
                .args(["-display", "none", "-no-reboot"])
                .args(["-device", "virtio-rng-pci"])
                .args(["-netdev", &format!("tap,id=net,ifname={TAP},script=no,downscript=no")])
                .args(firmware.options(card, work)?)
                .args(disk)
                .args(["-monitor", &format!("unix:{},server=on,wait=off", monitor.display())])
                .args(["-serial", "chardev:console", "-chardev"])
                .arg(format!(
                    "socket,id=console,path={},server=on,wait=off,logfile={}",
                    console.display(),
                    serial.display()
                )),
            work,
        )?;
        Ok(Self { process, serial, console, monitor })
    }

    /// Waits for the live system's report.
    pub fn report(&mut self, patience: Duration) -> Result<Report> {
        let mut report = None;
        wait_for("the live system's report", patience, || {
            let running = self.process.ended()?.is_none();
            report = Report::read(&self.said())?;
            if report.is_none() && !running {
                bail!("QEMU has ended without a report");
            }
            Ok(report.is_some())
        })?;
        report.context("no report")
    }

    /// Waits until it is off, or would start anew.
    pub fn wait_for_end(&mut self) -> Result<()> {
        wait_for("the power-off", POWER_OFF, || Ok(self.process.ended()?.is_some()))
    }

    /// Waits until the live system has read its payload so many times more, all of it over the network.
    pub fn reads_on(&mut self, times: usize, patience: Duration) -> Result<()> {
        let rounds = |said: &str| said.matches("guest: round ").count();
        let before = rounds(&self.said());
        wait_for("the live system to read on", patience, || {
            self.process.ensure_runs()?;
            Report::read(&self.said())?;
            Ok(rounds(&self.said()) >= before + times)
        })
    }

    /// Types a line on its console.
    pub fn type_line(&self) -> Result<()> {
        Ok(UnixStream::connect(&self.console)?.write_all(b"\n")?)
    }

    /// Pulls the cable out of its network card, or puts it in again.
    pub fn plug(&self, connected: bool) -> Result<()> {
        let state = if connected { "on" } else { "off" };
        tell_monitor(&self.monitor, &format!("set_link net {state}"))
    }

    /// The text of its serial line so far.
    pub fn said(&self) -> String {
        let bytes = fs::read(&self.serial).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Firmware {
    /// Options of QEMU for it.
    fn options(self, card: Card, work: &Work) -> Result<Vec<String>> {
        // OVMF has a driver for virtio only, and else needs the card's own ROM, an iPXE.
        let (model, rom) = match card {
            Card::Virtio => ("virtio-net-pci", ",romfile="),
            Card::E1000 => ("e1000", ""),
            Card::E1000e => ("e1000e", ""),
        };
        let card = format!("{model},netdev=net,bootindex=1,mac={MAC}");
        let (machine, code, variables) = match self {
            Self::Bios => return Ok(words(&["-machine", "q35,accel=tcg", "-device", &card])),
            Self::Uefi => ("q35,accel=tcg", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
            Self::SecureBoot => ("q35,smm=on,accel=tcg", "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
        };
        // Firmware writes its variables: each machine has its own.
        let own = work.scratch("variables.fd");
        fs::copy(format!("/usr/share/OVMF/{variables}"), &own).context("OVMF: is package ovmf installed?")?;
        let flash = |unit, rest: String| format!("if=pflash,unit={unit},format=raw,{rest}");
        Ok(words(&[
            "-machine",
            machine,
            "-device",
            &format!("{card}{rom}"),
            "-drive",
            &flash(0, format!("readonly=on,file=/usr/share/OVMF/{code}")),
            "-drive",
            &flash(1, format!("file={}", own.display())),
            // Only code in system management mode may write the variables; without SMM, no code at all.
            "-global",
            &format!("driver=cfi.pflash01,property=secure,value={}", self.on_or_off()),
        ]))
    }

    fn on_or_off(self) -> &'static str {
        if self == Self::SecureBoot { "on" } else { "off" }
    }
}

/// Has QEMU's monitor obey a command, and waits until it has.
pub fn tell_monitor(socket: &Path, command: &str) -> Result<()> {
    const PROMPT: &[u8] = b"\n(qemu) ";
    let mut monitor = UnixStream::connect(socket)?;
    monitor.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut said = Vec::new();
    let mut answer = |monitor: &mut UnixStream| -> Result<()> {
        said.clear();
        while !said.ends_with(PROMPT) {
            let mut byte = [0];
            match monitor.read_exact(&mut byte) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            }
            said.push(byte[0]);
        }
        Ok(())
    };
    answer(&mut monitor)?;
    monitor.write_all(format!("{command}\n").as_bytes())?;
    answer(&mut monitor)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
