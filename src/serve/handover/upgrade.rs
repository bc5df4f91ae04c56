//! Handing the mount over on purpose: `netrootfs upgrade` ends the daemon, and whoever holds the mount starts the program
//! that is installed now.
//!
//! A daemon that is held listens on a socket with the name of its mount point, and reads nothing there: the kernel tells
//! who connects which process it is, and an answer that it serves.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Callers that may wait for an answer.
const BACKLOG: i32 = 128;

/// How long the next daemon may take. Its holder gives up earlier.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one that serves may take to say so.
const ANSWER: Duration = Duration::from_secs(5);

/// Takes the name by which the daemon of that mount point is found; `before` is the socket of the process before this one.
///
/// # Errors
/// If another process has it.
pub fn listen(mountpoint: &Path, before: Option<OwnedFd>) -> io::Result<UnixListener> {
    let address = address(mountpoint)?;
    let named = |socket: &UnixListener| {
        socket.local_addr().is_ok_and(|local| local.as_abstract_name() == address.as_abstract_name())
    };
    match before.map(UnixListener::from).filter(named) {
        Some(socket) => {
            // From then on it is this process that answers (Linux, net/unix/af_unix.c, `unix_listen`).
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        }
        None => UnixListener::bind_addr(&address),
    }
}

/// From now on it is found, as long as it `is_held`.
///
/// # Errors
/// If no thread can be started.
pub fn answer(listener: UnixListener, is_held: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("upgrade".into()).spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if is_held() {
                // Who doesn't wait any more needs none.
                let _ = stream.write_all(b"\n");
            }
        }
    })?;
    Ok(())
}

/// Ends the daemon of a mount point, and returns the process that serves it then.
///
/// # Errors
/// If there is no daemon that would be started again, or no other one has been.
pub fn upgrade(mountpoint: &Path) -> Result<Pid> {
    let place = mountpoint.display();
    let old = find(mountpoint)
        .with_context(|| format!("{place}: no netrootfs serves it that would be started again"))?;
    kill_process(old, Signal::KILL).with_context(|| format!("{place}: process {}", old.as_raw_nonzero()))?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match find(mountpoint) {
            Ok(new) if new != old && is_replaced(&format!("/proc/{}/exe", new.as_raw_nonzero())) => bail!(
                "{place}: the program that is installed now could not be started, see the log; the one before serves on, as \
                 process {}",
                new.as_raw_nonzero()
            ),
            Ok(new) if new != old => return Ok(new),
            _ => sleep(Duration::from_millis(10)),
        }
    }
    bail!("{place}: its daemon has ended, and no other one serves it after {} s", PATIENCE.as_secs())
}

/// Whether a program that runs is no longer the one under its name (proc_pid_exe(5)).
pub(super) fn is_replaced(exe: &str) -> bool {
    std::fs::read_link(exe).is_ok_and(|path| path.as_os_str().as_bytes().ends_with(b" (deleted)"))
}

fn find(mountpoint: &Path) -> io::Result<Pid> {
    let mut stream = UnixStream::connect_addr(&address(mountpoint)?)?;
    let peer = socket_peercred(&stream)?;
    // Anybody may listen under any name.
    if !peer.uid.is_root() && peer.uid != geteuid() {
        return Err(io::Error::other("another user listens in its place"));
    }
    stream.set_read_timeout(Some(ANSWER))?;
    stream.read_exact(&mut [0])?;
    Ok(peer.pid)
}

fn address(mountpoint: &Path) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name([b"netrootfs:", mountpoint.as_os_str().as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_listens_is_found_and_nobody_else() {
        let place = Path::new("/nowhere/of these tests");
        assert!(find(place).is_err());
        let listener = listen(place, None).unwrap();
        assert!(listen(place, None).is_err(), "it is taken");
        let listener = listen(place, Some(listener.into())).unwrap();
        assert!(listen(Path::new("/elsewhere"), Some(listener.try_clone().unwrap().into())).is_ok());
        let held = Arc::new(AtomicBool::new(true));
        let is_held = held.clone();
        answer(listener, move || is_held.load(Ordering::Relaxed)).unwrap();
        assert_eq!(find(place).unwrap(), rustix::process::getpid());
        held.store(false, Ordering::Relaxed);
        assert!(find(place).is_err(), "nobody would start it again");
    }
}
