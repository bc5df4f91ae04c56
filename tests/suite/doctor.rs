//! A boot that `netrootfs doctor` tries, where it comes to its end early; `tests/boots` has one to the root.
//!
//! Needs root, /dev/fuse, xorriso, pxelinux and QEMU.

use std::path::Path;
use std::process::Command;

use testkit::disc::Disc;

use crate::support::place::Place;

const PROGRAM: &str = env!("CARGO_BIN_EXE_netrootfs");

#[test]
fn a_boot_to_try_ends_at_the_menu_where_nothing_boots_by_itself_and_is_none_without_qemu() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&["--default", "local"]);
    let said = |path: Option<&Path>| {
        let mut doctor = Command::new(PROGRAM);
        doctor.args(["doctor", "--patience", "600", "--boot"]).arg(place.mnt());
        if let Some(path) = path {
            doctor.env("PATH", path);
        }
        String::from_utf8(doctor.output().unwrap().stdout).unwrap()
    };
    let without = said(Some(&place.elsewhere("")));
    assert!(without.contains("note  boot: there is no qemu-system-x86_64 to try one with"), "{without}");
    let with = said(None);
    assert!(with.contains("ok    boot: a machine in QEMU opened the loader after "), "{with}");
    assert!(with.contains(" s, its menu after ") && !with.contains("a kernel after"), "{with}");
    assert!(with.contains("note  boot: the menu boots no ISO by itself"), "{with}");
    daemon.stop();
}
