//! Machines that fetch files by TFTP at once, all played by one thread: RFC 1350, with the options of RFC 2347 to 2349 for
//! block and file size, and windows (RFC 7440) where they are asked for.
//!
//! Each does as pxelinux does (`core/fs/pxe/tftp.c` of syslinux): it takes one file after the other, each from a port of its
//! own, in blocks of 1408 bytes; it hears the first port that answers and no other; what it has said it says again where
//! nothing new comes, and to a block that isn't the next one too. Nothing is kept: blocks are shown as they come.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::{ACK, DATA, ERROR, OACK, RRQ, options};

/// What a frame of 1500 bytes has room for, with something to spare.
const BLOCK: usize = 1408;

/// Without the option (RFC 1350).
const BLOCK_OF_OLD: usize = 512;

/// Two ticks of a PC's clock; each further silence is borne for 1.2 times as long, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(110);
const LONGEST_WAIT: Duration = Duration::from_secs(14);

/// How often those who wait are looked at.
const TICK: Duration = Duration::from_millis(10);

/// A block that has come, the next one of its file.
pub struct Block<'a> {
    /// Which of the machines, from 0 on.
    pub machine: usize,
    /// Which of the files, from 0 on.
    pub file: usize,
    /// Where in the file.
    pub offset: u64,
    /// Its bytes; none where the file's length is a multiple of the block's.
    pub data: &'a [u8],
}

/// The machines.
pub struct Loaders {
    server: SocketAddr,
    files: Vec<String>,
    window: u16,
    most: u64,
    poll: OwnedFd,
    machines: Vec<Machine>,
    start: Instant,
    fetched: Vec<Duration>,
    again: usize,
}

impl Loaders {
    /// So many machines that ask for the first of the files in this moment, in windows of so many blocks.
    ///
    /// # Errors
    /// What the sockets say.
    pub fn start(server: SocketAddr, files: &[&str], machines: usize, window: u16) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let start = Instant::now();
        let home = server.ip().is_loopback();
        let machines = (0..machines).map(|number| Machine::new(&poll, number, address(home, number), start));
        let machines = machines.collect::<io::Result<Vec<_>>>()?;
        let files = files.iter().map(|&file| file.to_owned()).collect();
        let (fetched, again) = Default::default();
        let mut loaders = Self {
            server,
            files,
            window,
            most: u64::MAX,
            poll,
            machines,
            start: Instant::now(),
            fetched,
            again,
        };
        let now = loaders.start;
        (0..loaders.machines.len()).try_for_each(|number| loaders.ask(number, now))?;
        Ok(loaders)
    }

    /// The same, who have enough after so many bytes of each file.
    #[must_use]
    pub fn only(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// Goes on until all have all their files, or until that time; shows each block.
    ///
    /// # Errors
    /// If a server refuses a file, or what the caller finds wrong with a block.
    pub fn run(
        &mut self,
        until: Instant,
        mut show: impl FnMut(Block<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let tick = Timespec::try_from(TICK).map_err(io::Error::other)?;
        let (mut events, mut packet, mut last_look) = (Vec::with_capacity(256), [0; 1 << 16], self.start);
        while self.fetched.len() < self.machines.len() {
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&tick))?;
            let now = Instant::now();
            for event in events.drain(..) {
                self.hear(event.data.u64() as usize, now, &mut packet, &mut show)?;
            }
            if now >= last_look + TICK {
                last_look = now;
                self.say_again(now)?;
                if now >= until {
                    break;
                }
            }
        }
        Ok(())
    }

    /// How long those that have all their files have taken, in order.
    pub fn fetched(&self) -> &[Duration] {
        &self.fetched
    }

    /// Their last ports, to which a server that was asked twice may still talk.
    pub fn into_sockets(self) -> impl Iterator<Item = UdpSocket> {
        self.machines.into_iter().map(|machine| machine.socket)
    }

    /// How often one has said something again, because nothing new came.
    pub fn again(&self) -> usize {
        self.again
    }

    fn ask(&mut self, number: usize, now: Instant) -> io::Result<()> {
        let machine = &mut self.machines[number];
        let (window, windows) = (self.window.to_string(), self.window > 1);
        let mut words = vec![&self.files[machine.file], "octet", "tsize", "0", "blksize", "1408"];
        words.extend(windows.then_some(["windowsize", &window]).into_iter().flatten());
        let mut request = RRQ.to_be_bytes().to_vec();
        request.extend(words.iter().flat_map(|word| word.bytes().chain([0])));
        machine.wait_until(now);
        heeded(machine.socket.send_to(&request, self.server))?;
        Ok(())
    }

    fn hear(
        &mut self,
        number: usize,
        now: Instant,
        packet: &mut [u8],
        show: &mut impl FnMut(Block<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let machine = &mut self.machines[number];
        let Some((len, from)) = heeded(machine.socket.recv_from(packet))? else { return Ok(()) };
        if !machine.answered {
            machine.socket.connect(from)?;
            machine.answered = true;
        }
        let offset = machine.transfer.offset();
        let heard = machine.transfer.hear(&packet[..len]).map_err(|words| {
            let file = &self.files[machine.file];
            io::Error::other(format!("machine {number}, {file}: {words}"))
        })?;
        if heard.new {
            machine.wait = FIRST_WAIT;
            machine.wait_until(now);
        }
        if let Some(data) = heard.data {
            show(Block { machine: number, file: machine.file, offset, data })?;
        }
        let enough = machine.transfer.offset() >= self.most;
        if enough {
            // As who has found out a file's size.
            heeded(machine.socket.send(b"\0\x05\0\0enough\0"))?;
        } else if heard.answer {
            machine.acknowledge()?;
        }
        if heard.end || enough {
            self.next_file(number, now)?;
        }
        Ok(())
    }

    fn next_file(&mut self, number: usize, now: Instant) -> io::Result<()> {
        let machine = &mut self.machines[number];
        let (file, own) = (machine.file + 1, machine.address);
        if file == self.files.len() {
            // It keeps its port, and hears nothing more.
            machine.due = None;
            epoll::delete(&self.poll, &machine.socket)?;
            self.fetched.push(now - self.start);
            return Ok(());
        }
        // The old port is free only when the new one is another.
        self.machines[number] = Machine { file, ..Machine::new(&self.poll, number, own, now)? };
        self.ask(number, now)
    }

    fn say_again(&mut self, now: Instant) -> io::Result<()> {
        for number in 0..self.machines.len() {
            let machine = &mut self.machines[number];
            if machine.due.is_none_or(|due| due > now) {
                continue;
            }
            self.again += 1;
            machine.wait = machine.wait.mul_f64(1.2).min(LONGEST_WAIT);
            machine.wait_until(now);
            if machine.answered { machine.acknowledge()? } else { self.ask(number, now)? }
        }
        Ok(())
    }
}

/// Each has an address of its own: a server that was asked twice goes on talking to a port that another may have by then.
fn address(home: bool, number: usize) -> Ipv4Addr {
    let [.., high, low] = (number + 1).to_be_bytes();
    if home { Ipv4Addr::new(127, 0, high, low) } else { Ipv4Addr::UNSPECIFIED }
}

/// One of them, with the file that it fetches.
struct Machine {
    address: Ipv4Addr,
    socket: UdpSocket,
    file: usize,
    /// The socket hears nobody but that server's port.
    answered: bool,
    transfer: Transfer,
    wait: Duration,
    /// When it says its last word again.
    due: Option<Instant>,
}

impl Machine {
    fn new(poll: &OwnedFd, number: usize, address: Ipv4Addr, now: Instant) -> io::Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(poll, &socket, data, epoll::EventFlags::IN)?;
        let transfer = Transfer::default();
        Ok(Self { address, socket, file: 0, answered: false, transfer, wait: FIRST_WAIT, due: Some(now) })
    }

    /// Of what comes then, the server counts its window from there (RFC 7440, 4).
    fn acknowledge(&mut self) -> io::Result<()> {
        self.transfer.acknowledged = self.transfer.blocks;
        let [high, low] = (self.transfer.blocks as u16).to_be_bytes();
        heeded(self.socket.send(&[0, ACK as u8, high, low]))?;
        Ok(())
    }

    fn wait_until(&mut self, now: Instant) {
        self.due = Some(now + self.wait);
    }
}

/// `None` where the other side has gone, or the word finds no room: as if it were lost on its way.
fn heeded<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::ConnectionRefused | ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

/// What of a file has come. It neither sends nor waits.
struct Transfer {
    /// Bytes of each but the last.
    block: usize,
    /// Blocks that are acknowledged together.
    window: u64,
    /// Blocks that have come, in order.
    blocks: u64,
    /// Of them, those that were acknowledged.
    acknowledged: u64,
    /// The last one that came wasn't the next one, and the server knows.
    astray: bool,
}

/// What a packet was.
#[derive(Default)]
struct Heard<'p> {
    /// Something that wasn't known.
    new: bool,
    /// The next block.
    data: Option<&'p [u8]>,
    /// The last block that has come is to be acknowledged.
    answer: bool,
    /// That was the last one.
    end: bool,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { block: BLOCK_OF_OLD, window: 1, blocks: 0, acknowledged: 0, astray: false }
    }
}

impl Transfer {
    /// Where in the file the next block lies.
    fn offset(&self) -> u64 {
        self.blocks * self.block as u64
    }

    /// The server's refusal is the error.
    fn hear<'p>(&mut self, packet: &'p [u8]) -> Result<Heard<'p>, String> {
        let Some((code, rest)) = packet.split_first_chunk::<2>() else { return Ok(Heard::default()) };
        match u16::from_be_bytes(*code) {
            OACK if self.blocks == 0 => {
                for (name, value) in options(rest) {
                    match &*name {
                        "blksize" => self.block = value.min(BLOCK as u64) as usize,
                        "windowsize" => self.window = value.max(1),
                        _ => {}
                    }
                }
                Ok(Heard { new: true, answer: true, ..Heard::default() })
            }
            DATA => Ok(rest
                .split_first_chunk()
                .map_or(Heard::default(), |(number, data)| self.take(u16::from_be_bytes(*number), data))),
            ERROR => {
                Err(format!("the server refuses it: {}", String::from_utf8_lossy(rest).trim_matches('\0')))
            }
            _ => Ok(Heard::default()),
        }
    }

    /// Numbers begin anew after 65535.
    fn take<'p>(&mut self, number: u16, data: &'p [u8]) -> Heard<'p> {
        if number != (self.blocks + 1) as u16 {
            // In a window the others that follow say no more than the first (RFC 7440, 4).
            let answer = self.window == 1 || !self.astray;
            self.astray = true;
            return Heard { answer, ..Heard::default() };
        }
        self.astray = false;
        self.blocks += 1;
        let end = data.len() < self.block;
        let answer = end || self.blocks - self.acknowledged >= self.window;
        Heard { new: true, data: Some(data), answer, end }
    }
}
