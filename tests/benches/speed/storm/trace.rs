//! The reads of a boot, as `scripts/record-boot` writes them down.

use anyhow::{Context, Result};

/// A Debian 12 with live-boot: from netroot-init's first read to a multi-user system.
const RECORDED: &str = include_str!("debian-12.trace");

const SECTOR: u64 = 512;

/// A read.
pub struct Read {
    pub offset: u64,
    pub len: usize,
}

/// What one machine reads.
pub struct Trace {
    pub reads: Vec<Read>,
    /// Up to where, in bytes.
    pub disc: u64,
    /// Bytes of kernel and initramfs, which a loader has fetched before.
    pub loaded: u64,
}

impl Trace {
    pub fn recorded() -> Result<Self> {
        Self::parse(RECORDED)
    }

    fn parse(text: &str) -> Result<Self> {
        let loaded =
            text.lines().find_map(|line| line.strip_prefix("# ")?.strip_suffix(" bytes")?.parse().ok());
        let loaded = loaded.context("the recorded boot doesn't say how long kernel and initramfs are")?;
        let (mut reads, mut end, mut disc) = (Vec::new(), 0_u64, 0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<i64>, _>>();
            let numbers = numbers.with_context(|| line.to_owned())?;
            let [_pause, gap, sectors] = numbers[..] else { anyhow::bail!("'{line}' is not three numbers") };
            let start = end.checked_add_signed(gap).with_context(|| line.to_owned())?;
            let sectors = u64::try_from(sectors)?;
            reads.push(Read { offset: start * SECTOR, len: usize::try_from(sectors * SECTOR)? });
            end = start + sectors;
            disc = disc.max(end * SECTOR);
        }
        Ok(Self { reads, disc, loaded })
    }

    /// Bytes of all reads.
    pub fn bytes(&self) -> u64 {
        self.reads.iter().map(|read| read.len as u64).sum()
    }

    /// Bytes of the longest one.
    pub fn longest(&self) -> usize {
        self.reads.iter().map(|read| read.len).max().unwrap_or(0)
    }
}
