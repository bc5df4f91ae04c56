//! A machine without firmware and loader: User Mode Linux, which starts an initramfs as fast as a program starts.
//!
//! It has no PCI, and its drivers for nbd and networks are modules that its initramfs hasn't got.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{Process, wait_for};
use crate::work::Work;

const PROGRAM: &str = "linux.uml";
const PATIENCE: Duration = Duration::from_secs(60);

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

fn option(key: &str, path: &Path) -> String {
    format!("{key}={}", path.display())
}
