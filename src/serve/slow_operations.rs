//! Work that may take long, beside the event loops: a few threads, and a waits_for for each thing that is waited for.
//!
//! Jobs of one waits_for run one after the other, in the order in which they came, so that a slow ISO holds one thread and
//! never all. Nothing here knows what the jobs do.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// So many slow move at once.
const THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// The threads and what waits for them.
pub struct SlowOperations(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Job)>,
    busy: HashSet<u64>,
    ended: bool,
}

impl SlowOperations {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system has none left.
    pub fn start() -> io::Result<Self> {
        let slow = Self(Arc::default());
        for _ in 0..THREADS {
            let shared = slow.0.clone();
            std::thread::Builder::new().name("trees".into()).spawn(move || shared.work())?;
        }
        Ok(slow)
    }

    /// Runs a job: here and now without a waits_for, else on a thread when its turn has come.
    pub fn run(&self, waits_for: Option<u64>, job: impl FnOnce() + Send + 'static) {
        let Some(waits_for) = waits_for else { return job() };
        self.0.state.lock().waiting.push_back((waits_for, Box::new(job)));
        self.0.changed.notify_one();
    }
}

impl Drop for SlowOperations {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state.lock();
        while !state.ended {
            let State { waiting, busy, .. } = &mut *state;
            let free = waiting.iter().position(|(waits_for, _)| !busy.contains(waits_for));
            let Some((waits_for, job)) = free.and_then(|at| waiting.remove(at)) else {
                self.changed.wait(&mut state);
                continue;
            };
            busy.insert(waits_for);
            drop(state);
            // A job answers for itself; its waits_for must not stay closed behind it.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = self.state.lock();
            state.busy.remove(&waits_for);
            // Whoever passed over this waits_for may go on with it.
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Longer than anything takes here.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn without_a_lane_it_is_done_at_once() {
        let (sender, inbox) = channel();
        SlowOperations::start().unwrap().run(None, move || sender.send(std::thread::current().id()).unwrap());
        assert_eq!(inbox.try_recv().unwrap(), std::thread::current().id());
    }

    #[test]
    fn a_lane_that_is_stuck_does_not_stop_the_others() {
        let slow = SlowOperations::start().unwrap();
        let (open, gate) = channel::<()>();
        let (sender, inbox) = channel();
        slow.run(Some(1), move || gate.recv().unwrap_or_default());
        for number in 0..20 {
            let sender = sender.clone();
            slow.run(Some(1), move || sender.send(number).unwrap());
        }
        for waits_for in 2..12 {
            let sender = sender.clone();
            slow.run(Some(waits_for), move || sender.send(100).unwrap());
        }
        (2..12).for_each(|_| assert_eq!(inbox.recv_timeout(PATIENCE), Ok(100)));
        drop(open);
        let rest: Vec<i32> = (0..20).map(|_| inbox.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(rest, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_leaves_its_lane_open() {
        let slow = SlowOperations::start().unwrap();
        let (sender, inbox) = channel();
        (0..8).for_each(|_| slow.run(Some(1), || panic!("a job that fails")));
        slow.run(Some(1), move || sender.send(()).unwrap());
        inbox.recv_timeout(PATIENCE).unwrap();
    }
}
