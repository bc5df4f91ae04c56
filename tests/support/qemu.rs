//! A diskless machine that boots from the network, and what it says on its serial line.

// Each test program that includes this file uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::support::netns::TAP;
use crate::support::process::{Process, wait_for};
use crate::support::report::Report;
use crate::support::work::Work;

/// A machine that is switched on; switched off when the value goes.
pub struct Machine {
    process: Process,
    serial: PathBuf,
}

impl Machine {
    /// A BIOS machine: SeaBIOS and the network card's iPXE ROM. There is no disk and no other way to boot.
    ///
    /// TCG, as KVM is rarely to be had where tests run. Without erms, as TCG does `rep stosb` byte by byte: the kernel
    /// then clears pages by eight bytes a step, which saves a tenth to a third of the boot. Never without svm: systemd
    /// in the guest fails with 226/NAMESPACE.
    pub fn bios(work: &Work) -> Result<Self> {
        let serial = work.log("serial");
        let process = Process::spawn(
            Command::new("qemu-system-x86_64")
                .args(["-machine", "q35,accel=tcg", "-cpu", "max,-erms"])
                .args(["-smp", "2", "-m", "2048"])
                .args(["-display", "none", "-monitor", "none", "-no-reboot"])
                .args(["-device", "virtio-rng-pci"])
                .args(["-device", "virtio-net-pci,netdev=net,bootindex=1"])
                .args(["-netdev", &netdev()])
                .arg("-serial")
                .arg(format!("file:{}", serial.display())),
            work,
        )?;
        Ok(Self { process, serial })
    }

    /// A UEFI machine; with `secure`, Microsoft's keys are enrolled and Secure Boot is on.
    pub fn uefi(secure: bool, work: &Work) -> Result<Self> {
        const FIRMWARE: &str = "/usr/share/OVMF";
        let (code, keys, machine) = match secure {
            true => ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd", "q35,smm=on,accel=tcg"),
            false => ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "q35,accel=tcg"),
        };
        let variables = work.scratch("variables.fd");
        fs::copy(format!("{FIRMWARE}/{keys}"), &variables).context("OVMF: is it installed?")?;
        let flash = |unit: u8, options: &str, file: &str| {
            ["-drive".to_owned(), format!("if=pflash,unit={unit},format=raw{options},file={file}")]
        };
        let serial = work.log("serial");
        let process = Process::spawn(
            Command::new("qemu-system-x86_64")
                .args(["-machine", machine, "-cpu", "max", "-smp", "2", "-m", "1024"])
                // Secure Boot's variables are to be had from system management mode only.
                .args(["-global", &format!("driver=cfi.pflash01,property=secure,value={}", on_off(secure))])
                .args(flash(0, ",readonly=on", &format!("{FIRMWARE}/{code}")))
                .args(flash(1, "", &variables.display().to_string()))
                .args(["-display", "none", "-monitor", "none", "-no-reboot"])
                .args(["-device", "virtio-rng-pci"])
                // The firmware's own PXE, not the card's iPXE.
                .args(["-device", "virtio-net-pci,netdev=net,bootindex=1,romfile="])
                .args(["-netdev", &netdev()])
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

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn netdev() -> String {
    format!("tap,id=net,ifname={TAP},script=no,downscript=no")
}
