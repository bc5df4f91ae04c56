//! The keeper's work for the disk: calls the NBD server again when a connection is gone.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use crate::address::value;
use crate::console::{complain, say};
use crate::dial::{self, Connection, RemoteDisk, SECTOR};
use crate::disk;

/// Between calls to a server that is away.
const REDIAL_PAUSE: Duration = Duration::from_secs(2);

/// The disk and its connections.
#[derive(Debug)]
pub struct Kept {
    remote: RemoteDisk,
    size: u64,
    /// Of the volume descriptor: the disk that comes back must be the same.
    fingerprint: u64,
    sockets: Vec<TcpStream>,
}

/// A number that differs for two discs.
fn fingerprint(sector: &[u8; SECTOR]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(sector)
}

/// The keeper's knowledge of a disk, as words; the sockets' numbers come beside them.
pub fn words(remote: &RemoteDisk, first: &Connection) -> [String; 4] {
    [
        format!("nbd={}", remote.server),
        format!("export={}", remote.export),
        format!("size={}", first.export.size),
        format!("fingerprint={:016x}", fingerprint(&first.sector)),
    ]
}

impl Kept {
    /// Reads the words, and takes over the sockets that they name.
    pub fn from_words(words: &[String]) -> Option<Self> {
        let sockets = words.iter().filter_map(|word| word.strip_prefix("socket="));
        let sockets: Option<Vec<RawFd>> = sockets.map(|number| number.parse().ok()).collect();
        Some(Self {
            remote: RemoteDisk {
                server: value(words, "nbd")?.parse().ok()?,
                export: value(words, "export")?.to_owned(),
            },
            size: value(words, "size")?.parse().ok()?,
            fingerprint: u64::from_str_radix(value(words, "fingerprint")?, 16).ok()?,
            sockets: sockets?.into_iter().map(inherited).collect(),
        })
    }

    /// Calls the server again whenever a connection is gone.
    pub fn keep(mut self) {
        loop {
            for index in self.gone() {
                // Both sides agree then that it is dead, and the kernel takes another in its place.
                if let Some(old) = self.sockets.get(index) {
                    let _ = old.shutdown(Shutdown::Both);
                }
                let new = self.call_again();
                if let Some(socket) = self.sockets.get_mut(index) {
                    *socket = new;
                }
            }
        }
    }

    /// Waits until a connection is gone.
    fn gone(&self) -> Vec<usize> {
        let mut waiting: Vec<_> =
            self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::RDHUP)).collect();
        if poll(&mut waiting, None).is_err() {
            return Vec::new();
        }
        waiting
            .iter()
            .enumerate()
            .filter(|(_, socket)| !socket.revents().is_empty())
            .map(|(index, _)| index)
            .collect()
    }

    fn call_again(&self) -> TcpStream {
        let (server, began) = (self.remote.server, Instant::now());
        complain(&format!("the connection to the NBD server {server} is gone; calling it again"));
        let mut trouble = String::new();
        loop {
            match self.reconnect() {
                Ok(socket) => {
                    say(&format!("the NBD server {server} is back after {} s", began.elapsed().as_secs()));
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
            thread::sleep(REDIAL_PAUSE);
        }
    }

    fn reconnect(&self) -> Result<TcpStream> {
        let Connection { socket, export, sector } = dial::dial(&self.remote)?;
        let same = export.size == self.size && fingerprint(&sector) == self.fingerprint;
        ensure!(
            same,
            "the NBD server {} has another disc now under the name {}",
            self.remote.server,
            self.remote.export
        );
        disk::replace(&socket).context("the kernel doesn't take the new connection")?;
        Ok(socket)
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

    #[test]
    fn another_disc_has_another_mark() {
        let mut sector = [0; SECTOR];
        let before = fingerprint(&sector);
        assert_eq!(before, fingerprint(&sector));
        sector[40] = b'X';
        assert_ne!(before, fingerprint(&sector));
    }
}
