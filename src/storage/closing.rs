//! Closing of files that nobody waits for: the file system of one may be asked (close(2)), as FUSE and some network file systems
//! are, and then it takes as long as that doesn't answer, and nothing ends it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::workers::{Limits, Workers};

/// One that hangs keeps no other.
const CLOSES: Limits =
    Limits { name: "close", threads: 256, per_key: 1, waiting: usize::MAX, patience: None, nice: false };

/// Threads that close.
#[derive(Debug)]
pub struct Closing {
    workers: Workers,
    number: AtomicU64,
}

impl Closing {
    /// Nothing is to be closed yet.
    #[expect(clippy::new_without_default, reason = "as of what it is made of")]
    pub fn new() -> Self {
        Self { workers: Workers::new(CLOSES), number: AtomicU64::new(0) }
    }

    /// Drops what may be the last to hold a file.
    pub fn close(&self, last: impl Send + 'static) {
        self.workers.run_or_do(self.number.fetch_add(1, Ordering::Relaxed), move || drop(last));
    }
}
