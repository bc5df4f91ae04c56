//! A limit on how many bytes of a source are read, and on how long that may take.
//!
//! It stands before a file system that is read by a crate: whatever its structures say, reading ends. Nothing is limited
//! but what passes through here.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::ReadAt;

/// Passes on so many bytes, up to a point in time, and fails all reads that follow.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: R,
    left: AtomicU64,
    until: Instant,
}

impl<R: ReadAt> Bounded<R> {
    /// Allows `bytes` of `inner` to be read, for the time `within` from now on.
    pub fn new(inner: R, bytes: u64, within: Duration) -> Self {
        Self { inner, left: AtomicU64::new(bytes), until: Instant::now() + within }
    }
}

impl<R: ReadAt> ReadAt for Bounded<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let take = |left: u64| left.checked_sub(buf.len() as u64);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(io::Error::other("it takes too many bytes to read"));
        }
        if Instant::now() > self.until {
            return Err(io::Error::other("it takes too long to read"));
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
    fn reads_end_with_the_bytes_and_with_the_time() {
        let source = Bounded::new(b"0123456789".to_vec(), 6, Duration::from_secs(3600));
        source.read_exact_at(&mut [0; 4], 0).unwrap();
        let error = source.read_exact_at(&mut [0; 4], 4).unwrap_err();
        assert_eq!(error.to_string(), "it takes too many bytes to read");
        source.read_exact_at(&mut [0; 2], 8).unwrap();
        let late = Bounded::new(b"01".to_vec(), 6, Duration::ZERO);
        assert_eq!(late.read_exact_at(&mut [0; 1], 0).unwrap_err().to_string(), "it takes too long to read");
        assert_eq!(late.len(), 2);
    }
}
