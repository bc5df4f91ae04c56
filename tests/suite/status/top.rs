//! `netrootfs top` in a terminal.

use std::process::Command;

use rustix::process::Signal;
use testkit::disc::Disc;
use testkit::pty::Pty;

use crate::support::place::Place;

/// To the screen that stays, and with a cursor on it (xterm, `DECSET 1049`; `DECTCEM`).
const MAIN_SCREEN: &str = "\x1b[?1049l";
const CURSOR: &str = "\x1b[?25h";

fn top(place: &Place) -> Pty {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    let mut pty = Pty::start(command.arg("top").arg(place.mnt()), 24, 80).unwrap();
    pty.wait_for("q quits").unwrap();
    assert!(pty.is_raw().unwrap());
    pty
}

#[test]
fn it_follows_the_mount_and_the_size_of_the_terminal() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let mut pty = top(&place);
    place.put("two.iso", &Disc::new("Two", 2));
    pty.wait_for("Two").unwrap();
    pty.resize(40, 132).unwrap();
    // The last line and the first column of it.
    pty.wait_for("\x1b[40;1H").unwrap();
    pty.type_keys("s").unwrap();
    // The column that it is sorted by now, after the end of the one before.
    pty.wait_for("MACHINE").unwrap();
    pty.type_keys("q").unwrap();
    assert!(pty.wait_for_end().unwrap().0.success());
    daemon.stop();
}

#[test]
fn the_terminal_is_as_it_was_however_it_ends() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    for how in ["q", "\x03", "SIGTERM", "SIGINT"] {
        let mut pty = top(&place);
        match how {
            "SIGTERM" => pty.signal(Signal::TERM).unwrap(),
            "SIGINT" => pty.signal(Signal::INT).unwrap(),
            keys => pty.type_keys(keys).unwrap(),
        }
        let (status, shown) = pty.wait_for_end().unwrap();
        assert!(status.success() && pty.is_as_before().unwrap(), "{how:?}: {status} {shown:?}");
        assert!(shown.contains(MAIN_SCREEN) && shown.contains(CURSOR), "{how:?}: {shown:?}");
    }
    let mut pty = top(&place);
    daemon.stop();
    let (status, shown) = pty.wait_for_end().unwrap();
    let (_, after) = shown.split_once(MAIN_SCREEN).unwrap();
    assert!(after.contains("is a netrootfs mounted there?"), "{shown:?}");
    assert!(status.code() == Some(1) && pty.is_as_before().unwrap());
}
