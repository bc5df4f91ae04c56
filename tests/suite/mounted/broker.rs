//! The process beside the daemon: that it lives and ends with it, and what holds when it doesn't answer.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use testkit::disc::Disc;

use crate::support::place::{Daemon, Place, status};
use crate::support::readers::open_direct;

fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The process that mounts, stopped until the value goes.
struct Silent(Pid);

impl Silent {
    fn of(place: &Place, daemon: &Daemon<'_>) -> Self {
        let silent = Self(daemon.broker().expect("the process that mounts"));
        kill_process(silent.0, Signal::STOP).unwrap();
        place.eventually("it to stand still", || status(silent.0).contains("State:\tT"));
        silent
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn who_stops_all_processes_at_once_unmounts() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let mut daemon = place.start(&[]);
    for pid in [daemon.broker(), daemon.server()] {
        kill_process(pid.expect("a process"), Signal::TERM).unwrap();
    }
    assert!(daemon.wait().success(), "{}", place.log());
    assert_eq!(place.mounts(), 0);
}

/// Signals are left to others where the processes are started, and what they start has them again.
#[test]
fn signals_come_to_the_process_that_mounts_and_to_what_it_runs() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let said = place.elsewhere("said");
    let command = format!("grep SigBlk: /proc/self/status >{0}.new && mv {0}.new {0}", said.display());
    let daemon = place.start(&["--on-change", &command]);
    let broker = daemon.broker().expect("the process that mounts");
    place.eventually("signals", || status(broker).contains("\nSigBlk:\t0000000000000000\n"));
    place.put("two.iso", &Disc::new("Two", 2));
    place.eventually("the command", || said.exists());
    assert_eq!(fs::read_to_string(&said).unwrap(), "SigBlk:\t0000000000000000\n");
    daemon.stop();
}

#[test]
fn a_daemon_without_the_process_that_mounts_gives_way_to_another() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&["--data-path", "kernel"]);
    let (server, first) = (daemon.server(), daemon.broker().expect("the process that mounts"));
    let open = File::open(place.tree("images/One.iso")).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    assert!(whole(&open) == disc.iso, "what was open is read on");
    place.eventually("another daemon", || daemon.server().is_some_and(|pid| Some(pid) != server));
    assert!(place.read("images/One.iso") == disc.iso);
    assert!(
        place.log().contains("the process for mounting has ended (signal: 9 (SIGKILL))"),
        "{}",
        place.log()
    );
    assert_ne!(daemon.broker(), Some(first));
    daemon.stop();
}

#[test]
fn the_process_that_mounts_ends_with_its_daemon() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let first = daemon.broker().expect("the process that mounts");
    assert!(status(first).starts_with("Name:\tnetrootfs-broke\n"), "{}", status(first));
    daemon.kill_server();
    // Its parent is dead, so that it is waited for at once.
    place.eventually("its end", || status(first).is_empty() || status(first).contains("State:\tZ"));
    place.eventually("another one", || daemon.broker().is_some_and(|pid| pid != first));
    daemon.stop();
}

#[test]
fn while_the_process_that_mounts_is_silent_all_is_read_through_the_cache() {
    let (one, two) = (Disc::new("One", 1), Disc::new("Two", 2));
    let place = Place::with("one.iso", &one);
    place.put("two.iso", &two);
    let daemon = place.start(&["--data-path", "kernel"]);
    let open = File::open(place.tree("images/One.iso")).unwrap();
    // It has been mapped, and is no longer open.
    assert!(place.read("images/One") == one.root);
    assert_eq!(daemon.mapped(), 2);
    let broker = Silent::of(&place, &daemon);
    for (name, bytes) in
        [("Two.iso", &two.iso), ("Two", &two.root), ("One", &one.root), ("One.iso", &one.iso)]
    {
        let file = File::open(place.tree(&format!("images/{name}"))).unwrap();
        assert!(whole(&file) == *bytes, "{name}");
    }
    assert!(whole(&open) == one.iso, "the kernel reads on by itself");
    assert_eq!(daemon.mapped(), 2);
    let said = "two.iso: read through the block cache: netrootfs-broker doesn't answer";
    assert!(place.log().contains(said), "{}", place.log());
    // Nobody waits for the answer to this.
    drop(open);
    place.eventually("the close", || daemon.mapped() == 2 && place.read("images/One.iso") == one.iso);
    drop(broker);
    place.eventually("the kernel to read", || {
        let _open = File::open(place.tree("images/Two")).unwrap();
        daemon.mapped() == 3
    });
    assert!(place.read("images/Two") == two.root);
    daemon.stop();
}

#[test]
fn what_has_changed_while_the_process_that_mounts_was_silent_is_revoked_afterwards() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&["--data-path", "kernel"]);
    let open = File::open(place.tree("images/One")).unwrap();
    open.read_exact_at(&mut [0; 4096], 0).unwrap();
    let broker = Silent::of(&place, &daemon);
    let iso = File::options().write(true).open(place.iso("one.iso")).unwrap();
    iso.write_all_at(&[7; 4096], disc.iso.len() as u64 - 4096).unwrap();
    place.eventually("the line", || place.log().contains("one.iso: a mapping can't be revoked"));
    drop(broker);
    place.eventually("the error", || open.read_exact_at(&mut [0; 4096], 1 << 20).is_err());
    daemon.stop();
}

/// A file system of its own with an ISO, which can't be unmounted while anybody holds a file of it.
struct Disk<'a>(&'a Place);

impl<'a> Disk<'a> {
    fn with(place: &'a Place, disc: &Disc) -> Self {
        let at = place.elsewhere("disk");
        fs::create_dir(&at).unwrap();
        mount("none", &at, "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(at.join("disk.iso"), &disc.iso).unwrap();
        symlink(at.join("disk.iso"), place.iso("disk.iso")).unwrap();
        Self(place)
    }

    /// Takes its ISO out of the tree, and waits until nobody holds it.
    fn is_free(&self) {
        fs::remove_file(self.0.iso("disk.iso")).unwrap();
        self.0.eventually("its end", || !self.0.tree("images/Disk").exists());
        let at = self.0.elsewhere("disk");
        self.0.eventually("nobody to hold it", || unmount(&at, UnmountFlags::empty()).is_ok());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0.elsewhere("disk"), UnmountFlags::DETACH);
    }
}

#[test]
fn the_kernel_holds_nothing_of_an_iso_that_nobody_reads() {
    let (one, disc) = (Disc::new("One", 1), Disc::new("Disk", 2));
    let place = Place::with("one.iso", &one);
    let disk = Disk::with(&place, &disc);
    let daemon = place.start(&["--data-path", "kernel"]);
    for _ in 0..3 {
        assert!(place.read("images/Disk") == disc.root);
    }
    let open = File::open(place.tree("images/Disk")).unwrap();
    assert_eq!(daemon.mapped(), 1);
    let server = daemon.server();
    daemon.kill_server();
    place.eventually("another daemon", || daemon.server().is_some_and(|pid| Some(pid) != server));
    assert!(whole(&open) == disc.root);
    assert!(place.read("images/Disk.iso") == disc.iso);
    drop(open);
    disk.is_free();
    daemon.stop();
}

#[test]
fn what_a_daemon_could_not_take_back_its_successor_does() {
    let (one, disc) = (Disc::new("One", 1), Disc::new("Disk", 2));
    let place = Place::with("one.iso", &one);
    let disk = Disk::with(&place, &disc);
    let daemon = place.start(&["--data-path", "kernel"]);
    let open = File::open(place.tree("images/Disk")).unwrap();
    assert!(whole(&open) == disc.root);
    let broker = Silent::of(&place, &daemon);
    drop(open);
    // It has been closed when it can be read past the page cache.
    place.eventually("the close", || open_direct(&place.tree("images/Disk")).is_ok());
    let server = daemon.server();
    daemon.kill_server();
    kill_process(broker.0, Signal::KILL).unwrap();
    place.eventually("another daemon", || daemon.server().is_some_and(|pid| Some(pid) != server));
    assert!(place.read("images/One") == one.root);
    disk.is_free();
    daemon.stop();
}
