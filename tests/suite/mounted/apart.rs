//! What ISOs contain is looked into in a process of its own, that can do next to nothing.

use std::fs;

use netrootfs::tree::render::status::Status;
use testkit::disc::Disc;

use crate::handover::kept::kill;
use crate::support::place::Place;

/// Mounts two ISOs, and has the look into the first end by that fault.
fn one_look_ends(fault: &str) -> String {
    let (one, two) = (Disc::new("One", 1), Disc::new("Two", 2));
    let place = Place::with("one.iso", &one);
    place.put("two.iso", &two);
    let mut command = place.command(&[]);
    let daemon = place.start_by(command.env("NETROOTFS_LOOK_FAULT", format!("{fault}:One")));
    let server = daemon.server();
    let menu = || place.text("tftp/pxelinux.cfg/default");
    place.eventually("what is known of the other", || menu().contains("netroot=nbd:192.0.2.1:Two::ro"));
    let line = format!("{}: looking into it was ended: signal: ", place.iso("one.iso").display());
    place.eventually("a line of the one", || place.log().contains(&line));
    assert!(place.read("images/One.iso") == one.iso && place.read("tftp/vmlinuz_One") == one.kernel);
    assert!(!menu().contains("netroot=nbd:192.0.2.1:One::ro"), "nothing is known of it");
    place.look_again("Next");
    assert_eq!(place.log().matches(&line).count(), 1, "{}", place.log());
    assert_eq!(daemon.server(), server, "the daemon goes on");
    daemon.stop();
    place.log()
}

#[test]
fn a_crash_of_a_look_costs_one_iso_and_one_line() {
    assert!(one_look_ends("crash").contains("signal: 6 (SIGABRT)"));
}

#[test]
fn a_look_that_eats_memory_is_ended() {
    assert!(!one_look_ends("memory").contains("tried again later"));
}

#[test]
fn a_look_into_a_small_iso_has_less_time_and_ends_with_it() {
    // What ends there does so only if it has.
    let log = one_look_ends("seconds");
    assert!(log.contains("signal: 24 (SIGXCPU)") && !log.contains("tried again later"), "{log}");
}

#[test]
fn a_look_that_was_killed_says_nothing_of_its_iso() {
    // So does the kernel where memory is short.
    assert!(one_look_ends("kill").contains("signal: 9 (SIGKILL); tried again later"));
}

#[test]
fn what_an_earlier_version_has_found_counts_until_this_one_has_looked() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let known = || place.text("tftp/pxelinux.cfg/default").contains("netroot=nbd:192.0.2.1:One::ro");
    let file = place.top().join("state/initrds.json");
    let state = || serde_json::from_slice::<serde_json::Value>(&fs::read(&file).unwrap()).unwrap();
    let daemon = place.start(&[]);
    place.eventually("what is known", known);
    place.eventually("the state", || file.exists());
    daemon.stop();
    // Whatever becomes of the look of this one.
    for fault in ["hang:", "kill:One", "crash:One"] {
        let mut of_earlier = state();
        of_earlier["program"] = "0.0.0".into();
        fs::write(&file, of_earlier.to_string()).unwrap();
        let before = place.log().len();
        let daemon = place.start_by(place.command(&[]).env("NETROOTFS_LOOK_FAULT", fault));
        assert!(known(), "{fault}");
        let ended = || place.log()[before..].contains("looking into it was ended");
        place.eventually("the look's end", || fault == "hang:" || ended());
        place.look_again(&format!("Beside{}", fault.len()));
        assert!(known(), "{fault}: {}", place.log());
        daemon.stop();
    }
    let daemon = place.start(&[]);
    assert!(known());
    place.eventually("the look of this one", || state()["earlier"].as_array().unwrap().is_empty());
    assert!(known());
    daemon.stop();
}

#[test]
fn a_look_can_open_nothing() {
    // It ends so only if it could not.
    one_look_ends("open");
}

#[test]
fn a_look_that_is_sound_has_an_outcome() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    // Of another ISO, so that only the path of the fault is tried.
    let mut command = place.command(&[]);
    let daemon = place.start_by(command.env("NETROOTFS_LOOK_FAULT", "crash:Other"));
    let menu = || place.text("tftp/pxelinux.cfg/default");
    place.eventually("what is known", || menu().contains("netroot=nbd:192.0.2.1:One::ro"));
    assert!(!place.log().contains("looking into it"), "{}", place.log());
    daemon.stop();
}

#[test]
fn an_iso_that_the_daemon_dies_of_is_left_out_alone() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let mut command = place.command(&[]);
    let daemon = place.start_by(command.env("NETROOTFS_SCAN_FAULT", "Bad"));
    let open = fs::File::open(place.tree("images/One.iso")).unwrap();
    place.put("bad.iso", &Disc::new("Bad", 2));
    let line = "bad.iso is not served: netrootfs ended each time that it looked into it";
    let deaths = || place.log().matches("the daemon has ended (signal: 6 (SIGABRT)").count();
    place.eventually("a line of it", || place.log().contains(line));
    assert_eq!(deaths(), 3, "{}", place.log());
    assert_eq!(open.metadata().unwrap().len(), Disc::new("One", 1).iso.len() as u64);
    assert!(place.read("images/One.iso") == Disc::new("One", 1).iso);
    place.put("two.iso", &Disc::new("Two", 3));
    place.eventually("the next one", || place.tree("images/Two.iso").exists());
    // Nor does the next process try it again.
    kill(&place, &daemon);
    place.look_again("Three");
    assert!(!place.tree("images/Bad.iso").exists());
    assert_eq!(deaths(), 3, "{}", place.log());
    fs::remove_file(place.iso("bad.iso")).unwrap();
    place.put("bad.iso", &Disc::new("Good", 4));
    place.eventually("a sound one in its place", || place.tree("images/Good.iso").exists());
    daemon.stop();
}

#[test]
fn an_iso_that_the_daemon_dies_of_at_its_start_keeps_no_other_out() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    place.put("bad.iso", &Disc::new("Bad", 2));
    place.put("two.iso", &Disc::new("Two", 3));
    let mut command = place.command(&[]);
    let daemon = place.start_by(command.env("NETROOTFS_SCAN_FAULT", "Bad"));
    place.eventually("the others", || {
        ["One", "Two"].iter().all(|label| place.tree(&format!("images/{label}.iso")).exists())
    });
    let line = "bad.iso is not served: netrootfs ended each time that it looked into it";
    assert!(place.log().contains(line), "{}", place.log());
    daemon.stop();
}

#[test]
fn an_iso_that_goes_before_it_is_looked_into_is_closed() {
    let place = Place::new();
    let names = ["One", "Two", "Three", "Four", "Five"];
    for (name, seed) in names.into_iter().zip(1..) {
        place.put(&format!("{name}.iso"), &Disc::new(name, seed));
    }
    let mut command = place.command(&[]);
    let daemon = place.start_by(command.env("NETROOTFS_LOOK_FAULT", "hang:"));
    place.eventually("all of them", || {
        names.iter().all(|name| place.tree(&format!("images/{name}.iso")).exists())
    });
    let looks = || {
        let children = daemon.tasks("children").concat();
        let names = children.split_whitespace().map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")));
        names.flatten().filter(|name| name == "netrootfs-look\n").count()
    };
    place.eventually("two that are being looked into", || looks() == 2);
    for name in names {
        fs::remove_file(place.iso(&format!("{name}.iso"))).unwrap();
    }
    let isos = place.iso("").display().to_string();
    let open = || {
        let mut open = daemon.descriptors();
        open.retain(|name| name.starts_with(&isos) && name.ends_with("(deleted)"));
        open.dedup();
        open.len()
    };
    place.eventually("no others to be open", || open() <= 2);
    daemon.stop();
}

#[test]
fn an_iso_for_which_there_can_be_no_tree_is_the_only_one_that_is_left_out() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    place.put("two.iso", &Disc::new("Two", 2));
    let mut command = place.command(&[]);
    let daemon = place.start_by(command.env("NETROOTFS_LAYOUT_FAULT", "Two"));
    let server = daemon.server();
    let is_there = |label: &str| place.tree(&format!("images/{label}.iso")).exists();
    assert!(is_there("One") && !is_there("Two"));
    let line = "two.iso is not served: looking into it ended in a panic";
    assert!(
        place.log().contains(line) && place.log().contains("as NETROOTFS_LAYOUT_FAULT says"),
        "{}",
        place.log()
    );
    let is_told = |file: &str| {
        let status: Status = serde_json::from_slice(&place.read("status.json")).unwrap();
        status.left_out.iter().any(|one| one.file == file && one.code == "panic")
            && !status.isos.iter().any(|one| one.file == file)
    };
    place.eventually("two.iso in status.json", || is_told("two.iso"));
    place.put("three.iso", &Disc::new("Three", 3));
    place.eventually("the next one", || is_there("Three"));
    fs::remove_file(place.iso("two.iso")).unwrap();
    place.put("two.iso", &Disc::new("Four", 4));
    place.eventually("another one in its place", || is_there("Four"));
    assert_eq!(place.log().matches(line).count(), 1, "{}", place.log());
    // The same of one that comes when all is served.
    place.put("five.iso", &Disc::new("Two", 5));
    place.eventually("five.iso in status.json", || is_told("five.iso"));
    assert!(is_there("One") && !is_there("Two"));
    assert_eq!(daemon.server(), server, "the daemon goes on");
    daemon.stop();
}
