//! A diskless machine that boots from the network, and what it says on its serial line.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::support::netns::TAP;
use crate::support::process::{Process, wait_for};
use crate::support::report::Report;
use crate::support::work::Work;

/// What a machine starts with. There is no disk and no other way to boot than the network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, and the network card's iPXE ROM.
    Bios,
    /// OVMF and its own PXE, without the card's ROM.
    Uefi,
    /// The same with Secure Boot on, by Microsoft's keys.
    SecureBoot,
}

/// The network card's address.
pub const MAC: &str = "52:54:00:aa:bb:01";

/// A machine that is switched on; switched off when the value goes.
pub struct Machine {
    process: Process,
    serial: PathBuf,
}

impl Machine {
    /// Switches one on.
    ///
    /// TCG, as KVM is rarely to be had where tests run. Without erms, as TCG does `rep stosb` byte by byte: the kernel
    /// then clears pages by eight bytes a step, which saves a tenth to a third of the boot. Never without svm: systemd
    /// in the guest fails with 226/NAMESPACE.
    pub fn start(firmware: Firmware, work: &Work) -> Result<Self> {
        let serial = work.log("serial");
        let process = Process::spawn(
            Command::new("qemu-system-x86_64")
                .args(["-cpu", "max,-erms", "-smp", "2", "-m", "1024"])
                .args(["-display", "none", "-monitor", "none", "-no-reboot"])
                .args(["-device", "virtio-rng-pci"])
                .args(["-netdev", &format!("tap,id=net,ifname={TAP},script=no,downscript=no")])
                .args(firmware.options(work)?)
                .arg("-serial")
                .arg(format!("file:{}", serial.display())),
            work,
        )?;
        Ok(Self { process, serial })
    }

    /// Waits for the live system's report and its power-off.
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
        wait_for("the power-off", Duration::from_secs(60), || Ok(self.process.ended()?.is_some()))?;
        report.context("no report")
    }

    /// What it has said on its serial line so far.
    pub fn said(&self) -> String {
        let bytes = fs::read(&self.serial).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Firmware {
    /// What QEMU is told of it.
    fn options(self, work: &Work) -> Result<Vec<String>> {
        let card = format!("virtio-net-pci,netdev=net,bootindex=1,mac={MAC}");
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
            &format!("{card},romfile="),
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

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
