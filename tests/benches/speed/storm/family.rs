//! A process with its descendants: what they cost together.

use std::collections::HashMap;
use std::fs;

/// Clock ticks in a second, as /proc/PID/stat counts them (USER_HZ, on every architecture of Linux).
const TICKS: f64 = 100.0;

/// A process and all that come from it, now and later.
pub struct Family {
    eldest: u32,
}

/// Of proc_pid_stat(5).
struct Member {
    parent: u32,
    /// utime, stime, and cutime, cstime of those that have ended.
    ticks: u64,
}

impl Family {
    pub fn of(eldest: u32) -> Self {
        Self { eldest }
    }

    /// CPU seconds, in hundredths: those of members that have ended are their parents'.
    pub fn cpu(&self) -> f64 {
        self.members().iter().map(|(_, member)| member.ticks).sum::<u64>() as f64 / TICKS
    }

    /// Bytes of memory, a part of what several processes share (PSS, proc_pid_smaps(5)).
    pub fn memory(&self) -> u64 {
        let pss = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        self.members().iter().filter_map(|(pid, _)| pss(pid)).sum::<u64>() << 10
    }

    fn members(&self) -> Vec<(u32, Member)> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut all: HashMap<u32, Member> = pids.filter_map(|pid| Some((pid, Member::of(pid)?))).collect();
        let mut members = Vec::new();
        let mut next = vec![self.eldest];
        while let Some(pid) = next.pop() {
            next.extend(all.iter().filter(|(_, other)| other.parent == pid).map(|(pid, _)| *pid));
            members.extend(all.remove(&pid).map(|member| (pid, member)));
        }
        members
    }
}

impl Member {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // A name may have parentheses and spaces.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
        Some(Self { parent: u32::try_from(number(4)?).ok()?, ticks })
    }
}
