//! Who reads what: a pattern, a size, a number of readers, for a while.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// How readers go through the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Pattern {
    /// From here to there, each reader in a part of its own.
    Sequential,
    /// Anywhere.
    Random,
    /// From here to there, all readers the same: machines that boot at once.
    Together,
}

/// The page cache when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Temperature {
    /// All that is read.
    Hot,
    /// Nothing.
    Cold,
}

/// One measurement's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Workload {
    /// Through an NBD server, or directly.
    pub nbd: bool,
    pub pattern: Pattern,
    pub temperature: Temperature,
    pub readers: usize,
    /// Bytes in a read.
    pub size: usize,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match (self.nbd, self.readers) {
            (false, 1) => "1 reader".to_owned(),
            (false, n) => format!("{n} readers"),
            (true, 1) => "NBD, 1 client".to_owned(),
            (true, n) => format!("NBD, {n} clients"),
        };
        write!(f, "{}, {who}, {}", self.kind(), size(self.size))
    }
}

impl Workload {
    /// Pattern and temperature.
    pub fn kind(&self) -> String {
        let pattern = if self.pattern == Pattern::Random { "random" } else { "sequential" };
        let temperature = if self.temperature == Temperature::Hot { "hot" } else { "cold" };
        format!("{pattern}, {temperature}")
    }

    /// Runs the readers over the first `span` bytes for `limit`; cold and sequential ones end with their part. Returns
    /// bytes and seconds.
    pub fn run<R>(
        &self,
        span: u64,
        limit: Duration,
        reader: impl Fn() -> Result<R> + Sync,
    ) -> Result<(u64, f64)>
    where
        R: FnMut(&mut [u8], u64) -> io::Result<()>,
    {
        let barrier = Barrier::new(self.readers);
        let begun = OnceLock::new();
        let pieces = span / self.size as u64;
        let one = |number: usize| -> Result<(u64, f64)> {
            let made = reader();
            let mut buf = vec![0; self.size];
            barrier.wait();
            let start = *begun.get_or_init(Instant::now);
            let mut read = made?;
            let (mut bytes, mut end) = (0, Duration::ZERO);
            for piece in self.pieces(number as u64, pieces) {
                read(&mut buf, piece * self.size as u64)?;
                let now = start.elapsed();
                // Neither the bytes nor the time of a straggler count: one of 64 would decide about all.
                if now > limit && bytes > 0 {
                    break;
                }
                bytes += self.size as u64;
                end = now;
            }
            Ok((bytes, end.as_secs_f64()))
        };
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.readers).map(|number| scope.spawn(move || one(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a reader")).collect::<Result<_>>()
        })?;
        let seconds = all.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
        Ok((all.iter().map(|(bytes, _)| bytes).sum(), seconds))
    }

    /// The pieces that one reader reads, in order.
    fn pieces(&self, number: u64, pieces: u64) -> Box<dyn Iterator<Item = u64>> {
        let part = match self.pattern {
            Pattern::Random => return Box::new(random(number, pieces)),
            Pattern::Sequential => {
                let readers = self.readers as u64;
                pieces * number / readers..pieces * (number + 1) / readers
            }
            Pattern::Together => 0..pieces,
        };
        match self.temperature {
            Temperature::Hot => Box::new(part.cycle()),
            Temperature::Cold => Box::new(part),
        }
    }
}

/// Places without a pattern, others for each reader and each run: a place read twice would be hot.
fn random(number: u64, pieces: u64) -> impl Iterator<Item = u64> {
    static RUNS: AtomicU64 = AtomicU64::new(1);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let mut state =
        (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ run.wrapping_mul(0xd1b5_4a32_d192_ed03);
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % pieces
    })
}

/// A power of two, as people say it.
pub fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}
