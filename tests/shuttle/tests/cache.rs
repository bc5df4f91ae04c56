//! The block cache: readers of the same and of other blocks, with read-ahead, with errors, with too little room.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use netrootfs::storage::source::ReadAt;
use netrootfs_shuttle::Mutex;
use netrootfs_shuttle::storage::cache::{BlockCache, CachedSource, Tuning};
use shuttle::thread;

/// Any error of a disk (errno(3)).
const EIO: i32 = 5;

/// Bytes in a block.
const B: usize = 16;
const BLOCKS: usize = 8;

/// Orders that each test goes through; `NETROOTFS_SHUTTLE_RUNS` says otherwise.
const RUNS: usize = 600;

const TUNING: Tuning = Tuning { block: B, window: 2, run: 2, threads: 1, large: 4 * B, whole: true };

fn runs() -> usize {
    std::env::var("NETROOTFS_SHUTTLE_RUNS").map_or(RUNS, |text| text.parse().expect("a number"))
}

fn check(test: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(test.clone(), runs());
    shuttle::check_pct(test, runs() / 3, 3);
}

fn bytes() -> Vec<u8> {
    (0..BLOCKS * B).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// A source that lets others run while it reads, and fails once at each of some blocks.
struct Slow {
    bytes: Vec<u8>,
    /// Whether nobody reads a block while somebody else does: what finds no room is read past the cache.
    alone: bool,
    reading: Mutex<HashSet<u64>>,
    faults: Mutex<Vec<u64>>,
}

impl Slow {
    fn new(alone: bool, faults: &[u64]) -> Arc<Self> {
        Arc::new(Self {
            alone,
            bytes: bytes(),
            reading: Mutex::default(),
            faults: Mutex::new(faults.to_vec()),
        })
    }
}

impl ReadAt for Slow {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let blocks: Vec<u64> = (offset / B as u64..(offset + buf.len() as u64).div_ceil(B as u64)).collect();
        for block in &blocks {
            let first = self.reading.lock().insert(*block);
            assert!(first || !self.alone, "block {block} is read twice at a time");
        }
        thread::yield_now();
        let outcome = self.bytes.read_exact_at(buf, offset);
        let mut faults = self.faults.lock();
        let fault = faults.iter().position(|fault| blocks.contains(fault));
        let fault = fault.map(|at| faults.remove(at));
        drop(faults);
        for block in &blocks {
            self.reading.lock().remove(block);
        }
        if fault.is_some() { Err(io::Error::from_raw_os_error(EIO)) } else { outcome }
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Reads, and compares with the source's bytes; an error is given back.
fn read(source: &CachedSource, at: usize, len: usize) -> io::Result<()> {
    let mut buf = vec![0xee; len];
    source.read_exact_at(&mut buf, at as u64)?;
    assert_eq!(buf, bytes()[at..at + len], "{len} bytes at {at}");
    Ok(())
}

/// Lets readers go, each with its reads, and sees that all come to an end with nothing left behind.
fn readers(budget: usize, faults: &'static [u64], reads: &'static [&'static [(usize, usize)]]) {
    check(move || {
        let cache = BlockCache::with_tuning(budget as u64, TUNING);
        let source = Slow::new(budget >= BLOCKS * B, faults);
        let cached = cache.attach(source.clone());
        let threads: Vec<_> = reads
            .iter()
            .map(|reads| {
                let cached = cached.clone();
                thread::spawn(move || {
                    reads.iter().filter(|(at, len)| read(&cached, *at, *len).is_err()).count()
                })
            })
            .collect();
        let failed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(failed == 0 || !faults.is_empty(), "an error out of nothing");
        assert!(cache.counters().peak_bytes <= budget as u64);
        // Nothing is remembered of an error.
        source.faults.lock().clear();
        for block in 0..BLOCKS {
            read(&cached, block * B, B).unwrap();
        }
        let left = Arc::downgrade(&source);
        drop((cached, source));
        // Read-ahead holds it for as long as it reads.
        while left.strong_count() > 0 {
            thread::yield_now();
        }
        assert_eq!(cache.counters().current_bytes, 0, "blocks go with their source");
    });
}

#[test]
fn readers_of_one_block_share_its_read() {
    readers(BLOCKS * B, &[], &[&[(0, 5), (20, 3)], &[(3, 8), (16, 16)], &[(8, 20)]]);
}

#[test]
fn an_error_is_given_to_who_waits_and_forgotten() {
    readers(BLOCKS * B, &[0, 1], &[&[(0, 5), (0, 5)], &[(3, 20)], &[(0, 32), (0, 32)]]);
}

#[test]
fn with_room_for_two_blocks_all_bytes_are_right() {
    readers(2 * B, &[], &[&[(0, 16), (40, 8), (0, 16)], &[(16, 48)], &[(64, 5), (2, 3)]]);
}

#[test]
fn streams_are_read_ahead_of() {
    readers(
        BLOCKS * B,
        &[],
        &[&[(0, 8), (8, 8), (16, 8), (24, 8), (32, 8)], &[(0, 16), (16, 16), (32, 16), (48, 16)]],
    );
}

#[test]
fn streams_with_errors_and_too_little_room() {
    readers(
        3 * B,
        &[2, 3],
        &[&[(0, 8), (8, 8), (16, 8), (24, 8), (32, 8)], &[(0, 16), (16, 16), (32, 16), (48, 16)]],
    );
}
