//! A small TFTP client (RFC 1350, options by RFC 2347 to 2349): the beginning of a transfer, or a file, or many at once.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

mod loaders;

pub use loaders::{Block, Loaders};

/// The well-known port.
pub const PORT: u16 = 69;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

const RRQ: u16 = 1;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// A server's first word.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It will send the file, which has so many bytes.
    Size(u64),
    /// An error code and a text.
    Refused(u16, String),
}

/// Asks for a file and its size, and breaks the transfer off.
///
/// # Errors
/// If there is no answer, or one outside the protocol.
pub fn ask(server: Ipv4Addr, file: &str) -> io::Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Only a connected socket hears that nobody listens; but the answer comes from another port.
    let knock = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    knock.connect((server, PORT))?;
    knock.send(&[0])?;
    knock.set_read_timeout(Some(Duration::from_millis(20)))?;
    if let Err(error) = knock.recv(&mut [0; 1])
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        return Err(error);
    }
    let mut request = RRQ.to_be_bytes().to_vec();
    for word in [file, "octet", "tsize", "0", "blksize", "1024"] {
        request.extend(word.bytes().chain([0]));
    }
    socket.send_to(&request, (server, PORT))?;
    let mut packet = [0; 2048];
    let (len, from) = socket.recv_from(&mut packet)?;
    let answer = parse(&packet[..len]);
    let goodbye = [&ERROR.to_be_bytes()[..], &[0, 0], b"enough\0"].concat();
    socket.send_to(&goodbye, from)?;
    answer.ok_or_else(|| io::Error::other(format!("an answer of {:?}", &packet[..len.min(80)])))
}

/// Fetches a file as a loader does.
///
/// # Errors
/// If the server refuses the file, or it isn't there after a minute.
pub fn fetch(server: SocketAddr, file: &str) -> io::Result<Vec<u8>> {
    let (mut bytes, mut loader) = (Vec::new(), Loaders::start(server, &[file], 1, 1)?);
    loader.run(Instant::now() + PATIENCE, |block| {
        bytes.extend(block.data);
        Ok(())
    })?;
    let fetched = !loader.fetched().is_empty();
    keep(loader);
    if fetched { Ok(bytes) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// Gives a loader's port to nobody else for a while: a server that was asked twice goes on talking to it.
fn keep(loader: Loaders) {
    const MOST: usize = 256;
    static KEPT: Mutex<VecDeque<UdpSocket>> = Mutex::new(VecDeque::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.extend(loader.into_sockets());
    let spare = kept.len().saturating_sub(MOST);
    kept.drain(..spare);
}

fn parse(packet: &[u8]) -> Option<Answer> {
    let (code, rest) = packet.split_first_chunk::<2>()?;
    match u16::from_be_bytes(*code) {
        OACK => {
            let size = options(rest).find(|(name, _)| name == "tsize")?;
            Some(Answer::Size(size.1))
        }
        ERROR => {
            let (number, text) = rest.split_first_chunk::<2>()?;
            let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
            Some(Answer::Refused(u16::from_be_bytes(*number), text))
        }
        _ => None,
    }
}

/// The options of an OACK, their names in small letters (RFC 2347: case means nothing).
fn options(words: &[u8]) -> impl Iterator<Item = (String, u64)> {
    let mut words = words.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    std::iter::from_fn(move || {
        let name = words.next()?.to_ascii_lowercase();
        Some((name, words.next()?.parse().ok()?))
    })
}
