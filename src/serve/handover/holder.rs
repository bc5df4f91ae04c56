//! A small parent that holds what the daemon would lose: what systemd's descriptor store is, where there is no systemd.
//!
//! It starts the daemon, keeps the descriptors that it is sent, and starts the daemon again with them when it dies. A
//! daemon that dies `MOST` times in a row before it has served for `PROVEN` is not started again: the descriptors are
//! closed and the mount is taken away, so that clients get errors and don't hang. Before that, what has served until now is
//! tried in the place of a program that was installed since. A daemon of which a thread waits for a disk that hangs counts as
//! dead when all others have ended, and nothing here waits for one. It speaks the protocol of [`store`], reads nothing of what
//! it holds, and passes signals on.
//!
//! [`store`]: super::store

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::ledger::DEVICE;
use super::store::{SERVER, VARIABLES};
use super::upgrade;
use crate::serve::{background, logging, mountpoint};
use crate::storage::closing::Closing;
use crate::storage::descriptors;
use crate::storage::signals;

/// Deaths in a row after which it isn't started again.
const MOST: u32 = 5;
/// Signals by which a program ends that is at fault itself.
const CRASHES: [i32; 5] = [libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV];
/// Deaths in a row after which the program that is installed now isn't trusted.
const TRUSTED: u32 = 2;
/// The program that runs here, also when another one has taken its place, or none (proc_pid_exe(5)).
const OURS: &str = "/proc/self/exe";
/// A daemon that has served for so long dies of something new.
const PROVEN: Duration = Duration::from_secs(1);
/// The pause before the second start in a row that came to nothing; each further one is twice as long. Without one a
/// reason that passes by itself, such as a file server that is away, would have no time to.
const PAUSE: Duration = Duration::from_millis(100);

/// The place of a process's flags after its name (proc_pid_stat(5)), and the one of who ends (Linux, include/linux/sched.h).
const FLAGS: usize = 6;
const PF_EXITING: u32 = 4;

/// How often to look for a daemon whose end nobody tells of.
const LOOK: Duration = Duration::from_secs(1);

/// Descriptors that are held: 4096 is what systemd is told for the daemon. To start that takes as many again, and some more.
const MOST_HELD: usize = 4096;
const MORE: usize = 32;

/// The name of what is no descriptor of the daemon's.
const NOTHING: &str = "nothing";

/// First number of an inherited descriptor (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// The holder.
pub struct Holder {
    program: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
    mountpoint: PathBuf,
    foreground: bool,
    socket: UnixDatagram,
    name: String,
    held: Vec<(String, OwnedFd)>,
    wake: UnixStream,
    signals: Vec<(Signal, Arc<AtomicBool>)>,
    /// What has come for the daemon, and has not been passed on.
    requests: Vec<Signal>,
    stopping: bool,
    /// Daemons that have ended but for a thread that waits for a disk.
    lingering: Vec<Child>,
    closing: Closing,
}

/// A daemon that has been started.
struct Started {
    child: Child,
    ready: Option<Instant>,
}

impl Holder {
    /// Will run this program's command line as the daemon for that mount point.
    ///
    /// # Errors
    /// If the socket can't be made.
    pub fn new(mountpoint: PathBuf, foreground: bool) -> Result<Self> {
        descriptors::raise_limit();
        let name = format!("netrootfs-holder-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        set_socket_passcred(&socket, true)?;
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let flags = [
            (SIGTERM, Signal::TERM),
            (SIGINT, Signal::INT),
            (SIGHUP, Signal::HUP),
            (SIGUSR1, Signal::USR1),
            (SIGCHLD, Signal::CHILD),
        ];
        let mut signals = Vec::new();
        for (number, signal) in flags {
            let flag = Arc::<AtomicBool>::default();
            // Actions run in this order.
            signal_hook::flag::register(number, flag.clone())?;
            signal_hook::low_level::pipe::register(number, waker.try_clone()?)?;
            signals.push((signal, flag));
        }
        Ok(Self {
            // By name: after an upgrade there is another program under it.
            program: std::env::current_exe().context("the program's own path")?,
            arguments: std::env::args_os().skip(1).collect(),
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            mountpoint,
            foreground,
            socket,
            name,
            held: Vec::new(),
            wake,
            signals,
            requests: Vec::new(),
            stopping: false,
            lingering: Vec::new(),
            closing: Closing::new(),
        })
    }

    /// Keeps the daemon running until it ends by itself, is told to end or can't be kept; `ready` is called when it serves
    /// for the first time. Returns the exit code.
    ///
    /// # Errors
    /// If the daemon can't be started.
    pub fn run(mut self, ready: impl FnOnce() -> io::Result<()>) -> Result<u8> {
        let mut ready = Some(ready);
        let mut failures = 0;
        loop {
            let started = if failures > TRUSTED { self.start(OURS.as_ref()) } else { self.start_installed() };
            let mut daemon = started.inspect_err(|_| self.give_up())?;
            let status = self.attend(&mut daemon, &mut ready)?;
            let served = daemon.ready.map(|since| since.elapsed());
            self.lingering.push(daemon.child);
            if status.success() {
                return Ok(0);
            }
            // At the first start whatever it says is for who waits for that; a crash says nothing, and the next daemon may know
            // what not to touch.
            let crashed = status.signal().is_some_and(|signal| CRASHES.contains(&signal));
            if self.stopping || ready.is_some() && !(crashed && failures < MOST) {
                if let Some(signal) = status.signal().filter(|_| !self.stopping) {
                    log::error!("the daemon was ended by signal {signal} before it served anything");
                }
                // Else it has said itself why.
                self.give_up();
                // It was told to stop before it listened to signals, or was dead before it could be told: the mount is
                // gone, as was asked for. A crash on the way is one all the same.
                let by = status.signal();
                let told = self.stopping
                    && ready.is_none()
                    && [SIGTERM, SIGINT, libc::SIGKILL].map(Some).contains(&by);
                return Ok(if told { 0 } else { code_of(status) });
            }
            failures = if served.is_some_and(|time| time >= PROVEN) { 1 } else { failures + 1 };
            if failures > MOST {
                log::error!(
                    "the daemon has ended {failures} times in a row ({status}): it is not started again, and {} is unmounted",
                    self.mountpoint.display()
                );
                self.give_up();
                return Ok(code_of(status).max(1));
            }
            log::error!("the daemon has ended ({status}) and is started again; clients wait");
            if failures == TRUSTED + 1 && upgrade::is_replaced(OURS) {
                log::error!(
                    "{}: not tried any more; the program that served before goes on",
                    self.program.display()
                );
            }
            if failures > 1 {
                self.pause(PAUSE * 2_u32.pow(failures - 2));
            }
            if self.stopping {
                self.give_up();
                return Ok(0);
            }
        }
    }

    /// Starts the program under the name that it had: after an upgrade that is another one.
    fn start_installed(&self) -> Result<Started> {
        self.start(&self.program).or_else(|error| {
            log::error!("{error:#}; the program that served before goes on");
            self.start(OURS.as_ref())
        })
    }

    fn start(&self, program: &Path) -> Result<Started> {
        // What is held has its own numbers there, too, and the others up to the last one stand for nothing. To close one, as to
        // move it would take, is to ask its file system (close(2)), and that may not answer.
        let held: HashMap<RawFd, &str> =
            self.held.iter().map(|(name, fd)| (fd.as_raw_fd(), name.as_str())).collect();
        let end = held.keys().max().map_or(FIRST, |last| last + 1);
        let name = |fd| held.get(&fd).copied().unwrap_or(NOTHING);
        let names = (FIRST..end).map(name).collect::<Vec<_>>().join(":");
        // What std opens for itself must not lie among them.
        let mut null = File::options().read(true).write(true).open("/dev/null")?;
        let mut room = Vec::new();
        while null.as_raw_fd() < end {
            let next = null.try_clone()?;
            room.push(std::mem::replace(&mut null, next));
        }
        let filled: HashSet<RawFd> = room.iter().map(|file| file.as_raw_fd()).collect();
        let mut command = Command::new(program);
        command.arg0(&self.program);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.args(&self.arguments).env_remove(background::CHILD).env(SERVER, self.kind());
        command.env("NOTIFY_SOCKET", format!("@{}", self.name));
        command.env("LISTEN_FDS", (end - FIRST).to_string()).env("LISTEN_FDNAMES", names);
        command.stdin(Stdio::null());
        if self.directory.is_dir() {
            command.current_dir(&self.directory);
        }
        if !self.foreground {
            // The pipe to who waits for the start is not the daemon's.
            command.stdout(Stdio::null());
        }
        let null = null.as_raw_fd();
        let (others, kept): (Vec<RawFd>, Vec<RawFd>) =
            (FIRST..end).partition(|fd| !held.contains_key(fd) && !filled.contains(fd));
        let takes_over = !held.is_empty();
        let place = move || {
            // Else a request that comes before it listens would be its end, and clients wait for the next.
            if takes_over {
                signals::put_off()?;
            }
            for fd in &others {
                // SAFETY: both are numbers; what lies at `fd` in this process is not needed by what it becomes.
                if unsafe { libc::dup2(null, *fd) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            for fd in &kept {
                // SAFETY: it is a number, and this process has it open.
                fcntl_setfd(unsafe { BorrowedFd::borrow_raw(*fd) }, FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it only calls pthread_sigmask, dup2 and fcntl, and allocates nothing.
        let child = unsafe { command.pre_exec(place) }.spawn();
        let child = child.with_context(|| program.display().to_string())?;
        drop(room);
        Ok(Started { child, ready: None })
    }

    fn kind(&self) -> &'static str {
        if self.foreground { "foreground" } else { "background" }
    }

    /// Does what the daemon and signals ask for, until it has ended.
    fn attend(
        &mut self,
        daemon: &mut Started,
        ready: &mut Option<impl FnOnce() -> io::Result<()>>,
    ) -> Result<ExitStatus> {
        let pid = Pid::from_child(&daemon.child);
        loop {
            self.take_signals();
            let ended = daemon.child.try_wait()?.or_else(|| self.all_but_ended(pid));
            self.lingering.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            // After the look: what it sent before its end is there.
            while let Some(message) = self.receive(pid) {
                if self.take(message) {
                    daemon.ready = Some(Instant::now());
                    if let Some(ready) = ready.take() {
                        ready()?;
                    }
                }
            }
            if let Some(status) = ended {
                return Ok(status);
            }
            for signal in self.requests.drain(..) {
                // It may have ended just now.
                let _ = kill_process(pid, signal);
            }
            self.wait(LOOK);
        }
    }

    /// How a process has ended of which there is only left what waits for a disk: nothing ends that, and nobody is told before it has
    /// ended, too. (What can't be told looks like success, proc_pid_stat(5).)
    fn all_but_ended(&self, pid: Pid) -> Option<ExitStatus> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name, in parentheses, may be anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let flags: u32 = fields.get(FLAGS)?.parse().ok()?;
        let ends = fields.first() == Some(&"Z") || flags & PF_EXITING != 0;
        let status = ExitStatus::from_raw(fields.last()?.parse().ok()?);
        (ends && (!status.success() || self.stopping)).then_some(status)
    }

    /// A message of the daemon's, with its descriptors.
    fn receive(&self, from: Pid) -> Option<(String, Vec<OwnedFd>)> {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253), ScmCredentials(1))];
        loop {
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut text)];
            let received = recvmsg(&self.socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
            let (mut fds, mut sender) = (Vec::new(), None);
            for message in ancillary.drain() {
                match message {
                    RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
                    RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
                    _ => {}
                }
            }
            if sender == Some(from) {
                let text = text.get(..received.bytes).unwrap_or_default();
                return Some((String::from_utf8_lossy(text).into_owned(), fds));
            }
        }
    }

    /// Does what a message says; whether it says that the daemon is ready. What isn't stored is closed, and so a barrier
    /// is lifted.
    fn take(&mut self, (text, fds): (String, Vec<OwnedFd>)) -> bool {
        let says = |wanted: &str| text.lines().any(|line| line == wanted);
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
        if says("FDSTORE=1") && !name.contains(':') {
            let most = MOST_HELD.min(descriptors::limit().saturating_sub(MORE) / 2);
            let room = most.saturating_sub(self.held.len());
            let mut fds = fds.into_iter();
            for fd in fds.by_ref().take(room) {
                let kept = match descriptors::higher(&fd) {
                    Some(higher) => {
                        self.closing.close(fd);
                        higher
                    }
                    None => fd,
                };
                self.held.push((name.to_owned(), kept));
            }
            fds.for_each(|fd| self.closing.close(fd));
        }
        if says("FDSTOREREMOVE=1") {
            self.held.extract_if(.., |(other, _)| other == name).for_each(|(_, fd)| self.closing.close(fd));
        }
        says("READY=1")
    }

    /// Waits for a message or a signal, but not longer than that.
    fn wait(&mut self, longest: Duration) {
        let timeout = Timespec::try_from(longest).ok();
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        // An interruption is a signal, which is looked for anyhow.
        let _ = poll(&mut fds, timeout.as_ref());
        while self.wake.read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
    }

    /// Takes the signals that have come.
    fn take_signals(&mut self) {
        for (signal, flag) in &self.signals {
            if !flag.swap(false, Ordering::Relaxed) {
                continue;
            }
            match *signal {
                // That the daemon has ended is looked for anyhow.
                Signal::CHILD => continue,
                Signal::TERM | Signal::INT => self.stopping = true,
                // It has a log of its own for what it does by itself.
                Signal::HUP => logging::open_again(),
                _ => {}
            }
            if !self.requests.contains(signal) {
                self.requests.push(*signal);
            }
        }
    }

    fn pause(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while !self.stopping && Instant::now() < end {
            self.wait(end.saturating_duration_since(Instant::now()));
            self.take_signals();
        }
    }

    /// Ends the connection, so that nobody waits any longer, and takes the mount away.
    fn give_up(&mut self) {
        let (devices, others): (Vec<_>, Vec<_>) = self.held.drain(..).partition(|(name, _)| name == DEVICE);
        // Only who has mounted has one.
        let has_mounted = !devices.is_empty();
        drop(devices);
        others.into_iter().for_each(|(_, fd)| self.closing.close(fd));
        if has_mounted
            && mountpoint::is_ours_there(&self.mountpoint)
            && let Err(error) = mountpoint::detach(&self.mountpoint)
        {
            log::error!("{}: can't unmount: {error}", self.mountpoint.display());
        }
    }
}

/// As a shell has it for a process that was killed.
fn code_of(status: ExitStatus) -> u8 {
    let code =
        status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(1)
}
