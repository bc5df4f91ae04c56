//! The machine that the numbers were measured on.

use std::fmt;
use std::fs;
use std::process::Command;

use serde::Serialize;

/// Machine, date and sizes.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub date: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    /// Load when it began: other work on the machine.
    pub load: String,
    pub image_mib: u64,
    pub rounds: usize,
}

impl Machine {
    pub fn of_now(image_mib: u64, rounds: usize) -> Self {
        let date = Command::new("date").arg("-I").output().expect("date").stdout;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let line = |text: &str, key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key));
            value.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
        };
        let memory = line(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Self {
            date: String::from_utf8_lossy(&date).trim().to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: line(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / f64::from(1 << 20)).round(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            image_mib,
            rounds,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} × {}, {:.0} GiB, Linux {}; load {}; a root image of {} MiB in an ISO; {} rounds",
            self.date,
            self.cores,
            self.cpu,
            self.memory_gib,
            self.kernel,
            self.load,
            self.image_mib,
            self.rounds
        )
    }
}
