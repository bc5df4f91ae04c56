//! `netrootfs warm`: what boots have read is remembered, and read into memory before the next ones.
//!
//! Needs root, /dev/fuse, fuse3, xorriso and Linux 6.12.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, symlink};
use std::process::{Command, Output};

use netrootfs::storage::resident;
use testkit::disc::Disc;

use crate::support::place::{Place, said};

const MIB: u64 = 1 << 20;

/// Longer than what is read ahead of a boot's reads.
const DISC_LEN: u64 = 64 * MIB;

/// What a boot reads, here.
const READ: Range<u64> = 30 * MIB..33 * MIB;

/// A disc with a long end that a boot needs nothing of but a piece.
fn disc(label: &str, seed: u64) -> Disc {
    let mut disc = Disc::new(label, seed);
    disc.iso.resize(DISC_LEN as usize, 0);
    disc
}

fn warm(place: &Place, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg("warm").arg("--state-dir").arg(place.top().join("state")).args(args);
    command.output().unwrap()
}

/// What it says, having done all.
fn done(place: &Place, args: &[&str]) -> String {
    let output = warm(place, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What it says, having not done all.
fn failed(place: &Place, args: &[&str]) -> String {
    let output = warm(place, args);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

/// Reads what a boot reads.
fn boot(place: &Place, path: &str) {
    let mut bytes = vec![0; (READ.end - READ.start) as usize];
    File::open(place.tree(path)).unwrap().read_exact_at(&mut bytes, READ.start).unwrap();
}

fn in_memory(place: &Place, path: &str) -> Vec<Range<u64>> {
    resident::ranges(&File::open(place.tree(path)).unwrap(), 0).unwrap()
}

fn has(ranges: &[Range<u64>], wanted: &Range<u64>) -> bool {
    ranges.iter().any(|range| range.start <= wanted.start && wanted.end <= range.end)
}

/// The number before the first word that begins so.
fn number(line: &str, before: &str) -> u64 {
    let (text, _) = line.split_once(before).unwrap_or_else(|| panic!("{line}"));
    text.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn what_a_boot_has_read_is_in_memory_again_after_the_next_start() {
    for path in ["kernel", "cache"] {
        let place = Place::with("one.iso", &disc("One", 1));
        let mnt = place.mnt().display().to_string();
        let daemon = place.start(&["--data-path", path]);
        boot(&place, "images/One.iso");
        let line = done(&place, &["--save", &mnt]);
        let remembered = number(&line, " MiB are in memory, and remembered\n");
        assert!(line.starts_with("One: ") && (3..30).contains(&remembered), "{line}");
        daemon.stop();
        let daemon = place.start(&["--data-path", path]);
        let before = in_memory(&place, "images/One.iso");
        assert!(!has(&before, &READ), "{before:?}");
        let line = done(&place, &[&mnt]);
        let (len, known) = (number(&line, " MiB in "), number(&line, " MiB of them were in memory before\n"));
        // Kernel and initramfs are less than a MiB together.
        assert!(line.starts_with("One: ") && (remembered..=remembered + 1).contains(&len), "{path}: {line}");
        assert!(known < len, "{path}: {line}");
        let after = in_memory(&place, "images/One.iso");
        assert!(has(&after, &READ), "{path}: {after:?}");
        assert!(!has(&after, &(50 * MIB..51 * MIB)), "{path}: what no boot has read: {after:?}");
        for (file, len) in [("vmlinuz_One", 70_001), ("initrd_One.img", 150_004)] {
            let whole = 0..len;
            assert_eq!(in_memory(&place, &format!("tftp/{file}")), [whole], "{path}: {file}");
        }
        let line = done(&place, &[&mnt, "One"]);
        assert_eq!(number(&line, " MiB of them were"), number(&line, " MiB in "), "{path}: {line}");
        daemon.stop();
    }
}

#[test]
fn another_iso_of_the_same_name_has_nothing_remembered() {
    let place = Place::with("one.iso", &disc("One", 1));
    place.put("two.iso", &disc("Two", 2));
    let mnt = place.mnt().display().to_string();
    let daemon = place.start(&[]);
    boot(&place, "images/One.iso");
    assert!(done(&place, &["--save", &mnt]).starts_with("One: "));
    assert!(done(&place, &[&mnt]).starts_with("One: "));
    let old = fs::metadata(place.tree("images/One.iso")).unwrap();
    place.put("one.iso", &disc("One", 3));
    place.eventually("the other one", || {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(place.tree("images/One.iso")).is_ok_and(|stat| stat.ino() != old.ino())
    });
    assert!(done(&place, &[&mnt]).starts_with("nothing is remembered; boot a machine"));
    let line = failed(&place, &[&mnt, "One", "Two"]);
    assert!(line.contains("One: nothing is remembered; boot") && line.contains("Two: nothing is"), "{line}");
    daemon.stop();
}

#[test]
fn what_no_boot_has_read_since_stays_remembered() {
    let place = Place::with("one.iso", &disc("One", 1));
    place.put("two.iso", &disc("Two", 2));
    let mnt = place.mnt().display().to_string();
    let daemon = place.start(&[]);
    boot(&place, "images/One.iso");
    boot(&place, "images/Two.iso");
    let lines = done(&place, &["--save", &mnt, "One"]);
    assert!(lines.starts_with("One: ") && lines.lines().count() == 1, "{lines}");
    daemon.stop();
    let daemon = place.start(&[]);
    assert!(done(&place, &["--save", &mnt]).starts_with("no boot has read an ISO"));
    assert!(done(&place, &["--save", &mnt, "One"]).starts_with("One: no boot has read it"));
    let lines = done(&place, &[&mnt]);
    assert!(lines.starts_with("One: ") && lines.lines().count() == 1, "{lines}");
    daemon.stop();
}

#[test]
fn what_was_read_as_a_whole_is_remembered_as_a_whole() {
    let place = Place::with("one.iso", &disc("One", 1));
    let daemon = place.start(&[]);
    place.read("images/One.iso");
    let line = done(&place, &["--save", &place.mnt().display().to_string()]);
    assert_eq!(line, "One: 64 MiB are in memory, and remembered\n");
    daemon.stop();
}

#[test]
fn mistakes_get_a_sentence() {
    let place = Place::with("one.iso", &disc("One", 1));
    let mnt = place.mnt().display().to_string();
    let daemon = place.start(&[]);
    for args in [&["--save", &mnt, "On"][..], &[&mnt, "On"]] {
        assert!(failed(&place, args).contains("there is no ISO 'On'"));
    }
    daemon.stop();
    assert!(failed(&place, &[&mnt]).contains("is a netrootfs mounted there?"));
}

#[test]
fn a_link_in_the_state_directory_is_not_followed() {
    let place = Place::with("one.iso", &disc("One", 1));
    let mnt = place.mnt().display().to_string();
    let daemon = place.start(&[]);
    fs::write(place.elsewhere("theirs"), "theirs").unwrap();
    symlink(place.elsewhere("theirs"), place.top().join("state/warm.json")).unwrap();
    boot(&place, "images/One.iso");
    // The daemon has the directory too.
    done(&place, &["--save", &mnt]);
    assert_eq!(fs::read_to_string(place.elsewhere("theirs")).unwrap(), "theirs");
    assert!(done(&place, &[&mnt]).starts_with("One: "));
    daemon.stop();
}
