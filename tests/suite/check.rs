//! `check` as people and programs see it, and `--verify` with the sums that sha256sum and implantisomd5 make.
//!
//! Needs xorriso, isomd5sum and coreutils; what is missing is an error, never a pass.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use testkit::disc::Disc;
use testkit::process::run;

use crate::support::isos::{Files, pattern};
use crate::support::place::{Place, said};

/// A live ISO of a megabyte or so, as `live.iso`.
fn live(place: &Place) -> PathBuf {
    let files = Files::live().with("data", pattern(7, 1_500_000));
    let path = place.iso("live.iso");
    files.xorriso(&["-R", "-J", "-V", "LIVE"], &path);
    path
}

fn check(place: &Place, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg("check").args(options).arg(place.iso("")).output().unwrap()
}

fn verified(place: &Place, outcome: &str, sums: &[&str]) {
    let output = check(place, &["--verify", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let found = &report["served"][0]["verified"];
    assert_eq!(found["outcome"], outcome, "{found}");
    assert_eq!(found["sums"], serde_json::json!(sums), "{found}");
    assert_eq!(output.status.code(), Some(i32::from(outcome == "damaged" || outcome == "unreadable")));
}

/// Makes a list of sums as people do, in the directory.
fn sha256sum(place: &Place, options: &[&str], list: &str) {
    let mut command = Command::new("sha256sum");
    let output = command.args(options).arg("live.iso").current_dir(place.iso("")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    fs::write(place.iso(list), output.stdout).unwrap();
}

/// Turns over a byte of what nobody looks at to serve it.
fn damage(path: &PathBuf) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn an_iso_without_a_sum_is_told_so_and_is_no_failure() {
    let place = Place::new();
    live(&place);
    verified(&place, "no-sum", &[]);
    sha256sum(&place, &[], "MD5SUMS");
    verified(&place, "no-sum", &[]);
}

#[test]
fn lists_of_real_sha256sum_tell_a_whole_iso_from_a_damaged_one() {
    let place = Place::new();
    let iso = live(&place);
    sha256sum(&place, &[], "SHA256SUMS");
    sha256sum(&place, &["--binary"], "live.iso.sha256");
    sha256sum(&place, &["--tag"], "Live-42-x86_64-CHECKSUM");
    let lists = ["Live-42-x86_64-CHECKSUM", "SHA256SUMS", "live.iso.sha256"];
    verified(&place, "ok", &lists);
    damage(&iso);
    verified(&place, "damaged", &lists);
    // The others stay as they were.
    sha256sum(&place, &[], "SHA256SUMS");
    verified(&place, "damaged", &["Live-42-x86_64-CHECKSUM", "live.iso.sha256"]);
    let output = check(&place, &["--verify"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let sentence = "verified: DAMAGED, its bytes are not those of Live-42-x86_64-CHECKSUM,";
    assert!(text.contains(sentence) && output.status.code() == Some(1), "{text}");
}

#[test]
fn a_name_that_sha256sum_escapes_is_known() {
    let place = Place::new();
    let iso = live(&place);
    let odd = place.iso("back\\slash.iso");
    fs::rename(iso, &odd).unwrap();
    let output =
        Command::new("sha256sum").arg("back\\slash.iso").current_dir(place.iso("")).output().unwrap();
    assert!(output.stdout.starts_with(b"\\"), "{}", said(&output));
    fs::write(place.iso("SHA256SUM"), output.stdout).unwrap();
    verified(&place, "ok", &["SHA256SUM"]);
}

#[test]
fn what_implantisomd5_wrote_tells_a_whole_iso_from_a_damaged_one() {
    let place = Place::new();
    let iso = live(&place);
    run(Command::new("implantisomd5").arg(&iso)).unwrap();
    run(Command::new("checkisomd5").arg(&iso)).unwrap();
    verified(&place, "ok", &["isomd5sum"]);
    // What the sum is not of may be there or not.
    sha256sum(&place, &[], "SHA256SUMS");
    verified(&place, "ok", &["isomd5sum", "SHA256SUMS"]);
    damage(&iso);
    assert!(!Command::new("checkisomd5").arg(&iso).output().unwrap().status.success());
    verified(&place, "damaged", &["isomd5sum", "SHA256SUMS"]);
}

#[test]
fn no_line_for_people_is_longer_than_80_columns_but_for_a_path() {
    let place = Place::new();
    live(&place);
    place.put("other.iso", &Disc::new("Other", 2));
    fs::write(place.iso("junk.iso"), vec![b'x'; 100_000]).unwrap();
    let empty = place.elsewhere("");
    let lacking = ["--netroot-init", empty.to_str().unwrap(), "--loaders", empty.to_str().unwrap()];
    let output = check(&place, &[&["--verify", "--default", "Nowhere"][..], &lacking].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    for line in text.lines() {
        let is_word = !line.trim().contains(' ');
        assert!(line.chars().count() <= 80 || is_word, "{line}\n{text}");
    }
    let host = text.split_once("\nThis host:\n").expect("what this host lacks").1;
    assert!(host.contains("netroot-init-x86_64 is not installed"), "{text}");
    assert_eq!(text.matches("netroot-init-x86_64 is not").count(), 1, "{text}");
    assert!(host.contains("the default 'Nowhere' is no ISO that is served"), "{text}");
    assert!(
        output.stderr.is_empty(),
        "progress is for terminals: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_boots_by_itself_is_what_the_menu_says() {
    let place = Place::new();
    live(&place);
    let last = |options: &[&str]| {
        let output = check(&place, options);
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
    };
    let http = ["--server", "192.0.2.1"];
    assert_eq!(last(&http), "1 ISO; LIVE boots by itself after 10 s.");
    let with = |more: &[&str]| last(&[&http[..], more].concat());
    assert_eq!(
        with(&["--default", "local", "--timeout", "3"]),
        "1 ISO; the local disk boots by itself after 3 s."
    );
    assert_eq!(with(&["--default", "none"]), "1 ISO; nothing boots by itself.");
    let mut cat = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    cat.arg("cat").args(http).arg(place.iso("")).arg("tftp/pxelinux.cfg/default");
    let menu = String::from_utf8(cat.output().unwrap().stdout).unwrap();
    assert!(menu.contains("\ndefault LIVE\n"), "{menu}");
}
