//! Descriptors that have run out come back with the ISOs that go.

use std::fs;
use std::process::Command;

use testkit::disc::Disc;

use crate::support::place::{Daemon, Place};

/// Fewer than the ISOs need, and enough for the mount and the loaders of this host.
const LIMIT: u32 = 100;

fn start(place: &Place) -> Daemon<'_> {
    let netrootfs = place.command(&["--data-path", "cache"]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit -n {LIMIT}; exec \"$@\""), "sh"]);
    command.arg(netrootfs.get_program()).args(netrootfs.get_args());
    place.start_by(&mut command)
}

/// Numbers of the ISOs that are served.
fn served(place: &Place) -> Vec<usize> {
    let served = |number: &usize| place.tree(&format!("images/Disc{number}.iso")).exists();
    (0..60).filter(served).collect()
}

#[test]
fn isos_that_found_no_descriptor_come_when_others_go() {
    let place = Place::new();
    for number in 0..60 {
        let disc = Disc::new(&format!("Disc{number}"), number);
        disc.write_without_root(&place.iso(&format!("{number:02}.iso")));
    }
    crate::support::writers::wait_for_writers(&place.iso("59.iso"));
    let daemon = start(&place);
    place.eventually("some of the ISOs", || !served(&place).is_empty());
    let before = served(&place);
    assert!(before.len() < 60, "there were descriptors for all");
    assert!(place.log().contains("Too many open files"), "{}", place.log());
    let left: Vec<usize> = (0..60).rev().filter(|number| !before.contains(number)).take(5).collect();
    for number in (0..60).filter(|number| !left.contains(number)) {
        fs::remove_file(place.iso(&format!("{number:02}.iso"))).unwrap();
    }
    place.eventually("exactly those that are left", || {
        let mut served = served(&place);
        served.reverse();
        served == left
    });
    let disc = Disc::new(&format!("Disc{}", left[0]), left[0] as u64);
    assert!(place.read(&format!("tftp/vmlinuz_Disc{}", left[0])) == disc.kernel);
    daemon.stop();
}
