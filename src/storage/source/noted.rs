//! Notes that the system could not read a source, whatever becomes of the error further up.
//!
//! Readers of images pass over what they can't read, and say that it is damaged. What a disk or a file server says is of the
//! moment, though, and a finding that was made meanwhile is none.

use std::io;
use std::sync::{Arc, OnceLock};

use super::ReadAt;

/// The first error number of the system's that a read has met (errno(3)).
pub type Errno = Arc<OnceLock<i32>>;

/// Passes on reads, and notes the first error of the system's.
#[derive(Debug)]
pub struct Noted<R> {
    inner: R,
    met: Errno,
}

impl<R: ReadAt> Noted<R> {
    /// Notes the errors of `inner` in `met`.
    pub fn new(inner: R, met: Errno) -> Self {
        Self { inner, met }
    }
}

impl<R: ReadAt> ReadAt for Noted<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, offset).inspect_err(|error| {
            if let Some(number) = error.raw_os_error() {
                // Another may have been first.
                let _ = self.met.set(number);
            }
        })
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn origin(&self) -> Option<(Arc<std::fs::File>, u64)> {
        self.inner.origin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::source::testing::Faulty;

    #[test]
    fn the_first_error_of_the_system_s_is_noted_and_no_other() {
        let fault = |offset, _| match offset {
            0 => Ok(()),
            1 => Err(io::Error::other("damaged")),
            number => Err(io::Error::from_raw_os_error(number as i32)),
        };
        let met = Errno::default();
        let source = Noted::new(Faulty::new(vec![7; 8], fault), met.clone());
        let mut byte = [0];
        source.read_exact_at(&mut byte, 0).unwrap();
        assert_eq!((byte, source.len()), ([7], 8));
        source.read_exact_at(&mut byte, 1).unwrap_err();
        assert_eq!(met.get(), None);
        for number in [libc::EIO, libc::ENXIO] {
            assert_eq!(
                source.read_exact_at(&mut byte, number as u64).unwrap_err().raw_os_error(),
                Some(number)
            );
            assert_eq!(met.get(), Some(&libc::EIO));
        }
    }
}
