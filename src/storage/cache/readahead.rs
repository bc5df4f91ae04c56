//! Read-ahead: who reads sequentially, and what the threads do that read before them.
//!
//! It never makes a reader wait: a busy detector is not asked, a full queue drops the request, and errors are left for
//! the reader to find. It knows neither blocks' bytes nor the budget beyond the leases that its jobs carry.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Weak;

use parking_lot::Mutex;

use super::Attachment;
use super::budget::Lease;
use crate::storage::workers::Limits;

/// Streams told apart on one source. More clients than that still share what others read ahead; all of them are scanned
/// with every read.
const STREAMS: usize = 32;

/// How far from the expected offset a read may be and still belong to the stream, in lengths of the read. The kernel
/// reads a FUSE file ahead in pieces of 128 KiB, up to 1 MiB of them at once, and they arrive on several threads in any
/// order. Measured in lengths, so that random reads of 4 KiB in a hot region of some MiB don't look like that.
const SLACK: u64 = 8;

/// Reads in a row that make a stream. Two happen by chance too often among `STREAMS` places.
const RUN: u32 = 3;

/// Blocks first read ahead of a new stream; doubled each time until the limit.
const FIRST_WINDOW: u64 = 2;

/// Requests of one source waiting for a thread. More than that and it is too slow for them to help.
const QUEUE: usize = 64;

/// Sources that can be read ahead with all their threads at a time.
const SOURCES: usize = 8;

/// As `ps -T` shows it; the kernel keeps 15 bytes.
pub(super) const THREAD_NAME: &str = "read-ahead";

/// The sequential readers of one source.
#[derive(Debug)]
pub(super) struct Streams {
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    clock: u64,
    streams: [Stream; STREAMS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    /// Where the next read is expected.
    next: u64,
    /// Reads that went forward, up to `RUN`.
    run: u32,
    window: u64,
    /// The block after the last one requested.
    requested: u64,
    used: u64,
}

impl Streams {
    pub fn new() -> Self {
        Self { slots: Mutex::new(Slots { clock: 0, streams: [Stream::default(); STREAMS] }) }
    }

    /// Takes note of a read and calls `request` for runs of blocks that should be read ahead, until it returns false.
    /// Returns whether the read is part of a stream, as far as can be told without waiting.
    pub fn note(&self, read: Range<u64>, layout: Layout, request: impl FnMut(Range<u64>) -> bool) -> bool {
        let Some(mut slots) = self.slots.try_lock() else { return true };
        let Some(stream) = slots.stream_of(&read) else {
            return false;
        };
        if read.end > stream.next || stream.run == 0 {
            stream.advance(read.end, layout, request);
        }
        stream.run >= RUN
    }
}

/// The read-ahead of a source, all in blocks but for their size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bytes in a block.
    pub block: u64,
    /// Blocks in the source.
    pub blocks: u64,
    /// Most blocks ahead of a stream.
    pub window: u64,
    /// Most blocks in one request.
    pub run: u64,
}

impl Slots {
    /// The stream that goes on with this read, or else a new one in place of the one that has been silent longest.
    fn stream_of(&mut self, read: &Range<u64>) -> Option<&mut Stream> {
        self.clock += 1;
        let slack = (read.end - read.start).saturating_mul(SLACK);
        let near = |stream: &Stream| stream.run > 0 && stream.next.abs_diff(read.start) <= slack;
        let known = self.streams.iter().position(near);
        let longest_silent = || {
            let streams = self.streams.iter().enumerate();
            streams.min_by_key(|(_, stream)| stream.used)
        };
        let index = known.or_else(|| longest_silent().map(|(index, _)| index))?;
        let stream = self.streams.get_mut(index)?;
        if known.is_none() {
            *stream = Stream::default();
        }
        stream.used = self.clock;
        Some(stream)
    }
}

impl Stream {
    fn advance(&mut self, end: u64, layout: Layout, mut request: impl FnMut(Range<u64>) -> bool) {
        self.next = end;
        self.run = RUN.min(self.run + 1);
        if self.run < RUN || layout.window == 0 {
            return;
        }
        self.window = self.window.max(FIRST_WINDOW).min(layout.window);
        let needed = end.div_ceil(layout.block);
        self.requested = self.requested.max(needed);
        if self.requested - needed > self.window / 2 {
            return;
        }
        let goal = layout.blocks.min(needed.saturating_add(self.window));
        while self.requested < goal {
            let run = self.requested..goal.min(self.requested + layout.run);
            let after = run.end;
            if !request(run) {
                return;
            }
            self.requested = after;
        }
        self.window *= 2;
    }
}

/// Blocks to read ahead in one piece.
#[derive(Debug)]
pub(super) struct Job {
    pub source: Weak<Attachment>,
    pub blocks: Range<u64>,
    /// One for each block that was missing when this was asked for.
    pub ahead: Vec<Lease>,
}

impl Job {
    /// What a thread does.
    pub fn run(self) {
        thread_local! {
            static SCRATCH: RefCell<Vec<u8>> = RefCell::default();
        }
        let Some(source) = self.source.upgrade() else { return };
        SCRATCH.with_borrow_mut(|scratch| source.read_ahead(self.blocks, self.ahead, scratch));
    }
}

/// `threads` of each source, and room for a few sources that hang.
pub(super) fn limits(threads: usize) -> Limits {
    let (name, waiting) = (THREAD_NAME, QUEUE);
    Limits { name, threads: threads * SOURCES, per_key: threads, waiting, patience: None, nice: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { block: 100, blocks: 1_000_000, window: 8, run: 4 };

    /// Notes reads of `len` at these offsets and returns the runs that each asked for, as (first, end).
    fn note(streams: &Streams, len: u64, offsets: &[u64]) -> Vec<Vec<(u64, u64)>> {
        let requests = |offset: &u64| {
            let mut asked = Vec::new();
            let read = *offset..*offset + len;
            streams.note(read, LAYOUT, |blocks| {
                asked.push((blocks.start, blocks.end));
                true
            });
            asked
        };
        offsets.iter().map(requests).collect()
    }

    fn blocks(asked: &[Vec<(u64, u64)>]) -> Vec<u64> {
        let runs = asked.iter().flatten();
        runs.flat_map(|(start, end)| *start..*end).collect()
    }

    #[test]
    fn the_third_read_in_a_row_starts_it() {
        let asked = note(&Streams::new(), 100, &[0, 100, 200]);
        assert_eq!(asked, [vec![], vec![], vec![(3, 5)]]);
    }

    #[test]
    fn the_window_doubles_to_its_limit_in_runs() {
        let streams = Streams::new();
        let offsets: Vec<u64> = (0..14).map(|i| i * 100).collect();
        let asked = note(&streams, 100, &offsets);
        let expected = [
            vec![(3, 5)],
            vec![(5, 8)],
            vec![(8, 12), (12, 13)],
            vec![],
            vec![],
            vec![],
            vec![(13, 17)],
            vec![],
        ];
        assert_eq!(asked[2..10], expected);
        assert_eq!(blocks(&asked), (3..21).collect::<Vec<u64>>());
    }

    #[test]
    fn it_ends_with_the_source() {
        let streams = Streams::new();
        let mut asked = Vec::new();
        for i in 0..10 {
            let layout = Layout { blocks: 10, ..LAYOUT };
            streams.note(i * 100..i * 100 + 100, layout, |blocks| {
                asked.extend(blocks);
                true
            });
        }
        assert_eq!(asked, (3..10).collect::<Vec<u64>>());
    }

    #[test]
    fn a_refused_request_is_made_again() {
        let streams = Streams::new();
        note(&streams, 100, &[0, 100]);
        streams.note(200..300, LAYOUT, |_| false);
        assert_eq!(blocks(&note(&streams, 100, &[300])), [4, 5]);
    }

    #[test]
    fn as_many_streams_as_there_are_slots_are_each_recognised() {
        let streams = Streams::new();
        let starts = (0..STREAMS as u64).map(|i| i * 10_000);
        let rounds = (0..3).flat_map(|round| starts.clone().map(move |at| at + round * 100));
        let asked = note(&streams, 100, &rounds.collect::<Vec<u64>>());
        let (before, third) = asked.split_at(2 * STREAMS);
        assert!(blocks(before).is_empty());
        assert!(third.iter().all(|asked| !asked.is_empty()));
    }

    #[test]
    fn pieces_that_arrive_out_of_order_are_one_stream() {
        let streams = Streams::new();
        let asked = note(&streams, 100, &[100, 0, 300, 200, 500, 400, 700, 600]);
        let asked = blocks(&asked);
        assert!(asked.contains(&8));
        assert!(asked.is_sorted(), "nothing is asked for twice: {asked:?}");
    }

    #[test]
    fn random_reads_ask_for_nothing() {
        let streams = Streams::new();
        let offsets: Vec<u64> = (0..1000).map(|i| i * 7_919_003 % 99_000_000).collect();
        assert!(blocks(&note(&streams, 100, &offsets)).is_empty());
    }

    #[test]
    fn reading_the_same_place_again_asks_for_nothing() {
        let asked = note(&Streams::new(), 100, &[500, 500, 500, 500, 450, 500]);
        assert!(blocks(&asked).is_empty());
    }

    #[test]
    fn no_window_means_no_request_but_the_stream_is_known() {
        let streams = Streams::new();
        let layout = Layout { window: 0, ..LAYOUT };
        let streaming = [0, 100, 200].map(|at| {
            let unasked = |_| panic!("asked for blocks");
            streams.note(at..at + 100, layout, unasked)
        });
        assert_eq!(streaming, [false, false, true]);
    }
}
