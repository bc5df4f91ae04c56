//! Memory, after a root image was read from one end to the other: which pages stay where, and what the daemon takes.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::speed::contender::Contender;
use crate::speed::place::Place;
use crate::speed::processes::memory;

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
    /// Of the daemon, with who holds the mount and what helps it.
    pub daemon: u64,
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
        all.push(Memory {
            contender,
            own_pages: in_page_cache(&running.file)?,
            iso_pages: in_page_cache(&place.iso)?,
            page_cache: (after.cast_signed() - before.cast_signed()) * 1024,
            daemon: running.daemon().map_or(0, memory),
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
