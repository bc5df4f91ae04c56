//! What an ISO says never reaches a terminal as more than text: in the log, in `check` and in the other reports.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use netrootfs::image::printable::is_control;

use testkit::disc::Disc;

use crate::support::isos::Files;
use crate::support::place::Place;

/// Clears a screen, rings, sets a title, the one-character form of such a sequence, and marks that reorder a line.
const HOSTILE: &str = "a\u{1b}[2J\u{7}\u{1b}]0;x\u{7}\u{9b}31m\u{202e}b\u{2066}c\u{200f}";

/// An ISO that says it wherever it can.
fn hostile(place: &Place) {
    let menu = format!(
        "default {HOSTILE}\nlabel {HOSTILE}\n  menu label Live {HOSTILE}\n  kernel /images/pxeboot/vmlinuz\n  \
         append initrd=/images/pxeboot/initrd.img root=live:CDLABEL={HOSTILE} rd.live.image word={HOSTILE}\n\
         label other{HOSTILE}\n  menu label Gone {HOSTILE}\n  kernel /gone{HOSTILE}\n  append x={HOSTILE}\n"
    );
    let files = Files::live()
        .with("isolinux/isolinux.cfg", menu)
        .with(&format!("notes/{HOSTILE}"), "text")
        .with(&format!("LiveOS/{HOSTILE}.img"), "hsqs")
        .with(&format!("live/{HOSTILE}.squashfs"), "hsqs");
    let new = place.elsewhere("new.iso");
    files.xorriso(&["-R", "-J", "-V", "VOLUME"], &new);
    let mut bytes = fs::read(&new).unwrap();
    // Bytes 41 to 72 of the primary volume descriptor (ECMA-119, 8.4.7).
    bytes[16 * 2048 + 40..][..16].copy_from_slice(b"a\x1b[2J\x07\x9b31m\xe2\x80\xaebcd");
    fs::write(&new, bytes).unwrap();
    crate::support::writers::wait_for_writers(&new);
    fs::rename(new, place.iso(&format!("{HOSTILE}.iso"))).unwrap();
    fs::write(place.iso(&format!("broken{HOSTILE}.iso")), "no ISO").unwrap();
    // Bytes that are no UTF-8, among them the one-character form of an escape sequence.
    fs::write(place.iso("").join(OsStr::from_bytes(b"raw\x9b31m\xff.iso")), "no ISO").unwrap();
}

fn assert_plain(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found: Vec<_> = text.lines().filter(|line| line.contains(is_control)).collect();
    assert!(found.is_empty(), "{what}: {found:?}");
}

#[test]
fn what_an_iso_says_is_only_shown() {
    let place = Place::new();
    hostile(&place);
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        let output = command.args(words).arg(place.iso("")).output().unwrap();
        assert_plain(&format!("errors of {words:?}"), &output.stderr);
        output.stdout
    };
    let report = run(&["check"]);
    assert_plain("check", &report);
    let report = String::from_utf8(report).unwrap();
    assert!(report.contains("Not served:\n  broken"), "{report}");
    let json = run(&["check", "--json"]);
    assert_plain("check --json", &json);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["served"].as_array().unwrap().len(), 1, "{json:#}");
    let tree = run(&["tree"]);
    assert_plain("tree", &tree);
    assert_plain("doctor", &run(&["doctor"]));
    assert!(String::from_utf8(tree).unwrap().contains("vmlinuz_a_"));

    let daemon = place.start(&["-v", "-v", "--data-path", "cache", "--cache-size", "0"]);
    let images = fs::read_dir(place.tree("images")).unwrap().flatten();
    let image =
        images.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(".iso")).unwrap();
    let file = File::open(image).unwrap();
    let label = fs::read_dir(place.tree("trees")).unwrap().next().unwrap().unwrap().path();
    assert!(File::open(label.join(format!("none{HOSTILE}"))).is_err());
    // An error, with the name of the file.
    File::options().write(true).open(place.iso(&format!("{HOSTILE}.iso"))).unwrap().set_len(70_000).unwrap();
    assert!(std::os::unix::fs::FileExt::read_exact_at(&file, &mut [0; 10], 100_000).is_err());
    place.eventually("the error", || place.log().contains("it can't be read"));
    place.look_again("Next");
    assert_plain("the log", place.log().as_bytes());
    daemon.stop();
}

#[test]
fn a_plain_iso_is_shown_as_it_is() {
    let place = Place::with("Käse 漢.iso", &Disc::new("One", 1));
    let output =
        Command::new(env!("CARGO_BIN_EXE_netrootfs")).arg("check").arg(place.iso("")).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("One (Käse 漢.iso)"));
}
