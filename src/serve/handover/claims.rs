//! What only one process can have, and the next one has to: the lock of the state directory, and the name by which
//! `netrootfs upgrade` finds the daemon.
//!
//! A process that was ended keeps both for as long as one of its threads waits for a disk that doesn't answer: nothing ends
//! that. So they are held, and whoever comes next has them, too.

use std::os::fd::{AsFd, OwnedFd};

use super::store::{Inherited, Store};

/// What the lock is held as.
const LOCK: &str = "lock";

/// What the socket of that name is held as.
const LISTENER: &str = "upgrade";

/// What was held for this process.
#[derive(Debug, Default)]
pub struct Claims {
    /// The lock of the state directory.
    pub lock: Option<OwnedFd>,
    /// The socket that `netrootfs upgrade` connects to.
    pub listener: Option<OwnedFd>,
}

impl Claims {
    /// Takes them; they stay held.
    pub(super) fn take(inherited: &mut Inherited) -> Self {
        Self { lock: inherited.one(LOCK), listener: inherited.one(LISTENER) }
    }

    /// Has others held in their place. Without that the next process may have to do without.
    pub fn hold(lock: Option<impl AsFd>, listener: Option<impl AsFd>) {
        let Ok(Some(store)) = Store::find() else { return };
        let hold = |name: &str, fd: Option<_>| {
            let _ = store.release(name).and_then(|()| fd.map_or(Ok(()), |fd| store.hold(name, fd)));
        };
        hold(LOCK, lock.as_ref().map(AsFd::as_fd));
        hold(LISTENER, listener.as_ref().map(AsFd::as_fd));
    }
}
