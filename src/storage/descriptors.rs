//! How many descriptors this process may have, and which of them others get. Each ISO keeps a file open, and each mapping that
//! the kernel reads by itself two more; the limit for a session is often 1024.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::resume_unwind;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{
    PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getpid, getrlimit, pidfd_getfd, pidfd_open, setrlimit,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::storage::signals;

/// The first number that stands for nothing by itself (stdin(3)).
const FIRST: libc::c_uint = 3;

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

/// What hangs when it is closed has numbers from here on: a thread that takes leave of the others' descriptors has copies of those
/// below for a moment (Linux, fs/file.c, `sane_fdtable_size`).
const HIGH: RawFd = 64;

/// Where fewer may be had, they lie as close as they can.
const ENOUGH: usize = 256;

/// Another descriptor of an open file, for one whose number is too low for what may hang; `None` if it isn't.
pub fn higher(fd: &impl AsFd) -> Option<OwnedFd> {
    let low = fd.as_fd().as_raw_fd() < HIGH && limit() >= ENOUGH;
    // Where there is none left, the low one does.
    if low { fcntl_dupfd_cloexec(fd, HIGH).ok() } else { None }
}

/// Calls something in a thread of its own that has only the three standard descriptors and copies of these; `call` must use no
/// others, and leave none of its own behind. A process that it starts would close all others of this one, and so wait for each
/// file system that is asked then (close(2)) and doesn't answer. Signals come to neither ([`signals::leave`]).
///
/// # Errors
/// If there can be no such thread.
pub fn alone<T: Send>(
    descriptors: &[BorrowedFd<'_>],
    call: impl FnOnce(Vec<OwnedFd>) -> T + Send,
) -> io::Result<T> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("alone".into());
        let work = move || {
            signals::leave()?;
            let copies = if leave_others() {
                let process = pidfd_open(getpid(), PidfdFlags::empty())?;
                let copy = |number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty());
                numbers.into_iter().map(copy).collect::<Result<_, _>>()?
            } else {
                descriptors
                    .iter()
                    .map(AsFd::as_fd)
                    .map(|fd| fd.try_clone_to_owned())
                    .collect::<io::Result<_>>()?
            };
            Ok(call(copies))
        };
        thread.spawn_scoped(scope, work)?.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Gives this thread a table of descriptors of its own, without closing any; `false` where the kernel, or who keeps this process
/// in a container, doesn't let it have one and what it needs of the other.
fn leave_others() -> bool {
    let mine = || {
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        pidfd_getfd(&process, process.as_raw_fd(), PidfdGetfdFlags::empty())
    };
    if mine().is_err() {
        return false;
    }
    // SAFETY: no descriptor of another thread is closed: this one gets a table that has none of that range (close_range(2)).
    let left = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) == 0
    };
    // Who reads what this process says would wait for this thread, too.
    if left && let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null));
    }
    left
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    /// Signals that don't come to a thread or process: its file `status`, proc_pid_status(5).
    fn left(status: &str) -> u64 {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    fn no_signal_comes_where_its_handler_has_not_the_descriptor_that_it_writes_to() {
        let own = || left(&std::fs::read_to_string("/proc/thread-self/status").unwrap());
        let before = own();
        let there = alone(&[], |_| own()).unwrap();
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGUSR1, libc::SIGTERM] {
            assert_ne!(there & 1 << (signal - 1), 0, "{signal}");
        }
        assert_eq!(own(), before);
    }

    #[test]
    fn what_is_started_alone_has_what_it_is_given_and_this_process_keeps_all() {
        let (file, other) = (File::open("/proc/self/stat").unwrap(), File::open("/dev/null").unwrap());
        let mut text = String::new();
        // A child that keeps what this thread has would show it.
        let listed = alone(&[file.as_fd()], |mut given| {
            assert_eq!(given.len(), 1);
            let mut list = Command::new("/bin/ls");
            list.arg("-l").arg("/proc/self/fd").stdin(Stdio::from(given.pop().unwrap()));
            let mine = std::fs::read_dir("/proc/thread-self/fd").unwrap().flatten();
            let mine: Vec<i32> = mine.map(|fd| fd.file_name().to_str().unwrap().parse().unwrap()).collect();
            let standard =
                [0, 1, 2].map(|fd| std::fs::read_link(format!("/proc/thread-self/fd/{fd}")).unwrap());
            assert!(standard.iter().all(|path| path.as_os_str() == "/dev/null"), "{standard:?}");
            (list.output().unwrap(), mine)
        });
        let (output, mine) = listed.unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains(&format!("0 -> /proc/{}/stat", getpid().as_raw_nonzero())), "{shown}");
        assert!(mine.len() <= 6, "{mine:?}");
        (&file).read_to_string(&mut text).unwrap();
        assert!(text.contains(&getpid().as_raw_nonzero().to_string()));
        assert_ne!(file.as_raw_fd(), other.as_raw_fd());
    }
}
