//! How many descriptors this process may have. Each ISO keeps a file open, and each mapping that the kernel reads by itself two
//! more; the limit for a session is often 1024.

use std::fs::File;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as it may be.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What can't be raised is met again, with a sentence, when a file can't be opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Descriptors that there is room for from the beginning: 32 KiB.
const ROOM: usize = 4096;

/// Makes room in the table of descriptors as long as this process has one thread. Each time that it grows later, who opens a
/// file waits until all processors have let go of the old one (Linux, fs/file.c, `expand_fdtable`), some 20 ms.
pub fn make_room() {
    let last = ROOM.min(limit()).saturating_sub(1);
    // Without it all works, and slower.
    let file = File::open("/dev/null").ok();
    let _ = file.zip(i32::try_from(last).ok()).map(|(file, last)| fcntl_dupfd_cloexec(&file, last));
}

/// The limit.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}
