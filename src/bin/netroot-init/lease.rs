//! Talks to DHCP servers: asks for an address, confirms one, renews it.
//!
//! A UDP socket bound to the card, answers by broadcast as long as there is no address. Every exchange ends in time.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use netrootfs::image::mac::Mac;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::address::{Held, Terms};
use crate::card::Card;
use crate::console::say;
use crate::dhcp::{self, Answer, Kind, Lease, Question};
use crate::link;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// How long each try waits, in seconds: 31 together, which is more than a switch port takes to begin to forward.
pub const LONG: &[u64] = &[1, 2, 4, 8, 16];
/// The same while there are other cards to try.
pub const SHORT: &[u64] = &[1, 2, 4];

/// A server's answer to a request for an address that the card has.
#[derive(Debug, PartialEq, Eq)]
pub enum Renewal {
    Until(Box<Lease>),
    Refused(String),
}

/// The address of a lease on a card, and the servers that must stay within reach from it.
pub fn held(card: &Card, lease: &Lease, disk_servers: Vec<Ipv4Addr>) -> Held {
    Held {
        index: card.index,
        mac: card.mac,
        address: lease.address,
        gateway: lease.gateway,
        terms: lease.terms,
        disk_servers,
    }
}

/// Gets an address for the card.
///
/// # Errors
/// If nobody answers, or only with a no.
pub fn obtain(card: &Card, patience: &[u64]) -> Result<Lease> {
    let socket = ClientSocket::open(card.index)?;
    let begin = Instant::now();
    let mut refused = None;
    for patience in patience.iter().copied().map(Duration::from_secs) {
        let mut question = question(Kind::Discover, card.mac, begin);
        let deadline = Instant::now() + patience;
        let Some(offer) = socket.ask(Ipv4Addr::BROADCAST, &question, &[Kind::Offer], deadline)? else {
            continue;
        };
        let Some(server) = offer.server() else { continue };
        question.kind = Kind::Request;
        question.requested = Some(offer.yours);
        question.server = Some(server);
        match socket.ask(
            Ipv4Addr::BROADCAST,
            &question,
            &[Kind::Ack, Kind::Nak],
            Instant::now() + patience,
        )? {
            Some(answer) if answer.kind == Kind::Ack => {
                return answer
                    .lease()
                    .ok_or_else(|| anyhow!("the DHCP server {server} gave a useless address"));
            }
            Some(answer) => refused = Some(refusal(&answer)),
            None => {}
        }
    }
    match refused {
        Some(sentence) => bail!("{sentence}"),
        None => bail!("no DHCP server answers"),
    }
}

/// Asks about an address that somebody else, the loader, got for this card (RFC 2131, INIT-REBOOT).
///
/// `None` if nobody knows of it.
pub fn confirm(card: &Card, address: Ipv4Addr) -> Result<Option<Renewal>> {
    let socket = ClientSocket::open(card.index)?;
    let mut question = question(Kind::Request, card.mac, Instant::now());
    question.requested = Some(address);
    requests(&socket, Ipv4Addr::BROADCAST, &question, &[1, 2])
}

/// Asks for more time: the server that gave the address, or, `rebind`, any.
///
/// `None` if nobody answers.
pub fn renew(held: &Held, terms: &Terms, rebind: bool) -> Result<Option<Renewal>> {
    let socket = ClientSocket::open(held.index)?;
    let mut question = question(Kind::Request, held.mac, Instant::now());
    question.own = held.address.addr();
    let to = if rebind { Ipv4Addr::BROADCAST } else { terms.server };
    requests(&socket, to, &question, &[2, 4, 8])
}

/// The same request, with longer and longer patience, in seconds.
fn requests(
    socket: &ClientSocket,
    to: Ipv4Addr,
    question: &Question,
    patience: &[u64],
) -> Result<Option<Renewal>> {
    for seconds in patience {
        if let Some(renewal) = request(socket, to, question, Duration::from_secs(*seconds))? {
            return Ok(Some(renewal));
        }
    }
    Ok(None)
}

fn request(
    socket: &ClientSocket,
    to: Ipv4Addr,
    question: &Question,
    patience: Duration,
) -> Result<Option<Renewal>> {
    let answer = socket.ask(to, question, &[Kind::Ack, Kind::Nak], Instant::now() + patience)?;
    Ok(answer.and_then(|answer| match answer.kind {
        Kind::Ack => answer.lease().map(|lease| Renewal::Until(Box::new(lease))),
        _ => Some(Renewal::Refused(refusal(&answer))),
    }))
}

fn refusal(answer: &Answer) -> String {
    let server = answer.server().map(|server| format!(" {server}")).unwrap_or_default();
    let text = answer.text().map(|text| format!(" (\"{text}\")")).unwrap_or_default();
    format!("the DHCP server{server} refuses the address{text}")
}

fn question(kind: Kind, mac: Mac, begin: Instant) -> Question {
    Question {
        kind,
        xid: random(),
        mac,
        secs: u16::try_from(begin.elapsed().as_secs()).unwrap_or(u16::MAX),
        own: Ipv4Addr::UNSPECIFIED,
        requested: None,
        server: None,
    }
}

/// A number that no other machine has at the moment: the standard library's seed, which never waits for entropy.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// The DHCP client's port on a card.
struct ClientSocket {
    index: u32,
    /// Takes what is sent to any address: a server broadcasts its no, whatever address the client has.
    socket: UdpSocket,
}

impl ClientSocket {
    fn open(index: u32) -> io::Result<Self> {
        Ok(Self { index, socket: socket(index, Ipv4Addr::UNSPECIFIED)? })
    }

    /// Sends, and waits for an answer of one of these kinds; other packets are passed over.
    fn ask(
        &self,
        to: Ipv4Addr,
        question: &Question,
        kinds: &[Kind],
        deadline: Instant,
    ) -> Result<Option<Answer>> {
        match self.send(to, question) {
            Ok(()) => {}
            // A cable that is out for a moment; the next try may get through.
            Err(error) if passes(&error) => say(&format!("a DHCP message can't be sent: {error}")),
            Err(error) => return Err(anyhow!(error).context("a DHCP message can't be sent")),
        }
        let mut buffer = [0; dhcp::LONGEST];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let answer = buffer.get(..length).and_then(|bytes| Answer::parse(bytes, question));
            if let Some(answer) = answer.filter(|answer| kinds.contains(&answer.kind)) {
                return Ok(Some(answer));
            }
        }
    }

    fn send(&self, to: Ipv4Addr, question: &Question) -> io::Result<()> {
        let (bytes, to) = (question.encode(), SocketAddrV4::new(to, SERVER_PORT));
        if question.own.is_unspecified() {
            self.socket.send_to(&bytes, to)?;
        } else {
            // From that address, though the card may have others; gone again before the answer comes.
            socket(self.index, question.own)?.send_to(&bytes, to)?;
        }
        Ok(())
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENETUNREACH | libc::EHOSTUNREACH))
}

fn socket(index: u32, own: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // The live system's own client may have the port too.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_broadcast(&socket, true)?;
    bind_to_card(&socket, &link::name(index)?)?;
    net::bind(&socket, &SocketAddrV4::new(own, CLIENT_PORT))?;
    Ok(socket.into())
}

/// socket(7), `SO_BINDTODEVICE`: without an address there is no route that would choose the card.
fn bind_to_card(socket: &impl AsRawFd, name: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(name.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of a string that lives until the call is over; rustix has no such option.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
