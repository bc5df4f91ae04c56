//! As a service whose manager holds its descriptors: what systemd does, done here.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::place::Place;
use testkit::disc::Disc;

type Held = Arc<Mutex<(Vec<(String, OwnedFd)>, bool)>>;

/// A service manager with a descriptor store.
struct Manager<'a> {
    place: &'a Place,
    options: &'a [&'a str],
    held: Held,
    daemon: Option<Child>,
    /// Where to mount, if not where the place has it.
    mountpoint: Option<PathBuf>,
}

impl<'a> Manager<'a> {
    /// Starts the service, and waits until it is ready.
    fn start(place: &'a Place, options: &'a [&'a str]) -> Self {
        let socket = UnixDatagram::bind(place.elsewhere("notify")).unwrap();
        let held = Held::default();
        std::thread::spawn({
            let held = held.clone();
            move || while receive(&socket, &held).is_ok() {}
        });
        let mut manager = Self { place, options, held, daemon: None, mountpoint: None };
        manager.start_daemon();
        // A process that is forked off here closes what clients have open here, and would wait for the answer to the first
        // close (FUSE_FLUSH) while nobody serves the mount.
        place.read("images/nbd.conf");
        manager
    }

    fn start_daemon(&mut self) {
        let mut held = self.held.lock().unwrap();
        held.1 = false;
        let names: Vec<&str> = held.0.iter().map(|(name, _)| name.as_str()).collect();
        let daemon = self.place.command(&["-f"]);
        // A process knows its number only when it is one.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\""]).arg(daemon.get_program());
        let (mnt, other) = (self.place.mnt(), self.mountpoint.as_deref());
        let instead = |argument| other.filter(|_| argument == mnt).map_or(argument, Path::as_os_str);
        command.args(daemon.get_args().map(instead)).args(self.options).stdin(Stdio::null());
        command.env("NOTIFY_SOCKET", self.place.elsewhere("notify"));
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 500).unwrap();
        let copies: Vec<OwnedFd> = held.0.iter().map(|(_, fd)| high(fd)).collect();
        let places: Vec<(RawFd, RawFd)> = copies.iter().map(AsRawFd::as_raw_fd).zip(3..).collect();
        // Nothing that std opens for itself may lie where they go.
        let room: Vec<File> = (0..copies.len() + 40).map(|_| File::open("/dev/null").unwrap()).collect();
        let put = move || {
            let put = |(copy, place): &(RawFd, RawFd)| {
                // SAFETY: numbers of this process, which becomes another one now.
                if unsafe { libc::dup2(*copy, *place) } < 0 {
                    Err(io::Error::last_os_error())
                } else {
                    Ok(())
                }
            };
            places.iter().try_for_each(put)
        };
        // SAFETY: it calls dup2 only.
        self.daemon = Some(unsafe { command.pre_exec(put) }.spawn().unwrap());
        drop((held, room, copies));
        self.place.eventually("the service", || self.held.lock().unwrap().1);
    }

    /// Kills the service as `systemctl restart` does, and starts it again.
    fn restart(&mut self, meanwhile: impl FnOnce(&Held)) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        meanwhile(&self.held);
        self.start_daemon();
    }

    /// Ends the service.
    fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        let status = daemon.wait().unwrap();
        assert_eq!((status.code(), self.place.mounts()), (Some(0), 0), "{}", self.place.log());
    }
}

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        self.held.lock().unwrap().0.clear();
    }
}

/// Does what a message says.
fn receive(socket: &UnixDatagram, held: &Held) -> io::Result<()> {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<OwnedFd> = fds.flatten().collect();
    let text = String::from_utf8_lossy(&text[..received.bytes]);
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
    let mut held = held.lock().unwrap();
    if text.contains("FDSTORE=1") {
        held.0.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
    }
    if text.contains("FDSTOREREMOVE=1") {
        held.0.retain(|(other, _)| *other != name);
    }
    held.1 |= text.contains("READY=1");
    Ok(())
}

fn whole(file: &File) -> io::Result<Vec<u8>> {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[test]
fn a_service_manager_holds_what_the_small_parent_holds_elsewhere() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let mut manager = Manager::start(&place, &[]);
    assert_eq!(manager.daemon.as_ref().map(|daemon| servers(daemon.id())), Some(0), "no small parent");
    let open = ["images/One.iso", "tftp/vmlinuz_One"].map(|name| File::open(place.tree(name)).unwrap());
    for _ in 0..3 {
        manager.restart(|_| ());
        for (file, bytes) in open.iter().zip([&disc.iso, &disc.kernel]) {
            assert!(whole(file).unwrap() == *bytes);
        }
        assert!(place.read("images/One.iso") == disc.iso);
    }
    manager.stop();
}

/// How many children of a process are another daemon, and not what mounts for it.
fn servers(pid: u32) -> usize {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let line = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    children.split_whitespace().filter(|pid| !line(pid).starts_with(b"netrootfs-broker\0")).count()
}

#[test]
fn what_another_version_has_left_is_mounted_afresh() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let mut manager = Manager::start(&place, &["--data-path", "cache"]);
    let file = File::open(place.tree("images/One.iso")).unwrap();
    manager.restart(|held| {
        let held = held.lock().unwrap();
        let (_, state) = held.0.iter().find(|(name, _)| name == "state").unwrap();
        // Its version.
        rustix::io::pwrite(state, &[99], 7).unwrap();
    });
    assert_eq!(place.mounts(), 1);
    assert!(place.read("images/One.iso") == disc.iso);
    assert!(file.read_at(&mut [0; 10], 1_000_000).is_err(), "it was opened on the mount before");
    manager.restart(|_| ());
    assert!(place.read("images/One.iso") == disc.iso, "the new mount outlives its daemon too");
    manager.stop();
}

#[test]
fn another_mount_point_is_another_mount() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let mut manager = Manager::start(&place, &[]);
    let elsewhere = place.top().join("mnt2");
    fs::create_dir(&elsewhere).unwrap();
    // What an administrator has written into the unit meanwhile.
    manager.mountpoint = Some(elsewhere.clone());
    manager.restart(|_| ());
    assert_eq!(place.mounts(), 0, "{}", place.log());
    assert!(fs::read(elsewhere.join("images/One.iso")).unwrap() == disc.iso);
    manager.restart(|_| ());
    assert!(fs::read(elsewhere.join("images/One.iso")).unwrap() == disc.iso);
    manager.stop();
}

#[test]
fn a_kernel_that_does_not_send_again_costs_what_is_under_way_and_nothing_hangs() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&["--no-resend", "--data-path", "cache", "--cache-size", "0"]);
    assert!(place.log().contains("clients get errors for what is under way"), "{}", place.log());
    let file = File::open(place.tree("images/One.iso")).unwrap();
    let mut good = 0;
    for round in 0..3 {
        daemon.kill_server();
        // Errors may come now, but not for ever.
        place.eventually("the bytes", || match whole(&file) {
            Ok(bytes) => {
                assert!(bytes == disc.iso, "round {round}");
                true
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ECONNABORTED), "round {round}");
                false
            }
        });
        good += 1;
    }
    assert_eq!(good, 3);
    daemon.stop();
}

#[test]
fn a_restart_with_a_broken_configuration_goes_on_with_the_one_before() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let file = place.elsewhere("n.toml");
    fs::write(&file, "[iso.\"one.iso\"]\ntitle = \"Before\"\n").unwrap();
    let path = file.display().to_string();
    let options = ["--config", &path];
    let mut manager = Manager::start(&place, &options);
    let shows = |title: &str| place.text("tftp/pxelinux.cfg/default").contains(title);
    assert!(shows("Before"));
    for broken in ["title = =", "[mount]\nnonsense = 1\n"] {
        manager.restart(|_| fs::write(&file, broken).unwrap());
        assert!(shows("Before"), "{broken}");
        place.eventually("a line of it", || place.log().contains("; the configuration stays as it was"));
    }
    fs::write(&file, "[iso.\"one.iso\"]\ntitle = \"After\"\n").unwrap();
    place.eventually("what it says then", || shows("After"));
    manager.stop();
}
