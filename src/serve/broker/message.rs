//! Messages between the daemon and the broker: a value and a few descriptors, over sockets that keep messages apart.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown,
    socketpair,
};
use serde::{Deserialize, Serialize};

/// Longest message: the longest has the pieces of a file, some 1500 of them.
const MOST: usize = 1 << 16;

/// Sockets that tell when the other one is closed.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message, with up to three descriptors. One that may not `wait` is an error where there is no room for it.
pub fn send(
    to: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MOST {
        return Err(io::Error::other(format!(
            "it takes {} bytes to ask for it, more than {MOST}",
            bytes.len()
        )));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = if wait { SendFlags::empty() } else { SendFlags::DONTWAIT };
    sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, flags | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next message with its descriptors; `None` when there will be no more.
pub fn receive<T: for<'de> Deserialize<'de>>(from: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MOST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg(from, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    match bytes.get(..received.bytes).unwrap_or_default() {
        [] => Ok(None),
        message => Ok(Some((serde_json::from_slice(message)?, fds))),
    }
}

/// Waits for a message or the end for so long. Whether one came in time: if not, the next [`receive`] gets what came just
/// then or the end, and whoever sends something later gets an error.
pub fn comes(at: BorrowedFd<'_>, within: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(within).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(&at, PollFlags::IN)];
    let came = loop {
        match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            came => break came? > 0,
        }
    };
    if !came {
        shutdown(at, Shutdown::Read)?;
    }
    Ok(came)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn a_message_comes_with_its_descriptors_and_the_end_is_told() {
        let (one, other) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(one.as_fd(), &7, &[file.as_fd(), one.as_fd()], true).unwrap();
        send(one.as_fd(), &8, &[], false).unwrap();
        drop(one);
        let (number, fds) = receive::<u32>(other.as_fd()).unwrap().unwrap();
        assert_eq!((number, fds.len()), (7, 2));
        assert_ne!(fds[0].as_raw_fd(), file.as_raw_fd());
        drop(fds);
        assert!(matches!(receive::<u32>(other.as_fd()).unwrap(), Some((8, fds)) if fds.is_empty()));
        assert!(receive::<u32>(other.as_fd()).unwrap().is_none());
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let (one, other) = pair().unwrap();
        let most = "x".repeat(MOST - 2);
        assert!(send(one.as_fd(), &format!("{most}x"), &[], true).is_err());
        send(one.as_fd(), &most, &[], true).unwrap();
        assert_eq!(receive::<String>(other.as_fd()).unwrap().unwrap().0, most);
    }

    #[test]
    fn who_has_waited_long_enough_takes_what_is_there_and_nothing_later() {
        let (one, other) = pair().unwrap();
        assert!(!comes(other.as_fd(), Duration::ZERO).unwrap());
        assert!(send(one.as_fd(), &1, &[], true).is_err());
        assert!(receive::<u32>(other.as_fd()).unwrap().is_none());

        let (one, other) = pair().unwrap();
        send(one.as_fd(), &1, &[], true).unwrap();
        assert!(comes(other.as_fd(), Duration::ZERO).unwrap());
        shutdown(other.as_fd(), Shutdown::Read).unwrap();
        assert!(matches!(receive::<u32>(other.as_fd()).unwrap(), Some((1, _))));
    }
}
