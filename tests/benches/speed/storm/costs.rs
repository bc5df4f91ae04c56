//! What processes with all their descendants cost together: time by a control group, memory by what is theirs of each page.

use std::collections::HashMap;
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

/// Bytes of memory of a process with its descendants, of what several processes share a part (PSS, proc_pid_smaps(5)).
pub fn memory(eldest: u32) -> u64 {
    descendants(eldest).into_iter().filter_map(pss).sum()
}

impl Drop for Costs {
    fn drop(&mut self) {
        // Who was killed is in it for a moment more.
        let _ = wait(|| fs::remove_dir(&self.group).ok());
    }
}

fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// A process, and all that come from it.
fn descendants(eldest: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (parent, pid) in pids.filter_map(|pid| Some((parent(pid)?, pid))) {
        children.entry(parent).or_default().push(pid);
    }
    let (mut found, mut next) = (Vec::new(), vec![eldest]);
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    found
}

/// Of proc_pid_stat(5), whose second field may have parentheses and spaces.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
