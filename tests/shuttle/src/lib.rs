//! The block cache and the operations of the file system, as they are, on locks of shuttle: a test that uses them goes
//! through many orders of its threads, and one that fails says which.
//!
//! The modules are the program's own files, by links. What they take out of `parking_lot` is found here; the threads that read ahead
//! are shuttle's too, one at a time, as what is local to a thread is local to all of shuttle's. Atomic numbers are the
//! standard library's: they only count.

extern crate self as parking_lot;

mod locks;
pub mod serve;
pub mod storage;

pub use locks::{Condvar, Mutex, MutexGuard, RwLock};
pub use netrootfs::{image, tree};
