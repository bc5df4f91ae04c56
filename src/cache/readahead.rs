//! Read-ahead: who reads sequentially, and the threads that read before them.
//!
//! It never makes a reader wait: a busy detector is not asked, a full queue drops the request, and errors are left for
//! the reader to find. It knows neither blocks' bytes nor the budget beyond the leases that its jobs carry.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Once, TryLockError, Weak};
use std::thread;

use super::Attachment;
use super::store::{Lease, lock};

/// Streams told apart on one source. A boot server's clients beyond that still share what the others read ahead; 32
/// are scanned in some 20 ns.
const STREAMS: usize = 32;

/// How far from the expected offset a read may be and still belong to the stream, in lengths of the read. The kernel
/// reads a FUSE file ahead in pieces of 128 KiB, up to 1 MiB of them at once, and they arrive on several threads in any
/// order. Measured in lengths, so that random reads of 4 KiB in a hot region of some MiB don't look like that.
const SLACK: u64 = 8;

/// Reads in a row that make a stream. Two happen by chance too often among `STREAMS` places.
const RUN: u32 = 3;

/// Blocks first read ahead of a new stream; doubled each time until the limit.
const FIRST_WINDOW: u64 = 2;

/// Requests waiting for a thread. More than that and the source is too slow for them to help.
const QUEUE: usize = 64;

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
        let mut slots = match self.slots.try_lock() {
            Ok(slots) => slots,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        let Some(stream) = slots.stream_of(&read) else {
            return false;
        };
        if read.end > stream.next || stream.run == 0 {
            stream.advance(read.end, layout, request);
        }
        stream.run >= RUN
    }
}

/// What is read ahead of a source, all in blocks but for their size.
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

/// Threads that read ahead, and the queue before them. They start with the first request, so that a daemon may fork
/// before, and end when the pool is dropped; nobody waits for them.
#[derive(Debug)]
pub(super) struct Pool {
    threads: usize,
    started: Once,
    sender: SyncSender<Job>,
    receiver: Arc<Mutex<Receiver<Job>>>,
}

impl Pool {
    pub fn new(threads: usize) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        Self { threads, started: Once::new(), sender, receiver: Arc::new(Mutex::new(receiver)) }
    }

    /// Hands a job to the threads, or returns false.
    pub fn offer(&self, job: Job) -> bool {
        self.started.call_once(|| {
            for _ in 0..self.threads {
                let receiver = Arc::clone(&self.receiver);
                // Without threads the queue fills up and no job is taken: slower, and nothing else.
                let _ = thread::Builder::new().name("read-ahead".into()).spawn(move || work(&receiver));
            }
        });
        self.sender.try_send(job).is_ok()
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    let mut scratch = Vec::new();
    loop {
        let job = lock(receiver).recv();
        let Ok(job) = job else {
            return;
        };
        let Some(source) = job.source.upgrade() else {
            continue;
        };
        // A source that panics does it again in the thread of whoever needs the block.
        let _ = catch_unwind(AssertUnwindSafe(|| source.read_ahead(job.blocks, job.ahead, &mut scratch)));
    }
}
