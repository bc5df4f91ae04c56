//! A machine without firmware and loader: User Mode Linux, which starts an initramfs as fast as a program starts.
//!
//! It has no PCI; its network card is a tap, and nbd is a module for its initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Process, wait_for};
use crate::work::Work;

const PROGRAM: &str = "linux.uml";
/// A directory for its version, and nothing else.
const MODULES: &str = "/usr/lib/uml/modules";
const PATIENCE: Duration = Duration::from_secs(300);

/// A machine that runs.
pub struct Uml<'a> {
    process: Process,
    work: &'a Work,
}

impl<'a> Uml<'a> {
    /// Boots an initramfs with these kernel arguments.
    pub fn boot(initrd: &[u8], arguments: &[&str], work: &'a Work) -> Result<Self> {
        let file = work.scratch("initrd");
        fs::write(&file, initrd)?;
        let mut command = Command::new(PROGRAM);
        command
            .args(["mem=256M", "con=null", "con0=null,fd:1", "panic=1"])
            .arg(option("initrd", &file))
            .arg(option("uml_dir", &work.scratch("")))
            .args(arguments);
        let process = Process::spawn(&mut command, work)?;
        Ok(Self { process, work })
    }

    /// An error if it has ended.
    pub fn ensure_runs(&mut self) -> Result<()> {
        self.process.ensure_runs()
    }

    /// What is on its console by now.
    pub fn console(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.work.log(PROGRAM))?).into_owned())
    }

    /// Waits until one of these stands on its console, or it has ended; returns all that stands there then.
    pub fn wait_for(&mut self, any: &[&str]) -> Result<String> {
        wait_for(&format!("{any:?} on the console"), PATIENCE, || {
            let ended = self.process.ended()?.is_some();
            let console = self.console()?;
            Ok(ended || any.iter().any(|words| console.contains(words)))
        })?;
        self.console()
    }
}

impl Drop for Uml<'_> {
    fn drop(&mut self) {
        // By SIGTERM it takes its own processes with it.
        let _ = self.process.terminate(PATIENCE);
    }
}

/// Its kernel's module of that path, `drivers/…/x.ko`.
pub fn module(path: &str) -> Result<PathBuf> {
    let version = fs::read_dir(MODULES)?.next().context("no modules for User Mode Linux")??;
    Ok(version.path().join("kernel").join(path))
}

/// The argument for a card of that address at a tap.
pub fn card(tap: &str, mac: &str) -> String {
    format!("eth0=tuntap,{tap},{mac}")
}

fn option(key: &str, path: &Path) -> String {
    format!("{key}={}", path.display())
}
