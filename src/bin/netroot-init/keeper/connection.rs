//! The keeper's work for the disk: calls an NBD server again when a connection is gone.
//!
//! Where several servers have the disk, the next one is called when one is gone or does not answer, and this machine's own when
//! it is there again. Each must have the same disc. A connection that still lives is given up only for one that answers: all
//! the others may be away, and the server only slow.

use std::io;
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netrootfs::boot::step::Step;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::address::{Held, value, values};
use crate::console::{complain, say};
use crate::dial::{self, Connection, RemoteDisk};
use crate::disk::Kernel;
use crate::herald;
use crate::reader::{Progress, Reader, STUCK_AFTER};
use crate::spread::Spread;

/// How often that is looked at.
const LOOK_EACH: Duration = Duration::from_secs(2);
/// How often the machine's own server is called while another one serves it, and up to twice as rarely, so that machines come
/// back one by one.
const HOME_EACH: Duration = Duration::from_secs(60);
/// How long a move may wait for a moment without reads: the kernel takes up to 5 s until it sends one again.
const QUIET_WITHIN: Duration = Duration::from_secs(10);
/// When the reader may have noticed that a connection is dead, so that it takes another one: milliseconds, one after the
/// other; of a single one, and of several.
const ONE_NOTICED_AFTER: [u64; 5] = [0, 20, 100, 400, 1500];
const NOTICED_AFTER: [u64; 5] = [400, 100, 200, 400, 1000];

/// The disk and its connections.
#[derive(Debug)]
pub struct Kept<R> {
    remote: RemoteDisk,
    /// The size in bytes, and what else tells discs apart: the disk that comes back must be the same.
    size: u64,
    fingerprint: u64,
    sockets: Vec<TcpStream>,
    spread: Spread,
    /// Who serves now.
    server: SocketAddrV4,
    reader: R,
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

impl Kept<Kernel> {
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
            spread: Spread::of(value(words, "mac")?.parse().ok()?),
            server: value(words, "serves")?.parse().ok()?,
            reader: Kernel::open(),
        })
    }
}

impl<R: Reader> Kept<R> {
    /// A disk that is read over its first connection.
    pub fn new(remote: RemoteDisk, first: Connection, spread: Spread, reader: R) -> Self {
        let Connection { server, socket, export, fingerprint, .. } = first;
        Self { remote, size: export.size, fingerprint, sockets: vec![socket], spread, server, reader }
    }

    /// Calls a server again whenever a connection is gone, and says so from the address that is held, if one is.
    pub fn keep(mut self, held: Option<&Held>) {
        let mut progress = Progress::new();
        let mut told = None;
        let (spread, mut visits) = (self.spread, 0..);
        let mut until_home = || HOME_EACH + spread.within(HOME_EACH, visits.next().unwrap_or_default());
        let mut home_at = Instant::now() + until_home();
        loop {
            for index in self.gone() {
                self.renew(index, held);
            }
            if self.remote.servers.len() < 2 {
                continue;
            }
            let counts = self.reader.counts();
            if progress.is_stuck(counts) {
                if told.replace(counts.answered) != Some(counts.answered) {
                    complain(&format!(
                        "the NBD server {} has answered nothing for {} s; calling another one",
                        self.server,
                        STUCK_AFTER.as_secs()
                    ));
                }
                self.leave(counts.answered, held);
                progress = Progress::new();
            }
            if Instant::now() >= home_at {
                self.go_home(held);
                home_at = Instant::now() + until_home();
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

    /// Has the reader take a new connection in the place of one.
    fn renew(&mut self, index: usize, held: Option<&Held>) {
        self.shut(index);
        let new = self.call_again(held);
        if let Some(socket) = self.sockets.get_mut(index) {
            *socket = new;
        }
    }

    /// Both sides agree then that it is dead, and the reader takes another in its place.
    fn shut(&self, index: usize) {
        if let Some(old) = self.sockets.get(index) {
            let _ = old.shutdown(Shutdown::Both);
        }
    }

    fn call_again(&mut self, held: Option<&Held>) -> TcpStream {
        let (lost, began) = (self.server, Instant::now());
        complain(&format!("the connection to the NBD server {lost} is gone; calling it again"));
        tell(held, Step::Lost);
        let mut trouble = String::new();
        let mut attempt = 0;
        loop {
            thread::sleep(self.spread.pause(attempt));
            // The one that has just failed comes last.
            let mut servers = self.remote.servers.clone();
            servers.sort_by_key(|server| *server == lost);
            for server in servers {
                match self.reconnect(server, attempt) {
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
            attempt += 1;
        }
    }

    fn reconnect(&self, server: SocketAddrV4, attempt: u32) -> Result<TcpStream> {
        let socket = self.dial(server, attempt)?;
        self.hand_over(&socket)?;
        Ok(socket)
    }

    /// A connection to the same disc.
    fn dial(&self, server: SocketAddrV4, attempt: u32) -> Result<TcpStream> {
        let greeting = self.spread.greeting(attempt);
        let Connection { socket, export, fingerprint, .. } =
            dial::dial(server, &self.remote.export, greeting)?;
        let same = export.size == self.size && fingerprint == self.fingerprint;
        ensure!(same, "the NBD server {server} has another disc now under the name {}", self.remote.export);
        Ok(socket)
    }

    /// Goes on with another server, if one answers before the one that hangs does. It has answered so many reads.
    fn leave(&mut self, answered: u64, held: Option<&Held>) {
        let (hanging, began) = (self.server, Instant::now());
        let others: Vec<_> =
            self.remote.servers.iter().copied().filter(|server| *server != hanging).collect();
        for server in others {
            let connections = self.dial_all(server, 0);
            if self.reader.counts().answered != answered {
                return say(&format!("the NBD server {hanging} answers again"));
            }
            match connections {
                Ok(connections) => {
                    let after = began.elapsed().as_secs();
                    say(&format!("the NBD server {server} takes its place after {after} s"));
                    return self.move_to(server, connections, held);
                }
                Err(error) => say(&format!("{error:#}")),
            }
        }
    }

    /// Goes back to this machine's own server if that is there again. What is wrong with it is no news: another one serves.
    fn go_home(&mut self, held: Option<&Held>) {
        let Some(&home) = self.remote.servers.first().filter(|home| **home != self.server) else { return };
        let Ok(connections) = self.dial_all(home, 1) else { return };
        let deadline = Instant::now() + QUIET_WITHIN;
        while self.reader.counts().waiting > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        say(&format!("back at the NBD server {home}"));
        self.move_to(home, connections, held);
    }

    fn dial_all(&self, server: SocketAddrV4, attempt: u32) -> Result<Vec<TcpStream>> {
        self.sockets.iter().map(|_| self.dial(server, attempt)).collect()
    }

    /// Has the reader take these in the place of all connections.
    fn move_to(&mut self, server: SocketAddrV4, connections: Vec<TcpStream>, held: Option<&Held>) {
        self.server = server;
        for (index, new) in connections.into_iter().enumerate() {
            self.shut(index);
            let new = if self.hand_over(&new).is_ok() { new } else { self.call_again(held) };
            if let Some(socket) = self.sockets.get_mut(index) {
                *socket = new;
            }
        }
    }

    /// Gives the reader a connection in the place of one that is dead, as soon as it has noticed that. Linux says yes, and
    /// takes nothing, as long as it hasn't (`nbd_genl_reconfigure`), so a single connection is offered again and again; of
    /// several, one that is offered twice might be taken twice.
    fn hand_over(&self, socket: &TcpStream) -> Result<()> {
        let single = self.sockets.len() == 1;
        let pauses = if single { ONE_NOTICED_AFTER } else { NOTICED_AFTER };
        let mut taken = Err(io::ErrorKind::NotConnected.into());
        for pause in pauses {
            thread::sleep(Duration::from_millis(pause));
            match self.reader.replace(socket) {
                Ok(()) if single => taken = Ok(()),
                Ok(()) => return Ok(()),
                Err(error) if taken.is_err() => taken = Err(error),
                Err(_) => {}
            }
        }
        taken.context("the new connection isn't taken")
    }
}

fn tell(held: Option<&Held>, step: Step) {
    if let Some(held) = held {
        herald::tell(held, step);
    }
}

/// A socket that the process was started with.
fn inherited(number: RawFd) -> TcpStream {
    // SAFETY: `leave` hands the number on with the descriptor that it names, and nobody else in this process has it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    TcpStream::from(socket)
}

#[cfg(test)]
mod tests;
