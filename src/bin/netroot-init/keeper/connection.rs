//! The keeper's work for the disk: calls an NBD server again when a connection is gone.
//!
//! Where several servers have the disk, the next one is called when one is gone or does not answer, and this machine's own when
//! it is there again. Each must have the same disc.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netrootfs::boot::step::Step;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::address::{Held, value, values};
use crate::console::{complain, say};
use crate::dial::{self, Connection, RemoteDisk};
use crate::disk;
use crate::herald::tell;

/// Between calls to servers that are all away.
const REDIAL_PAUSE: Duration = Duration::from_secs(2);
/// How long reads may wait without one being answered until another server is called, if there is one.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_EACH: Duration = Duration::from_secs(2);
/// How often the machine's own server is called while another one serves it: so many seconds, and up to as many again, so
/// that machines come back one by one.
const HOME_EACH: u64 = 60;
/// How long the kernel may take to notice that a connection is dead, so that it takes another one.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

/// The disk and its connections.
#[derive(Debug)]
pub struct Kept {
    remote: RemoteDisk,
    /// The size in bytes, and what else tells discs apart: the disk that comes back must be the same.
    size: u64,
    fingerprint: u64,
    sockets: Vec<TcpStream>,
    /// Who serves now.
    server: SocketAddrV4,
    counters: Option<Counters>,
}

/// The keeper's knowledge of a disk, as words; the sockets' numbers come beside them.
pub fn words(remote: &RemoteDisk, first: &Connection) -> Vec<String> {
    let servers: Vec<_> = remote.servers.iter().map(SocketAddrV4::to_string).collect();
    vec![
        format!("nbd={}", servers.join(",")),
        format!("serves={}", first.server),
        format!("export={}", remote.export),
        format!("size={}", first.export.size),
        format!("fingerprint={:016x}", first.fingerprint),
    ]
}

impl Kept {
    /// Reads the words, and takes over the sockets that they name.
    pub fn from_words(words: &[String]) -> Option<Self> {
        let sockets: Option<Vec<RawFd>> = values(words, "socket").map(|number| number.parse().ok()).collect();
        let servers = value(words, "nbd")?.split(',').map(|server| server.parse().ok());
        Some(Self {
            remote: RemoteDisk {
                servers: servers.collect::<Option<_>>()?,
                export: value(words, "export")?.to_owned(),
            },
            size: value(words, "size")?.parse().ok()?,
            fingerprint: u64::from_str_radix(value(words, "fingerprint")?, 16).ok()?,
            sockets: sockets?.into_iter().map(inherited).collect(),
            server: value(words, "serves")?.parse().ok()?,
            counters: Counters::open(),
        })
    }

    /// Calls a server again whenever a connection is gone, and says so from the address that is held.
    pub fn keep(mut self, held: &Held) {
        let mut progress = Progress::new();
        let mut home_at = Instant::now() + home_pause();
        loop {
            for index in self.gone() {
                self.renew(index, held);
            }
            if self.remote.servers.len() < 2 {
                continue;
            }
            if self.counters.as_ref().is_some_and(|counters| progress.is_stuck(counters.read())) {
                complain(&format!(
                    "the NBD server {} has answered nothing for {} s; calling another one",
                    self.server,
                    STUCK_AFTER.as_secs()
                ));
                (0..self.sockets.len()).for_each(|index| self.renew(index, held));
                progress = Progress::new();
            }
            if Instant::now() >= home_at {
                self.go_home(held);
                home_at = Instant::now() + home_pause();
            }
        }
    }

    /// Waits until a connection is gone; with several servers, not for long.
    fn gone(&self) -> Vec<usize> {
        let patience = Timespec { tv_sec: LOOK_EACH.as_secs() as i64, tv_nsec: 0 };
        let patience = (self.remote.servers.len() > 1).then_some(&patience);
        let mut waiting: Vec<_> =
            self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::RDHUP)).collect();
        if poll(&mut waiting, patience).is_err() {
            return Vec::new();
        }
        waiting
            .iter()
            .enumerate()
            .filter(|(_, socket)| !socket.revents().is_empty())
            .map(|(index, _)| index)
            .collect()
    }

    /// Has the kernel take a new connection in the place of one.
    fn renew(&mut self, index: usize, held: &Held) {
        self.shut(index);
        let new = self.call_again(held);
        if let Some(socket) = self.sockets.get_mut(index) {
            *socket = new;
        }
    }

    /// Both sides agree then that it is dead, and the kernel takes another in its place.
    fn shut(&self, index: usize) {
        if let Some(old) = self.sockets.get(index) {
            let _ = old.shutdown(Shutdown::Both);
        }
    }

    fn call_again(&mut self, held: &Held) -> TcpStream {
        let (lost, began) = (self.server, Instant::now());
        complain(&format!("the connection to the NBD server {lost} is gone; calling it again"));
        tell(held, Step::Lost);
        let mut trouble = String::new();
        loop {
            // The one that has just failed comes last.
            let mut servers = self.remote.servers.clone();
            servers.sort_by_key(|server| *server == lost);
            for server in servers {
                match self.reconnect(server) {
                    Ok(socket) => {
                        let after = began.elapsed().as_secs();
                        match server == lost {
                            true => say(&format!("the NBD server {server} is back after {after} s")),
                            false => say(&format!("the NBD server {server} takes its place after {after} s")),
                        }
                        tell(held, Step::Back);
                        self.server = server;
                        return socket;
                    }
                    Err(error) => {
                        let sentence = format!("{error:#}");
                        if sentence != trouble {
                            complain(&sentence);
                            trouble = sentence;
                        }
                    }
                }
            }
            thread::sleep(REDIAL_PAUSE);
        }
    }

    fn reconnect(&self, server: SocketAddrV4) -> Result<TcpStream> {
        let socket = self.dial(server)?;
        hand_over(&socket)?;
        Ok(socket)
    }

    /// A connection to the same disc.
    fn dial(&self, server: SocketAddrV4) -> Result<TcpStream> {
        let Connection { socket, export, fingerprint, .. } = dial::dial(server, &self.remote.export)?;
        let same = export.size == self.size && fingerprint == self.fingerprint;
        ensure!(same, "the NBD server {server} has another disc now under the name {}", self.remote.export);
        Ok(socket)
    }

    /// Goes back to this machine's own server if that is there again, at a moment without reads. What is wrong with it is no
    /// news: another one serves.
    fn go_home(&mut self, held: &Held) {
        let Some(&home) = self.remote.servers.first().filter(|home| **home != self.server) else { return };
        for index in 0..self.sockets.len() {
            let Ok(new) = self.dial(home) else { return };
            if self.counters.as_ref().is_some_and(|counters| counters.read().waiting > 0) {
                return;
            }
            self.shut(index);
            let new = match hand_over(&new) {
                Ok(()) => new,
                Err(_) => self.call_again(held),
            };
            if let Some(socket) = self.sockets.get_mut(index) {
                *socket = new;
            }
        }
        say(&format!("back at the NBD server {home}"));
        self.server = home;
    }
}

/// Gives the kernel a connection in the place of one that is dead, as soon as it has noticed that.
fn hand_over(socket: &TcpStream) -> Result<()> {
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        match disk::replace(socket) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            taken => return taken.context("the kernel doesn't take the new connection"),
        }
    }
}

fn home_pause() -> Duration {
    let random = RandomState::new().build_hasher().finish();
    Duration::from_secs(HOME_EACH + random % HOME_EACH)
}

/// The kernel's counters of the disk (Linux, Documentation/block/stat.rst), which stay open when /sys is unmounted.
#[derive(Debug)]
struct Counters(File);

/// What they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    /// Reads that were answered.
    answered: u64,
    /// Requests that wait.
    waiting: u64,
}

impl Counters {
    fn open() -> Option<Self> {
        File::open(disk::COUNTERS).ok().map(Self)
    }

    fn read(&self) -> Counts {
        let mut text = [0; 512];
        let len = self.0.read_at(&mut text, 0).unwrap_or(0);
        Counts::parse(&String::from_utf8_lossy(text.get(..len).unwrap_or_default())).unwrap_or_default()
    }
}

impl Counts {
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace().map(|field| field.parse().ok());
        Some(Self { answered: fields.next()??, waiting: fields.nth(7)?? })
    }
}

/// Whether reads are answered at all.
struct Progress {
    last: Counts,
    since: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { last: Counts::default(), since: Instant::now() }
    }

    fn is_stuck(&mut self, now: Counts) -> bool {
        self.is_stuck_at(now, Instant::now())
    }

    fn is_stuck_at(&mut self, counts: Counts, now: Instant) -> bool {
        if counts.waiting == 0 || counts.answered != self.last.answered {
            (self.last, self.since) = (counts, now);
        }
        now.saturating_duration_since(self.since) >= STUCK_AFTER
    }
}

/// A socket that the process was started with.
fn inherited(number: RawFd) -> TcpStream {
    // SAFETY: `leave` hands the number on with the descriptor that it names, and nobody else in this process has it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    TcpStream::from(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian 12, Linux 6.1.
    const STAT: &str = "    1203        4    99120     3120        0        0        0        0        2     2890     3120        0\n";

    #[test]
    fn the_kernel_s_counters_are_read() {
        assert_eq!(Counts::parse(STAT), Some(Counts { answered: 1203, waiting: 2 }));
        assert_eq!(Counts::parse("1 2 3"), None);
        assert_eq!(Counts::parse(""), None);
    }

    #[test]
    fn reads_that_wait_and_none_that_is_answered_are_a_server_that_hangs() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let counts = |answered, waiting| Counts { answered, waiting };
        let mut progress = Progress { last: Counts::default(), since: begin };
        assert!(!progress.is_stuck_at(counts(10, 1), at(2)));
        assert!(!progress.is_stuck_at(counts(11, 1), at(11)), "it is slow, and answers");
        assert!(!progress.is_stuck_at(counts(11, 3), at(20)));
        assert!(progress.is_stuck_at(counts(11, 3), at(21)));
        assert!(!progress.is_stuck_at(counts(11, 0), at(60)), "nobody waits");
        assert!(!progress.is_stuck_at(counts(11, 1), at(69)), "nor for long");
    }

    #[test]
    fn words_name_all_servers_and_the_one_that_serves() {
        let words =
            ["nbd=10.0.0.1:10809,10.0.0.2:99", "serves=10.0.0.2:99", "export=a", "size=5", "fingerprint=0f"];
        let kept = Kept::from_words(&words.map(str::to_owned)).unwrap();
        assert_eq!(kept.remote.servers.len(), 2);
        assert_eq!((kept.server, kept.fingerprint), (kept.remote.servers[1], 15));
    }
}
