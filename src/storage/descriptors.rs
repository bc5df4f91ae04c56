//! How many descriptors this process may have. Each ISO keeps a file open, and each mapping that the kernel reads by itself two
//! more; the limit for a session is often 1024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as it may be.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What can't be raised is met again, with a sentence, when a file can't be opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The limit.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}
