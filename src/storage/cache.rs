//! The block cache: one for the daemon, before all ISOs.
//!
//! What it does not do: it does not notice that a file changes, it does not write, it does not remember errors, and it
//! does not keep a block for one client rather than another. It is no substitute for the kernel's page cache, which
//! stands in front of it for every FUSE file and seldom asks for the same bytes twice. So it holds what is read ahead of
//! clients that read sequentially and in small pieces; large reads, and small ones here and there, go past it.
//!
//! A [`CachedSource`] is a [`ReadAt`] before another. What always holds: its bytes are the source's bytes; the blocks
//! take no more memory than the budget; one block is read by one reader at a time, and who else needs it waits for
//! that; no lock is held while a source is read.

use std::io;
use std::iter;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::source::{ReadAt, check_range};
use crate::storage::workers::Workers;

mod budget;
mod in_flight;
mod readahead;
mod store;
#[cfg(test)]
mod tests;

use budget::{Block, Lease};
use in_flight::Outcome;
use readahead::{Job, Layout, Streams};
use store::{Claim, Found, Key, Store};

/// How the cache is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes in a block, at least 1.
    pub block: usize,
    /// Most blocks read ahead of one stream; 0 turns read-ahead off.
    pub window: u64,
    /// Most blocks read ahead in one piece.
    pub run: u64,
    /// Threads that read ahead of one source.
    pub threads: usize,
    /// Reads of at least so many bytes go past the cache.
    pub large: usize,
    /// Whether other reads that belong to no stream bring the blocks in which they lie, or go past the cache too if
    /// nothing of what they want is there.
    pub whole: bool,
}

/// Measured with Linux 6.18 on two busy cores and a virtual disk, an image of 2 GiB, reads of 128 KiB:
///
/// - Large: the kernel only asks for more than 128 KiB at once if the mount's read-ahead was raised, and then it reads
///   ahead itself, with several requests at a time. Read past the cache, a byte is copied half as often.
/// - Whole: a random read of 4 KiB takes 0.2 ms if it has to bring 128 KiB.
/// - Block: hits are as fast with 64 KiB as with 1 MiB (at 4 KiB 1.6 million a second, as fast as `pread` of cached
///   pages), but a random miss reads a whole block: 0.2 ms with 128 KiB, 0.3 with 256, 0.7 with 512. 128 KiB is also
///   the most that the kernel asks of a FUSE file at once unless told otherwise.
/// - Run: one cold stream gets 0.9 GB/s from reads of 128 KiB with `RWF_DONTCACHE` and 2 from reads of 1 MiB.
/// - Window and threads: one cold stream gets 1.55 GB/s with these, 0.93 without read-ahead, 1.2 from plain `pread`
///   with the kernel's own; 8 MiB ahead would give 1.8, but fill read-ahead's share of 256 MiB with 8 clients. Where
///   each read takes 1 ms more, as over a network, it is 1.0 against 0.1. Four cold streams at once keep that disk
///   busy without any: 1.5 against 1.4.
impl Default for Tuning {
    fn default() -> Self {
        Self {
            block: 128 << 10,
            window: 32, // 4 MiB
            run: 8,     // 1 MiB
            threads: 4,
            large: 256 << 10,
            whole: false,
        }
    }
}

/// Part of the budget that blocks may take which were read ahead and not yet used: small enough that reading ahead
/// can't push out what it has read ahead. Blocks that a client gave up on count until they are evicted, so in a cache
/// that is not yet full they can leave nothing for others to be read ahead with.
const AHEAD_SHARE: u64 = 4;

/// Part of the budget that the threads' scratch memory may take on top of it, all together.
const SCRATCH_SHARE: u64 = 32;

/// Part of the budget that blocks may take which are read in one piece for one reader, so that one huge read does not
/// sweep the cache.
const PIECE_SHARE: u64 = 4;

/// Blocks of any number of sources within one budget of bytes.
#[derive(Debug)]
pub struct BlockCache {
    store: Store,
    threads: Workers,
    block: usize,
    window: u64,
    run: u64,
    large: usize,
    whole: bool,
    next_id: AtomicU64,
    source_bytes: AtomicU64,
}

/// Counters of a [`BlockCache`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Blocks that a reader found in the cache.
    pub hits: u64,
    /// Blocks that a reader found on their way, and waited for.
    pub waits: u64,
    /// Blocks that a reader had to read.
    pub misses: u64,
    /// Blocks that made room for others.
    pub evictions: u64,
    /// Bytes read from the sources, read-ahead included.
    pub source_bytes: u64,
    /// Blocks read ahead.
    pub read_aheads_issued: u64,
    /// Of these, the ones that a reader then asked for.
    pub read_aheads_used: u64,
    /// Bytes of all blocks now in memory.
    pub current_bytes: u64,
    /// Most bytes of blocks that ever were in memory at once.
    pub peak_bytes: u64,
}

impl BlockCache {
    /// A cache whose blocks take up to `budget` bytes; scratch memory of the read-ahead threads can add 3 %,
    /// and as much again for each source that hangs. With less
    /// than a block's worth every read goes straight to its source. Threads start with the first read-ahead.
    pub fn new(budget: u64) -> Arc<Self> {
        Self::with_tuning(budget, Tuning::default())
    }

    /// [`BlockCache::new`] with another layout, for tests and measurements.
    pub fn with_tuning(budget: u64, tuning: Tuning) -> Arc<Self> {
        let block = tuning.block.max(1);
        let ahead = budget / AHEAD_SHARE;
        let window = tuning.window.min(ahead / block as u64);
        // Each thread has scratch memory for a run, beside the budget.
        let scratch = budget / SCRATCH_SHARE / tuning.threads.max(1) as u64;
        let run = tuning.run.min(scratch / block as u64).max(1);
        Arc::new(Self {
            store: Store::new(budget, ahead),
            threads: Workers::new(readahead::limits(tuning.threads)),
            block,
            window,
            run,
            large: tuning.large,
            whole: tuning.whole,
            next_id: AtomicU64::new(0),
            source_bytes: AtomicU64::new(0),
        })
    }

    /// Puts the cache before `source`. Each call has blocks of its own: attach a file once and clone the result.
    pub fn attach(self: &Arc<Self>, source: Arc<dyn ReadAt>) -> CachedSource {
        let len = source.len();
        CachedSource(Arc::new(Attachment {
            cache: Arc::clone(self),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            len,
            source,
            streams: Streams::new(),
        }))
    }

    /// The counters as they are now; under load they are not all of the same instant.
    pub fn counters(&self) -> Counters {
        let tally = self.store.tally();
        Counters {
            hits: tally.hits,
            waits: tally.waits,
            misses: tally.misses,
            evictions: tally.evictions,
            source_bytes: self.source_bytes.load(Ordering::Relaxed),
            read_aheads_issued: tally.ahead_issued,
            read_aheads_used: tally.ahead_used,
            current_bytes: self.store.budget.taken(),
            peak_bytes: self.store.budget.peak(),
        }
    }
}

/// A source with the cache before it. Clones share its blocks; with the last one they leave the cache.
///
/// An error in one part of a block is an error for every read that touches the block.
#[derive(Debug, Clone)]
pub struct CachedSource(Arc<Attachment>);

impl ReadAt for CachedSource {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let source = &self.0;
        check_range(offset, buf.len(), source.len)?;
        if source.cache.store.budget.limit < source.cache.block as u64 || buf.len() >= source.cache.large {
            return source.read_source(buf, offset);
        }
        let streaming = source.note_read(offset, buf.len());
        if !streaming && !source.cache.whole && !source.has_any(offset, buf.len()) {
            return source.read_source(buf, offset);
        }
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            done += source.read_some(rest, offset + done as u64, streaming)?;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.len
    }
}

/// One source in the cache. Read-ahead holds it while it reads, so its blocks go when that is over too.
struct Attachment {
    cache: Arc<BlockCache>,
    id: u64,
    len: u64,
    source: Arc<dyn ReadAt>,
    streams: Streams,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").field("id", &self.id).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.cache.store.forget(self.id);
    }
}

impl Attachment {
    /// Reads at least one byte at `offset`, and as many as one look into the cache gives.
    fn read_some(&self, buf: &mut [u8], offset: u64, streaming: bool) -> io::Result<usize> {
        let size = self.cache.block as u64;
        let index = offset / size;
        let skip = (offset % size) as usize;
        let whole = skip == 0 && buf.len() >= self.block_len(index);
        loop {
            let found = if whole {
                self.cache.store.find(self.key(index), self.lens(index, buf.len()), streaming)
            } else {
                let len = self.block_len(index);
                self.cache.store.find(self.key(index), iter::once(len), streaming)
            };
            return match found {
                Found::Block(block) => Ok(copy(&block, skip, buf)),
                Found::InFlight(read) => match read.wait() {
                    Outcome::Read(block) => Ok(copy(&block, skip, buf)),
                    Outcome::Failed(error) => Err(error.into()),
                    Outcome::Abandoned => continue,
                },
                Found::Claims(claims) if whole => self.read_run(claims, buf, offset),
                Found::Claims(claims) => {
                    let mut copied = 0;
                    // Only one was asked for.
                    for claim in claims {
                        let block = claim.fulfil(|bytes| self.read_source(bytes, index * size))?;
                        copied = copy(&block, skip, buf);
                    }
                    Ok(copied)
                }
                Found::NoRoom => {
                    let len = buf.len().min(self.block_len(index) - skip);
                    let part = buf.get_mut(..len).unwrap_or_default();
                    self.read_source(part, offset).map(|()| len)
                }
            };
        }
    }

    /// Reads the claimed blocks, all of which the reader wants whole, in one piece to where the reader wants them.
    fn read_run(&self, claims: Vec<Claim<'_>>, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = claims.iter().map(Claim::len).sum();
        let buf = buf.get_mut(..len).unwrap_or_default();
        if let Err(error) = self.read_source(buf, offset) {
            claims.into_iter().for_each(|claim| claim.fail(&error));
            return Err(error);
        }
        let mut rest = &*buf;
        for claim in claims {
            let (bytes, after) = rest.split_at(claim.len().min(rest.len()));
            claim.fulfil(|block| {
                block.copy_from_slice(bytes);
                Ok(())
            })?;
            rest = after;
        }
        Ok(len)
    }

    fn read_source(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(buf, offset)?;
        self.cache.source_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What a thread of the pool does. Whoever needs a block that can't be read meets the error again.
    fn read_ahead(&self, blocks: Range<u64>, ahead: Vec<Lease>, scratch: &mut Vec<u8>) {
        let mut ahead = ahead.into_iter();
        let mut index = blocks.start;
        while index < blocks.end {
            let lens = (index..blocks.end).map(|block| self.block_len(block));
            let mut claims = self.cache.store.claim_ahead(self.key(index), lens, &mut ahead);
            let offset = index * self.cache.block as u64;
            index += claims.len().max(1) as u64;
            if claims.len() > 1 {
                scratch.resize(scratch.len().max(claims.iter().map(Claim::len).sum()), 0);
                let _ = self.read_run(claims, scratch, offset);
            } else if let Some(claim) = claims.pop() {
                let _ = claim.fulfil(|bytes| self.read_source(bytes, offset));
            }
        }
    }

    /// Takes note of a read, has blocks read ahead if it goes on where another ended, and returns whether it does.
    fn note_read(self: &Arc<Self>, offset: u64, len: usize) -> bool {
        let cache = &self.cache;
        let block = cache.block as u64;
        let layout = Layout { block, blocks: self.len.div_ceil(block), window: cache.window, run: cache.run };
        self.streams.note(offset..offset + len as u64, layout, |blocks| {
            let missing = cache.store.missing(self.id, blocks.clone());
            if missing == 0 {
                return true;
            }
            let leases = iter::repeat_with(|| cache.store.ahead.lease(cache.block));
            let Some(ahead) = leases.take(missing).collect() else {
                return false;
            };
            let source = Arc::downgrade(self);
            let job = Job { source, blocks, ahead };
            cache.threads.offer(self.id, move || job.run())
        })
    }

    /// Whether a block of these bytes is there or under way.
    fn has_any(&self, offset: u64, len: usize) -> bool {
        let block = self.cache.block as u64;
        let blocks = offset / block..(offset + len as u64).div_ceil(block);
        let count = blocks.end.saturating_sub(blocks.start);
        self.cache.store.missing(self.id, blocks) as u64 != count
    }

    fn key(&self, block: u64) -> Key {
        Key { source: self.id, block }
    }

    /// The lengths of the blocks from `first` on that `len` bytes cover whole.
    fn lens(&self, first: u64, len: usize) -> impl Iterator<Item = usize> {
        let piece = (self.cache.store.budget.limit / PIECE_SHARE).max(self.cache.block as u64);
        let mut rest = len.min(usize::try_from(piece).unwrap_or(usize::MAX));
        (first..).map(|block| self.block_len(block)).take_while(move |len| {
            let covered = *len > 0 && *len <= rest;
            rest = rest.saturating_sub(*len);
            covered
        })
    }

    /// The length of a block: the last one is shorter, those after it are empty.
    fn block_len(&self, index: u64) -> usize {
        let size = self.cache.block as u64;
        self.len.saturating_sub(index.saturating_mul(size)).min(size) as usize
    }
}

/// Copies from `skip` bytes into the block on, as far as both reach.
fn copy(block: &Block, skip: usize, buf: &mut [u8]) -> usize {
    let bytes = block.bytes.get(skip..).unwrap_or_default();
    let len = bytes.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..len), bytes.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}
