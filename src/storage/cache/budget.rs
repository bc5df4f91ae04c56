//! What the blocks may take of memory, and the memory itself.
//!
//! Every block carries a lease on the budget from before its bytes are allocated until after they are freed, so the
//! budget counts what lies in memory: blocks in the cache, blocks being filled, and evicted blocks that a reader is
//! still copying from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    pub lease: Lease,
}

/// Room in the budget for one block, with the memory of an evicted one where its length is right: a full cache then
/// allocates nothing, and the kernel has no fresh pages to clear.
#[derive(Debug)]
pub(super) struct Space {
    pub recycled: Option<Box<[u8]>>,
    pub len: usize,
    pub lease: Lease,
}

impl Space {
    /// A block of that length with any bytes in it.
    pub fn into_block(self) -> Block {
        let fresh = || vec![0; self.len].into_boxed_slice();
        Block { bytes: self.recycled.unwrap_or_else(fresh), lease: self.lease }
    }
}
