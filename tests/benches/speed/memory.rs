//! Memory, after a root image was read from one end to the other: which pages stay where, and how big the daemon is.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::speed::contender::Contender;
use crate::speed::place::Place;

/// Bytes in memory.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    pub contender: Contender,
    /// In the page cache, of the file that was read (fincore).
    pub own_pages: u64,
    /// In the page cache, of the ISO.
    pub iso_pages: u64,
    /// Growth of the page cache as a whole (/proc/meminfo: Cached); other work on the machine shows too.
    pub page_cache: i64,
    /// The daemon's resident size.
    pub resident: u64,
}

/// Each contender once: there is nothing that varies.
pub fn measure(place: &Place, contenders: &[Contender]) -> Result<Vec<Memory>> {
    let mut all = Vec::new();
    for &contender in contenders {
        place.forget()?;
        let running = contender.start(place)?;
        let before = kib("/proc/meminfo", "Cached:")?;
        io::copy(&mut File::open(&running.file)?, &mut io::sink())?;
        let after = kib("/proc/meminfo", "Cached:")?;
        let resident = running.daemon().map(|pid| kib(&format!("/proc/{pid}/status"), "VmRSS:"));
        all.push(Memory {
            contender,
            own_pages: in_page_cache(&running.file)?,
            iso_pages: in_page_cache(&place.iso)?,
            page_cache: (after.cast_signed() - before.cast_signed()) * 1024,
            resident: resident.transpose()?.unwrap_or(0) * 1024,
        });
    }
    Ok(all)
}

fn kib(file: &str, key: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| key.to_owned())?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn in_page_cache(file: &Path) -> Result<u64> {
    let output =
        Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).arg(file).output()?;
    ensure!(output.status.success(), "fincore: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}
