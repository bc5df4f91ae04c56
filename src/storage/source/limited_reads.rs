//! A limit on how often a source is read.
//!
//! It stands before an image whose structures decide what is read next: pointers in a circle, or a directory that is
//! said to have gigabytes, end when the budget does. It limits nothing but the number of reads.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadAt;

/// Passes on so many reads, and fails all that follow.
#[derive(Debug)]
pub struct LimitedReads<R> {
    inner: R,
    limit: AtomicU64,
    asked: AtomicU64,
}

impl<R: ReadAt> LimitedReads<R> {
    /// Allows `limit` reads of `inner`.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, limit: AtomicU64::new(limit), asked: AtomicU64::new(0) }
    }

    /// Begins again, with another limit.
    pub fn renew(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
    }

    /// Whether a read has been refused.
    pub fn exceeded(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > self.limit.load(Ordering::Relaxed)
    }
}

impl<R: ReadAt> ReadAt for LimitedReads<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let limit = self.limit.load(Ordering::Relaxed);
        if self.asked.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(io::Error::other(format!("more than {limit} reads")));
        }
        self.inner.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_beyond_the_budget_fail() {
        let source = LimitedReads::new(b"0123456789".to_vec(), 2);
        let mut buf = [0; 3];
        source.read_exact_at(&mut buf, 4).unwrap();
        source.read_exact_at(&mut buf, 5).unwrap();
        assert!(!source.exceeded());
        assert_eq!(source.read_exact_at(&mut buf, 6).unwrap_err().to_string(), "more than 2 reads");
        assert!(source.exceeded());
        assert_eq!(&buf, b"567");
        source.renew(1);
        source.read_exact_at(&mut buf, 6).unwrap();
        assert!(source.read_exact_at(&mut buf, 6).is_err());
    }
}
