//! A Debian with its systemd as a server, in a container (systemd-nspawn(1)) with a network of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::process::{PATIENCE, Process, run, wait_for};
use testkit::work::Work;

/// systemd is up after seconds; with two more beside it on a busy machine, after minutes.
const BOOT_PATIENCE: Duration = Duration::from_secs(600);

/// A booted one; gone with the value.
pub struct Container {
    process: Process,
    init: u32,
    /// Its file system.
    pub root: PathBuf,
}

impl Container {
    /// Unpacks a root and boots it.
    pub fn boot(tar: &Path, work: &Work) -> Result<Self> {
        let root = work.scratch("root");
        fs::create_dir(&root)?;
        run(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(tar))?;
        let mut command = Command::new("systemd-nspawn");
        command.args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
        ]);
        command.arg("--bind=/dev/fuse").arg("--directory").arg(&root);
        command.arg("systemd.unit=multi-user.target");
        let mut container = Self { process: Process::spawn(&mut command, work)?, init: 0, root };
        wait_for("the container's init", BOOT_PATIENCE, || {
            container.process.ensure_runs()?;
            container.init = child_of(container.process.id()).unwrap_or(0);
            Ok(container.init != 0 && container.output("true").is_ok_and(|output| output.status.success()))
        })?;
        // "degraded" is as good: a container has no udev. Without `--wait`, which may miss the moment and hang.
        let up = "systemctl is-system-running | grep -qE 'running|degraded'";
        wait_for("systemd", BOOT_PATIENCE, || Ok(container.output(up)?.status.success()))?;
        Ok(container)
    }

    /// Runs a shell's line in it; what it prints, or an error if it ends with another status than 0.
    pub fn run(&self, line: &str) -> Result<String> {
        let output = self.output(line)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{line}: {}\n{said}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.journal()
        );
        Ok(said)
    }

    /// Waits until a shell's line ends with 0.
    pub fn wait_for(&self, line: &str) -> Result<()> {
        wait_for(line, PATIENCE, || Ok(self.output(line)?.status.success())).with_context(|| self.journal())
    }

    /// The last lines of its journal.
    fn journal(&self) -> String {
        let output = self.output("journalctl --no-pager --quiet --lines 60");
        output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn output(&self, line: &str) -> Result<Output> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid"]);
        command.args(["--root", "--wd", "--", "/bin/sh", "-c", line]).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(command.output()?)
    }
}

/// The one child of a process.
fn child_of(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
