//! A TCP connection to the NBD server, ready to be given to the kernel. Its first word has a deadline, and the whole talk one.

use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::net::sockopt;
use siphasher::sip::SipHasher13;

use crate::nbd::{self, Export};
use crate::spread::Spread;

/// To find the server on the network.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// For the handshake and the first reads; a server may have to wake a disk.
pub const TALK_PATIENCE: Duration = Duration::from_secs(20);
/// How often servers are called, some of which take the call and say nothing: a full listen queue may have lost it.
const CALLS: u32 = 2;
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

/// Connects to the first server that has the disk. Those that say nothing are called once more.
///
/// # Errors
/// If none has, with what is wrong with each.
pub fn first(remote: &RemoteDisk, spread: Spread) -> Result<Connection> {
    first_within(remote, |attempt| spread.greeting(attempt))
}

fn first_within(remote: &RemoteDisk, greeting: impl Fn(u32) -> Duration) -> Result<Connection> {
    let mut refused = Vec::new();
    for attempt in 0..CALLS {
        refused.clear();
        let mut silent = false;
        for server in &remote.servers {
            match dial(*server, &remote.export, greeting(attempt)) {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    silent |= error.downcast_ref().is_some_and(nbd::Error::is_silence);
                    refused.push(format!("{error:#}"));
                }
            }
        }
        if !silent {
            break;
        }
    }
    bail!("{}", refused.join("; "))
}

/// Connects, asks for the export and reads some of it. The server's first word must come within `greeting`.
///
/// # Errors
/// If anything is wrong with network, server, export or disk.
pub fn dial(server: SocketAddrV4, export: &str, greeting: Duration) -> Result<Connection> {
    dial_within(server, export, greeting, TALK_PATIENCE)
}

fn dial_within(server: SocketAddrV4, name: &str, greeting: Duration, whole: Duration) -> Result<Connection> {
    let socket = TcpStream::connect_timeout(&server.into(), CONNECT_PATIENCE)
        .map_err(|error| unreachable(&error, server))?;
    let who = || format!("NBD server {server}");
    prepare(&socket).with_context(who)?;
    let now = Instant::now();
    let mut talk = Talk { socket, deadline: now + greeting.min(whole), whole: now + whole };
    let export = nbd::open(&mut talk, name).with_context(who)?;
    let (sector, fingerprint) = sample(&mut talk, export.size).with_context(who)?;
    let socket = talk.socket;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    Ok(Connection { server, socket, export, sector, fingerprint })
}

/// The descriptor, and the fingerprint of a disc of that size.
fn sample(talk: &mut Talk, size: u64) -> Result<(Box<[u8; SECTOR]>, u64), nbd::Error> {
    let mut sector = Box::new([0; SECTOR]);
    let places = (1..=SAMPLES).map(|number| {
        let at = size / (SAMPLES + 1) * number;
        at - at % SAMPLE as u64
    });
    let mut samples: Vec<_> =
        places.filter(|at| at + SAMPLE as u64 <= size).map(|at| (at, [0; SAMPLE])).collect();
    let descriptor = (size >= DESCRIPTOR_AT + SECTOR as u64).then_some((DESCRIPTOR_AT, &mut sector[..]));
    let pieces = samples.iter_mut().map(|(at, sample)| (*at, &mut sample[..]));
    nbd::read_all(talk, descriptor.into_iter().chain(pieces))?;
    let mut hasher = SipHasher13::new();
    (size, &*sector).hash(&mut hasher);
    samples.iter().for_each(|(_, sample)| sample.hash(&mut hasher));
    Ok((sector, hasher.finish()))
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

/// A socket whose every read and write ends at the deadline, which is the whole talk's once something has come.
struct Talk {
    socket: TcpStream,
    deadline: Instant,
    whole: Instant,
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
        let read = self.socket.read(buffer)?;
        self.deadline = self.whole;
        Ok(read)
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

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(600);

    /// What is said of a server that does this with its first client.
    fn complaint(
        greeting: Duration,
        whole: Duration,
        serve: impl FnOnce(TcpStream) + Send + 'static,
    ) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        let serving = thread::spawn(move || serve(listener.accept().unwrap().0));
        let error = dial_within(server, "disc.iso", greeting, whole).err().unwrap();
        serving.join().unwrap();
        format!("{error:#}")
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let said = complaint(SHORT, LONG, |mut client| {
            // Until the client hangs up.
            let _ = client.read_to_end(&mut Vec::new());
        });
        assert!(said.contains("doesn't answer in time"), "{said}");
    }

    #[test]
    fn a_call_that_is_taken_and_never_answered_is_made_once_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        let remote = RemoteDisk { servers: vec![server], export: "disc.iso".to_owned() };
        let serving = thread::spawn(move || {
            let silent = listener.accept().unwrap();
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(b"SSH-2.0-").unwrap();
            drop(silent);
        });
        let greeting = |attempt| if attempt == 0 { SHORT } else { LONG };
        let said = format!("{:#}", first_within(&remote, greeting).err().unwrap());
        serving.join().unwrap();
        assert!(said.contains("no NBD server"), "the second answer counts: {said}");
        let said = format!("{:#}", first_within(&remote, greeting).err().unwrap());
        assert!(said.contains("connection refused"), "{said}");
    }

    #[test]
    fn a_server_that_drips_is_given_up_too() {
        let said = complaint(LONG, SHORT, |mut client| {
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
