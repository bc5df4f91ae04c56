//! The kernel's side of NBD, over generic netlink: gives it the sockets of `/dev/nbd0`, new ones, or takes them away.
//!
//! The kernel holds the sockets itself; no process need stay for that. Numbers: Linux, `uapi/linux/nbd-netlink.h`.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::dial::{DESCRIPTOR_AT, SECTOR};
use crate::nbd::{Export, FLAG_READ_ONLY};
use crate::netlink::{Attributes, NLA_F_NESTED, Request, Socket, attribute};
use crate::reader::{Counts, Reader};

/// The disk.
pub const DEVICE: &str = "/dev/nbd0";
/// Its counters.
const COUNTERS: &str = "/sys/block/nbd0/stat";
const QUEUE: &str = "/sys/block/nbd0/queue";
const INDEX: u32 = 0;
/// How long requests wait for a new connection until they fail, in seconds.
pub const DEAD_CONN_TIMEOUT: u64 = 600;
/// How often the kernel looks whether a request is to be sent again over a new connection, in milliseconds.
const LOOK_EACH: &str = "5000";
const FIRST_READ_PATIENCE: Duration = Duration::from_secs(30);

const NBD_ATTR_INDEX: u16 = 1;
const NBD_ATTR_SIZE_BYTES: u16 = 2;
const NBD_ATTR_BLOCK_SIZE_BYTES: u16 = 3;
const NBD_ATTR_SERVER_FLAGS: u16 = 5;
const NBD_ATTR_SOCKETS: u16 = 7;
const NBD_ATTR_DEAD_CONN_TIMEOUT: u16 = 8;
const NBD_SOCK_ITEM: u16 = 1;
const NBD_SOCK_FD: u16 = 1;
const NBD_CMD_CONNECT: u8 = 1;
const NBD_CMD_DISCONNECT: u8 = 2;
const NBD_CMD_RECONFIGURE: u8 = 3;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Whether the kernel has nbd.
pub fn is_known() -> bool {
    family().is_ok()
}

/// Makes the disk. It is read-only whatever the server offers: an ISO is not written.
pub fn connect(sockets: &[&TcpStream], export: &Export) -> io::Result<()> {
    let flags = u64::from(export.flags | FLAG_READ_ONLY);
    let request = request(NBD_CMD_CONNECT)?
        .with(NBD_ATTR_SIZE_BYTES, &export.size.to_ne_bytes())
        .with(NBD_ATTR_BLOCK_SIZE_BYTES, &u64::from(export.block).to_ne_bytes())
        .with(NBD_ATTR_SERVER_FLAGS, &flags.to_ne_bytes())
        .with(NBD_ATTR_DEAD_CONN_TIMEOUT, &DEAD_CONN_TIMEOUT.to_ne_bytes())
        .with(NBD_ATTR_SOCKETS | NLA_F_NESTED, &list(sockets));
    Socket::generic()?.ask(request)?;
    // With several connections the kernel's own, longer time must stay: it closes the slow one after it.
    if let [_] = sockets {
        let _ = fs::write(format!("{QUEUE}/io_timeout"), LOOK_EACH);
    }
    if let Some(longest) = export.longest {
        let own = fs::read_to_string(format!("{QUEUE}/max_sectors_kb")).unwrap_or_default();
        if own.trim().parse().is_ok_and(|own: u32| longest / 1024 < own) {
            let _ = fs::write(format!("{QUEUE}/max_sectors_kb"), (longest / 1024).to_string());
        }
    }
    Ok(())
}

/// The kernel as the one that reads, with the disk's counters, which stay open when `/sys` is unmounted.
#[derive(Debug)]
pub struct Kernel(Option<File>);

impl Kernel {
    /// Its counters are of no account until somebody looks.
    pub fn open() -> Self {
        Self(File::open(COUNTERS).ok())
    }
}

impl Reader for Kernel {
    fn replace(&self, socket: &TcpStream) -> io::Result<()> {
        let request = request(NBD_CMD_RECONFIGURE)?.with(NBD_ATTR_SOCKETS | NLA_F_NESTED, &list(&[socket]));
        Socket::generic()?.ask(request).map(drop)
    }

    fn counts(&self) -> Counts {
        let mut text = [0; 512];
        let len = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        counts(&String::from_utf8_lossy(text.get(..len).unwrap_or_default())).unwrap_or_default()
    }
}

/// Linux, Documentation/block/stat.rst.
fn counts(text: &str) -> Option<Counts> {
    let mut fields = text.split_whitespace().map(|field| field.parse().ok());
    Some(Counts { answered: fields.next()??, waiting: fields.nth(7)?? })
}

/// Takes the disk away, if there is one.
pub fn disconnect() -> io::Result<()> {
    Socket::generic()?.ask(request(NBD_CMD_DISCONNECT)?).map(drop)
}

/// Reads a sector as everybody will, and compares.
pub fn check(expected: &[u8; SECTOR]) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut sector = [0; SECTOR];
        let result = File::open(DEVICE).and_then(|disk| disk.read_exact_at(&mut sector, DESCRIPTOR_AT));
        let _ = sender.send(result.map(|()| sector));
    };
    thread::Builder::new().spawn(read)?;
    match receiver.recv_timeout(FIRST_READ_PATIENCE) {
        Ok(sector) => {
            ensure!(
                sector.with_context(|| format!("{DEVICE} can't be read"))? == *expected,
                "{DEVICE} reads other bytes than the server sends"
            );
            Ok(())
        }
        Err(_) => bail!("{DEVICE} doesn't answer within {} s", FIRST_READ_PATIENCE.as_secs()),
    }
}

fn request(command: u8) -> io::Result<Request> {
    Ok(generic(family()?, command).with(NBD_ATTR_INDEX, &INDEX.to_ne_bytes()))
}

/// `genlmsghdr`: command, version.
fn generic(family: u16, command: u8) -> Request {
    Request::new(family, 0, &[command, 1, 0, 0])
}

/// The number that the kernel gave to nbd's commands.
fn family() -> io::Result<u16> {
    let request = generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY).with(CTRL_ATTR_FAMILY_NAME, b"nbd\0");
    let answer = Socket::generic()?.ask(request)?;
    let number = answer.iter().find_map(|body| {
        let (_, number) = Attributes(body.get(4..)?).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)?;
        number.first_chunk().map(|number| u16::from_ne_bytes(*number))
    });
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn list(sockets: &[&TcpStream]) -> Vec<u8> {
    let item = |socket: &&TcpStream| {
        let number = u32::try_from(socket.as_raw_fd()).unwrap_or(u32::MAX);
        attribute(NBD_SOCK_ITEM | NLA_F_NESTED, &attribute(NBD_SOCK_FD, &number.to_ne_bytes()))
    };
    sockets.iter().flat_map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian 12, Linux 6.1.
    const STAT: &str = "    1203        4    99120     3120        0        0        0        0        2     2890     3120        0\n";

    #[test]
    fn the_kernel_s_counters_are_read() {
        assert_eq!(counts(STAT), Some(Counts { answered: 1203, waiting: 2 }));
        assert_eq!(counts("1 2 3"), None);
        assert_eq!(counts(""), None);
        assert_eq!(Kernel(None).counts(), Counts::default());
    }

    #[test]
    fn each_socket_is_an_item_of_its_own() {
        let pair = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(pair.local_addr().unwrap()).unwrap();
        let bytes = list(&[&socket, &socket]);
        let items: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(items.len(), 2);
        for (kind, item) in items {
            let number = u32::try_from(socket.as_raw_fd()).unwrap().to_ne_bytes();
            assert_eq!(kind, NBD_SOCK_ITEM);
            assert_eq!(Attributes(item).collect::<Vec<_>>(), [(NBD_SOCK_FD, &number[..])]);
        }
    }
}
