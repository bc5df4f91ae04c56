//! The memory from one start to the next.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use testkit::disc::Disc;

use crate::support::place::{Place, said};

fn menu_has(place: &Place, text: &str) -> bool {
    place.text("tftp/pxelinux.cfg/default").contains(text)
}

/// The argument of an initrd that takes the root image, and that of one of which nothing is known.
const BY_IMAGE: &str = "root=live:/dev/nbd0 netroot=nbd:192.0.2.1:One::ro";
const BY_ISO: &str = " netroot=nbd:192.0.2.1:One.iso::ro ip=dhcp";

fn state(place: &Place) -> String {
    fs::read_to_string(place.top().join("state/initrds.json")).unwrap_or_default()
}

#[test]
fn what_is_known_of_initrds_is_written_down() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    place.eventually("the verdict", || menu_has(&place, BY_IMAGE));
    place.eventually("the state file", || state(&place).contains("dmsquash-live"));
    daemon.stop();
}

#[test]
fn what_was_known_is_used_at_the_next_start() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    place.eventually("the state file", || state(&place).contains("\"network-manager\""));
    daemon.stop();
    // Another verdict than the ISO would get shows where it comes from.
    let file = place.top().join("state/initrds.json");
    fs::write(&file, state(&place).replace("network-manager", "network-legacy")).unwrap();
    let daemon = place.start(&[]);
    place.look_again("Next");
    place.eventually("the other verdict", || menu_has(&place, "netroot=nbd:192.0.2.1:Next::ro"));
    assert!(menu_has(&place, BY_ISO), "{}", place.text("tftp/pxelinux.cfg/default"));
    daemon.stop();
}

#[test]
fn a_state_file_that_can_not_be_read_is_thrown_away() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    fs::create_dir(place.top().join("state")).unwrap();
    for junk in
        ["", "{\"version\":1,\"pro", "\u{0}\u{1}", "{\"version\":99,\"program\":\"x\",\"verdicts\":[]}", "[]"]
    {
        fs::write(place.top().join("state/initrds.json"), junk).unwrap();
        let daemon = place.start(&[]);
        place.eventually("the verdict", || menu_has(&place, BY_IMAGE));
        place.eventually("a new state file", || state(&place).contains("network-manager"));
        daemon.stop();
    }
}

#[test]
fn a_state_directory_that_can_not_be_written_stops_the_start() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    fs::write(place.top().join("state"), "a file").unwrap();
    let output = place.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let sentence = format!("state directory {}: ", place.top().join("state").display());
    assert!(said(&output).contains(&sentence), "{}", said(&output));
    assert_eq!(place.mounts(), 0);
}

#[test]
fn a_label_is_kept_from_one_start_to_the_next_and_never_taken_over() {
    let (old, new) = (Disc::new("Live", 1), Disc::new("Live", 2));
    let place = Place::with("one.iso", &old);
    place.start(&[]).stop();
    // While nobody looks, one comes that claims to be older than all others.
    let newcomer = place.put("a.iso", &new);
    let times = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH).set_modified(SystemTime::UNIX_EPOCH);
    File::open(newcomer).unwrap().set_times(times).unwrap();
    for _ in 0..2 {
        let daemon = place.start(&[]);
        assert!(place.read("images/Live.iso") == old.iso);
        assert!(place.read("images/Live-a.iso") == new.iso);
        daemon.stop();
    }
    // Under another name it is still the same file, and another file under its name still the same ISO for its clients.
    fs::rename(place.iso("one.iso"), place.iso("two.iso")).unwrap();
    let daemon = place.start(&[]);
    assert!(place.read("images/Live.iso") == old.iso);
    daemon.stop();
    let third = Disc::new("Live", 3);
    place.put("two.iso", &third);
    let daemon = place.start(&[]);
    assert!(place.read("images/Live.iso") == third.iso && place.read("images/Live-a.iso") == new.iso);
    daemon.stop();
}

#[test]
fn pipes_and_links_in_the_state_directory_neither_stop_the_start_nor_are_followed() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let at = |name: &str| place.top().join("state").join(name);
    fs::create_dir(at("")).unwrap();
    fs::write(place.elsewhere("theirs"), "theirs").unwrap();
    mknodat(CWD, at("initrds.json"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink(place.elsewhere("theirs"), at("labels.json")).unwrap();
    fs::write(at("netroot-of-somebody-else"), "theirs").unwrap();
    let daemon = place.start(&[]);
    place.eventually("the verdict", || menu_has(&place, BY_IMAGE));
    place.eventually("a state file in the place of the pipe", || {
        fs::metadata(at("initrds.json")).is_ok_and(|stat| stat.is_file())
    });
    daemon.stop();
    assert_eq!(fs::read_to_string(place.elsewhere("theirs")).unwrap(), "theirs");
    assert!(fs::read_to_string(at("labels.json")).unwrap().contains("One"));
    assert!(at("netroot-of-somebody-else").exists());
}

#[test]
fn two_daemons_do_not_share_a_state_directory() {
    let (first, second) =
        (Place::with("one.iso", &Disc::new("One", 1)), Place::with("two.iso", &Disc::new("Two", 2)));
    let daemon = first.start(&[]);
    let state = first.top().join("state");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg(second.iso("")).arg(second.mnt()).arg("--state-dir").arg(&state);
    command.arg("--log-file").arg(second.top().join("log")).args(["--server", "192.0.2.1"]);
    let other = second.start_by(&mut command);
    second.eventually("the verdict", || menu_has(&second, "netroot=nbd:192.0.2.1:Two::ro"));
    assert!(second.log().contains("another netrootfs uses it"), "{}", second.log());
    other.stop();
    first.eventually("its own state", || {
        fs::read_to_string(state.join("labels.json")).unwrap().contains("One")
    });
    assert!(!fs::read_to_string(state.join("labels.json")).unwrap().contains("Two"));
    daemon.stop();
}
