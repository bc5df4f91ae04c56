//! The time that processes with all their descendants cost together, by a control group.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::speed::served::wait;

/// A control group (cgroups(7), version 2), which ends with the value: after the processes in it.
pub struct Costs {
    place: PathBuf,
    group: PathBuf,
}

impl Costs {
    /// A new group with nobody in it.
    pub fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let place = fields.filter(|fields| fields.get(2) == Some(&"cgroup2")).find_map(|f| f.get(1).copied());
        let place = PathBuf::from(place.context("no cgroup2 is mounted")?);
        let group = place.join(format!("netrootfs-bench.{}", std::process::id()));
        fs::create_dir(&group).with_context(|| group.display().to_string())?;
        Ok(Self { place, group })
    }

    /// Has what is started meanwhile in the group, from its first moment on.
    pub fn of<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own =
            own.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup of this process")?;
        let enter = |group: &Path| fs::write(group.join("cgroup.procs"), "0");
        enter(&self.group)?;
        let started = start();
        enter(&self.place.join(own))?;
        started
    }

    /// CPU seconds of all in it, of those too that have ended.
    pub fn cpu(&self) -> Result<f64> {
        let text = fs::read_to_string(self.group.join("cpu.stat"))?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(micros.context("no usage_usec")?.parse::<f64>()? / 1e6)
    }
}

impl Drop for Costs {
    fn drop(&mut self) {
        // Who was killed is in it for a moment more.
        let _ = wait(|| fs::remove_dir(&self.group).ok());
    }
}
