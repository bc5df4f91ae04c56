//! How several readers share one read of a block.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::budget::Block;

/// A block that someone reads from its source right now, for others to wait for.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    outcome: Mutex<Option<Outcome>>,
    ended: Condvar,
}

/// How a [`InFlight`] ended.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Read(Arc<Block>),
    /// The source refused this very block.
    Failed(SharedError),
    /// The read failed, but it was for other blocks too, or for nobody: whoever needs the block reads it.
    Abandoned,
}

impl InFlight {
    pub fn wait(&self) -> Outcome {
        let mut outcome = self.outcome.lock();
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            self.ended.wait(&mut outcome);
        }
    }

    pub fn settle(&self, outcome: Outcome) {
        *self.outcome.lock() = Some(outcome);
        self.ended.notify_all();
    }
}

/// What each waiter's own [`io::Error`] is made from.
#[derive(Debug, Clone)]
pub(super) struct SharedError {
    errno: Option<i32>,
    kind: io::ErrorKind,
    text: Arc<str>,
}

impl From<&io::Error> for SharedError {
    fn from(error: &io::Error) -> Self {
        Self { errno: error.raw_os_error(), kind: error.kind(), text: error.to_string().into() }
    }
}

impl From<SharedError> for io::Error {
    fn from(error: SharedError) -> Self {
        match error.errno {
            Some(errno) => Self::from_raw_os_error(errno),
            None => Self::new(error.kind, &*error.text),
        }
    }
}
