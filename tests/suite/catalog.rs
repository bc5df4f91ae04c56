//! The scanner on real directories: who gets which label and keeps it, what is left out and why, and what a rescan costs.
//!
//! Needs xorriso. Times are set, never waited for.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use netrootfs::catalog::scan::{Catalog, Opened, Opener, Plain, Scanner, Skipped};
use netrootfs::image::label::Label;
use netrootfs::storage::source::ReadAt;
use netrootfs::storage::state::StateDir;
use tempfile::TempDir;

use crate::support::isos::{self, Files, pattern, squashfs};
use crate::support::writers::wait_for_writers;

#[test]
fn at_start_the_older_file_has_the_label() {
    let mut isos = Isos::new();
    isos.add("b.iso", "LIVE", hours_ago(1));
    isos.add("a.iso", "LIVE", hours_ago(2));
    isos.add("c.iso", "LIVE", hours_ago(3));
    assert_eq!(isos.labels(), ["LIVE c.iso", "LIVE-a a.iso", "LIVE-b b.iso"]);
}

#[test]
fn of_two_files_of_the_same_age_the_first_name_has_the_label() {
    let mut isos = Isos::new();
    isos.add("b.iso", "LIVE", hours_ago(1));
    isos.add("a.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso"]);
}

#[test]
fn a_new_file_never_takes_over_a_label() {
    let mut isos = Isos::new();
    isos.add("b.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE b.iso"]);
    isos.add("a.iso", "LIVE", hours_ago(9));
    assert_eq!(isos.labels(), ["LIVE b.iso", "LIVE-a a.iso"]);
    isos.remove("b.iso");
    assert_eq!(isos.labels(), ["LIVE-a a.iso"], "clients boot from it by that name");
    isos.add("c.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE c.iso", "LIVE-a a.iso"]);
}

#[test]
fn labels_that_are_the_same_with_the_stem_are_numbered() {
    let mut isos = Isos::new();
    isos.add("x.iso", "LIVE", hours_ago(3));
    isos.add("a.iso", "LIVE-b", hours_ago(2));
    isos.add("b.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE x.iso", "LIVE-b a.iso", "LIVE-b-2 b.iso"]);
}

#[test]
fn a_renamed_file_keeps_its_label() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(2));
    isos.add("b.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso"]);
    isos.rename("a.iso", "z.iso");
    isos.rename("b.iso", "a.iso");
    assert_eq!(isos.labels(), ["LIVE z.iso", "LIVE-b a.iso"]);
}

#[test]
fn a_file_that_is_renamed_in_the_moment_of_a_scan_keeps_its_label() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(2));
    isos.add("b.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso"]);
    let (b, c) = (isos.path("b.iso"), isos.path("c.iso"));
    for round in 0..300 {
        let (from, to) = if round % 2 == 0 { (&b, &c) } else { (&c, &b) };
        let catalog = std::thread::scope(|scope| {
            scope.spawn(|| fs::rename(from, to).unwrap());
            isos.scan()
        });
        let labels: Vec<&str> = catalog.isos.iter().map(|iso| iso.label.as_str()).collect();
        assert_eq!(labels, ["LIVE", "LIVE-b"]);
        assert!(catalog.skipped.is_empty());
    }
}

#[test]
fn a_file_that_takes_the_place_of_another_goes_on_under_its_label() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(5));
    isos.add("b.iso", "LIVE", hours_ago(4));
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso"]);
    let before = isos.scan();
    // Today's build, and an older one of the same volume id that comes in the same moment.
    isos.add("new", "LIVE", hours_ago(1));
    isos.rename("new", "a.iso");
    isos.add("c.iso", "LIVE", hours_ago(9));
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso", "LIVE-c c.iso"]);
    assert!(!Arc::ptr_eq(&before.isos[0].disc, &isos.scan().isos[0].disc), "it is another disc");
}

#[test]
fn a_file_of_another_volume_id_gets_a_label_of_its_own() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(5));
    assert_eq!(isos.labels(), ["LIVE a.iso"]);
    isos.add("a.iso", "OTHER", hours_ago(1));
    assert_eq!(isos.labels(), ["OTHER a.iso"]);
    isos.add("b.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE b.iso", "OTHER a.iso"]);
}

#[test]
fn the_label_of_a_file_that_is_written_anew_is_kept_for_it() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(5));
    assert_eq!(isos.labels(), ["LIVE a.iso"]);
    let writer = File::options().write(true).open(isos.path("a.iso")).unwrap();
    writer.set_modified(hours_ago(1)).unwrap();
    isos.add("b.iso", "LIVE", hours_ago(9));
    assert_eq!(isos.labels(), ["LIVE-b b.iso"]);
    drop(writer);
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso"]);
}

#[test]
fn the_label_of_a_file_that_is_out_of_reach_is_kept_for_it() {
    let mut isos = Isos::new();
    // What a link leads to is gone and comes again, as a mount does.
    let server = tempfile::tempdir().unwrap();
    let (there, gone) = (server.path().join("there"), server.path().join("gone"));
    fs::create_dir(&there).unwrap();
    isos.add("a", "LIVE", hours_ago(5));
    fs::rename(isos.path("a"), there.join("a.iso")).unwrap();
    symlink(there.join("a.iso"), isos.path("a.iso")).unwrap();
    assert_eq!(isos.labels(), ["LIVE a.iso"]);
    fs::rename(&there, &gone).unwrap();
    isos.add("b.iso", "LIVE", hours_ago(9));
    assert_eq!(isos.labels(), ["LIVE-b b.iso"]);
    fs::rename(&gone, &there).unwrap();
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso"]);
}

#[test]
fn who_comes_back_has_the_label_that_it_had_unless_another_has_it_by_now() {
    let (mut isos, _directory, state) = Isos::kept();
    isos.add("a.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE a.iso"]);
    isos.add("b.iso", "LIVE", hours_ago(5));
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso"]);
    // The file system of the directory goes, and comes again; so it is at a start before it is mounted.
    let flap = |isos: &mut Isos, add: &str, age| {
        isos.rename("a.iso", "a");
        isos.rename("b.iso", "b");
        assert!(isos.labels().is_empty());
        isos.restart(Plain, state.clone());
        assert!(isos.labels().is_empty());
        isos.rename("a", "a.iso");
        isos.rename("b", "b.iso");
        isos.add(add, "LIVE", age);
    };
    flap(&mut isos, "c.iso", hours_ago(9));
    assert_eq!(isos.labels(), ["LIVE a.iso", "LIVE-b b.iso", "LIVE-c c.iso"]);
    let numbers = |isos: &mut Isos| isos.scan().isos.iter().map(|iso| iso.arrived).collect::<Vec<_>>();
    assert_eq!(numbers(&mut isos), [1, 2, 3]);
    isos.rename("a.iso", "a");
    assert_eq!(isos.labels(), ["LIVE-b b.iso", "LIVE-c c.iso"]);
    isos.add("d.iso", "LIVE", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE d.iso", "LIVE-b b.iso", "LIVE-c c.iso"]);
    assert_eq!(numbers(&mut isos), [4, 2, 3]);
    isos.rename("a", "a.iso");
    assert_eq!(isos.labels(), ["LIVE d.iso", "LIVE-a a.iso", "LIVE-b b.iso", "LIVE-c c.iso"]);
}

#[test]
fn a_label_that_the_administrator_gave_is_nobody_elses() {
    let mut isos = Isos::pinned(&[("x.iso", "LIVE")]);
    isos.add("a.iso", "LIVE", hours_ago(9));
    assert_eq!(isos.labels(), ["LIVE-a a.iso"]);
    isos.add("x.iso", "SOMETHING", hours_ago(1));
    assert_eq!(isos.labels(), ["LIVE x.iso", "LIVE-a a.iso"]);
}

#[test]
fn an_iso_without_a_volume_id_is_called_after_its_file() {
    let mut isos = Isos::new();
    isos.add("my live.iso", "", hours_ago(1));
    isos.add("20240101.iso", "", hours_ago(1));
    assert_eq!(isos.labels(), ["_20240101 20240101.iso", "my_live my live.iso"]);
}

#[test]
fn what_is_not_served_has_a_reason() {
    let mut isos = Isos::new();
    isos.add("good.ISO", "LIVE", hours_ago(1));
    let good = iso("LIVE");
    let declared = u32::from_le_bytes(good[32_848..32_852].try_into().unwrap()) as usize * 2048;
    isos.write("cut.iso", &good[..declared / 2]);
    isos.write("empty.iso", b"");
    isos.write("junk.iso", &pattern(1, 100_000));
    symlink("nowhere", isos.path("dangling.iso")).unwrap();
    symlink("loop.iso", isos.path("loop.iso")).unwrap();
    // Of these nothing is said: they are no ISOs by their names, or directories.
    isos.write(".hidden.iso", &good);
    isos.write("copying.iso.part", &good);
    isos.write("iso", &good);
    fs::create_dir(isos.path("directory.iso")).unwrap();
    symlink("directory.iso", isos.path("to-directory.iso")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, isos.path("fifo.iso"), rustix::fs::Mode::RUSR).unwrap();

    assert_eq!(isos.labels(), ["LIVE good.ISO"]);
    let expected = [
        ("cut.iso", format!("it is incomplete: {} bytes of {declared}", declared / 2)),
        ("dangling.iso", "it is a symbolic link to a file that isn't there".into()),
        ("empty.iso", "it is not an ISO 9660 image".into()),
        ("junk.iso", "it is not an ISO 9660 image".into()),
        ("loop.iso", "Too many levels of symbolic links (os error 40)".into()),
    ];
    assert_eq!(isos.reasons(), expected.map(|(name, reason)| format!("{name}: {reason}")));
    assert!(!isos.scan().pending());
}

#[test]
fn a_file_in_another_directory_is_served_through_a_link() {
    let mut isos = Isos::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("image"), iso("LIVE")).unwrap();
    symlink(elsewhere.path().join("image"), isos.path("a.iso")).unwrap();
    assert_eq!(isos.labels(), ["LIVE a.iso"]);
}

#[test]
fn a_file_that_may_not_be_read_is_left_out_until_it_may() {
    let mut isos = Isos::new();
    isos.add("a.iso", "ONE", hours_ago(1));
    isos.add("b.iso", "TWO", hours_ago(1));
    fs::set_permissions(isos.directory.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(isos.path("b.iso"), Permissions::from_mode(0o000)).unwrap();
    isos.drop_privileges();
    assert_eq!(isos.labels(), ["ONE a.iso"]);
    assert_eq!(isos.reasons(), ["b.iso: permission denied"]);
    fs::set_permissions(isos.path("b.iso"), Permissions::from_mode(0o444)).unwrap();
    assert_eq!(isos.labels(), ["ONE a.iso", "TWO b.iso"]);
}

#[test]
fn a_name_of_any_bytes_is_shown_on_one_line() {
    let mut isos = Isos::new();
    isos.write(OsStr::from_bytes(b"a\nb\x1b\xff.iso"), b"");
    assert_eq!(isos.reasons(), ["a?b?\u{fffd}.iso: it is not an ISO 9660 image"]);
}

#[test]
fn a_growing_file_appears_when_it_is_closed() {
    let mut isos = Isos::new();
    let bytes = iso("LIVE");
    let mut writer = File::create(isos.path("a.iso")).unwrap();
    for part in bytes.chunks(bytes.len().div_ceil(3)) {
        writer.write_all(part).unwrap();
        assert_eq!(isos.labels(), [""; 0]);
        assert_eq!(isos.reasons(), ["a.iso: it is being written"]);
        assert!(isos.scan().pending());
    }
    drop(writer);
    wait_for_writers(&isos.path("a.iso"));
    assert_eq!(isos.labels(), ["LIVE a.iso"]);
}

#[test]
fn a_file_of_its_full_size_from_the_start_appears_when_it_is_closed() {
    let mut isos = Isos::new();
    let bytes = iso("LIVE");
    let mut writer = File::create(isos.path("a.iso")).unwrap();
    writer.set_len(bytes.len() as u64).unwrap();
    writer.write_all(&bytes[..40_000]).unwrap();
    assert_eq!(isos.reasons(), ["a.iso: it is being written"]);
    writer.write_all(&bytes[40_000..]).unwrap();
    drop(writer);
    wait_for_writers(&isos.path("a.iso"));
    assert_eq!(isos.labels(), ["LIVE a.iso"]);
}

#[test]
fn two_names_of_one_file_are_served_once() {
    for link in [hard_link, symbolic_link] {
        let mut isos = Isos::new();
        isos.add("a.iso", "LIVE", hours_ago(1));
        link(&isos.path("a.iso"), &isos.path("b.iso"));
        assert_eq!(isos.labels(), ["LIVE a.iso"]);
        assert_eq!(isos.reasons(), ["b.iso: it is another name of a file that is served"]);
        isos.rename("b.iso", "0.iso");
        assert_eq!(isos.labels(), ["LIVE 0.iso"], "the label is the file's, whatever it is called");
    }
}

fn hard_link(file: &Path, name: &Path) {
    fs::hard_link(file, name).unwrap();
}

fn symbolic_link(file: &Path, name: &Path) {
    symlink(file, name).unwrap();
}

#[test]
fn a_mounted_file_is_served() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(1));
    // As mount(8) does, it opens the file for writing.
    let output = isos::run(isos::tool("losetup", "mount").args(["--find", "--show"]).arg(isos.path("a.iso")));
    let device = OsStr::from_bytes(output.stdout.trim_ascii());
    let labels = isos.labels();
    isos::run(isos::tool("losetup", "mount").arg("--detach").arg(device));
    assert_eq!(labels, ["LIVE a.iso"]);
}

#[test]
fn a_rescan_looks_only_into_what_is_new() {
    let mut isos = Isos::new();
    let count = 1000;
    for number in 0..count {
        isos.add(&format!("{number}.iso"), &format!("LIVE{number:04}"), hours_ago(1));
    }
    let first = isos.scan();
    assert_eq!(first.isos.len(), count);
    let again = isos.scan();
    assert_eq!(again.isos.len(), count, "{:?}", again.skipped.first());
    let same = first.isos.iter().zip(&again.isos).filter(|(one, other)| Arc::ptr_eq(&one.disc, &other.disc));
    assert_eq!(same.count(), count);
    assert!(first.serves_same(&again));
    isos.add("500.iso", "LIVE0500", hours_ago(0));
    let changed = isos.scan();
    let same =
        first.isos.iter().zip(&changed.isos).filter(|(one, other)| Arc::ptr_eq(&one.disc, &other.disc));
    assert_eq!(same.count(), count - 1);
    assert!(!first.serves_same(&changed));
}

#[test]
fn a_thousand_isos_of_one_volume_id_have_a_thousand_labels() {
    let mut isos = Isos::new();
    let bytes = iso("LIVE");
    for number in 0..1000 {
        isos.write(format!("{number}.iso"), &bytes);
    }
    let catalog = isos.scan();
    let labels: std::collections::HashSet<_> = catalog.isos.iter().map(|iso| &iso.label).collect();
    assert_eq!(labels.len(), 1000);
}

#[test]
fn a_file_that_is_gone_is_read_by_who_has_it() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(1));
    let before = isos.scan();
    isos.remove("a.iso");
    assert!(isos.scan().isos.is_empty());
    let mut read = vec![0; usize::try_from(before.isos[0].disc.len).unwrap()];
    before.isos[0].disc.source.read_exact_at(&mut read, 0).unwrap();
    assert!(read == iso("LIVE"));
}

#[test]
fn a_file_that_is_cut_short_while_it_is_read_is_an_error() {
    let mut isos = Isos::new();
    isos.add("a.iso", "LIVE", hours_ago(1));
    let before = isos.scan();
    let len = before.isos[0].disc.len;
    let file = File::options().write(true).open(isos.path("a.iso")).unwrap();
    file.set_len(40_000).unwrap();
    drop(file);
    let mut read = [0; 2048];
    let error = before.isos[0].disc.source.read_exact_at(&mut read, len - 2048).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(isos.scan().isos.is_empty());
    assert!(
        isos.reasons()[0].starts_with("a.iso: it is incomplete: 40000 bytes of "),
        "{:?}",
        isos.reasons()
    );
}

#[test]
fn an_iso_that_makes_a_reader_panic_is_the_only_one_that_is_left_out() {
    struct Touchy(u64);
    impl Opener for Touchy {
        fn open(&self, file: Arc<File>) -> io::Result<Opened> {
            assert_ne!(file.metadata()?.len(), self.0, "the panic that is wanted");
            Plain.open(file)
        }
    }
    let mut isos = Isos::new();
    isos.add("a.iso", "ONE", hours_ago(1));
    let mut longer = iso("TWO");
    longer.push(0);
    isos.write("b.iso", &longer);
    let touchy = Touchy(longer.len() as u64);
    let directory = isos.directory.path().to_path_buf();
    isos.scanner = Some(Scanner::new(directory, HashMap::new(), Arc::new(touchy)));
    assert_eq!(isos.labels(), ["ONE a.iso"]);
    // To print a panic may take longer than a scan waits.
    let deadline = Instant::now() + Duration::from_secs(120);
    while isos.reasons()[0].contains("doesn't answer") && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
    assert!(isos.reasons()[0].starts_with("b.iso: looking into it ended in a panic"), "{:?}", isos.reasons());
}

/// Opens files when the gate is open.
struct Gated(Mutex<Receiver<()>>);

impl Opener for Gated {
    fn open(&self, file: Arc<File>) -> io::Result<Opened> {
        let _ = self.0.lock().unwrap().recv();
        Plain.open(file)
    }
}

#[test]
fn what_does_not_answer_at_the_start_keeps_its_label_for_the_next_one() {
    let (mut isos, _directory, state) = Isos::kept();
    isos.add("a.iso", "SAME", hours_ago(2));
    isos.add("b.iso", "SAME", hours_ago(1));
    assert_eq!(isos.labels(), ["SAME a.iso", "SAME-b b.iso"]);

    // The next process looks while nothing answers, and ends.
    let (open, gate) = channel::<()>();
    isos.restart(Gated(Mutex::new(gate)), state.clone());
    assert_eq!(isos.labels(), [""; 0]);
    drop(open);

    isos.remove("a.iso");
    isos.restart(Plain, state);
    assert_eq!(isos.labels(), ["SAME-b b.iso"]);
}

#[test]
fn what_was_served_before_and_has_not_answered_is_known() {
    let (mut isos, _directory, state) = Isos::kept();
    isos.add("a.iso", "ONE", hours_ago(1));
    assert_eq!(isos.labels(), ["ONE a.iso"]);

    let (open, gate) = channel::<()>();
    isos.restart(Gated(Mutex::new(gate)), state.clone());
    isos.add("b.iso", "NEW", hours_ago(1));
    let unanswered = |isos: &Isos| isos.scanner.as_ref().unwrap().unanswered_labels();
    let looked = isos.scanner.as_mut().unwrap().scan_within(Duration::from_millis(10)).unwrap();
    assert!(looked.isos.is_empty());
    assert_eq!(unanswered(&isos), HashSet::from([Label::parse("ONE").unwrap()]));
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(60);
    while isos.scan().isos.len() < 2 && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
    assert!(unanswered(&isos).is_empty());
}

/// Opens after a while.
struct Slow;

impl Opener for Slow {
    fn open(&self, file: Arc<File>) -> io::Result<Opened> {
        sleep(Duration::from_millis(100));
        Plain.open(file)
    }
}

#[test]
fn where_nothing_is_known_of_the_time_before_nobody_is_in_a_hurry() {
    let isos = Isos::new();
    isos.add("a.iso", "ONE", hours_ago(1));
    let directory = isos.directory.path().to_path_buf();
    let mut scanner = Scanner::new(directory, HashMap::default(), Arc::new(Slow));
    assert_eq!(scanner.scan_within(Duration::ZERO).unwrap().isos.len(), 1);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let mut isos = Isos::new();
    fs::remove_dir(isos.directory.path()).unwrap();
    let error = isos.scanner.as_mut().unwrap().scan().err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    fs::create_dir(isos.directory.path()).unwrap();
    assert!(isos.scan().isos.is_empty());
}

/// A directory of ISOs, and its scanner.
struct Isos {
    directory: TempDir,
    /// Taken while a thread has it.
    scanner: Option<Scanner>,
    unprivileged: bool,
}

impl Isos {
    fn new() -> Self {
        Self::pinned(&[])
    }

    fn pinned(pins: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pins = pins.iter().map(|(name, label)| (OsString::from(name), Label::parse(label).unwrap()));
        let scanner = Scanner::new(directory.path().to_path_buf(), pins.collect(), Arc::new(Plain));
        Self { directory, scanner: Some(scanner), unprivileged: false }
    }

    /// Labels are kept in a state directory.
    fn kept() -> (Self, TempDir, Arc<StateDir>) {
        let (mut isos, directory) = (Self::new(), tempfile::tempdir().unwrap());
        let state = Arc::new(StateDir::take(directory.path()).unwrap());
        isos.scanner.as_mut().unwrap().keep_labels(state.clone());
        (isos, directory, state)
    }

    /// Goes on with the scanner of another process.
    fn restart(&mut self, opener: impl Opener + 'static, state: Arc<StateDir>) {
        let mut scanner = Scanner::new(self.directory.path().to_path_buf(), HashMap::new(), Arc::new(opener));
        scanner.keep_labels(state);
        self.scanner = Some(scanner);
    }

    /// Scans as an ordinary user from now on; root may read everything.
    fn drop_privileges(&mut self) {
        self.unprivileged = rustix::process::geteuid().is_root();
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.directory.path().join(name.as_ref())
    }

    /// Writes an ISO as another file, as a rename of a finished copy does.
    fn add(&self, name: &str, volume_id: &str, mtime: SystemTime) {
        let copy = self.path(".copy");
        fs::write(&copy, iso(volume_id)).unwrap();
        File::options().write(true).open(&copy).unwrap().set_modified(mtime).unwrap();
        wait_for_writers(&copy);
        fs::rename(copy, self.path(name)).unwrap();
    }

    fn write(&self, name: impl AsRef<OsStr>, bytes: &[u8]) {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        wait_for_writers(&path);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn scan(&mut self) -> Catalog {
        let mut scanner = self.scanner.take().unwrap();
        let unprivileged = self.unprivileged;
        // User ids are a thread's own (setresuid(2), "C library/kernel differences").
        let thread = std::thread::spawn(move || {
            if unprivileged {
                let nobody = rustix::process::Uid::from_raw(65_534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            let catalog = scanner.scan().unwrap();
            (scanner, catalog)
        });
        let (scanner, catalog) = thread.join().unwrap();
        self.scanner = Some(scanner);
        catalog
    }

    /// Label and file of what is served.
    fn labels(&mut self) -> Vec<String> {
        self.scan().isos.iter().map(|iso| format!("{} {}", iso.label, iso.name)).collect()
    }

    /// File and reason of what is not.
    fn reasons(&mut self) -> Vec<String> {
        let reason = |skipped: &Skipped| format!("{}: {}", skipped.name, skipped.reason);
        self.scan().skipped.iter().map(reason).collect()
    }
}

fn hours_ago(hours: u64) -> SystemTime {
    // Of one moment, so that two of the same age are of the same.
    static NOW: OnceLock<SystemTime> = OnceLock::new();
    *NOW.get_or_init(SystemTime::now) - Duration::from_secs(hours * 3600)
}

/// A small live ISO of that volume id.
fn iso(volume_id: &str) -> Vec<u8> {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let files = Files::new()
            .with("images/pxeboot/vmlinuz", pattern(1, 100))
            .with("images/pxeboot/initrd.img", pattern(2, 100))
            .with("LiveOS/squashfs.img", squashfs(100));
        let directory = tempfile::tempdir().unwrap();
        files.xorriso(&["-R", "-no-pad", "-V", "LIVE"], &directory.path().join("made"));
        fs::read(directory.path().join("made")).unwrap()
    });
    let mut bytes = made.clone();
    let mut field = [b' '; 32];
    field[..volume_id.len()].copy_from_slice(volume_id.as_bytes());
    // ECMA-119, 8.4.7.
    bytes[32_808..32_840].copy_from_slice(&field);
    bytes
}
