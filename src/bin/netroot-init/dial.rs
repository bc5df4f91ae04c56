//! A TCP connection to the NBD server, ready to be given to the kernel. The whole talk has one deadline.

use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::net::sockopt;
use siphasher::sip::SipHasher13;

use crate::nbd::{self, Export};

/// To find the server on the network.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// For the handshake and the first read; a server may have to wake a disk.
const TALK_PATIENCE: Duration = Duration::from_secs(20);
/// How long sent bytes may stay without an answer of the other machine's kernel until the connection counts as dead, in
/// milliseconds. Short, because a new connection is quickly made, and the old one's pauses grow while a cable is out.
const DEAD_AFTER: u32 = 20_000;
/// The same for a connection on which nothing is to be sent: a question each so many seconds.
const ALIVE_EACH: Duration = Duration::from_secs(10);

/// The servers that have the disk, in the order in which this machine calls them, and its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDisk {
    pub servers: Vec<SocketAddrV4>,
    pub export: String,
}

/// A disk that answers.
pub struct Connection {
    pub server: SocketAddrV4,
    pub socket: TcpStream,
    pub export: Export,
    /// The ISO's primary volume descriptor, sector 16.
    pub sector: Box<[u8; SECTOR]>,
    /// Differs for two discs: of the size, that sector, and samples all over it.
    pub fingerprint: u64,
}

/// ECMA-119, 6.1.2.
pub const SECTOR: usize = 2048;
/// The volume descriptors begin at sector 16 (ECMA-119, 6.2.1).
pub const DESCRIPTOR_AT: u64 = 16 * SECTOR as u64;

/// A sample is a page, so that it suits every block size that a disk may have.
const SAMPLE: usize = 4096;
const SAMPLES: u64 = 7;

/// Connects to the first server that has the disk.
///
/// # Errors
/// If none has, with what is wrong with each.
pub fn first(remote: &RemoteDisk) -> Result<Connection> {
    let mut refused = Vec::new();
    for server in &remote.servers {
        match dial(*server, &remote.export) {
            Ok(connection) => return Ok(connection),
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    bail!("{}", refused.join("; "))
}

/// Connects, asks for the export and reads some of it.
///
/// # Errors
/// If anything is wrong with network, server, export or disk.
pub fn dial(server: SocketAddrV4, export: &str) -> Result<Connection> {
    dial_within(server, export, TALK_PATIENCE)
}

fn dial_within(server: SocketAddrV4, name: &str, patience: Duration) -> Result<Connection> {
    let socket = TcpStream::connect_timeout(&server.into(), CONNECT_PATIENCE)
        .map_err(|error| unreachable(&error, server))?;
    let who = || format!("NBD server {server}");
    prepare(&socket).with_context(who)?;
    let mut talk = Talk { socket, deadline: Instant::now() + patience };
    let export = nbd::open(&mut talk, name).with_context(who)?;
    let mut sector = Box::new([0; SECTOR]);
    if export.size >= DESCRIPTOR_AT + SECTOR as u64 {
        nbd::read(&mut talk, DESCRIPTOR_AT, &mut *sector).with_context(who)?;
    }
    let fingerprint = fingerprint(&mut talk, &export, &sector).with_context(who)?;
    let socket = talk.socket;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    Ok(Connection { server, socket, export, sector, fingerprint })
}

fn fingerprint(talk: &mut Talk, export: &Export, sector: &[u8; SECTOR]) -> Result<u64, nbd::Error> {
    let mut hasher = SipHasher13::new();
    (export.size, sector).hash(&mut hasher);
    let mut sample = [0; SAMPLE];
    for number in 1..=SAMPLES {
        let at = export.size / (SAMPLES + 1) * number;
        let at = at - at % SAMPLE as u64;
        if at + SAMPLE as u64 <= export.size {
            nbd::read(talk, at, &mut sample)?;
            sample.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

/// The volume id of an ISO, if the sector is the descriptor of one (ECMA-119, 8.4).
pub fn volume_id(sector: &[u8; SECTOR]) -> Option<String> {
    if sector.get(..6)? != b"\x01CD001" {
        return None;
    }
    Some(String::from_utf8_lossy(sector.get(40..72)?).trim_end().to_owned())
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, ALIVE_EACH)?;
    sockopt::set_tcp_keepintvl(socket, ALIVE_EACH)?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    sockopt::set_tcp_user_timeout(socket, DEAD_AFTER)?;
    Ok(())
}

fn unreachable(error: &io::Error, server: SocketAddrV4) -> anyhow::Error {
    let (host, port): (&Ipv4Addr, u16) = (server.ip(), server.port());
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            anyhow!("no NBD server listens on port {port} of {host} (connection refused)")
        }
        io::ErrorKind::TimedOut => {
            anyhow!(
                "{host} doesn't answer on port {port}: is it switched on, and does its firewall let NBD through?"
            )
        }
        _ => anyhow!("{host} port {port} can't be reached: {error}"),
    }
}

/// A socket whose every read and write ends at the deadline.
struct Talk {
    socket: TcpStream,
    deadline: Instant,
}

impl Talk {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Talk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Talk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is said of a server that does this with its first client.
    fn complaint(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        let serving = thread::spawn(move || serve(listener.accept().unwrap().0));
        let error = dial_within(server, "disc.iso", Duration::from_millis(300)).err().unwrap();
        serving.join().unwrap();
        format!("{error:#}")
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let said = complaint(|mut client| {
            // Until the client hangs up.
            let _ = client.read_to_end(&mut Vec::new());
        });
        assert!(said.contains("doesn't answer in time"), "{said}");
    }

    #[test]
    fn a_server_that_drips_is_given_up_too() {
        let said = complaint(|mut client| {
            let hello = b"NBDMAGICIHAVEOPT\0\x03".iter().chain(std::iter::repeat(&0));
            for byte in hello {
                // Each byte comes well within a time-out of its own.
                thread::sleep(Duration::from_millis(20));
                if client.write_all(&[*byte]).is_err() {
                    return;
                }
            }
        });
        assert!(said.contains("doesn't answer in time"), "{said}");
    }

    #[test]
    fn a_volume_has_its_id() {
        let mut sector = [0; SECTOR];
        assert_eq!(volume_id(&sector), None);
        sector[..6].copy_from_slice(b"\x01CD001");
        sector[40..72].copy_from_slice(b"Live-Debian-12                  ");
        assert_eq!(volume_id(&sector).as_deref(), Some("Live-Debian-12"));
    }
}
