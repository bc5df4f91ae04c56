//! The keeper: a process that stays behind and holds on to the address and to the NBD server.
//!
//! The live system's own network manager may drop the address, at the latest at shutdown, while the root still hangs on it:
//! the keeper puts it back. It renews the lease, and calls the server again when the connection is gone. Its name begins with
//! `@`, by which systemd spares it at the change of root and at shutdown (systemd.io/ROOT_STORAGE_DAEMONS). Nothing that
//! it does may need the disk, so all of it is locked in memory. Three loops, one thread each, that know nothing of each other.

use std::fs::{self, File};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::FdFlags;
use rustix::mm::MlockAllFlags;

use crate::address::{Held, Terms, value};
use crate::console::{complain, hold_open, say};
use crate::dial::{self, Connection, Place, SECTOR};
use crate::disk;
use crate::lease::{self, Renewal};
use crate::link;

/// The name by which systemd knows whom to spare.
pub const NAME: &str = "@netroot";
/// It has nothing to do until it says that it is ready.
const READY: &str = "ready";
/// A thread here needs a few KiB; all of it is locked in memory.
const STACK: usize = 128 * 1024;
/// Programs change a card in several steps; one look serves them all.
const QUIET: Duration = Duration::from_millis(100);
/// Between calls to a server that is away.
const REDIAL_PAUSE: Duration = Duration::from_secs(2);
/// Between requests for a lease, at least; RFC 2131, 4.4.5 has 60 s for leases of hours.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// What the keeper holds on to.
#[derive(Debug)]
pub struct Kept {
    held: Held,
    disk: Option<Disk>,
}

#[derive(Debug)]
struct Disk {
    place: Place,
    size: u64,
    /// Of the volume descriptor: the disk that comes back must be the same.
    mark: u64,
    sockets: Vec<TcpStream>,
}

/// A number that differs for two discs.
fn mark(sector: &[u8; SECTOR]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(sector)
}

/// Leaves a keeper behind, and waits until it is ready.
///
/// # Errors
/// What keeps it from being so.
pub fn leave(held: &Held, place: &Place, first: &Connection, sockets: &[&TcpStream]) -> Result<()> {
    let mut words = held.words();
    words.push(format!("nbd={}", place.server));
    words.push(format!("export={}", place.export));
    words.push(format!("size={}", first.export.size));
    words.push(format!("mark={:016x}", mark(&first.sector)));
    for socket in sockets {
        rustix::io::fcntl_setfd(socket, FdFlags::empty())?;
        words.push(format!("socket={}", socket.as_raw_fd()));
    }
    let mut child = Command::new("/proc/self/exe")
        .arg0(NAME)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut answer) = child.stdout.take() {
        answer.read_to_string(&mut said)?;
    }
    match said.trim() {
        READY => Ok(()),
        "" => bail!("it ended at once"),
        sentence => bail!("{sentence}"),
    }
}

/// What the process of that name does: says that it is ready and holds on, for ever.
pub fn run(words: &[String]) -> ExitCode {
    match prepare(words) {
        Ok(kept) => kept.hold(),
        Err(error) => {
            let _ = write!(io::stdout(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(words: &[String]) -> Result<Kept> {
    let kept = Kept::from_words(words)?;
    let nothing = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    hold_open().context("/dev/kmsg")?;
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = rustix::process::setsid(); // it may lead a session already
    rustix::process::chdir("/")?;
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
        .context("can't be locked in memory")?;
    let mut answer = io::stdout();
    writeln!(answer, "{READY}")?;
    answer.flush()?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(kept)
}

impl Kept {
    /// An address alone.
    pub fn address(held: Held) -> Self {
        Self { held, disk: None }
    }

    fn from_words(words: &[String]) -> Result<Self> {
        let held = Held::from_words(words).context("the keeper doesn't understand its address")?;
        let disk = Disk::from_words(words).context("the keeper doesn't understand its disk")?;
        Ok(Self { held, disk: Some(disk) })
    }

    /// Holds on, for ever.
    pub fn hold(self) -> ! {
        let Self { held, disk } = self;
        if let Some(terms) = held.terms {
            let held = held.clone();
            beside("lease", move || keep_lease(&held, terms));
        }
        beside("address", move || keep_address(&held));
        if let Some(disk) = disk {
            disk.keep();
        }
        loop {
            thread::park();
        }
    }
}

fn beside(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work) {
        complain(&format!("the keeper of the {name} doesn't start: {error}"));
    }
}

/// Puts link, address and routes back, whoever took them.
fn keep_address(held: &Held) {
    let events = match link::events() {
        Ok(events) => events,
        Err(error) => return complain(&format!("the network's events can't be had: {error}")),
    };
    let mut trouble = None;
    loop {
        match link::hold(held) {
            Ok(()) => trouble = None,
            // While a card is away there is nothing to be done; its coming is the next event.
            Err(error) if trouble == Some(error.kind()) => {}
            Err(error) => {
                complain(&format!("the address {} can't be put back: {error}", held.address));
                trouble = Some(error.kind());
            }
        }
        wait(&events, PollFlags::IN, None);
        let mut busy = true;
        while busy {
            events.drain();
            busy = wait(&events, PollFlags::IN, Some(QUIET));
        }
    }
}

/// Waits for an event of the descriptor; whether there was one.
fn wait(descriptor: &impl AsFd, event: PollFlags, patience: Option<Duration>) -> bool {
    let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
    poll(&mut [PollFd::new(descriptor, event)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Asks for more time when half of it is over. What a server refuses is kept all the same: the disk hangs on it.
fn keep_lease(held: &Held, mut terms: Terms) {
    let mut began = Instant::now();
    let mut next = seconds(terms.renew);
    let mut complained = false;
    loop {
        thread::sleep((began + next).saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        let rebind = began.elapsed() >= seconds(terms.rebind);
        let trouble = match lease::renew(held, &terms, rebind) {
            Ok(Some(Renewal::Until(lease))) if lease.address == held.address => {
                let Some(new) = lease.terms else { return };
                if complained {
                    say(&format!("the DHCP server {} has renewed the address {}", new.server, held.address));
                }
                (terms, began, next, complained) = (new, asked, seconds(new.renew), false);
                continue;
            }
            Ok(Some(Renewal::Until(lease))) => {
                Some(format!("the DHCP server wants {} in its place", lease.address))
            }
            Ok(Some(Renewal::Refused(sentence))) => Some(sentence),
            Ok(None) | Err(_) if began.elapsed() >= seconds(terms.lease) => {
                Some("its lease has run out and no DHCP server answers".to_owned())
            }
            Ok(None) | Err(_) => None,
        };
        if let Some(sentence) = trouble.filter(|_| !complained) {
            let address = held.address;
            complain(&format!("{address}: {sentence}; the address stays, because the disk hangs on it"));
            complained = true;
        }
        next = began.elapsed() + pause(began.elapsed(), &terms);
    }
}

/// Until the next request: half of what is left until T2, or the end.
fn pause(elapsed: Duration, terms: &Terms) -> Duration {
    let (rebind, lease) = (seconds(terms.rebind), seconds(terms.lease));
    let end = if elapsed < rebind { rebind } else { lease };
    let left = end.saturating_sub(elapsed);
    if left.is_zero() { seconds(60) } else { (left / 2).max(RENEWAL_PAUSE) }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

impl Disk {
    fn from_words(words: &[String]) -> Option<Self> {
        let sockets = words.iter().filter_map(|word| word.strip_prefix("socket="));
        let sockets: Option<Vec<RawFd>> = sockets.map(|number| number.parse().ok()).collect();
        Some(Self {
            place: Place {
                server: value(words, "nbd")?.parse().ok()?,
                export: value(words, "export")?.to_owned(),
            },
            size: value(words, "size")?.parse().ok()?,
            mark: u64::from_str_radix(value(words, "mark")?, 16).ok()?,
            sockets: sockets?.into_iter().map(inherited).collect(),
        })
    }

    /// Calls the server again whenever a connection is gone.
    fn keep(mut self) {
        loop {
            for index in self.gone() {
                // Both sides agree then that it is dead, and the kernel takes another in its place.
                if let Some(old) = self.sockets.get(index) {
                    let _ = old.shutdown(Shutdown::Both);
                }
                let new = self.call_again();
                if let Some(place) = self.sockets.get_mut(index) {
                    *place = new;
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
        let (server, began) = (self.place.server, Instant::now());
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
        let Connection { socket, export, sector } = dial::dial(&self.place)?;
        let same = export.size == self.size && mark(&sector) == self.mark;
        ensure!(
            same,
            "the NBD server {} has another disc now under the name {}",
            self.place.server,
            self.place.export
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

    const TERMS: Terms =
        Terms { server: std::net::Ipv4Addr::new(10, 0, 2, 2), lease: 3600, renew: 1800, rebind: 3150 };

    #[test]
    fn requests_come_closer_together_towards_the_end() {
        assert_eq!(pause(seconds(1800), &TERMS), seconds(675));
        assert_eq!(pause(seconds(3145), &TERMS), RENEWAL_PAUSE);
        assert_eq!(pause(seconds(3150), &TERMS), seconds(225));
        assert_eq!(pause(seconds(5000), &TERMS), seconds(60));
    }

    #[test]
    fn another_disc_has_another_mark() {
        let mut sector = [0; SECTOR];
        let before = mark(&sector);
        assert_eq!(before, mark(&sector));
        sector[40] = b'X';
        assert_ne!(before, mark(&sector));
    }

    #[test]
    fn a_keeper_needs_all_its_words() {
        let words: Vec<_> =
            "if=2 mac=52:54:00:12:34:56 address=10.0.2.15/24".split(' ').map(str::to_owned).collect();
        let error = Kept::from_words(&words).unwrap_err();
        assert!(error.to_string().contains("disk"), "{error}");
        assert!(Kept::from_words(&[]).unwrap_err().to_string().contains("address"));
    }
}
