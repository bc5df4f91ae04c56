//! How the tree follows the directory of ISOs.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::FallocateFlags;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::process::Signal;
use testkit::disc::Disc;

use crate::support::place::Place;

/// Everything that tells of an ISO: its files, the listing, the exports and the menu.
fn is_there(place: &Place, label: &str) -> [bool; 5] {
    let listed = fs::read_dir(place.tree("images")).unwrap();
    let name = format!("{label}.iso");
    [
        place.tree(&format!("images/{name}")).exists(),
        place.tree(&format!("tftp/vmlinuz_{label}")).exists(),
        listed.flatten().any(|entry| entry.file_name().to_str() == Some(&name)),
        place.text("images/nbd.conf").contains(&format!("[{name}]\n")),
        place.text("tftp/pxelinux.cfg/default").contains(&format!("label {label}\n")),
    ]
}

const ALL: [bool; 5] = [true; 5];
const NONE: [bool; 5] = [false; 5];

/// A place whose daemon has come to rest: from here on it polls seldom, so what is noticed soon is noticed by events.
fn at_rest(place: &Place) {
    place.eventually("the verdicts", || place.top().join("state/initrds.json").exists());
}

#[test]
fn an_iso_that_is_moved_in_is_there_within_two_seconds() {
    let place = Place::with("old.iso", &Disc::new("Old", 1));
    let _daemon = place.start(&[]);
    at_rest(&place);
    let disc = Disc::new("New", 2);
    place.put("new.iso", &disc);
    place.promised("the new ISO", || is_there(&place, "New") == ALL);
    assert!(place.read("images/New.iso") == disc.iso);
}

#[test]
fn an_iso_that_is_copied_in_is_there_within_two_seconds() {
    let place = Place::with("old.iso", &Disc::new("Old", 1));
    let _daemon = place.start(&[]);
    at_rest(&place);
    let disc = Disc::new("New", 2);
    fs::write(place.elsewhere("new.iso"), &disc.iso).unwrap();
    let copy = Command::new("cp").arg(place.elsewhere("new.iso")).arg(place.iso("")).status();
    assert!(copy.unwrap().success());
    place.promised("the new ISO", || is_there(&place, "New") == ALL);
    assert!(place.read("images/New.iso") == disc.iso);
}

#[test]
fn an_iso_that_is_linked_in_is_there_within_two_seconds() {
    let place = Place::with("old.iso", &Disc::new("Old", 1));
    let _daemon = place.start(&[]);
    at_rest(&place);
    let disc = Disc::new("New", 2);
    fs::write(place.elsewhere("far"), &disc.iso).unwrap();
    symlink("../elsewhere/far", place.iso("new.iso")).unwrap();
    place.promised("the new ISO", || is_there(&place, "New") == ALL);
    assert!(place.read("images/New.iso") == disc.iso);
}

#[test]
fn a_second_name_of_a_file_is_left_out_and_takes_over_from_the_first() {
    let place = Place::with("one.iso", &Disc::new("Live", 1));
    fs::hard_link(place.iso("one.iso"), place.iso("two.iso")).unwrap();
    let _daemon = place.start(&[]);
    assert!(place.log().contains("two.iso is not served: it is another name of a file that is served"));
    fs::remove_file(place.iso("one.iso")).unwrap();
    place.look_again("Mark");
    assert_eq!(is_there(&place, "Live"), ALL);
}

#[test]
fn a_link_whose_file_comes_later_or_is_replaced_is_followed_within_two_seconds() {
    let place = Place::with("old.iso", &Disc::new("Old", 1));
    symlink("../elsewhere/far", place.iso("link.iso")).unwrap();
    let _daemon = place.start(&[]);
    at_rest(&place);
    for (label, seed) in [("First", 2), ("Second", 3)] {
        let disc = Disc::new(label, seed);
        fs::write(place.elsewhere("part"), &disc.iso).unwrap();
        fs::rename(place.elsewhere("part"), place.elsewhere("far")).unwrap();
        place.promised("the ISO behind the link", || is_there(&place, label) == ALL);
    }
    assert_eq!(is_there(&place, "First"), NONE);
    fs::remove_file(place.elsewhere("far")).unwrap();
    place.promised("the end of the ISO behind the link", || is_there(&place, "Second") == NONE);
}

#[test]
fn an_iso_that_is_removed_is_gone_within_two_seconds_though_it_was_read() {
    let disc = Disc::new("Old", 1);
    let place = Place::with("old.iso", &disc);
    place.put("stays.iso", &Disc::new("Stays", 2));
    let _daemon = place.start(&[]);
    at_rest(&place);
    assert!(place.read("images/Old.iso") == disc.iso);
    assert_eq!(is_there(&place, "Old"), ALL);
    fs::remove_file(place.iso("old.iso")).unwrap();
    place.promised("its end", || is_there(&place, "Old") == NONE);
    assert_eq!(is_there(&place, "Stays"), ALL);
}

#[test]
fn an_iso_that_is_moved_away_is_gone_within_two_seconds_and_comes_back() {
    let disc = Disc::new("Old", 1);
    let place = Place::with("old.iso", &disc);
    let _daemon = place.start(&[]);
    at_rest(&place);
    fs::rename(place.iso("old.iso"), place.elsewhere("old.iso")).unwrap();
    place.promised("its end", || is_there(&place, "Old") == NONE);
    fs::rename(place.elsewhere("old.iso"), place.iso("old.iso")).unwrap();
    place.promised("its return", || is_there(&place, "Old") == ALL);
    assert!(place.read("images/Old.iso") == disc.iso);
}

#[test]
fn a_renamed_file_keeps_its_label() {
    let place = Place::with("a.iso", &Disc::new("Same", 1));
    let newer = place.put("b.iso", &Disc::new("Same", 2));
    // The older of the two has the plain label at the start.
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    File::options().write(true).open(place.iso("a.iso")).unwrap().set_modified(yesterday).unwrap();
    let _daemon = place.start(&[]);
    assert_eq!(is_there(&place, "Same-b"), ALL);
    let before = fs::metadata(place.tree("images/Same-b.iso")).unwrap().ino();
    fs::rename(newer, place.iso("0.iso")).unwrap();
    place.look_again("Next");
    assert_eq!((is_there(&place, "Same"), is_there(&place, "Same-b")), (ALL, ALL));
    assert_eq!(fs::metadata(place.tree("images/Same-b.iso")).unwrap().ino(), before);
    assert_eq!(is_there(&place, "Same-0"), NONE);
}

#[test]
fn a_file_that_is_being_written_appears_when_it_is_closed() {
    let place = Place::with("old.iso", &Disc::new("Old", 1));
    let _daemon = place.start(&[]);
    let disc = Disc::new("New", 2);
    let mut writer = File::create(place.iso("new.iso")).unwrap();
    for part in disc.iso.chunks(disc.iso.len() / 3) {
        writer.write_all(part).unwrap();
        place.look_again(&format!("Mark{}", part.as_ptr() as usize));
        assert_eq!(is_there(&place, "New"), NONE);
    }
    drop(writer);
    place.promised("the ISO", || is_there(&place, "New") == ALL);
    assert!(place.read("images/New.iso") == disc.iso);
}

#[test]
fn a_preallocated_file_appears_when_it_is_closed() {
    let place = Place::new();
    let _daemon = place.start(&[]);
    let disc = Disc::new("New", 2);
    let writer = File::create(place.iso("new.iso")).unwrap();
    rustix::fs::fallocate(&writer, FallocateFlags::empty(), 0, disc.iso.len() as u64).unwrap();
    // The head of it is right already; what follows is zeros.
    writer.write_all_at(&disc.iso[..200_000], 0).unwrap();
    place.look_again("Mark");
    assert_eq!(is_there(&place, "New"), NONE);
    // That is nothing to be warned of.
    let log = place.log();
    let line = log.lines().find(|line| line.contains("new.iso is not served")).unwrap();
    assert!(line.ends_with("new.iso is not served yet: it is being written"), "{line}");
    assert!(line.to_lowercase().contains("info"), "{line}");
    let check =
        Command::new(env!("CARGO_BIN_EXE_netrootfs")).arg("check").arg(place.iso("")).output().unwrap();
    let report = String::from_utf8(check.stdout).unwrap();
    assert!(report.contains("\nNot served yet:\n  new.iso: it is being written\n"), "{report}");
    assert!(check.status.success(), "{report}");
    writer.write_all_at(&disc.iso, 0).unwrap();
    drop(writer);
    place.promised("the ISO", || is_there(&place, "New") == ALL);
    assert!(place.read("images/New.iso") == disc.iso);
}

#[test]
fn half_an_iso_that_nobody_writes_does_not_appear_until_it_is_whole() {
    let place = Place::new();
    let disc = Disc::new("New", 2);
    let half = disc.iso.len() / 2;
    fs::write(place.iso("new.iso"), &disc.iso[..half]).unwrap();
    let _daemon = place.start(&[]);
    place.look_again("Mark");
    assert_eq!(is_there(&place, "New"), NONE);
    let reason = format!("new.iso is not served: it is incomplete: {half} bytes of ");
    assert!(place.log().contains(&reason), "{}", place.log());
    // As `wget -c` goes on with it.
    let mut writer = File::options().append(true).open(place.iso("new.iso")).unwrap();
    writer.write_all(&disc.iso[half..]).unwrap();
    drop(writer);
    place.promised("the ISO", || is_there(&place, "New") == ALL);
    assert!(place.read("images/New.iso") == disc.iso);
}

#[test]
fn an_open_file_keeps_its_bytes_when_its_iso_is_removed() {
    let disc = Disc::new("Old", 1);
    let place = Place::with("old.iso", &disc);
    let _daemon = place.start(&["--data-path", "cache", "--cache-size", "0"]);
    let file = File::open(place.tree("images/Old")).unwrap();
    file.read_exact_at(&mut [0; 4096], 0).unwrap();
    fs::remove_file(place.iso("old.iso")).unwrap();
    place.promised("its end", || is_there(&place, "Old") == NONE);
    let mut rest = vec![0; disc.root.len() - 1_000_000];
    file.read_exact_at(&mut rest, 1_000_000).unwrap();
    assert!(rest == disc.root[1_000_000..]);
    assert_eq!(file.metadata().unwrap().len(), disc.root.len() as u64);
}

#[test]
fn an_iso_that_is_replaced_gives_new_bytes_and_an_open_file_the_old() {
    let (old, new) = (Disc::new("Live", 1), Disc::new("Live", 2));
    let place = Place::with("live.iso", &old);
    let _daemon = place.start(&["--data-path", "cache", "--cache-size", "0"]);
    let files = ["images/Live.iso", "images/Live", "tftp/vmlinuz_Live", "tftp/initrd_Live.img"];
    let before = files.map(|path| fs::metadata(place.tree(path)).unwrap().ino());
    assert!(place.read("tftp/vmlinuz_Live") == old.kernel);
    let open = File::open(place.tree("images/Live")).unwrap();
    open.read_exact_at(&mut [0; 4096], 0).unwrap();
    place.put("live.iso", &new);
    place.promised("the new bytes", || place.read("tftp/vmlinuz_Live") == new.kernel);
    assert!(place.read("images/Live.iso") == new.iso);
    assert!(place.read("images/Live") == new.root);
    let after = files.map(|path| fs::metadata(place.tree(path)).unwrap().ino());
    for (path, (old, new)) in files.iter().zip(before.iter().zip(&after)) {
        assert_ne!(old, new, "{path}");
    }
    let mut bytes = vec![0; old.root.len()];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == old.root);
    assert_eq!(open.metadata().unwrap().ino(), before[1]);
}

#[test]
fn a_touched_iso_goes_on_under_its_clients() {
    let disc = Disc::new("Live", 1);
    let place = Place::with("live.iso", &disc);
    let _daemon = place.start(&["--data-path", "cache", "--cache-size", "0"]);
    let open = File::open(place.tree("images/Live")).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let times = FileTimes::new().set_accessed(then).set_modified(then);
    File::open(place.iso("live.iso")).unwrap().set_times(times).unwrap();
    place.promised("the new time", || {
        fs::metadata(place.tree("images/Live")).is_ok_and(|stat| stat.modified().unwrap() == then)
    });
    let mut bytes = vec![0; disc.root.len()];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == disc.root);
}

#[test]
fn the_command_runs_once_after_changes_in_a_row_and_not_for_none() {
    let place = Place::with("old.iso", &Disc::new("Old", 1));
    let runs = place.top().join("runs");
    let command = format!("echo run >>{}", runs.display());
    let daemon = place.start(&["--on-change", &command]);
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    at_rest(&place);
    daemon.signal(Signal::HUP);
    for number in 0..4 {
        fs::write(place.elsewhere(&format!("{number}.iso")), &Disc::new(&format!("New{number}"), 2).iso)
            .unwrap();
    }
    // Together, as it sees them: on a busy machine a moment of this test is long.
    daemon.stand_still();
    for number in 0..4 {
        let name = format!("{number}.iso");
        fs::rename(place.elsewhere(&name), place.iso(&name)).unwrap();
    }
    daemon.go_on();
    place.eventually("a run", || count() > 0);
    assert_eq!(is_there(&place, "New3"), ALL, "it runs when the tree is new");
    // Another file, no ISO and no change of what is served, and then a change: one run more.
    fs::write(place.iso("notes.txt"), "x").unwrap();
    daemon.signal(Signal::HUP);
    fs::remove_file(place.iso("0.iso")).unwrap();
    place.eventually("the second run", || count() > 1);
    daemon.stop();
    assert_eq!(count(), 2);
}

#[test]
fn the_command_gets_nothing_of_the_daemon_but_its_words() {
    let place = Place::new();
    let out = place.top().join("seen");
    let script = format!("(ls -l /proc/self/fd; env; pwd) >{0}.new; mv {0}.new {0}", out.display());
    let _daemon = place.start(&["--on-change", &script]);
    place.put("new.iso", &Disc::new("New", 1));
    place.eventually("the command", || out.exists());
    let seen = fs::read_to_string(out).unwrap();
    // Other descriptors may come from who started it all.
    assert!(!seen.contains("/dev/fuse") && !seen.contains(".iso"), "{seen}");
    assert!(!seen.contains("NETROOTFS_BACKGROUND"), "{seen}");
    assert!(seen.lines().any(|line| line == "/"), "{seen}");
}

#[test]
fn sighup_looks_again() {
    let place = Place::with("live.iso", &Disc::new("Old", 1));
    let daemon = place.start(&[]);
    at_rest(&place);
    // A mount is what no watch on the directory tells.
    fs::write(place.elsewhere("new.iso"), &Disc::new("New", 2).iso).unwrap();
    mount_bind(place.elsewhere("new.iso"), place.iso("live.iso")).unwrap();
    daemon.signal(Signal::HUP);
    let seen =
        std::panic::catch_unwind(|| place.promised("the mounted ISO", || is_there(&place, "New") == ALL));
    unmount(place.iso("live.iso"), UnmountFlags::DETACH).unwrap();
    assert!(seen.is_ok(), "{}", place.log());
}

#[test]
fn a_directory_that_is_replaced_is_watched_again() {
    let place = Place::with("old.iso", &Disc::new("Old", 1));
    let _daemon = place.start(&[]);
    at_rest(&place);
    fs::rename(place.iso(""), place.top().join("was")).unwrap();
    fs::create_dir(place.iso("")).unwrap();
    place.put("first.iso", &Disc::new("First", 2));
    place.promised("an ISO in the new directory", || is_there(&place, "First") == ALL);
    at_rest(&place);
    place.put("second.iso", &Disc::new("Second", 3));
    place.promised("another", || is_there(&place, "Second") == ALL);
}

#[test]
fn a_directory_that_goes_away_takes_nothing_until_it_is_back() {
    let disc = Disc::new("Old", 1);
    let place = Place::with("old.iso", &disc);
    let daemon = place.start(&["--data-path", "cache", "--cache-size", "0"]);
    at_rest(&place);
    fs::rename(place.iso(""), place.top().join("away")).unwrap();
    daemon.signal(Signal::HUP);
    place.eventually("the complaint", || place.log().contains("its ISOs stay as they were"));
    assert_eq!(is_there(&place, "Old"), ALL);
    assert!(place.read("images/Old.iso") == disc.iso);
    fs::rename(place.top().join("away"), place.iso("")).unwrap();
    place.put("new.iso", &Disc::new("New", 2));
    place.promised("an ISO in the directory that is back", || is_there(&place, "New") == ALL);
    assert_eq!(place.log().matches("its ISOs stay as they were").count(), 1, "{}", place.log());
}

#[test]
fn changes_that_no_event_tells_of_are_found_by_polling() {
    // What happens on a FUSE file system by itself is unseen by inotify, as on NFS: here it is another netrootfs.
    let far = Place::with("old.iso", &Disc::new("Old", 1));
    let _server = far.start(&[]);
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg(far.tree("images")).arg(place.mnt()).arg("--state-dir").arg(place.top().join("state"));
    command.arg("--log-file").arg(place.top().join("log"));
    let _daemon = place.start_by(&mut command);
    // Over there it is new, and it counts as whole here after a second in which it stays the same.
    place.eventually("the ISO here", || is_there(&place, "Old") == ALL);
    let new = Disc::new("New", 2);
    far.put("new.iso", &new);
    far.eventually("the ISO over there", || far.tree("images/New.iso").exists());
    place.promised("the ISO here", || is_there(&place, "New") == ALL);
    assert!(place.read("images/New.iso") == new.iso);
    fs::remove_file(far.iso("old.iso")).unwrap();
    far.eventually("its end over there", || !far.tree("images/Old.iso").exists());
    place.promised("its end here", || is_there(&place, "Old") == NONE);
}

#[test]
fn each_file_that_is_not_served_is_logged_once() {
    let place = Place::with("good.iso", &Disc::new("Good", 1));
    fs::write(place.iso("text.iso"), [b'x'; 100_000]).unwrap();
    symlink("nowhere", place.iso("dangling.iso")).unwrap();
    fs::create_dir(place.iso("directory.iso")).unwrap();
    fs::write(place.iso(".hidden.iso"), "no ISO").unwrap();
    fs::write(place.iso("a\nb.iso"), [b'x'; 100_000]).unwrap();
    let daemon = place.start(&[]);
    for round in 0..3 {
        daemon.signal(Signal::HUP);
        place.look_again(&format!("Mark{round}"));
    }
    let log = place.log();
    let count = |line: &str| log.matches(line).count();
    assert_eq!(count("text.iso is not served: it is not an ISO 9660 image"), 1, "{log}");
    assert_eq!(
        count("dangling.iso is not served: it is a symbolic link to a file that isn't there"),
        1,
        "{log}"
    );
    assert_eq!(count("a?b.iso is not served: it is not an ISO 9660 image"), 1, "{log}");
    assert_eq!((count("directory.iso"), count("hidden")), (0, 0), "{log}");
    assert_eq!(count("Good: good.iso (LiveOS)"), 1, "{log}");
}

#[test]
fn a_verdict_that_was_forgotten_is_found_again() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&[]);
    let by_image = |label: &str| {
        let menu = place.text("tftp/pxelinux.cfg/default");
        menu.contains(&format!("netroot=nbd:192.0.2.1:{label}::ro"))
    };
    place.eventually("the verdict", || by_image("One"));
    fs::rename(place.iso("one.iso"), place.elsewhere("one.iso")).unwrap();
    place.eventually("its end", || is_there(&place, "One") == NONE);
    // A verdict of another ISO is written down, and with that the first is forgotten.
    place.put("two.iso", &Disc::new("Two", 2));
    place.eventually("the other verdict", || by_image("Two"));
    fs::rename(place.elsewhere("one.iso"), place.iso("one.iso")).unwrap();
    place.eventually("the verdict again", || by_image("One"));
}
