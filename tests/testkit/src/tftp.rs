//! A small TFTP client (RFC 1350, options by RFC 2347 to 2349): the beginning of a transfer, or a file.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

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

/// Fetches a file as a network card's firmware does: blocks that fit a frame, each acknowledged.
///
/// # Errors
/// If the server refuses the file, or doesn't answer.
pub fn fetch(server: SocketAddr, file: &str) -> io::Result<Vec<u8>> {
    const BLOCK: usize = 1408;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut request = RRQ.to_be_bytes().to_vec();
    for word in [file, "octet", "blksize", "1408"] {
        request.extend(word.bytes().chain([0]));
    }
    socket.send_to(&request, server)?;
    let (mut bytes, mut packet, mut expected) = (Vec::new(), [0; 4 + BLOCK], 0_u16);
    loop {
        let (len, from) = socket.recv_from(&mut packet)?;
        let (head, data) = packet[..len].split_at(len.min(4));
        let number = match head {
            [0, kind, number @ ..] if u16::from(*kind) == DATA => number,
            [0, kind, ..] if u16::from(*kind) == OACK && expected == 0 => &[0, 0],
            _ => return Err(io::Error::other(format!("an answer of {:?}", &packet[..len.min(80)]))),
        };
        if number == expected.to_be_bytes() {
            if expected > 0 || !bytes.is_empty() {
                bytes.extend(data);
            }
            socket.send_to(&[&ACK.to_be_bytes(), number].concat(), from)?;
            expected = expected.wrapping_add(1);
            if head[1] as u16 == DATA && data.len() < BLOCK {
                return Ok(bytes);
            }
        }
    }
}

fn parse(packet: &[u8]) -> Option<Answer> {
    let (code, rest) = packet.split_first_chunk::<2>()?;
    match u16::from_be_bytes(*code) {
        OACK => {
            let words: Vec<&str> = std::str::from_utf8(rest).ok()?.split('\0').collect();
            let size = words.chunks(2).find(|pair| pair[0].eq_ignore_ascii_case("tsize"))?;
            Some(Answer::Size(size.get(1)?.parse().ok()?))
        }
        ERROR => {
            let (number, text) = rest.split_first_chunk::<2>()?;
            let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
            Some(Answer::Refused(u16::from_be_bytes(*number), text))
        }
        _ => None,
    }
}
