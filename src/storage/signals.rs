//! When and in which thread signals are handled: where there is a handler that does what they ask for, by one whose descriptors
//! are the others', since a handler writes to one of these to wake who listens.

use std::{io, mem, ptr};

/// Leaves all signals to other threads. What this thread starts is begun without any, too (posix_spawn(3)), until it does
/// [`take`].
///
/// # Errors
/// There should be none.
pub fn leave() -> io::Result<()> {
    set(libc::SIG_BLOCK, &all())
}

/// Puts off what only asks for something, so that it ends no process that doesn't listen yet: until [`take`], in this thread and
/// what begins in it, and in what this process becomes. Only calls what may be called after fork(2).
///
/// # Errors
/// There should be none.
pub fn put_off() -> io::Result<()> {
    // SAFETY: a set of signals is numbers, of which none is zeros; sigaddset(3) writes to no other.
    let requests = unsafe {
        let mut requests: libc::sigset_t = mem::zeroed();
        libc::sigaddset(&raw mut requests, libc::SIGHUP);
        libc::sigaddset(&raw mut requests, libc::SIGUSR1);
        requests
    };
    set(libc::SIG_BLOCK, &requests)
}

/// Takes all signals.
///
/// # Errors
/// There should be none.
pub fn take() -> io::Result<()> {
    set(libc::SIG_UNBLOCK, &all())
}

fn all() -> libc::sigset_t {
    // SAFETY: a set of signals is numbers; sigfillset(3) writes to no other.
    unsafe {
        let mut all = mem::zeroed();
        libc::sigfillset(&raw mut all);
        all
    }
}

fn set(how: libc::c_int, signals: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is there, and no old one is asked for.
    let error = unsafe { libc::pthread_sigmask(how, signals, ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
