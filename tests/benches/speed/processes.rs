//! Processes that belong together: a mount's daemon with who holds the mount and what helps it, a server with its children.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A process, and all that come from it.
pub fn family(eldest: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (parent, pid) in all().filter_map(|pid| Some((parent(pid)?, pid))) {
        children.entry(parent).or_default().push(pid);
    }
    let (mut found, mut next) = (Vec::new(), vec![eldest]);
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    found
}

/// The eldest process that has this path for a word of its command line.
pub fn eldest_of(path: &Path) -> Option<u32> {
    let has_it = |pid: u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|&byte| byte == 0).any(|word| word == path.as_os_str().as_encoded_bytes())
    };
    all().find(|&pid| has_it(pid) && !parent(pid).is_some_and(has_it))
}

/// Bytes of memory of a process with its descendants, of what several processes share a part (PSS, proc_pid_smaps(5)).
pub fn memory(eldest: u32) -> u64 {
    family(eldest).into_iter().filter_map(pss).sum()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Of proc_pid_stat(5), whose second field may have parentheses and spaces.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
