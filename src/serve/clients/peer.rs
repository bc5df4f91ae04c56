//! The machine that a server's process is connected to, by proc(5): its sockets are links in `fd`. One of UDP says itself who
//! is at its other end; of one of TCP the tables of its network name it, and whether somebody listens on its port.
//!
//! Nothing here is answered by the process or its memory, so a process that hangs is looked at as any other. Without the
//! right to look at processes of other users (root, or CAP_SYS_PTRACE) nobody is seen; who has given it up asks another.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::getxattr;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};

/// How long it is known of a process that there is nothing to see.
const NOTHING: Duration = Duration::from_secs(1);

/// Most processes of which that is known.
const MAX_KNOWN: usize = 1024;

/// Most sockets of a process that are looked at: a machine has up to 16 connections to its NBD server. Who has more serves many,
/// or stands behind one that does, and opens a file for each request: to look at hundreds each time takes too long.
const MOST_SOCKETS: usize = 32;

/// The tables, the protocols of their sockets, and whether these are connections of a server only if it listens on their port.
const TABLES: [(&str, &str, bool); 4] =
    [("tcp", "TCP", true), ("tcp6", "TCPv6", true), ("udp", "UDP", false), ("udp6", "UDPv6", false)];

/// What says the protocol of a socket (Linux, net/socket.c). Of a table that isn't needed not even the end is looked for: on a
/// machine with much memory it takes milliseconds to find that `tcp` has nothing in it.
const PROTOCOL: &str = "system.sockprotoname";

/// States of a socket (Linux, include/net/tcp_states.h): a connection, one that the other side has ended, and a listener.
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";
const LISTEN: &str = "0A";

/// Who is behind a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// It has no network, or can't be looked at.
    Nobody,
    /// A server with more clients than one, or none that is connected to it.
    Hidden {
        /// Its name.
        server: String,
    },
    /// One machine.
    Peer {
        /// The server's name.
        server: String,
        /// The machine's address.
        address: IpAddr,
    },
}

impl Who {
    /// The machine's address.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Peer { address, .. } => Some(*address),
            _ => None,
        }
    }

    /// The server's name.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Peer { server, .. } | Self::Hidden { server } => Some(server),
            Self::Nobody => None,
        }
    }
}

/// Looks at processes.
#[derive(Default)]
pub struct Peers {
    /// Those that had nothing to see a moment ago.
    known: Mutex<HashMap<u32, (Instant, Who)>>,
    /// Who looks in the place of this process.
    looks: OnceLock<Box<dyn Fn(u32) -> Who + Send + Sync>>,
}

impl Peers {
    /// Has somebody else look from now on.
    pub fn ask(&self, looks: impl Fn(u32) -> Who + Send + Sync + 'static) {
        // The first one stays.
        let _ = self.looks.set(Box::new(looks));
    }

    /// Who is behind a process now, by its number or that of one of its threads.
    pub fn of(&self, pid: u32) -> Who {
        let pid = process_of(pid).unwrap_or(pid);
        let known = self.known.lock().get(&pid).cloned();
        if let Some((_, who)) = known.filter(|(since, _)| since.elapsed() < NOTHING) {
            return who;
        }
        let who = self.looks.get().map_or_else(|| look(pid), |looks| looks(pid));
        // A server's next client may be another one.
        if who.address().is_none() {
            let mut known = self.known.lock();
            if known.len() >= MAX_KNOWN {
                known.retain(|_, (since, _)| since.elapsed() < NOTHING);
            }
            if known.len() < MAX_KNOWN {
                known.insert(pid, (Instant::now(), who.clone()));
            }
        }
        who
    }
}

/// Who is behind a process now, as far as this process may look.
fn look(pid: u32) -> Who {
    found(pid).unwrap_or(Who::Nobody)
}

fn found(pid: u32) -> Option<Who> {
    let Sockets { count, numbers, protocols, mut any, mut peers } = Sockets::of(pid)?;
    let server = || Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned());
    if count > MOST_SOCKETS {
        return Some(Who::Hidden { server: server()? });
    }
    for (table, _, listens) in TABLES.into_iter().filter(|(_, protocol, _)| protocols.contains(*protocol)) {
        let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else { continue };
        let found = of_table(BufReader::new(file), &numbers, listens).unwrap_or_default();
        any |= found.any;
        peers.extend(found.peers);
    }
    if !any {
        return None;
    }
    let server = server()?;
    Some(match peers.first() {
        Some(address) if peers.len() == 1 => Who::Peer { server, address: *address },
        _ => Who::Hidden { server },
    })
}

/// The process that a thread belongs to: a server with a thread for each client asks as that thread.
fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// The sockets of a process.
#[derive(Default)]
struct Sockets {
    /// How many there are, or one more than are looked at.
    count: usize,
    /// The inode numbers of those that have to be looked up in the tables, and their protocols.
    numbers: HashSet<String>,
    protocols: HashSet<String>,
    /// Whether there are others, and whom these are connected to.
    any: bool,
    peers: BTreeSet<IpAddr>,
}

impl Sockets {
    fn of(pid: u32) -> Option<Self> {
        let mut sockets = Self::default();
        let process = Pid::from_raw(pid.try_into().ok()?)?;
        let process = pidfd_open(process, PidfdFlags::empty()).ok();
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
            let Ok(target) = fs::read_link(fd.path()) else { continue };
            let number =
                target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            let Some(number) = number else { continue };
            sockets.count += 1;
            if sockets.count > MOST_SOCKETS {
                break;
            }
            let mut name = [0; 32];
            let len = getxattr(fd.path(), PROTOCOL, &mut name).unwrap_or(0);
            let protocol = String::from_utf8_lossy(name.get(..len).unwrap_or_default()).into_owned();
            let protocol = protocol.trim_end_matches('\0');
            let fd = fd.file_name().to_str().and_then(|fd| fd.parse().ok());
            let other_end = || other_end(process.as_ref()?, fd?);
            match protocol.starts_with("UDP").then(other_end).flatten() {
                Some(peer) => {
                    sockets.any = true;
                    sockets.peers.extend(peer);
                    // One with many clients hides them, however many there are.
                    if sockets.peers.len() > 1 {
                        break;
                    }
                }
                None => {
                    sockets.numbers.insert(number.to_owned());
                    sockets.protocols.insert(protocol.to_owned());
                }
            }
        }
        Some(sockets)
    }
}

/// Whom a process's socket is connected to, by the socket itself; `None` where this process has no right to it.
fn other_end(process: &OwnedFd, fd: RawFd) -> Option<Option<IpAddr>> {
    let socket = UdpSocket::from(pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).ok()?);
    let address = socket.peer_addr().ok().map(|address| address.ip().to_canonical());
    Some(address.filter(|address| !address.is_unspecified()))
}

/// The sockets of a process in a table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Whether there are any.
    any: bool,
    /// The other ends of those that are connected.
    peers: BTreeSet<IpAddr>,
}

/// Reads a table: `sl local rem st tx:rx tr:tm retrnsmt uid timeout inode …`. On a busy server it has thousands of lines, and
/// only a few of them are kept.
fn of_table(mut table: impl BufRead, sockets: &HashSet<String>, listens: bool) -> io::Result<Found> {
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_owned());
    let (mut listening, mut connected) = (HashSet::new(), Vec::new());
    let mut found = Found::default();
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        if let Some([local, remote, state, inode]) = row(&line) {
            if state == LISTEN {
                listening.extend(port(local));
            }
            if sockets.contains(inode) {
                found.any = true;
                if [ESTABLISHED, CLOSE_WAIT].contains(&state) {
                    connected.push((port(local), address(remote)));
                }
            }
        }
        line.clear();
    }
    for (port, address) in connected {
        if !listens || port.is_some_and(|port| listening.contains(&port)) {
            found.peers.extend(address.filter(|address| !address.is_unspecified()));
        }
    }
    Ok(found)
}

/// Local and remote address, state and inode.
fn row(line: &str) -> Option<[&str; 4]> {
    let mut fields = line.split_ascii_whitespace();
    let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    Some([local, remote, state, fields.nth(5)?])
}

/// An address as the tables have it: words of 32 bits in hexadecimal, each in the order of this processor.
fn address(field: &str) -> Option<IpAddr> {
    let (digits, _) = field.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(digits.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match digits.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            // A socket for both kinds has one of the old kind in the new one's clothes.
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn sockets(numbers: &[&str]) -> HashSet<String> {
        numbers.iter().map(|&number| number.to_owned()).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_other_end_of_a_servers_connection_is_its_client() {
        let table = format!(
            "{HEAD}   0: 00000000:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000   0        0 10 1 0\n   \
             1: 0100000A:2A39 6400000A:D431 01 00000000:00000000 00:00000000 00000000   0        0 11 1 0\n   \
             2: 0100000A:2A39 6500000A:D432 01 00000000:00000000 00:00000000 00000000   0        0 12 1 0\n   \
             3: 0100000A:9999 6600000A:0050 01 00000000:00000000 00:00000000 00000000   0        0 13 1 0\n"
        );
        let peers = |numbers: &[&str]| {
            let found = of_table(table.as_bytes(), &sockets(numbers), true).unwrap();
            (found.any, found.peers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(peers(&["11"]), (true, "10.0.0.100".into()));
        assert_eq!(peers(&["10", "11", "12"]), (true, "10.0.0.100 10.0.0.101".into()));
        assert_eq!(peers(&["13"]), (true, String::new()), "a client itself");
        assert_eq!(peers(&["10"]), (true, String::new()));
        assert_eq!(peers(&["14"]), (false, String::new()));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_in_the_order_of_the_processor() {
        let text = |field: &str| address(field).map(|address| address.to_string());
        assert_eq!(text("6F02000A:0045").as_deref(), Some("10.0.2.111"));
        assert_eq!(text("000080FE00000000FF005450563412FE:0045").as_deref(), Some("fe80::5054:ff:fe12:3456"));
        assert_eq!(text("0000000000000000FFFF00006F02000A:0045").as_deref(), Some("10.0.2.111"));
        assert_eq!((text("6F02000:0045"), text("6F02000A"), text("x:1")), (None, None, None));
    }

    #[test]
    fn a_socket_of_udp_says_itself_who_is_at_its_other_end() {
        let (connected, alone) =
            (UdpSocket::bind("[::]:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        connected.connect("[::ffff:127.9.8.7]:9").unwrap();
        let process = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        let other_end = |socket: &UdpSocket| other_end(&process, socket.as_raw_fd());
        assert_eq!(other_end(&connected), Some(Some("127.9.8.7".parse().unwrap())));
        assert_eq!(other_end(&alone), Some(None));
        // Other tests of this process have sockets of their own.
        let sockets = Sockets::of(std::process::id()).unwrap();
        assert!(sockets.any && !sockets.peers.is_empty() && !sockets.protocols.contains("UDP"));
    }

    #[test]
    fn a_thread_is_known_by_its_process() {
        let thread = || process_of(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        assert_eq!(std::thread::spawn(thread).join().unwrap(), Some(std::process::id()));
    }

    #[test]
    fn this_process_serves_whom_it_is_connected_to() {
        // Other tests of this process have sockets of their own, so that it is a server of many.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _accepted = listener.accept().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect("127.0.0.1:9").unwrap();
        let who = look(std::process::id());
        assert!(who.server().is_some(), "{who:?}");
        assert_eq!(Peers::default().of(u32::MAX), Who::Nobody, "there is no such process");
    }
}
