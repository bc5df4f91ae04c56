//! Mistakes on the command line get a sentence that says what to do, and nothing is mounted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use testkit::built::install;

const PROGRAM: &str = env!("CARGO_BIN_EXE_netrootfs");

/// Directories `isos` and `mnt`, with nothing in them.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("isos")).unwrap();
    fs::create_dir(place.path().join("mnt")).unwrap();
    place
}

fn run(at: &Path, words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).current_dir(at).output().unwrap()
}

/// Its sentence when it fails with that code.
fn refusal(at: &Path, words: &[&str], code: i32) -> String {
    let output = run(at, words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    said
}

#[test]
fn directories_in_the_wrong_order_are_refused() {
    let place = place();
    fs::write(place.path().join("isos/one.ISO"), "x").unwrap();
    let said = refusal(place.path(), &["mnt", "isos"], 1);
    assert!(
        said.contains("mount point isos: there are ISOs in it") && said.contains("ISO_DIR MOUNTPOINT"),
        "{said}"
    );
}

#[test]
fn a_mount_point_that_is_not_empty_needs_a_word() {
    let place = place();
    fs::write(place.path().join("mnt/note"), "x").unwrap();
    let said = refusal(place.path(), &["isos", "mnt"], 1);
    assert!(said.contains("mount point mnt: it is not empty") && said.contains("--nonempty"), "{said}");
    // It gets as far as the next mistake.
    let said = refusal(place.path(), &["isos", "mnt", "--nonempty", "--on-change", "no-such-program"], 1);
    assert!(said.contains("--on-change"), "{said}");
}

#[test]
fn directories_that_are_not_there_are_named() {
    let place = place();
    let said = refusal(place.path(), &["isos2", "mnt"], 1);
    assert!(said.contains("directory of ISOs isos2: there is no such directory"), "{said}");
    let said = refusal(place.path(), &["isos", "mnt2"], 1);
    assert!(
        said.contains("mount point mnt2: there is no such directory; make it with 'mkdir -p mnt2'"),
        "{said}"
    );
    fs::write(place.path().join("file"), "x").unwrap();
    let said = refusal(place.path(), &["file", "mnt"], 1);
    assert!(said.contains("directory of ISOs file: it is not a directory"), "{said}");
}

#[test]
fn who_may_not_read_or_write_is_named() {
    let place = place();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path(), open).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        let program = place.path().join("netrootfs");
        install(Path::new(PROGRAM), &program);
        let output = command.arg(program).args(words).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = as_nobody(&["isos", "mnt"]);
    assert!(said.contains("mount point mnt: user nobody may not write there"), "{said}");
    assert!(said.contains("chown 65534 mnt"), "{said}");
    fs::set_permissions(place.path().join("isos"), fs::Permissions::from_mode(0o700)).unwrap();
    let said = as_nobody(&["isos", "mnt"]);
    assert!(said.contains("directory of ISOs isos: user nobody may not read it"), "{said}");
}

#[test]
fn a_mistyped_command_is_guessed() {
    let place = place();
    let said = refusal(place.path(), &["chekc", "isos"], 1);
    assert!(said.contains("did you mean 'check'?"), "{said}");
    let said = refusal(place.path(), &["isos", "mnt", "third"], 2);
    assert!(said.contains("unexpected argument 'third'"), "{said}");
}

#[test]
fn values_have_their_own_sentences() {
    let place = place();
    for (option, value, sentence) in [
        ("--timeout", "-1", "-1 is not in 0..=3599"),
        ("--nbd-port", "abc", "not a port number between 1 and 65535"),
        ("--uid", "no-such-user", "this host has no user of that name"),
        ("--gid", "no-such-group", "this host has no group of that name"),
        ("--cache-size", "1X", "not a size such as 64M or 1G"),
        ("--server", "192.168.50.1:10809", "an address without a port; --nbd-port says"),
        ("--server", "192.168.50.300", "not an IPv4 address"),
    ] {
        let said = refusal(place.path(), &["isos", "mnt", option, value], 2);
        assert!(said.contains(sentence) && said.contains(option), "{option} {value}: {said}");
    }
    let said = refusal(place.path(), &["dhcp", "--dnsmasq", "--interface", "eth 0"], 2);
    assert!(said.contains("not a network card such as eth0"), "{said}");
}

#[test]
fn what_would_fail_later_fails_at_the_start() {
    let place = place();
    fs::write(place.path().join("file"), "x").unwrap();
    let said = refusal(place.path(), &["isos", "mnt", "--state-dir", "file/state"], 1);
    assert!(said.contains("state directory ") && said.contains("/file/state: "), "{said}");
    let said = refusal(place.path(), &["isos", "mnt", "--on-change", "/no/such/program --now"], 1);
    assert!(said.contains("--on-change: there is no program '/no/such/program'"), "{said}");
}

#[test]
fn names_that_stand_for_nothing_are_told_by_check() {
    let place = place();
    let config =
        "[iso.Nowhere]\nhidden = true\n[[machine]]\nmac = \"52:54:00:12:34:56\"\ndefault = \"Gone\"\n";
    fs::write(place.path().join("c.toml"), config).unwrap();
    let words = ["check", "isos", "--config", "c.toml", "--default", "Missing", "--label", "x.iso=X"];
    let output = run(place.path(), &words);
    assert!(output.status.success(), "it is no error: {output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    for sentence in [
        "the default 'Missing' is no ISO that is served",
        "--label: there is no file 'x.iso'",
        "[iso.\"Nowhere\"] in the configuration file is for no ISO that is there",
        "a machine of the configuration file names 'Gone', which no ISO is called",
    ] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
}

#[test]
fn a_host_is_told_what_it_lacks() {
    let place = place();
    let output = run(place.path(), &["doctor", "isos"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "there is no ISO: {said}");
    assert!(said.contains("\nBAD   isos: 0 ISOs are served, 0 left out\n"), "{said}");
    assert!(
        said.contains("/dev/fuse") && said.contains("UDP port 69") && said.contains("netroot-init"),
        "{said}"
    );
}

#[test]
fn a_boot_to_try_from_what_is_no_mount_is_a_sentence() {
    let place = place();
    let output = run(place.path(), &["doctor", "--boot", "isos"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("isos: no netrootfs is mounted there"), "{said}");
}
