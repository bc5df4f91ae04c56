//! The blocks in memory, those on their way, and the budget of both.
//!
//! One lock guards the order and the table of flights; it is never held while a source is read. Every block carries a
//! lease on the budget from before its bytes are allocated until after they are freed, so the budget counts what
//! lies in memory: blocks in the cache, blocks being filled, and evicted blocks that a reader is still copying from.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Which block of which source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub source: u64,
    pub block: u64,
}

/// A number of bytes that may be handed out, and how many are.
#[derive(Debug)]
pub(super) struct Budget {
    pub limit: u64,
    taken: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicU64::new(0), peak: AtomicU64::new(0) })
    }

    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// `bytes` of it, unless they would exceed the limit.
    pub fn lease(self: &Arc<Self>, bytes: usize) -> Option<Lease> {
        let bytes = bytes as u64;
        let fits = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let before = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Some(Lease { budget: Arc::clone(self), bytes })
    }
}

/// Bytes of a [`Budget`], given back on drop.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The bytes of one block. The order of the fields is the order in which they are dropped: memory, then lease.
#[derive(Debug)]
pub(super) struct Block {
    pub bytes: Box<[u8]>,
    lease: Lease,
}

/// Room in the budget for one block, with the memory of an evicted one where its length is right: a full cache then
/// allocates nothing, and the kernel has no fresh pages to clear.
#[derive(Debug)]
pub(super) struct Space {
    recycled: Option<Box<[u8]>>,
    len: usize,
    lease: Lease,
}

impl Space {
    /// A block of that length with any bytes in it.
    pub fn into_block(self) -> Block {
        let fresh = || vec![0; self.len].into_boxed_slice();
        Block { bytes: self.recycled.unwrap_or_else(fresh), lease: self.lease }
    }
}

/// A block that someone reads from its source right now, for others to wait for.
#[derive(Debug, Default)]
pub(super) struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

/// How a [`Flight`] ended.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Landed(Arc<Block>),
    /// The source refused this very block.
    Failed(SharedError),
    /// The read failed, but it was for other blocks too, or for nobody: whoever needs the block reads it.
    Abandoned,
}

impl Flight {
    pub fn wait(&self) -> Outcome {
        let mut outcome = lock(&self.outcome);
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            outcome = self.landed.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn settle(&self, outcome: Outcome) {
        *lock(&self.outcome) = Some(outcome);
        self.landed.notify_all();
    }
}

/// What each waiter's own [`io::Error`] is made from.
#[derive(Debug, Clone)]
pub(super) struct SharedError {
    errno: Option<i32>,
    kind: io::ErrorKind,
    text: Arc<str>,
}

impl From<&io::Error> for SharedError {
    fn from(error: &io::Error) -> Self {
        Self { errno: error.raw_os_error(), kind: error.kind(), text: error.to_string().into() }
    }
}

impl From<SharedError> for io::Error {
    fn from(error: SharedError) -> Self {
        match error.errno {
            Some(errno) => Self::from_raw_os_error(errno),
            None => Self::new(error.kind, &*error.text),
        }
    }
}

/// What a reader finds where a block should be.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Block(Arc<Block>),
    Flight(Arc<Flight>),
    /// Nothing: the reader now owes these adjacent blocks, at least one, to itself and to all who wait.
    Claims(Vec<Claim<'a>>),
    /// Nothing, and no room for it in the budget.
    NoRoom,
}

#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    pub budget: Arc<Budget>,
    /// Of the budget, what blocks that were read ahead and not yet used may take.
    pub ahead: Arc<Budget>,
}

/// The blocks are in two lists, least recently used first in each. A block starts in `recent`; one that is asked for
/// again, other than by a stream that passes through it, moves to `proven`, which takes at most half of the budget and
/// hands what is too much back to `recent`. Blocks are evicted from `recent` first, so clients that stream a whole
/// image push out each other's blocks and not those that everyone needs.
#[derive(Debug)]
struct Inner {
    recent: LruCache<Key, Entry>,
    proven: LruCache<Key, Entry>,
    proven_bytes: u64,
    proven_limit: u64,
    flights: HashMap<Key, Pending>,
    tally: Tally,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub hits: u64,
    pub waits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub ahead_issued: u64,
    pub ahead_used: u64,
}

#[derive(Debug)]
struct Entry {
    block: Arc<Block>,
    /// There from read-ahead until the first use.
    ahead: Option<Lease>,
}

#[derive(Debug)]
struct Pending {
    flight: Arc<Flight>,
    /// Whether a reader waits for it.
    wanted: bool,
}

impl Store {
    pub fn new(budget: u64, ahead: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                recent: LruCache::unbounded(),
                proven: LruCache::unbounded(),
                proven_bytes: 0,
                proven_limit: budget / 2,
                flights: HashMap::new(),
                tally: Tally::default(),
            }),
            budget: Budget::new(budget),
            ahead: Budget::new(ahead),
        }
    }

    pub fn tally(&self) -> Tally {
        lock(&self.inner).tally
    }

    /// Looks for the block `first`. If it is not there, it is claimed, and with it those after it that are not there
    /// either; `lens` has the lengths of the blocks from `first` on as far as they may be claimed together.
    pub fn find(&self, first: Key, lens: impl Iterator<Item = usize>, streaming: bool) -> Found<'_> {
        let mut inner = lock(&self.inner);
        if let Some(block) = inner.hit(&first, streaming) {
            return Found::Block(block);
        }
        if let Some(pending) = inner.flights.get_mut(&first) {
            pending.wanted = true;
            let flight = Arc::clone(&pending.flight);
            inner.tally.waits += 1;
            return Found::Flight(flight);
        }
        let mut claims = Vec::new();
        for (block, len) in (first.block..).zip(lens) {
            let key = Key { block, ..first };
            if inner.has(&key) {
                break;
            }
            let Some(space) = self.make_room(&mut inner, len, |_| true) else {
                break;
            };
            claims.push(self.claim(&mut inner, key, space, None));
        }
        inner.tally.misses += claims.len().max(1) as u64;
        let together = claims.len() > 1;
        for claim in &mut claims {
            claim.alone = !together;
        }
        if claims.is_empty() {
            return Found::NoRoom;
        }
        Found::Claims(claims)
    }

    /// Claims blocks that nobody asked for yet: of those from `first` on the ones before the first that is there or
    /// under way, or that could only take the place of another which was read ahead and not yet used.
    pub fn claim_ahead(
        &self,
        first: Key,
        lens: impl Iterator<Item = usize>,
        leases: &mut impl Iterator<Item = Lease>,
    ) -> Vec<Claim<'_>> {
        let mut inner = lock(&self.inner);
        let mut claims = Vec::new();
        for (block, len) in (first.block..).zip(lens) {
            let key = Key { block, ..first };
            if inner.has(&key) {
                break;
            }
            let space = self.make_room(&mut inner, len, |victim| victim.ahead.is_none());
            let Some((space, lease)) = space.zip(leases.next()) else {
                break;
            };
            inner.tally.ahead_issued += 1;
            claims.push(self.claim(&mut inner, key, space, Some(lease)));
        }
        claims
    }

    /// How many of these blocks are neither there nor under way.
    pub fn missing(&self, source: u64, blocks: Range<u64>) -> usize {
        let inner = lock(&self.inner);
        let keys = blocks.map(|block| Key { source, block });
        keys.filter(|key| !inner.has(key)).count()
    }

    /// Drops all blocks of a source.
    pub fn forget(&self, source: u64) {
        let mut inner = lock(&self.inner);
        let inner_ref = &mut *inner;
        let mut gone = Vec::new();
        for list in [&mut inner_ref.recent, &mut inner_ref.proven] {
            let keys = list.iter().map(|(key, _)| *key);
            let keys: Vec<Key> = keys.filter(|key| key.source == source).collect();
            gone.extend(keys.iter().filter_map(|key| list.pop(key)));
        }
        inner.proven_bytes = inner.proven.iter().map(|(_, entry)| entry.len()).sum();
        drop(inner); // freeing many blocks takes the kernel a while
        drop(gone);
    }

    fn claim(&self, inner: &mut Inner, key: Key, space: Space, ahead: Option<Lease>) -> Claim<'_> {
        let flight = Arc::new(Flight::default());
        let pending = Pending { flight: Arc::clone(&flight), wanted: false };
        inner.flights.insert(key, pending);
        Claim { store: self, key, flight, space: Some(space), alone: ahead.is_none(), ahead, settled: false }
    }

    /// Room for one block, made by evicting the least recently used ones as long as `may_go` allows.
    fn make_room(&self, inner: &mut Inner, len: usize, may_go: impl Fn(&Entry) -> bool) -> Option<Space> {
        loop {
            if let Some(lease) = self.budget.lease(len) {
                return Some(Space { recycled: None, len, lease });
            }
            match Arc::into_inner(inner.evict(&may_go)?.block) {
                Some(Block { bytes, lease }) if bytes.len() == len => {
                    return Some(Space { recycled: Some(bytes), len, lease });
                }
                _ => {}
            }
        }
    }
}

impl Inner {
    fn has(&self, key: &Key) -> bool {
        self.recent.contains(key) || self.proven.contains(key) || self.flights.contains_key(key)
    }

    fn hit(&mut self, key: &Key, streaming: bool) -> Option<Arc<Block>> {
        if let Some(entry) = self.proven.get(key) {
            self.tally.hits += 1;
            return Some(Arc::clone(&entry.block));
        }
        let entry = self.recent.get_mut(key)?;
        self.tally.hits += 1;
        let block = Arc::clone(&entry.block);
        if entry.ahead.take().is_some() {
            self.tally.ahead_used += 1;
        } else if !streaming {
            self.prove(key);
        }
        Some(block)
    }

    fn prove(&mut self, key: &Key) {
        let Some(entry) = self.recent.pop(key) else {
            return;
        };
        self.proven_bytes += entry.len();
        self.proven.put(*key, entry);
        while self.proven_bytes > self.proven_limit {
            let Some((key, entry)) = self.proven.pop_lru() else {
                return;
            };
            self.proven_bytes -= entry.len();
            self.recent.put(key, entry);
        }
    }

    /// Takes out the block that is to go first, if `may_go` lets it.
    fn evict(&mut self, may_go: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let (list, proven) = match self.recent.is_empty() {
            false => (&mut self.recent, false),
            true => (&mut self.proven, true),
        };
        list.peek_lru().filter(|(_, entry)| may_go(entry))?;
        let (_, entry) = list.pop_lru()?;
        if proven {
            self.proven_bytes -= entry.len();
        }
        self.tally.evictions += 1;
        Some(entry)
    }
}

impl Entry {
    fn len(&self) -> u64 {
        self.block.bytes.len() as u64
    }
}

/// The duty to read one block. Dropped without an answer, as when the read panics, it fails for all who wait.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    store: &'a Store,
    key: Key,
    flight: Arc<Flight>,
    space: Option<Space>, // until it is filled
    /// Whether the read is for this block only, so that its error is this block's.
    alone: bool,
    ahead: Option<Lease>,
    settled: bool,
}

impl Claim<'_> {
    /// The length of the block.
    pub fn len(&self) -> usize {
        self.space.as_ref().map_or(0, |space| space.len)
    }

    /// Lets `fill` fill the block, puts it into the cache and gives it, or the error, to all who wait. Of an error
    /// nothing is remembered.
    pub fn fulfil(mut self, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Arc<Block>> {
        let Some(space) = self.space.take() else {
            return Err(io::Error::other("the block has no room"));
        };
        let mut block = space.into_block();
        if let Err(error) = fill(&mut block.bytes) {
            drop(block);
            self.fail(&error);
            return Err(error);
        }
        let block = Arc::new(block);
        let mut inner = lock(&self.store.inner);
        let wanted = inner.flights.remove(&self.key).is_some_and(|pending| pending.wanted);
        let mut ahead = self.ahead.take();
        if wanted && ahead.take().is_some() {
            inner.tally.ahead_used += 1;
        }
        let entry = Entry { block: Arc::clone(&block), ahead };
        inner.recent.put(self.key, entry);
        drop(inner);
        self.settled = true;
        self.flight.settle(Outcome::Landed(Arc::clone(&block)));
        Ok(block)
    }

    /// Gives the error to all who wait.
    pub fn fail(mut self, error: &io::Error) {
        self.settle_failure(error);
    }

    fn settle_failure(&mut self, error: &io::Error) {
        self.settled = true;
        self.space = None;
        self.ahead = None;
        lock(&self.store.inner).flights.remove(&self.key);
        self.flight.settle(if self.alone { Outcome::Failed(error.into()) } else { Outcome::Abandoned });
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle_failure(&io::Error::other("the reader of the backing file panicked"));
        }
    }
}

/// No code under these locks leaves a value half changed, so one that a panic has poisoned is as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
