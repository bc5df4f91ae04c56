use std::fs::File;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::storage::source::testing::{Counting, Faulty};
use crate::storage::source::{FileSource, PageCache};

/// Bytes in a block here: small, so that a test can name every one.
const B: usize = 16;

/// No read-ahead, so that every read of the source is a reader's, and nothing goes past the cache.
const QUIET: Tuning = Tuning { block: B, window: 0, run: 1, threads: 1, large: usize::MAX, whole: true };

/// Budget that holds all that a test reads.
const AMPLE: u64 = 1 << 20;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn counted(len: usize) -> Arc<Counting<Vec<u8>>> {
    Arc::new(Counting::new(bytes(len)))
}

fn read(source: &CachedSource, offset: usize, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0xEE; len];
    source.read_exact_at(&mut buf, offset as u64).map(|()| buf)
}

/// Reads block `index` and says whether it had to be read from the source.
fn misses(cache: &BlockCache, source: &CachedSource, index: usize) -> bool {
    let before = cache.counters().misses;
    assert_eq!(read(source, index * B, B).unwrap(), bytes((index + 1) * B)[index * B..]);
    cache.counters().misses > before
}

/// Spins until it is so. The limit only turns a hang into a failure.
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "never happened");
        thread::yield_now();
    }
}

/// A cache before a source that, with its first read, waits until `waiters` others wait for it, and then does `fault`.
fn meeting(
    waiters: u64,
    fault: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> (Arc<BlockCache>, CachedSource, Arc<Counting<Vec<u8>>>) {
    let cache = BlockCache::with_tuning(AMPLE, QUIET);
    let source = counted(100 * B);
    let first = AtomicBool::new(true);
    let watched = Arc::clone(&cache);
    let gate = Faulty::new(Arc::clone(&source), move |_, _| {
        if !first.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        until(|| watched.counters().waits == waiters);
        fault()
    });
    let cached = cache.attach(Arc::new(gate));
    (cache, cached, source)
}

#[test]
fn readers_of_one_missing_block_share_one_read() {
    let (cache, cached, source) = meeting(3, || Ok(()));
    thread::scope(|scope| {
        for i in 0..4 {
            let cached = &cached;
            scope.spawn(move || {
                assert_eq!(read(cached, i, 5).unwrap(), bytes(20)[i..i + 5]);
            });
        }
    });
    assert_eq!(source.reads(), [(0, B)]);
    let counters = cache.counters();
    assert_eq!((counters.misses, counters.waits, counters.hits), (1, 3, 0));
}

#[test]
fn who_waits_gets_the_error_and_the_next_reader_tries_again() {
    let (_, cached, source) = meeting(3, || Err(io::Error::from_raw_os_error(5)));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(read(&cached, 0, 5).unwrap_err().raw_os_error(), Some(5));
            });
        }
    });
    assert_eq!(source.reads(), []); // it failed before the source
    assert_eq!(read(&cached, 0, 5).unwrap(), bytes(5));
    assert_eq!(source.reads(), [(0, B)]);
}

#[test]
fn an_error_without_errno_keeps_kind_and_text() {
    let (_, cached, _) = meeting(1, || Err(io::Error::new(ErrorKind::UnexpectedEof, "cut")));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let error = read(&cached, 0, 5).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                assert_eq!(error.to_string(), "cut");
            });
        }
    });
}

#[test]
fn a_panic_in_the_source_leaves_nobody_waiting() {
    let (cache, cached, _) = meeting(1, || panic!("on purpose"));
    let results = thread::scope(|scope| {
        let reader = || catch_unwind(AssertUnwindSafe(|| read(&cached, 0, 5)));
        let threads = [scope.spawn(reader), scope.spawn(reader)];
        threads.map(|thread| thread.join().unwrap())
    });
    let panicked = results.iter().filter(|result| result.is_err()).count();
    let failed = results.iter().filter(|result| matches!(result, Ok(Err(_))));
    assert_eq!((panicked, failed.count()), (1, 1));
    assert_eq!(cache.counters().current_bytes, 0);
    assert_eq!(read(&cached, 0, 5).unwrap(), bytes(5));
}

#[test]
fn who_waits_for_a_part_of_a_longer_read_survives_its_error() {
    let (cache, cached, source) = meeting(1, || Err(io::Error::from_raw_os_error(5)));
    thread::scope(|scope| {
        let long = scope.spawn(|| read(&cached, 0, 3 * B));
        until(|| cache.counters().misses == 3);
        assert_eq!(read(&cached, B, B).unwrap(), bytes(2 * B)[B..]);
        assert!(long.join().unwrap().is_err());
    });
    assert_eq!(source.reads(), [(B as u64, B)]);
}

#[test]
fn a_read_of_several_missing_blocks_is_one_read_of_the_source() {
    let cache = BlockCache::with_tuning(AMPLE, QUIET);
    let source = counted(10 * B);
    let cached = cache.attach(source.clone());
    read(&cached, 3 * B, 1).unwrap();
    assert_eq!(read(&cached, 5, 7 * B).unwrap(), bytes(10 * B)[5..5 + 7 * B]);
    let b = B as u64;
    let expected = [
        (3 * b, B),     // by the first read
        (0, B),         // the second's first block, of which it wants a part
        (b, 2 * B),     // whole blocks, up to the one that is there
        (4 * b, 3 * B), // whole blocks
        (7 * b, B),     // its last block
    ];
    assert_eq!(source.reads(), expected);
    assert_eq!(read(&cached, 0, 8 * B).unwrap(), bytes(8 * B));
    assert_eq!(source.reads().len(), 5);
}

#[test]
fn the_last_block_is_as_long_as_the_source() {
    let cache = BlockCache::with_tuning(AMPLE, QUIET);
    let source = counted(2 * B + 3);
    let cached = cache.attach(source.clone());
    assert_eq!(read(&cached, 2 * B + 1, 2).unwrap(), bytes(2 * B + 3)[2 * B + 1..]);
    assert_eq!(source.reads(), [(2 * B as u64, 3)]);
    assert_eq!(cache.counters().current_bytes, 3);
}

#[test]
fn a_read_past_the_end_is_refused_before_the_source_is_asked() {
    let cache = BlockCache::with_tuning(AMPLE, QUIET);
    let source = counted(B + 3);
    let cached = cache.attach(source.clone());
    for (offset, len) in [(B, 4), (B + 4, 0), (usize::MAX, 1)] {
        let error = read(&cached, offset, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    assert!(read(&cached, B + 3, 0).unwrap().is_empty());
    assert_eq!(source.reads(), []);
}

#[test]
fn a_file_that_got_shorter_is_unexpected_eof() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes(10 * B)).unwrap();
    let file: Arc<File> = Arc::new(file);
    let source = FileSource::new(Arc::clone(&file), PageCache::Keep).unwrap();
    let cached = BlockCache::with_tuning(AMPLE, QUIET).attach(Arc::new(source));
    file.set_len(5 * B as u64 + 7).unwrap();
    for (offset, len) in [(6 * B, B), (5 * B + 6, 2), (4 * B, 3 * B)] {
        let error = read(&cached, offset, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    assert_eq!(read(&cached, 4 * B, B).unwrap(), bytes(5 * B)[4 * B..]);
}

#[test]
fn a_budget_below_one_block_reads_through() {
    let cache = BlockCache::with_tuning(B as u64 - 1, QUIET);
    let source = counted(10 * B);
    let cached = cache.attach(source.clone());
    assert_eq!(read(&cached, 5, 3 * B).unwrap(), bytes(5 + 3 * B)[5..]);
    assert_eq!(source.reads(), [(5, 3 * B)]);
    assert_eq!(cache.counters().peak_bytes, 0);
    assert_eq!(cache.counters().source_bytes, 3 * B as u64);
}

#[test]
fn a_reader_that_finds_no_room_reads_through() {
    let cache = BlockCache::with_tuning(B as u64, QUIET);
    let source = counted(10 * B);
    let cached = cache.attach(source.clone());
    let _all = cache.store.budget.lease(B).unwrap();
    assert_eq!(read(&cached, 5, 2 * B).unwrap(), bytes(5 + 2 * B)[5..]);
    assert_eq!(source.reads(), [(5, B - 5), (B as u64, B), (2 * B as u64, 5)]);
}

#[test]
fn a_large_read_goes_past_the_cache() {
    let cache = BlockCache::with_tuning(AMPLE, Tuning { large: 3 * B, ..QUIET });
    let source = counted(10 * B);
    let cached = cache.attach(source.clone());
    assert_eq!(read(&cached, 5, 3 * B).unwrap(), bytes(5 + 3 * B)[5..]);
    assert_eq!(source.reads(), [(5, 3 * B)]);
    assert_eq!(cache.counters().current_bytes, 0);
    assert!(misses(&cache, &cached, 1));
}

#[test]
fn a_read_here_and_there_brings_no_blocks_but_uses_those_that_are_there() {
    let cache = BlockCache::with_tuning(AMPLE, Tuning { whole: false, ..QUIET });
    let source = counted(100 * B);
    let cached = cache.attach(source.clone());
    assert_eq!(read(&cached, 50 * B + 3, 5).unwrap(), bytes(100 * B)[50 * B + 3..][..5]);
    assert_eq!(source.reads(), [(50 * B as u64 + 3, 5)]);
    assert_eq!(cache.counters().current_bytes, 0);
    for index in 0..3 {
        read(&cached, index * B, B).unwrap();
    }
    assert_eq!(cache.counters().current_bytes, B as u64, "the third read in a row makes a stream");
    let before = source.reads().len();
    assert_eq!(read(&cached, 2 * B + 3, 5).unwrap(), bytes(100 * B)[2 * B + 3..][..5]);
    assert_eq!(source.reads().len(), before);
}

#[test]
fn the_budget_holds_under_load() {
    const BUDGET: u64 = 7 * B as u64 + 5;
    let tuning = Tuning { window: 4, run: 2, ..QUIET };
    let cache = BlockCache::with_tuning(BUDGET, tuning);
    let source = bytes(1000 * B + 3);
    let cached = cache.attach(Arc::new(source.clone()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [1, 2, 3].map(|seed| {
            let (cached, source) = (cached.clone(), &source);
            scope.spawn(move || {
                for i in 0..3000_usize {
                    let len = i * seed % 70;
                    let offset = match i % 2 {
                        0 => i * 7919 * seed % (source.len() - len),
                        _ => i * 5 % (source.len() - len),
                    };
                    assert_eq!(read(&cached, offset, len).unwrap(), source[offset..][..len]);
                }
            })
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(cache.counters().current_bytes <= BUDGET);
                thread::yield_now();
            }
        });
        for reader in readers {
            reader.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(cache.counters().peak_bytes <= BUDGET);
    assert!(cache.counters().evictions > 0);
    drop(cached);
    until(|| cache.counters().current_bytes == 0);
}

#[test]
fn the_block_not_used_for_longest_goes_first() {
    let cache = BlockCache::with_tuning(3 * B as u64, QUIET);
    let cached = cache.attach(counted(1000 * B));
    for index in [0, 300, 600] {
        assert!(misses(&cache, &cached, index));
    }
    assert!(!misses(&cache, &cached, 0));
    assert!(misses(&cache, &cached, 900));
    assert!(!misses(&cache, &cached, 0));
    assert!(misses(&cache, &cached, 300));
    assert_eq!(cache.counters().evictions, 2);
}

#[test]
fn streams_do_not_push_out_blocks_that_are_used_again() {
    let cache = BlockCache::with_tuning(8 * B as u64, QUIET);
    let cached = cache.attach(counted(1000 * B));
    for index in [900, 800, 900, 800] {
        misses(&cache, &cached, index);
    }
    for _ in 0..2 {
        for index in 0..100 {
            misses(&cache, &cached, index);
        }
    }
    assert!(!misses(&cache, &cached, 900));
    assert!(!misses(&cache, &cached, 800));
}

#[test]
fn blocks_used_again_leave_half_of_the_budget_to_others() {
    let cache = BlockCache::with_tuning(8 * B as u64, QUIET);
    let cached = cache.attach(counted(1000 * B));
    for index in 0..8 {
        misses(&cache, &cached, index * 100);
        misses(&cache, &cached, index * 100);
    }
    let other = cache.attach(counted(1000 * B));
    for index in 0..4 {
        assert!(misses(&cache, &other, index));
    }
    for index in 0..4 {
        assert!(!misses(&cache, &other, index));
    }
}

#[test]
fn a_stream_is_read_ahead_of_and_each_block_read_once() {
    let tuning = Tuning { window: 8, run: 4, ..QUIET };
    let cache = BlockCache::with_tuning(AMPLE, tuning);
    let source = counted(200 * B + 3);
    let cached = cache.attach(source.clone());
    let all = bytes(200 * B + 3);
    for start in (0..all.len()).step_by(B / 2) {
        let len = (B / 2).min(all.len() - start);
        assert_eq!(read(&cached, start, len).unwrap(), all[start..start + len]);
        // A stream this fast outruns its read-ahead; give it its turn, which a client does by being slow.
        let asked = cache.store.ahead.taken();
        until(|| asked == 0 || cache.counters().read_aheads_issued > 0);
    }
    until(|| cache.store.ahead.taken() == 0);
    let counters = cache.counters();
    assert!(counters.read_aheads_issued > 0);
    assert_eq!(counters.read_aheads_used, counters.read_aheads_issued);
    assert_eq!(counters.source_bytes, all.len() as u64);
    let furthest = source.reads().iter().map(|(at, len)| at + *len as u64).max();
    assert_eq!(furthest, Some(all.len() as u64));
}

/// Reads blocks ahead as the pool's threads do, but here and now.
fn ahead(cached: &CachedSource, blocks: Range<u64>) -> usize {
    let source = &cached.0;
    let lease = || source.cache.store.ahead.lease(B);
    let leases: Vec<Lease> = blocks.clone().map_while(|_| lease()).collect();
    let count = leases.len();
    source.read_ahead(blocks, leases, &mut Vec::new());
    count
}

#[test]
fn blocks_read_ahead_stay_until_used_and_take_a_quarter_at_most() {
    let cache = BlockCache::with_tuning(8 * B as u64, QUIET);
    let cached = cache.attach(counted(1000 * B));
    assert_eq!(ahead(&cached, 0..5), 2);
    for index in [100, 300, 200, 500, 400, 600] {
        assert!(misses(&cache, &cached, index));
    }
    assert!(!misses(&cache, &cached, 0));
    assert!(!misses(&cache, &cached, 1));
    let counters = cache.counters();
    assert_eq!((counters.read_aheads_issued, counters.read_aheads_used), (2, 2));
    assert_eq!(ahead(&cached, 2..7), 2);
}

#[test]
fn read_ahead_does_not_take_the_place_of_what_was_read_ahead() {
    let store = Store::new(2 * B as u64, AMPLE);
    let mut leases = iter::repeat_with(|| store.ahead.lease(B).unwrap());
    let key = |block| Key { source: 0, block };
    for claim in store.claim_ahead(key(0), iter::repeat_n(B, 3), &mut leases) {
        claim.fulfil(|_| Ok(())).unwrap();
    }
    assert!(store.claim_ahead(key(7), iter::once(B), &mut leases).is_empty());
    assert_eq!(store.missing(0, 0..8), 6);
}

#[test]
fn a_run_read_ahead_is_one_read_around_what_is_there() {
    let cache = BlockCache::with_tuning(AMPLE, QUIET);
    let source = counted(6 * B + 3);
    let cached = cache.attach(source.clone());
    read(&cached, 2 * B, 1).unwrap();
    ahead(&cached, 0..7);
    let b = B as u64;
    assert_eq!(source.reads(), [(2 * b, B), (0, 2 * B), (3 * b, 3 * B + 3)]);
    assert_eq!(read(&cached, 0, 6 * B + 3).unwrap(), bytes(6 * B + 3));
    assert_eq!(cache.counters().misses, 1);
}

#[test]
fn an_error_of_read_ahead_is_nobodys_error() {
    let (cache, cached, source) = meeting(1, || Err(io::Error::from_raw_os_error(5)));
    thread::scope(|scope| {
        scope.spawn(|| ahead(&cached, 3..4));
        until(|| cache.counters().read_aheads_issued == 1);
        assert_eq!(read(&cached, 3 * B, B).unwrap(), bytes(4 * B)[3 * B..]);
    });
    assert_eq!(source.reads(), [(3 * B as u64, B)]);
    assert_eq!(cache.counters().read_aheads_used, 0);
    assert_eq!(cache.store.ahead.taken(), 0);
}

#[test]
fn a_reader_that_waits_for_read_ahead_has_used_it() {
    let (cache, cached, source) = meeting(1, || Ok(()));
    thread::scope(|scope| {
        scope.spawn(|| ahead(&cached, 3..4));
        until(|| cache.counters().read_aheads_issued == 1);
        assert_eq!(read(&cached, 3 * B, B).unwrap(), bytes(4 * B)[3 * B..]);
    });
    assert_eq!(source.reads().len(), 1);
    assert_eq!(cache.counters().read_aheads_used, 1);
}

#[test]
fn a_panic_while_reading_ahead_stops_neither_readers_nor_read_ahead() {
    let tuning = Tuning { window: 4, ..QUIET };
    let cache = BlockCache::with_tuning(AMPLE, tuning);
    let panicked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&panicked);
    let source = Faulty::new(bytes(100 * B), move |_, _| {
        let in_pool = thread::current().name() == Some(readahead::THREAD_NAME);
        if in_pool && !flag.swap(true, Ordering::Relaxed) {
            panic!("on purpose");
        }
        Ok(())
    });
    let cached = cache.attach(Arc::new(source));
    read(&cached, 0, B).unwrap();
    read(&cached, B, B).unwrap();
    read(&cached, 2 * B, B).unwrap();
    until(|| panicked.load(Ordering::Relaxed));
    until(|| cache.counters().source_bytes > 3 * B as u64);
    assert_eq!(read(&cached, 0, 100 * B).unwrap(), bytes(100 * B));
}

#[test]
fn the_last_clone_takes_its_blocks_out_of_the_cache() {
    let cache = BlockCache::with_tuning(AMPLE, QUIET);
    let (one, two) = (cache.attach(counted(9 * B)), cache.attach(counted(5 * B)));
    let clone = one.clone();
    read(&one, 0, 9 * B).unwrap();
    read(&one, 0, 9 * B).unwrap();
    read(&two, 0, 5 * B).unwrap();
    drop(one);
    assert_eq!(cache.counters().current_bytes, 14 * B as u64);
    drop(clone);
    assert_eq!(cache.counters().current_bytes, 5 * B as u64);
    assert!(!misses(&cache, &two, 4));
}

#[test]
fn two_sources_do_not_see_each_others_blocks() {
    let cache = BlockCache::with_tuning(AMPLE, QUIET);
    let one = cache.attach(Arc::new(vec![1; B]));
    let two = cache.attach(Arc::new(vec![2; B]));
    assert_eq!(read(&one, 0, 4).unwrap(), [1; 4]);
    assert_eq!(read(&two, 0, 4).unwrap(), [2; 4]);
}

#[test]
fn a_cache_with_running_threads_is_freed() {
    let tuning = Tuning { window: 4, ..QUIET };
    let cache = BlockCache::with_tuning(AMPLE, tuning);
    let cached = cache.attach(counted(100 * B));
    for index in 0..20 {
        misses(&cache, &cached, index);
    }
    let weak = Arc::downgrade(&cache);
    drop((cache, cached));
    until(|| weak.upgrade().is_none());
}

#[test]
fn an_evicted_block_that_is_still_read_counts_until_it_is_gone() {
    let cache = BlockCache::with_tuning(B as u64, QUIET);
    let cached = cache.attach(counted(10 * B));
    read(&cached, 0, B).unwrap();
    let Found::Block(held) = cache.store.find(cached.0.key(0), iter::empty(), true) else {
        panic!("it is there");
    };
    read(&cached, 5 * B, B).unwrap(); // takes block 0 out and still finds no room
    assert_eq!(cache.counters().current_bytes, B as u64);
    drop(held);
    assert_eq!(cache.counters().current_bytes, 0);
}

#[test]
fn the_default_layout_reads_no_block_of_a_stream_twice() {
    let cache = BlockCache::new(256 << 20);
    let source = counted(32 << 20);
    let cached = cache.attach(source.clone());
    let block = Tuning::default().block;
    for start in (0..32 << 20).step_by(block) {
        read(&cached, start, block).unwrap();
    }
    until(|| cache.store.ahead.taken() == 0);
    assert_eq!(cache.counters().source_bytes, 32 << 20);
    assert!(source.reads().len() <= (32 << 20) / block);
}

/// One reader's reads as (offset, length), each to be cut to the length of the source.
fn reads() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let stream = (0..2000_usize, 1..40_usize, 1..40_usize)
        .prop_map(|(start, len, n)| (0..n).map(|i| (start + i * len, len)).collect());
    let random = prop::collection::vec((0..2000_usize, 0..300_usize), 0..40);
    prop_oneof![stream, random]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_read_through_the_cache_is_what_the_source_has(
        len in 0..2000_usize,
        budget in 0..1500_u64,
        block in 1..100_usize,
        window in 0..7_u64,
        run in 1..5_u64,
        threads in 1..3_usize,
        large in 1..400_usize,
        whole in any::<bool>(),
        readers in prop::collection::vec(reads(), 1..4),
    ) {
        static ALL: OnceLock<Vec<u8>> = OnceLock::new();
        let all = &ALL.get_or_init(|| bytes(2000))[..len];
        let cache = BlockCache::with_tuning(budget, Tuning { block, window, run, threads, large, whole });
        let cached = cache.attach(Arc::new(all.to_vec()));
        thread::scope(|scope| {
            for reads in &readers {
                let cached = &cached;
                scope.spawn(move || for (offset, want) in reads {
                    let offset = (*offset).min(len);
                    let want = (*want).min(len - offset);
                    assert_eq!(read(cached, offset, want).unwrap(), all[offset..offset + want]);
                });
            }
        });
        prop_assert!(cache.counters().peak_bytes <= budget);
        drop(cached);
        until(|| cache.counters().current_bytes == 0);
    }
}
