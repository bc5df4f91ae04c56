//! Netlink: a request with its attributes in, what the kernel answers out.
//!
//! Building and reading messages is pure; [`Socket`] sends one and waits a limited time. Numbers are in the machine's own
//! byte order, lengths count the header, and everything begins at a multiple of 4 bytes (Linux, `uapi/linux/netlink.h`).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The kernel answers at once; what takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(10);
/// The kernel cuts its messages to the size of a page, or 8 KiB.
const LONGEST: usize = 32 * 1024;
/// `nlmsghdr`.
const HEADER: usize = 16;
/// `nlattr`, and `rtattr`.
const ATTRIBUTE_HEADER: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// Make the object if it isn't there.
pub const NLM_F_CREATE: u16 = 0x400;
/// Fail if it is there.
pub const NLM_F_EXCL: u16 = 0x200;
/// Answer with all that there are.
pub const NLM_F_DUMP: u16 = 0x300;
/// The attribute holds attributes.
pub const NLA_F_NESTED: u16 = 0x8000;

/// A message to the kernel.
pub struct Request(Vec<u8>);

impl Request {
    /// A message of that type; `head` is the fixed part before the attributes.
    pub fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes.extend([0; 8]); // sequence and port: one request a socket
        bytes.extend(head);
        pad(&mut bytes);
        Self(bytes)
    }

    /// With one more attribute.
    pub fn with(mut self, kind: u16, data: &[u8]) -> Self {
        self.0.extend(attribute(kind, data));
        self
    }

    /// The bytes to send.
    pub fn bytes(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_ne_bytes();
        self.0.splice(..4, length);
        self.0
    }
}

/// One attribute, padded. More than 64 KiB don't fit and are cut, which the kernel then refuses.
pub fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER + data.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::from(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    pad(&mut bytes);
    bytes
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in these bytes, up to the first that doesn't fit.
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let data = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind) & !NLA_F_NESTED, data))
    }
}

/// The messages of one datagram, up to the first that doesn't fit: type and what follows the header.
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind), body))
    }
}

/// Whether a message ends the answer, and how.
fn end(kind: u16, body: &[u8]) -> Option<io::Result<()>> {
    match kind {
        NLMSG_ERROR => Some(match body.first_chunk().map(|error| i32::from_ne_bytes(*error)) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }),
        NLMSG_DONE => Some(Ok(())),
        _ => None,
    }
}

/// A netlink socket.
pub struct Socket(OwnedFd);

impl Socket {
    /// For requests about links, addresses and routes; or for the events of these groups (`RTMGRP_…`).
    pub fn route(groups: u32) -> io::Result<Self> {
        Self::open(None, groups)
    }

    /// For requests to what has a name in the kernel.
    pub fn generic() -> io::Result<Self> {
        Self::open(Some(netlink::GENERIC), 0)
    }

    fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<Self> {
        let socket =
            net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self(socket))
    }

    /// Sends a request and waits for the end of the answer: the bodies of its messages.
    ///
    /// # Errors
    /// The kernel's, as an OS error.
    pub fn ask(&self, request: Request) -> io::Result<Vec<Vec<u8>>> {
        sockopt::set_socket_timeout(&self.0, Timeout::Recv, Some(PATIENCE))?;
        net::send(&self.0, &request.bytes(), SendFlags::empty())?;
        let mut answer = Vec::new();
        loop {
            let datagram = self.receive(RecvFlags::empty())?;
            for (kind, body) in Messages(&datagram) {
                if let Some(end) = end(kind, body) {
                    return end.map(|()| answer);
                }
                answer.push(body.to_vec());
            }
        }
    }

    /// Throws away the events that wait, so that one look serves them all.
    pub fn drain(&self) {
        // ENOBUFS says that events were lost; it is an event too.
        while !matches!(self.receive(RecvFlags::DONTWAIT), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        {
        }
    }

    fn receive(&self, flags: RecvFlags) -> io::Result<Vec<u8>> {
        let mut buffer = vec![MaybeUninit::uninit(); LONGEST];
        let ((bytes, _), _) = net::recv(&self.0, &mut *buffer, flags)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(bytes.to_vec())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_counts_itself_and_its_attributes() {
        let bytes =
            Request::new(20, NLM_F_CREATE, &[2, 24, 0, 0, 7, 0, 0, 0]).with(1, &[10, 0, 2, 15]).bytes();
        assert_eq!(bytes.len(), 32);
        assert_eq!(
            bytes[..8],
            [&32u32.to_ne_bytes()[..], &20u16.to_ne_bytes(), &0x405u16.to_ne_bytes()].concat()
        );
        assert_eq!(bytes[24..], [&8u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &[10, 0, 2, 15]].concat());
    }

    #[test]
    fn attributes_are_padded_and_read_back() {
        let bytes = [attribute(2, b"nbd\0x"), attribute(7 | NLA_F_NESTED, &attribute(1, &[9]))].concat();
        assert_eq!(bytes.len() % 4, 0);
        let read: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(read[0], (2, &b"nbd\0x"[..]));
        assert_eq!(read[1].0, 7);
        assert_eq!(Attributes(read[1].1).collect::<Vec<_>>(), [(1, &[9][..])]);
    }

    #[test]
    fn the_kernels_no_is_an_error_with_its_number() {
        let refusal = (-libc::EBUSY).to_ne_bytes();
        let error = end(NLMSG_ERROR, &refusal).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        assert!(end(NLMSG_ERROR, &[0; 4]).unwrap().is_ok());
        assert!(end(NLMSG_ERROR, &[0; 3]).unwrap().is_err());
        assert!(end(16, &[]).is_none());
    }

    #[test]
    fn the_kernel_says_no_to_a_card_that_is_not_there() {
        let request =
            Request::new(libc::RTM_GETLINK, 0, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0]);
        let error = Socket::route(0).unwrap().ask(request).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (kind, body) in Messages(&bytes) {
                let _ = end(kind, body);
                prop_assert!(Attributes(body).count() <= body.len());
            }
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / ATTRIBUTE_HEADER);
        }
    }
}
