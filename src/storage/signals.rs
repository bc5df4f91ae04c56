//! Which thread handles signals: one whose descriptors are the others', since a handler writes to one of these to wake who
//! listens.

use std::{io, mem, ptr};

/// Leaves all signals to other threads. What this thread starts is begun without any, too (posix_spawn(3)), until it does
/// [`take`].
///
/// # Errors
/// There should be none.
pub fn leave() -> io::Result<()> {
    set(libc::SIG_BLOCK)
}

/// Takes all signals.
///
/// # Errors
/// There should be none.
pub fn take() -> io::Result<()> {
    set(libc::SIG_UNBLOCK)
}

fn set(how: libc::c_int) -> io::Result<()> {
    // SAFETY: a set of signals is numbers, and sigfillset(3) sets it, before pthread_sigmask(3) reads it; no old one is asked for.
    let error = unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(how, &raw const all, ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
