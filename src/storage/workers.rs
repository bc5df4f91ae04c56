//! Threads for work that may take long, or hang: the one owner of them.
//!
//! Each job has a key, an ISO say, and of each key only so many run at a time, in the order in which they came: what hangs
//! holds the threads of its own key, and others get new ones. Threads start when there is work for them, end when there
//! has been none for a while, and nobody ever waits for them. Nothing here knows what the jobs do.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(5);

/// How many threads there may be, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// As `ps -T` shows them; the kernel keeps 15 bytes.
    pub name: &'static str,
    /// Most threads at a time.
    pub threads: usize,
    /// Most jobs of one key at a time; of a quarter of all threads on, one.
    pub per_key: usize,
    /// Most jobs of one key that wait, for [`Workers::offer`].
    pub waiting: usize,
    /// What runs for longer than that counts no longer among the threads, up to four times as many.
    pub patience: Option<Duration>,
    /// Whether they give way to all others (nice(2) is per thread on Linux).
    pub nice: bool,
}

type Job = Box<dyn FnOnce() + Send>;

/// Starts a thread of that name; `false` if the system has none left.
type Start = fn(&'static str, Job) -> bool;

/// The threads and what waits for them.
pub struct Workers(Arc<Shared>);

struct Shared {
    limits: Limits,
    start: Start,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Job)>,
    running: HashMap<u64, Vec<Instant>>,
    threads: usize,
    idle: usize,
    ended: bool,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Workers").field(&self.0.limits).finish()
    }
}

impl Workers {
    /// There are no threads yet, so that a daemon may fork before.
    pub fn new(limits: Limits) -> Self {
        Self::with(limits, |name, work| std::thread::Builder::new().name(name.into()).spawn(work).is_ok())
    }

    fn with(limits: Limits, start: Start) -> Self {
        Self(Arc::new(Shared { limits, start, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Runs a job when its turn has come. Where the system has no thread left, it waits for the next job or
    /// [`Workers::relieve`].
    pub fn run(&self, key: u64, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock();
        state.waiting.push_back((key, Box::new(job)));
        self.0.wake(&mut state);
    }

    /// Runs a job when its turn has come. Where the system has no thread left, who asks does it, unless another one of its key
    /// is running, which may hang: whoever does that goes on with this one.
    pub fn run_or_do(&self, key: u64, job: impl FnOnce() + Send + 'static) {
        self.0.see_to(self.0.state.lock(), key, Box::new(job));
    }

    /// [`Workers::run_or_do`], unless too many of this key are waiting: then it returns `false`.
    pub fn offer(&self, key: u64, job: impl FnOnce() + Send + 'static) -> bool {
        let state = self.0.state.lock();
        if state.waiting.iter().filter(|(other, _)| *other == key).count() >= self.0.limits.waiting {
            return false;
        }
        self.0.see_to(state, key, Box::new(job));
        true
    }

    /// Looks whether jobs have run out of patience meanwhile, so that others wait for them no longer.
    pub fn relieve(&self) {
        self.0.wake(&mut self.0.state.lock());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// Sees that somebody does the first job that can be done; `false` if the system has no thread for it.
    fn wake(self: &Arc<Self>, state: &mut State) -> bool {
        if state.next(&self.limits).is_none() {
            return true;
        }
        let running: usize = state.running.values().map(Vec::len).sum();
        if state.idle > 0 {
            self.changed.notify_one();
        } else if state.threads > running {
            // One has just been started, and comes by here.
        } else if state.may_grow(&self.limits) {
            let shared = self.clone();
            let began = (self.start)(self.limits.name, Box::new(move || shared.work()));
            state.threads += usize::from(began);
            return began;
        }
        true
    }

    /// Has a job done, by who asks if by no other.
    fn see_to<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>, key: u64, job: Job) {
        state.waiting.push_back((key, job));
        if self.wake(&mut state) {
            return;
        }
        while let Some((key, job)) = state.alone().and_then(|at| state.waiting.remove(at)) {
            state = self.perform(state, key, job);
        }
    }

    fn work(self: Arc<Self>) {
        if self.limits.nice {
            let _ = rustix::process::nice(10);
        }
        let mut state = self.state.lock();
        while !state.ended {
            let Some((key, job)) = state.next(&self.limits).and_then(|at| state.waiting.remove(at)) else {
                state.idle += 1;
                let late = self.changed.wait_for(&mut state, IDLE).timed_out();
                state.idle -= 1;
                if late && state.next(&self.limits).is_none() {
                    break;
                }
                continue;
            };
            state = self.perform(state, key, job);
        }
        state.threads -= 1;
    }

    fn perform<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        key: u64,
        job: Job,
    ) -> MutexGuard<'a, State> {
        let since = Instant::now();
        state.running.entry(key).or_default().push(since);
        // There may be more that can be done.
        self.wake(&mut state);
        drop(state);
        // A job answers for itself; its key must not stay closed behind it.
        let _ = catch_unwind(AssertUnwindSafe(job));
        let mut state = self.state.lock();
        state.finish(key, since);
        state
    }
}

impl State {
    /// The first job whose turn has come.
    fn next(&self, limits: &Limits) -> Option<usize> {
        let most = if self.running.values().map(Vec::len).sum::<usize>() * 4 < limits.threads {
            limits.per_key
        } else {
            1
        };
        self.waiting.iter().position(|(key, _)| self.running.get(key).map_or(0, Vec::len) < most)
    }

    /// The first job of a key of which none is running.
    fn alone(&self) -> Option<usize> {
        self.waiting.iter().position(|(key, _)| !self.running.contains_key(key))
    }

    fn may_grow(&self, limits: &Limits) -> bool {
        let late = |since: &&Instant| limits.patience.is_some_and(|patience| since.elapsed() > patience);
        let stuck = self.running.values().flatten().filter(late).count();
        self.threads < limits.threads * if stuck > 0 { 4 } else { 1 }
            && self.threads - stuck.min(self.threads) < limits.threads
    }

    fn finish(&mut self, key: u64, since: Instant) {
        let Some(running) = self.running.get_mut(&key) else { return };
        if let Some(at) = running.iter().position(|other| *other == since) {
            running.swap_remove(at);
        }
        if running.is_empty() {
            self.running.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Longer than anything takes here.
    const PATIENCE: Duration = Duration::from_secs(20);

    const LIMITS: Limits =
        Limits { name: "test", threads: 64, per_key: 1, waiting: 4, patience: None, nice: false };

    #[test]
    fn a_key_that_is_stuck_does_not_stop_the_others_and_keeps_its_order() {
        let workers = Workers::new(LIMITS);
        let (open, gate) = channel::<()>();
        let (sender, inbox) = channel();
        workers.run(1, move || gate.recv().unwrap_or_default());
        for number in 0..20 {
            let sender = sender.clone();
            workers.run(1, move || sender.send(number).unwrap());
        }
        for key in 2..40 {
            let sender = sender.clone();
            workers.run(key, move || sender.send(100).unwrap());
        }
        (2..40).for_each(|_| assert_eq!(inbox.recv_timeout(PATIENCE), Ok(100)));
        drop(open);
        let rest: Vec<i32> = (0..20).map(|_| inbox.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(rest, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn many_keys_that_are_stuck_leave_room_for_another() {
        let workers = Workers::new(Limits { per_key: 8, ..LIMITS });
        let gates: Vec<_> = (0..40)
            .flat_map(|key| (0..8).map(move |_| key))
            .map(|key| {
                let (open, gate) = channel::<()>();
                workers.run(key, move || gate.recv().unwrap_or_default());
                open
            })
            .collect();
        let (sender, inbox) = channel();
        workers.run(100, move || sender.send(()).unwrap());
        inbox.recv_timeout(PATIENCE).unwrap();
        assert!(workers.0.state.lock().threads < 64);
        drop(gates);
    }

    #[test]
    fn a_panic_leaves_its_key_open() {
        let workers = Workers::new(LIMITS);
        let (sender, inbox) = channel();
        (0..8).for_each(|_| workers.run(1, || panic!("a job that fails")));
        workers.run(1, move || sender.send(()).unwrap());
        inbox.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn what_is_offered_beyond_the_limit_is_refused() {
        let workers = Workers::new(LIMITS);
        let (open, gate) = channel::<()>();
        let (sender, inbox) = channel();
        workers.run(1, move || {
            sender.send(()).unwrap();
            gate.recv().unwrap_or_default();
        });
        inbox.recv_timeout(PATIENCE).unwrap();
        let taken = (0..10).filter(|_| workers.offer(1, || ())).count();
        assert_eq!(taken, LIMITS.waiting);
        assert!(workers.offer(2, || ()), "another key");
        drop(open);
    }

    #[test]
    fn without_threads_who_asks_does_it() {
        let workers = Workers::with(LIMITS, |_, _| false);
        let here = std::thread::current().id();
        let (sender, inbox) = channel();
        let other = sender.clone();
        workers.run_or_do(1, move || sender.send(std::thread::current().id()).unwrap());
        assert_eq!(inbox.try_recv(), Ok(here));
        assert!(workers.offer(1, move || other.send(std::thread::current().id()).unwrap()));
        assert_eq!(inbox.try_recv(), Ok(here));
    }

    #[test]
    fn without_threads_what_hangs_holds_its_own_key_only() {
        let workers = Workers::with(LIMITS, |_, _| false);
        let (open, gate) = channel::<()>();
        let (sender, inbox) = channel();
        std::thread::scope(|scope| {
            let (hangs, workers) = (sender.clone(), &workers);
            scope.spawn(move || {
                workers.run_or_do(1, move || {
                    hangs.send("hangs").unwrap();
                    gate.recv().unwrap_or_default();
                });
            });
            assert_eq!(inbox.recv_timeout(PATIENCE), Ok("hangs"));
            let next = sender.clone();
            workers.run_or_do(1, move || next.send("next").unwrap());
            assert!(inbox.try_recv().is_err(), "it would hang here");
            workers.run_or_do(2, move || sender.send("another").unwrap());
            assert_eq!(inbox.try_recv(), Ok("another"));
            drop(open);
            assert_eq!(inbox.recv_timeout(PATIENCE), Ok("next"));
        });
    }

    #[test]
    fn what_found_no_thread_is_done_when_there_are_some() {
        static THERE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        let workers = Workers::with(LIMITS, |_, work| {
            let there = THERE.load(std::sync::atomic::Ordering::Relaxed);
            there && std::thread::Builder::new().spawn(work).is_ok()
        });
        let (sender, inbox) = channel();
        workers.run(1, move || sender.send(()).unwrap());
        workers.relieve();
        assert!(inbox.try_recv().is_err());
        THERE.store(true, std::sync::atomic::Ordering::Relaxed);
        workers.relieve();
        inbox.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn what_runs_out_of_patience_counts_no_longer() {
        let workers = Workers::new(Limits { threads: 2, patience: Some(Duration::ZERO), ..LIMITS });
        let (open, gates): (Vec<_>, Vec<_>) = (0..2).map(|_| channel::<()>()).unzip();
        for (key, gate) in gates.into_iter().enumerate() {
            workers.run(key as u64, move || gate.recv().unwrap_or_default());
        }
        let (sender, inbox) = channel();
        workers.run(7, move || sender.send(()).unwrap());
        let deadline = Instant::now() + PATIENCE;
        while inbox.try_recv().is_err() {
            workers.relieve();
            assert!(Instant::now() < deadline, "it waits for what is stuck");
            std::thread::yield_now();
        }
        drop(open);
    }
}
