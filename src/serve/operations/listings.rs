//! What open directories show: once for all that show the same, so that a thousand clients in a directory of an ISO that has
//! tens of thousands of names cost no more than one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::serve::handover::ledger::Listing;
use crate::tree::lazy::Listed;

/// The listings of directories that are open.
#[derive(Default)]
pub(super) struct Listings(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    last: u64,
    /// The last one of a directory, by its inode.
    open: HashMap<u64, Weak<Listing>>,
}

impl Listings {
    /// The one of a directory that somebody has open.
    pub(super) fn of(&self, ino: u64) -> Option<Arc<Listing>> {
        self.0.lock().open.get(&ino)?.upgrade()
    }

    /// One of these entries, the same as before if they are.
    pub(super) fn share(&self, ino: u64, entries: Vec<Listed>) -> Arc<Listing> {
        let mut inner = self.0.lock();
        let open = inner.open.get(&ino).and_then(Weak::upgrade);
        if let Some(open) = open.filter(|open| open.entries == entries) {
            return open;
        }
        inner.last += 1;
        let listing = Arc::new(Listing { number: inner.last, entries });
        inner.open.retain(|_, open| open.strong_count() > 0);
        inner.open.insert(ino, Arc::downgrade(&listing));
        listing
    }

    /// Knows one of a process before this one.
    pub(super) fn adopt(&self, listing: &Arc<Listing>) {
        let mut inner = self.0.lock();
        inner.last = inner.last.max(listing.number);
        // The first is `.`.
        if let Some(directory) = listing.entries.first() {
            inner.open.insert(directory.ino, Arc::downgrade(listing));
        }
    }
}
