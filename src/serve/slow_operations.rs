//! What may have to wait for an ISO's disk, kept away from the event loops: some of it runs beside them, each ISO for
//! itself; reads run in them, because that is fastest, but only so many at a time, of each ISO and of all.
//!
//! So a disk that hangs holds the event loops and threads of its own ISO, and a loop is always left for all others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::workers::{Limits, Workers};

/// Looks into ISOs: one at a time of each, since they share what they find.
const LOOKS: Limits =
    Limits { name: "trees", threads: 256, per_key: 1, waiting: usize::MAX, patience: None, nice: false };

/// Reads that found no event loop: as many of an ISO again as there are event loops for it.
const READS: Limits =
    Limits { name: "reads", threads: 512, per_key: 8, waiting: usize::MAX, patience: None, nice: false };

/// The threads, and who reads in the event loops.
pub struct SlowOperations {
    looks: Workers,
    reads: Workers,
    inline: Arc<Inline>,
}

/// Reads that are under way in event loops.
struct Inline {
    of_each: usize,
    of_all: usize,
    now: Mutex<(usize, HashMap<u64, usize>)>,
}

/// Leave to read in this event loop.
pub struct Leave {
    inline: Arc<Inline>,
    iso: u64,
}

impl SlowOperations {
    /// For so many event loops.
    pub fn new(loops: usize) -> Self {
        let inline = Inline { of_each: (loops / 2).max(1), of_all: loops * 3 / 4, now: Mutex::default() };
        Self { looks: Workers::new(LOOKS), reads: Workers::new(READS), inline: Arc::new(inline) }
    }

    /// Runs a job: here and now if it waits for no ISO, else on a thread when its turn has come.
    pub fn run(&self, waits_for: Option<u64>, job: impl FnOnce() + Send + 'static) {
        match waits_for {
            None => job(),
            Some(iso) => self.looks.run_or_do(iso, job),
        }
    }

    /// Whether an ISO may be read here and now; `None` if that is to be done by [`SlowOperations::read`].
    pub fn leave(&self, iso: u64) -> Option<Leave> {
        let mut now = self.inline.now.lock();
        if now.0 >= self.inline.of_all || now.1.get(&iso).is_some_and(|of_iso| *of_iso >= self.inline.of_each)
        {
            return None;
        }
        now.0 += 1;
        *now.1.entry(iso).or_default() += 1;
        Some(Leave { inline: self.inline.clone(), iso })
    }

    /// Reads an ISO on a thread.
    pub fn read(&self, iso: u64, job: impl FnOnce() + Send + 'static) {
        self.reads.run_or_do(iso, job);
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut now = self.inline.now.lock();
        now.0 -= 1;
        if let Some(of_iso) = now.1.get_mut(&self.iso) {
            *of_iso -= 1;
            if *of_iso == 0 {
                now.1.remove(&self.iso);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_waits_for_nothing_is_done_at_once() {
        let (sender, inbox) = channel();
        SlowOperations::new(16).run(None, move || sender.send(std::thread::current().id()).unwrap());
        assert_eq!(inbox.try_recv().unwrap(), std::thread::current().id());
    }

    #[test]
    fn one_iso_gets_half_of_the_event_loops_and_all_together_three_quarters() {
        let slow = SlowOperations::new(16);
        let leaves = |iso: u64| std::iter::from_fn(|| slow.leave(iso)).collect::<Vec<_>>();
        let (one, two) = (leaves(1), leaves(2));
        assert_eq!((one.len(), two.len(), leaves(3).len()), (8, 4, 0));
        drop(one);
        assert_eq!(leaves(3).len(), 8);
        assert_eq!(slow.inline.now.lock().0, 4);
    }
}
