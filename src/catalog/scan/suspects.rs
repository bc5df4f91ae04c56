//! ISOs that a process may have died of.
//!
//! A crash in the look at an ISO, of a stack that overflows say, would come again with each process that looks at it, and end
//! the mount at last. So a witness is told what is being looked at, and after a death the next process looks at one ISO after
//! the other, until it is clear which one it dies of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Pid;
use rustix::thread::gettid;

use super::FileId;
use crate::storage::identity::identity;

/// Who knows, when this process has died, what it was looking at.
pub trait Witness: Send + Sync {
    /// An ISO is being looked at, of which so many processes have died.
    fn begins(&self, iso: u64, deaths: u8);

    /// It no longer is.
    fn ends(&self, iso: u64);
}

/// Deaths after which an ISO is not looked at any more. One may have come from elsewhere, and of several that were looked at
/// side by side it takes another to know which one it was.
pub const DEADLY: u8 = 3;

/// How long a look waits for its turn: one that hangs holds up no others.
pub(super) const TURN: Duration = Duration::from_millis(500);

/// What processes before this one were looking at when they died.
pub(super) struct Suspects {
    witness: Arc<dyn Witness>,
    deaths: HashMap<u64, u8>,
    turn: Mutex<()>,
    /// What is being looked at now, and by which thread.
    now: Mutex<HashMap<u64, Pid>>,
}

impl Suspects {
    /// `left` are what the last process was looking at, with the number of those that had died of it before.
    pub(super) fn new(witness: Arc<dyn Witness>, left: HashMap<u64, u8>) -> Self {
        let deaths: HashMap<u64, u8> =
            left.into_iter().map(|(iso, before)| (iso, before.saturating_add(1).min(DEADLY))).collect();
        for (iso, _) in deaths.iter().filter(|(_, deaths)| **deaths == DEADLY) {
            // For good: it won't be looked at again.
            witness.begins(*iso, DEADLY);
        }
        Self { witness, deaths, turn: Mutex::default(), now: Mutex::default() }
    }

    /// Looks at an ISO; `None` if it is known that processes die of that.
    pub(super) fn look<T>(&self, id: &FileId, look: impl FnOnce() -> T) -> Option<T> {
        let iso = identity(id);
        let deaths = self.deaths.get(&iso).copied().unwrap_or_default();
        if deaths == DEADLY {
            return None;
        }
        let _turn = (!self.deaths.is_empty()).then(|| self.turn.try_lock_for(TURN));
        self.witness.begins(iso, deaths);
        self.now.lock().insert(iso, gettid());
        let found = look();
        self.now.lock().remove(&iso);
        self.witness.ends(iso);
        Some(found)
    }

    /// Acquits what only waits for a disk or a file server: whoever is ended meanwhile doesn't die of it.
    pub(super) fn acquit_who_waits(&self) {
        self.now.lock().retain(|iso, thread| {
            let waits = is_waiting(*thread);
            if waits {
                self.witness.ends(*iso);
            }
            !waits
        });
    }
}

/// Whether a thread of this process is neither running nor about to (proc_pid_stat(5)).
fn is_waiting(thread: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero()));
    // The name, in parentheses, may be anything.
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['S', 'D'])))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Memory(Mutex<HashMap<u64, u8>>);

    impl Memory {
        fn left(&self) -> HashMap<u64, u8> {
            self.0.lock().clone()
        }
    }

    impl Witness for Memory {
        fn begins(&self, iso: u64, deaths: u8) {
            self.0.lock().insert(iso, deaths);
        }

        fn ends(&self, iso: u64) {
            self.0.lock().remove(&iso);
        }
    }

    fn id(inode: u64) -> FileId {
        FileId { device: 1, inode, len: 2, mtime: 3, written: 0 }
    }

    #[test]
    fn the_one_that_kills_again_and_again_is_found_among_others() {
        let memory = Arc::new(Memory::default());
        let process = || Suspects::new(memory.clone(), memory.left());
        // As of a process that has died while it looked at all of them.
        (0..3).for_each(|inode| memory.begins(identity(&id(inode)), 0));
        for _ in 1..DEADLY {
            let next = process();
            next.look(&id(0), || assert!(memory.left().contains_key(&identity(&id(0))))).unwrap();
            // And there it dies.
            let left = next.look(&id(1), || memory.left()).unwrap();
            *memory.0.lock() = left;
        }
        for _ in 0..2 {
            let last = process();
            assert_eq!(last.look(&id(1), || ()), None);
            // One that was never come to is looked at, as the others are.
            [0, 2, 3].iter().for_each(|inode| assert_eq!(last.look(&id(*inode), || ()), Some(())));
        }
        assert_eq!(memory.left(), HashMap::from([(identity(&id(1)), DEADLY)]));
    }

    #[test]
    fn after_a_death_one_is_looked_at_after_the_other_but_for_one_that_hangs() {
        let process = Suspects::new(Arc::<Memory>::default(), HashMap::from([(7, 0)]));
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let (began, begins) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let process = &process;
            scope.spawn(move || {
                process.look(&id(1), || {
                    began.send(()).unwrap();
                    gate.recv().unwrap_or_default();
                })
            });
            begins.recv().unwrap();
            assert!(process.turn.try_lock().is_none());
            assert_eq!(process.look(&id(2), || ()), Some(()));
            drop(open);
        });
    }
    #[test]
    fn one_that_waits_for_a_disk_is_acquitted_and_one_that_computes_is_not() {
        let memory = Arc::new(Memory::default());
        let process = Suspects::new(memory.clone(), HashMap::new());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let (computes, goes_on) = (AtomicBool::new(false), AtomicBool::new(true));
        std::thread::scope(|scope| {
            let (process, computes, goes_on) = (&process, &computes, &goes_on);
            scope.spawn(move || process.look(&id(1), || gate.recv().unwrap_or_default()));
            scope.spawn(move || {
                process.look(&id(2), || {
                    computes.store(true, Ordering::Release);
                    while goes_on.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                })
            });
            while !computes.load(Ordering::Acquire) || memory.left().len() < 2 {
                std::thread::yield_now();
            }
            while memory.left().contains_key(&identity(&id(1))) {
                process.acquit_who_waits();
            }
            assert_eq!(memory.left(), HashMap::from([(identity(&id(2)), 0)]));
            goes_on.store(false, Ordering::Release);
            drop(open);
        });
        assert!(memory.left().is_empty());
    }
}
