//! Where bytes come from: one read operation, many backing stores.
//!
//! A [`ReadAt`] is a run of bytes of known length that can be read at any offset, by many threads at once. The ISO
//! file is one, a window into it is one, and the block cache that stands before it is one: they stack.

use std::io;

/// Positioned reads without a shared cursor.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Whatever the backing store says; [`io::ErrorKind::UnexpectedEof`] if it ends before `buf` is full. A short read
    /// is never padded with zeros.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = from.checked_add(buf.len()).and_then(|end| self.get(from..end));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }
}
