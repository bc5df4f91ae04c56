//! The memory from one start to the next.

use std::fs;

use testkit::disc::Disc;

use crate::support::place::{Place, said};

fn menu_has(place: &Place, text: &str) -> bool {
    place.text("tftp/pxelinux.cfg/default").contains(text)
}

/// The argument of an initrd that takes the root image, and that of one of which nothing is known.
const BY_IMAGE: &str = "root=live:/dev/nbd0 netroot=nbd:192.0.2.1:One::ro";
const BY_ISO: &str = "root=live:CDLABEL=One netroot=nbd:192.0.2.1:One.iso::ro ip=dhcp";

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
