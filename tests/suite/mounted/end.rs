//! How it ends, and that nothing is left.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use testkit::disc::Disc;

use crate::support::place::{Daemon, Place, said};

fn fusermount(place: &Place, options: &[&str]) {
    let output = Command::new("fusermount3").args(options).arg(place.mnt()).output().expect("fusermount3");
    assert!(output.status.success(), "{}", said(&output));
}

/// Starts it, ends it by `end`, and sees that it went well. What `end` returns is kept until then.
fn ends_well<T>(place: &Place, end: impl FnOnce(&Place, &Daemon<'_>) -> T) {
    let mut daemon = place.start(&[]);
    let _kept = end(place, &daemon);
    let status = daemon.wait();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(place.mounts(), 0, "a mount is left");
    let log = place.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn sigterm_unmounts_and_ends_it() {
    ends_well(&Place::new(), |_, daemon| daemon.signal(Signal::TERM));
}

#[test]
fn sigint_unmounts_and_ends_it() {
    ends_well(&Place::new(), |_, daemon| daemon.signal(Signal::INT));
}

#[test]
fn fusermount_u_ends_it() {
    ends_well(&Place::new(), |place, _| fusermount(place, &["-u"]));
}

#[test]
fn umount_ends_it() {
    ends_well(&Place::new(), |place, _| {
        assert!(Command::new("umount").arg(place.mnt()).status().expect("umount").success());
    });
}

#[test]
fn sigterm_ends_it_while_a_client_holds_a_file_open() {
    let place = Place::with("first.iso", &Disc::new("First", 1));
    ends_well(&place, |place, daemon| {
        let file = File::open(place.tree("images/First.iso")).unwrap();
        file.read_exact_at(&mut [0; 100], 5000).unwrap();
        daemon.signal(Signal::TERM);
        file
    });
}

#[test]
fn sigint_ends_it_while_a_client_holds_a_file_open() {
    let place = Place::with("first.iso", &Disc::new("First", 1));
    ends_well(&place, |place, daemon| {
        let file = File::open(place.tree("images/First.iso")).unwrap();
        daemon.signal(Signal::INT);
        file
    });
}

#[test]
fn a_lazy_unmount_lets_a_client_read_to_the_end() {
    let disc = Disc::new("First", 1);
    let place = Place::with("first.iso", &disc);
    ends_well(&place, |place, _| {
        let mut file = File::open(place.tree("images/First.iso")).unwrap();
        fusermount(place, &["-u", "-z"]);
        assert_eq!(place.mounts(), 0);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == disc.iso);
    });
}

#[test]
fn ending_after_a_lazy_unmount_leaves_the_next_mount_alone() {
    let disc = Disc::new("First", 1);
    let place = Place::with("first.iso", &disc);
    let mut old = place.start(&[]);
    let _open = File::open(place.tree("images/First.iso")).unwrap();
    fusermount(&place, &["-u", "-z"]);
    // The old one still runs, for the open file; so the new one can't be found by its mount point.
    let mut new = place.command(&["-f"]).spawn().unwrap();
    place.eventually("the next mount", || place.tree("images/First.iso").exists());
    old.signal(Signal::TERM);
    assert_eq!(old.wait().code(), Some(0));
    let still =
        (place.mounts(), fs::read(place.tree("images/First.iso")).map(|bytes| bytes == disc.iso).ok());
    rustix::process::kill_process(rustix::process::Pid::from_child(&new), Signal::TERM).unwrap();
    assert_eq!(new.wait().unwrap().code(), Some(0));
    assert_eq!(still, (1, Some(true)));
}

#[test]
fn sigterm_ends_it_under_load() {
    let place = Place::with("first.iso", &Disc::new("First", 1));
    let mut daemon = place.start(&["--data-path", "cache", "--cache-size", "0"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Once the mount is gone this fails, as it should.
                    let _ = fs::read(place.tree("images/First.iso"));
                }
            });
        }
        place.eventually("a file to be open", || {
            daemon.proc("fd").exists() && place.tree("images/First.iso").exists()
        });
        daemon.signal(Signal::TERM);
        let status = daemon.wait();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(0));
    });
    assert_eq!(place.mounts(), 0);
}

#[test]
fn twenty_mounts_in_a_row_leave_nothing() {
    let disc = Disc::new("First", 1);
    let place = Place::with("first.iso", &disc);
    for round in 0..20 {
        let daemon = place.start(&[]);
        assert_eq!(
            fs::metadata(place.tree("images/First.iso")).unwrap().len(),
            disc.iso.len() as u64,
            "{round}"
        );
        daemon.stop();
    }
    assert_eq!(fs::read_dir(place.mnt()).unwrap().count(), 0);
}

#[test]
fn opening_reading_and_listing_leak_no_descriptors() {
    let place = Place::with("first.iso", &Disc::new("First", 1));
    let daemon = place.start(&[]);
    place.eventually("the state file", || place.top().join("state/initrds.json").exists());
    let round = || {
        for path in ["images/First.iso", "images/First", "tftp/vmlinuz_First", "images/nbd.conf"] {
            File::open(place.tree(path)).unwrap().read_exact_at(&mut [0; 16], 3).unwrap();
        }
        assert_eq!(fs::read_dir(place.tree("images")).unwrap().count(), 3);
    };
    // Files that have been handed to the kernel are kept.
    round();
    let mut before = Vec::new();
    place.eventually("the state to be written", || {
        before = daemon.descriptors();
        before.iter().all(|name| !name.ends_with(".new"))
    });
    (0..300).for_each(|_| round());
    place.eventually("the descriptors", || daemon.descriptors() == before);
}

#[test]
fn isos_that_come_and_go_leak_no_descriptors() {
    let place = Place::with("first.iso", &Disc::new("First", 1));
    let daemon = place.start(&[]);
    place.eventually("the state file", || place.top().join("state/initrds.json").exists());
    // The state file has its name before who has written it closes it, so one look may find a descriptor too many.
    let before = (0..200).map(|_| daemon.descriptors()).min_by_key(Vec::len).unwrap();
    for round in 0..5 {
        let label = format!("Guest{round}");
        let path = place.put("guest.iso", &Disc::new(&label, 2));
        let image = place.tree(&format!("images/{label}"));
        place.eventually("the ISO", || {
            File::open(&image).is_ok_and(|file| file.read_at(&mut [0; 9], 9).is_ok())
        });
        fs::remove_file(path).unwrap();
        place.eventually("its end", || !image.exists());
    }
    place.eventually("the descriptors", || daemon.descriptors() == before);
}

#[test]
fn it_ends_though_the_file_server_of_the_isos_hangs() {
    // The ISOs lie in the tree of another netrootfs, which is stopped: whoever asks it anything waits for ever.
    let far = Place::with("first.iso", &Disc::new("First", 1));
    let server = far.start(&[]);
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg(far.tree("images")).arg(place.mnt()).arg("--state-dir").arg(place.top().join("state"));
    command.arg("--log-file").arg(place.top().join("log"));
    let mut near = place.start_by(&mut command);
    place.eventually("the ISO", || place.tree("images/First.iso").exists());
    // A killed process waits for the answer to its first close of a file (FUSE_FLUSH), unless the kernel has learnt
    // before that the file system wants to hear of none.
    assert!(!far.read("images/First.iso").is_empty());
    // And for the answer to what the server has begun with: so the one that asks stands still when the other is stopped.
    near.stand_still();
    let stopped = Stopped::new(&server);
    near.go_on();
    near.signal(Signal::HUP);
    // It has begun to look when the kernel shows it waiting for an answer.
    place.eventually("it to hang", || {
        near.tasks("wchan").iter().any(|place| place.contains("request_wait_answer"))
    });
    assert!(place.tree("images/First.iso").exists(), "what is known is served on");
    near.signal(Signal::TERM);
    let status = near.wait();
    drop(stopped);
    assert_eq!(status.code(), Some(0), "{}", place.log());
    assert_eq!(place.mounts(), 0);
}

/// A daemon that stands still for as long as this lives. Who waits for it would hang for ever if a test failed.
struct Stopped<'a>(&'a Daemon<'a>);

impl<'a> Stopped<'a> {
    fn new(daemon: &'a Daemon<'a>) -> Self {
        daemon.stand_still();
        Self(daemon)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.go_on();
    }
}
