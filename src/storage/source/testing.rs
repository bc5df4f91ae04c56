//! Decorators for tests: one counts the reads that pass through it, one makes them fail.
//!
//! They have the interface that they wrap, so a test puts them wherever it wants to look or to break something. Not
//! part of the public interface.

use std::io;

use parking_lot::Mutex;

use super::ReadAt;

/// Remembers every read that reaches `R`, also those that fail.
#[derive(Debug)]
pub struct Counting<R> {
    inner: R,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl<R: ReadAt> Counting<R> {
    /// Watches `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, reads: Mutex::default() }
    }

    /// The reads so far as (offset, length), in the order in which they began.
    pub fn reads(&self) -> Vec<(u64, usize)> {
        self.reads.lock().clone()
    }
}

impl<R: ReadAt> ReadAt for Counting<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.lock().push((offset, buf.len()));
        self.inner.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

/// Asks `F` before each read, with its offset and length. An error from `F` is the read's error; `F` may also block or
/// panic.
pub struct Faulty<R, F> {
    inner: R,
    fault: F,
}

impl<R: ReadAt, F: Fn(u64, usize) -> io::Result<()> + Send + Sync> Faulty<R, F> {
    /// Puts `fault` before `inner`.
    pub fn new(inner: R, fault: F) -> Self {
        Self { inner, fault }
    }
}

impl<R: ReadAt, F: Fn(u64, usize) -> io::Result<()> + Send + Sync> ReadAt for Faulty<R, F> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (self.fault)(offset, buf.len())?;
        self.inner.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}
