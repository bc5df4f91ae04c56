//! A byte stream that knows where it stands, lets its reader look ahead, and draws on a budget.
//!
//! The initrd itself is one, and so is the inside of each compressed archive in it; both draw on the same [`Budget`],
//! so that neither a long initrd nor a short one that unpacks without end is worked on for ever. It holds one buffer
//! of [`BUFFER`] bytes and nothing else.

use super::{Error, Limit, Limits, Place};
use std::cell::Cell;
use std::io::{self, BufRead, Read};

/// A decompressor is asked for this much at once; beyond 64 KiB nothing gets faster.
const BUFFER: usize = 64 * 1024;

/// How many more bytes may be read and unpacked.
pub(super) struct Budget {
    left: Cell<u64>,
    total: u64,
    /// Of these, how many may be unpacked; what is read adds to it.
    unpacked: Cell<u64>,
    ratio: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { bytes, ratio, free, .. } = *limits;
        Budget { left: Cell::new(bytes), total: bytes, unpacked: Cell::new(free), ratio }
    }

    /// Takes bytes that were read, or unpacked.
    fn take(&self, count: u64, unpacked: bool) {
        self.left.set(self.left.get().saturating_sub(count));
        let left = self.unpacked.get();
        self.unpacked.set(match unpacked {
            true => left.saturating_sub(count),
            false => left.saturating_add(count.saturating_mul(self.ratio)),
        });
    }

    /// The limit that has been met.
    fn met(&self, unpacked: bool) -> Option<(Limit, u64)> {
        match self.left.get() {
            0 => Some((Limit::Bytes, self.total)),
            _ if unpacked && self.unpacked.get() == 0 => Some((Limit::Ratio, self.ratio)),
            _ => None,
        }
    }
}

/// See the module.
pub(super) struct Stream<'a, R> {
    inner: R,
    /// Where the compressed archive begins in the initrd that this is the inside of.
    archive: Option<u64>,
    at: u64,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    budget: &'a Budget,
    /// What went wrong beneath a decompressor, which can only pass on an [`io::Error`].
    failed: Option<Error>,
}

impl<'a, R: Read> Stream<'a, R> {
    /// The initrd itself.
    pub(super) fn outer(inner: R, budget: &'a Budget) -> Self {
        Stream {
            inner,
            archive: None,
            at: 0,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            budget,
            failed: None,
        }
    }

    /// What comes out of the compressed archive that begins at byte `archive` of the initrd.
    pub(super) fn unpacked(inner: R, archive: u64, budget: &'a Budget) -> Self {
        Stream { archive: Some(archive), ..Stream::outer(inner, budget) }
    }

    pub(super) fn budget(&self) -> &'a Budget {
        self.budget
    }

    /// Bytes consumed so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn place(&self) -> Place {
        match self.archive {
            None => Place { initrd: self.at, unpacked: None },
            Some(initrd) => Place { initrd, unpacked: Some(self.at) },
        }
    }

    /// Keeps `error` for [`Self::take_failure`], and returns what a decompressor can pass on in its place.
    pub(super) fn keep_failure(&mut self, error: Error) -> io::Error {
        self.failed = Some(error);
        io::Error::other("the initrd could not be read on")
    }

    /// What failed under the last decompressor that read from here.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// The next `count` bytes, without consuming them; fewer only at the end. `count` is at most [`BUFFER`].
    pub(super) fn peek(&mut self, count: usize) -> Result<&[u8], Error> {
        self.fill(count)?;
        let buffered = self.buffered();
        Ok(buffered.get(..count).unwrap_or(buffered))
    }

    /// Fills `target`, or says that the stream ends before.
    pub(super) fn read_exact(&mut self, target: &mut [u8]) -> Result<(), Error> {
        let mut target = target;
        while !target.is_empty() {
            self.fill(1)?;
            let buffered = self.buffered();
            let count = buffered.len().min(target.len());
            if count == 0 {
                return Err(Error::Truncated { place: self.place() });
            }
            let (now, later) = target.split_at_mut(count);
            now.copy_from_slice(buffered.get(..count).unwrap_or_default());
            self.advance(count);
            target = later;
        }
        Ok(())
    }

    /// Passes over `count` bytes, or says that the stream ends before.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            self.fill(1)?;
            let step = self.buffered().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if step == 0 {
                return Err(Error::Truncated { place: self.place() });
            }
            self.advance(step);
            left -= step as u64;
        }
        Ok(())
    }

    /// Passes over zero bytes up to the next other one or the end.
    pub(super) fn skip_zeros(&mut self) -> Result<(), Error> {
        loop {
            self.fill(1)?;
            let buffered = self.buffered();
            let zeros = buffered.iter().position(|&byte| byte != 0);
            let step = zeros.unwrap_or(buffered.len());
            self.advance(step);
            if zeros.is_some() || step == 0 {
                return Ok(());
            }
        }
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        self.at += count as u64;
        self.budget.take(count as u64, self.archive.is_some());
    }

    /// Makes at least `count` bytes available, unless the stream ends before.
    fn fill(&mut self, count: usize) -> Result<(), Error> {
        while self.end - self.start < count {
            if let Some((limit, most)) = self.budget.met(self.archive.is_some()) {
                return Err(Error::Limit { limit, most, place: self.place() });
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            match self.inner.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => self.end = self.end.saturating_add(read).min(self.buffer.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error)),
            }
        }
        Ok(())
    }

    fn read_error(&self, source: io::Error) -> Error {
        let place = self.place();
        match (self.archive, source.kind()) {
            (None, _) => Error::Read { place, source },
            (Some(_), io::ErrorKind::UnexpectedEof) => Error::Truncated { place },
            (Some(_), _) => Error::Damaged { place, source },
        }
    }
}

/// For the decompressors.
impl<R: Read> BufRead for Stream<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Err(error) = self.fill(1) {
            return Err(self.keep_failure(error));
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, count: usize) {
        self.advance(count.min(self.end - self.start));
    }
}

impl<R: Read> Read for Stream<'_, R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let buffered = self.fill_buf()?;
        let count = buffered.len().min(target.len());
        target
            .get_mut(..count)
            .unwrap_or_default()
            .copy_from_slice(buffered.get(..count).unwrap_or_default());
        self.consume(count);
        Ok(count)
    }
}
