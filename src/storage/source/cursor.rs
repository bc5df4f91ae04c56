//! A [`ReadAt`] as what readers of the standard library want: a place that moves on.

use std::io::{self, Read, Seek, SeekFrom};

use super::ReadAt;

/// Reads a source from its beginning, or from where it was sought to.
#[derive(Debug)]
pub struct Cursor<R> {
    source: R,
    at: u64,
}

impl<R: ReadAt> Cursor<R> {
    /// Stands at the beginning.
    pub fn new(source: R) -> Self {
        Self { source, at: 0 }
    }
}

impl<R: ReadAt> Read for Cursor<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.source.len().saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        if count == 0 {
            return Ok(0);
        }
        self.source.read_exact_at(buf.get_mut(..count).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: ReadAt> Seek for Cursor<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
            SeekFrom::End(distance) => self.source.len().checked_add_signed(distance),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_and_seeks_like_a_file() {
        let mut cursor = Cursor::new(b"0123456789".to_vec());
        let mut text = String::new();
        assert_eq!(cursor.seek(SeekFrom::End(-3)).unwrap(), 7);
        cursor.read_to_string(&mut text).unwrap();
        assert_eq!(text, "789");
        assert_eq!(cursor.seek(SeekFrom::Current(-10)).unwrap(), 0);
        assert!(cursor.seek(SeekFrom::Current(-1)).is_err());
        assert_eq!(cursor.seek(SeekFrom::Start(99)).unwrap(), 99);
        assert_eq!(cursor.read(&mut [0; 4]).unwrap(), 0);
    }
}
