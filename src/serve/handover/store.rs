//! The holder, from the side of who is held: descriptors that it keeps and gives back to the next process.
//!
//! The protocol is that of systemd (sd_notify(3), sd_listen_fds(3)): `FDSTORE=1` with a name over `NOTIFY_SOCKET`, and
//! `LISTEN_FDS` with `LISTEN_FDNAMES` at the next start. A message is one that the sender need not live for; but a
//! holder may not know any more whose it was, so [`Store::settle`] waits until it has been taken (`BARRIER=1`).

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, getppid, pidfd_open};

/// What a process that is held finds in its environment, and what it starts must not see.
pub const VARIABLES: [&str; 7] =
    ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID", SERVER];

/// The variable that our own holder sets, which can't know the number of a process before it is one (LISTEN_PID).
pub const SERVER: &str = "NETROOTFS_SERVER";

/// First number of an inherited descriptor (SD_LISTEN_FDS_START).
const FIRST: i32 = 3;

/// The longest wait for the holder; what it hasn't taken by then may be lost, as without one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The holder.
#[derive(Debug)]
pub struct Store(UnixDatagram);

/// The descriptors that came back, by name.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<String, Vec<OwnedFd>>);

/// Whether a holder gives something back to this process.
pub fn gives_back() -> bool {
    count() > 0
}

/// What a file in memory says that is inherited under that name; to be called before [`Inherited::take`].
pub fn text(name: &str) -> Option<String> {
    let names = env::var("LISTEN_FDNAMES").ok()?;
    let inherited = (FIRST..FIRST.saturating_add(count())).zip(names.split(':'));
    let (fd, _) = inherited.into_iter().find(|(_, other)| *other == name)?;
    // SAFETY: who started this process says that it is open, and it is borrowed for this line only.
    let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok()?;
    // Whoever comes next reads it from its beginning, too.
    let file = File::from(copy);
    let mut bytes = vec![0; usize::try_from(file.metadata().ok()?.len()).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    String::from_utf8(bytes).ok()
}

/// Has a text held under that name in place of the one before, for [`text`]. Without a holder it does nothing.
///
/// # Errors
/// If it can't be held.
pub fn hold_text(name: &str, text: &str) -> io::Result<()> {
    let Some(store) = Store::find()? else { return Ok(()) };
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    store.release(name)?;
    store.hold(name, file.as_fd())
}

/// Our own holder, as this process's parent.
#[derive(Debug)]
pub struct Parent(OwnedFd);

/// The holder, if it is our own; a service manager doesn't end.
///
/// # Errors
/// If it can't be watched: pidfd_open(2) is of Linux 5.3.
pub fn parent() -> io::Result<Option<Parent>> {
    let Some(holder) = getppid().filter(|_| env::var_os(SERVER).is_some()) else { return Ok(None) };
    Ok(Some(Parent(pidfd_open(holder, PidfdFlags::empty())?)))
}

impl Parent {
    /// Calls `gone` when it has ended, also if it has by now.
    ///
    /// # Errors
    /// If there can be no thread for that.
    pub fn when_gone(self, gone: impl FnOnce() + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new().name("holder".into()).spawn(move || {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            while poll(&mut fds, None) == Err(Errno::INTR) {}
            gone();
        })?;
        Ok(())
    }
}

/// How many descriptors are inherited.
fn count() -> i32 {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let ours = env::var_os(SERVER).is_some() || number("LISTEN_PID") == Some(std::process::id() as i32);
    number("LISTEN_FDS").filter(|_| ours).unwrap_or(0)
}

impl Store {
    /// Finds the holder, if there is one.
    ///
    /// # Errors
    /// If there is one and can't be reached.
    pub fn find() -> io::Result<Option<Self>> {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Some(Self(socket)))
    }

    /// Has a descriptor held under a name of letters, digits and dashes, besides others of that name.
    ///
    /// # Errors
    /// If the holder is gone.
    pub fn hold(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        // Not polled: a device whose mount is gone must be there for whoever comes next to see that.
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), Some(fd))
    }

    /// Has all of that name closed.
    ///
    /// # Errors
    /// If the holder is gone.
    pub fn release(&self, name: &str) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)
    }

    /// Waits until the holder has taken all that was sent.
    ///
    /// # Errors
    /// If it is gone, or takes too long.
    pub fn settle(&self) -> io::Result<()> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        self.send("BARRIER=1", Some(theirs.as_fd()))?;
        drop(theirs);
        let mut fds = [PollFd::new(&ours, PollFlags::empty())];
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        match poll(&mut fds, Some(&patience))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// Tells that the tree is served.
    ///
    /// # Errors
    /// If the holder is gone.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1", None)
    }

    /// Tells how things are, in a line for people.
    ///
    /// # Errors
    /// If the holder is gone.
    pub fn status(&self, line: &str) -> io::Result<()> {
        self.send(&format!("STATUS={line}"), None)
    }

    /// Tells that the tree still answers.
    ///
    /// # Errors
    /// If the holder is gone.
    pub fn alive(&self) -> io::Result<()> {
        self.send("WATCHDOG=1", None)
    }

    fn send(&self, text: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Inherited {
    /// Takes what is inherited; to be called once, before anything is started.
    pub fn take() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut inherited = Self::default();
        for (fd, name) in (FIRST..FIRST.saturating_add(count())).zip(names.split(':')) {
            // SAFETY: who started this process says that the descriptor is for it, and nothing else has taken it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // It is open, so this works.
            let _ = fcntl_setfd(&fd, FdFlags::CLOEXEC);
            inherited.0.entry(name.to_owned()).or_default().push(fd);
        }
        inherited
    }

    /// All of that name.
    pub fn all(&mut self, name: &str) -> Vec<OwnedFd> {
        self.0.remove(name).unwrap_or_default()
    }

    /// The one of that name.
    pub fn one(&mut self, name: &str) -> Option<OwnedFd> {
        self.all(name).pop()
    }

    /// The names of what has not been asked for.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}
