//! Who reads the disk over the connections that the keeper brings: Linux's nbd ([`crate::disk`]), or this process itself.
//!
//! Both hold on to a read until it is answered, over whichever connection there is. How much is answered tells a server that
//! hangs from one that is slow.

mod here;

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub use here::Here;

/// How long reads may wait without one being answered until another server is called, if there is one.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);

/// A reader.
pub trait Reader {
    /// Takes a connection in the place of one that is dead.
    fn replace(&self, socket: &TcpStream) -> io::Result<()>;

    /// What has been read so far.
    fn counts(&self) -> Counts;
}

/// Reads of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads that were answered.
    pub answered: u64,
    /// Requests that wait.
    pub waiting: u64,
}

/// Whether reads are answered at all.
pub struct Progress {
    last: Counts,
    since: Instant,
}

impl Progress {
    /// From now on.
    pub fn new() -> Self {
        Self { last: Counts::default(), since: Instant::now() }
    }

    /// Whether reads wait, and none has been answered for long.
    pub fn is_stuck(&mut self, now: Counts) -> bool {
        self.is_stuck_at(now, Instant::now())
    }

    fn is_stuck_at(&mut self, counts: Counts, now: Instant) -> bool {
        if counts.waiting == 0 || counts.answered != self.last.answered {
            (self.last, self.since) = (counts, now);
        }
        now.saturating_duration_since(self.since) >= STUCK_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_wait_and_none_that_is_answered_are_a_server_that_hangs() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let counts = |answered, waiting| Counts { answered, waiting };
        let mut progress = Progress { last: Counts::default(), since: begin };
        assert!(!progress.is_stuck_at(counts(10, 1), at(2)));
        assert!(!progress.is_stuck_at(counts(11, 1), at(11)), "it is slow, and answers");
        assert!(!progress.is_stuck_at(counts(11, 3), at(20)));
        assert!(progress.is_stuck_at(counts(11, 3), at(21)));
        assert!(!progress.is_stuck_at(counts(11, 0), at(60)), "nobody waits");
        assert!(!progress.is_stuck_at(counts(11, 1), at(69)), "nor for long");
    }
}
