//! Clients whose ISO changes under them, on both paths.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

use testkit::disc::Disc;

use crate::support::place::Place;

const KERNEL: [&str; 2] = ["--data-path", "kernel"];

/// Reads a thousand bytes: whether they are the old ones, or the error.
fn read(file: &File, bytes: &[u8], offset: usize) -> Result<bool, Option<i32>> {
    let mut buffer = [0; 1000];
    let outcome = file.read_exact_at(&mut buffer, offset as u64);
    outcome.map(|()| buffer == bytes[offset..offset + 1000]).map_err(|error| error.raw_os_error())
}

const EIO: Result<bool, Option<i32>> = Err(Some(libc::EIO));

#[test]
fn an_iso_cut_short_is_an_error_and_never_zeros() {
    let disc = Disc::new("One", 1);
    for (name, bytes) in [("images/One.iso", &disc.iso), ("images/One", &disc.root)] {
        let place = Place::with("one.iso", &disc);
        let _daemon = place.start(&KERNEL);
        let file = File::open(place.tree(name)).unwrap();
        let start = disc.iso.windows(4).step_by(2048).position(|head| head == b"hsqs").unwrap() * 2048;
        let half = if name.ends_with("iso") { bytes.len() / 2 } else { bytes.len() / 2 + start };
        File::options().write(true).open(place.iso("one.iso")).unwrap().set_len(half as u64).unwrap();
        let cut = if name.ends_with("iso") { half } else { half - start };
        // Behind the cut, at once and for ever; the page that it goes through with it.
        let behind = [cut - 500, cut + 8192, cut + 100_000];
        for offset in behind {
            assert_eq!(read(&file, bytes, offset), EIO, "{name} at {offset} of {cut}");
        }
        // Before it, and where pages are in memory, the right bytes until the daemon has noticed.
        let elsewhere = [0, cut - 300_000, bytes.len() - 1000];
        place.eventually("the revocation", || {
            let outcomes = elsewhere.map(|offset| read(&file, bytes, offset));
            assert!(!outcomes.contains(&Ok(false)), "{name}: other bytes");
            outcomes == [EIO; 3]
        });
        assert_eq!(behind.map(|offset| read(&file, bytes, offset)), [EIO; 3]);
        assert!(place.log().contains("one.iso: it was cut short, to "), "{}", place.log());
        // Who opens it now, while others still have it open, gets the same.
        if let Ok(file) = File::open(place.tree(name)) {
            assert_eq!(read(&file, bytes, cut + 4096), EIO);
        }
    }
}

/// What writes into the file of an ISO in place, by its name.
type InPlace = fn(&Place, &Disc);

/// Each with whether the file is an ISO again when it is done.
const WRITES: [(&str, InPlace, bool); 6] = [
    ("cp", |place, new| copy(place, &["cp"], new), true),
    (
        "rsync --inplace of another build with the same size, descriptor and time",
        |place, new| same_stat(place, new),
        true,
    ),
    (
        "a hole",
        |place, _| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(writer(place), flags, 1 << 20, 65_536).unwrap();
        },
        true,
    ),
    ("one sector", |place, _| writer(place).write_all_at(&[7; 2048], 1 << 20).unwrap(), true),
    ("dd of all of it", |place, new| writer(place).write_all_at(&new.iso, 0).unwrap(), true),
    ("its end cut off", |place, new| writer(place).set_len(new.iso.len() as u64 / 2).unwrap(), false),
];

fn writer(place: &Place) -> File {
    File::options().write(true).open(place.iso("live.iso")).unwrap()
}

fn copy(place: &Place, command: &[&str], new: &Disc) {
    fs::write(place.elsewhere("new"), &new.iso).unwrap();
    let mut run = Command::new(command[0]);
    run.args(&command[1..]).arg(place.elsewhere("new")).arg(place.iso("live.iso"));
    assert!(run.status().unwrap().success());
}

/// Writes other bytes, with the old descriptor, size and times.
fn same_stat(place: &Place, new: &Disc) {
    let file = writer(place);
    let stat = file.metadata().unwrap();
    assert_eq!(stat.len(), new.iso.len() as u64);
    file.write_all_at(&new.iso[34 * 1024..], 34 * 1024).unwrap();
    let times =
        FileTimes::new().set_accessed(stat.accessed().unwrap()).set_modified(stat.modified().unwrap());
    file.set_times(times).unwrap();
}

#[test]
fn an_iso_that_is_written_to_in_place_is_an_error_for_who_has_it_open_and_then_another_file() {
    let (old, new) = (Disc::new("Live", 1), Disc::new("Live", 2));
    for path in ["kernel", "cache"] {
        for (what, write, whole) in WRITES {
            let place = Place::with("live.iso", &old);
            let _daemon = place.start(&["--data-path", path]);
            let names = ["images/Live", "images/Live.iso"].map(|name| place.tree(name));
            let before = names.each_ref().map(|name| fs::metadata(name).unwrap().ino());
            let open = names.each_ref().map(|name| File::open(name).unwrap());
            let olds = [&old.root, &old.iso];
            for (file, bytes) in open.iter().zip(olds) {
                assert_eq!(read(file, bytes, 0), Ok(true), "{what}, {path}");
            }
            write(&place, &new);
            place.eventually("the error", || place.log().contains("can't be read any more"));
            for (file, bytes) in open.iter().zip(olds) {
                // What was in memory may be there for a moment, where the kernel reads; else it is what it was.
                let offsets = [0, 1_000_000, bytes.len() - 1000];
                let ended = || offsets.map(|offset| read(file, bytes, offset));
                if path == "kernel" {
                    place.eventually("the end of its pages", || ended() == [EIO; 3]);
                }
                assert!(
                    !ended().contains(&Ok(false)) && ended().contains(&EIO),
                    "{what}, {path}: {:?}",
                    ended()
                );
            }
            if whole {
                let now = fs::read(place.iso("live.iso")).unwrap();
                let other = || fs::metadata(&names[1]).is_ok_and(|stat| stat.ino() != before[1]);
                place.eventually("the new file", other);
                assert!(fs::read(&names[1]).unwrap() == now, "{what}, {path}");
                place.eventually("the other new file", || {
                    fs::metadata(&names[0]).is_ok_and(|stat| stat.ino() != before[0])
                });
            } else {
                place.eventually("its end", || !names[1].exists());
            }
            for (file, bytes) in open.iter().zip(olds) {
                assert_eq!(read(file, bytes, 2_000_000), EIO, "{what}, {path}: for ever");
            }
        }
    }
}

#[test]
fn an_iso_that_is_being_written_to_appears_when_it_is_whole_again() {
    let (old, new) = (Disc::new("Live", 1), Disc::new("Live", 2));
    let place = Place::with("live.iso", &old);
    let _daemon = place.start(&["--data-path", "cache"]);
    place.eventually("the verdict", || place.top().join("state/initrds.json").exists());
    // As cp does it: the same file, emptied and filled again.
    let mut writer = File::create(place.iso("live.iso")).unwrap();
    writer.write_all(&new.iso[..500_000]).unwrap();
    place.promised("its end", || !place.tree("images/Live.iso").exists());
    writer.write_all(&new.iso[500_000..]).unwrap();
    drop(writer);
    place.promised("the new ISO", || place.tree("images/Live.iso").exists());
    assert!(place.read("tftp/vmlinuz_Live") == new.kernel);
    assert!(place.read("images/Live") == new.root);
}

#[test]
fn an_iso_whose_bytes_are_left_alone_is_read_on() {
    let disc = Disc::new("Live", 1);
    for path in ["kernel", "cache"] {
        let place = Place::with("live.iso", &disc);
        let _daemon = place.start(&["--data-path", path]);
        let file = File::open(place.tree("images/Live")).unwrap();
        let iso = place.iso("live.iso");
        let shell = [
            "touch",
            "touch -d 2020-01-01",
            "touch -a",
            "chmod 600",
            "chmod 644",
            "chown 1:1",
            "cat >/dev/null",
            "setfattr -n user.backup -v 1",
        ];
        let commands = shell.map(|command| format!("{command} '{}'", iso.display()));
        for command in commands.iter().chain([&format!(": >>'{}'", iso.display())]) {
            // A file system need not have attributes of users.
            let ran = Command::new("sh").args(["-c", command]).output().unwrap();
            assert!(ran.status.success() || command.starts_with("setfattr"), "{command}");
            assert_eq!(read(&file, &disc.root, 100_000), Ok(true), "{command}, {path}");
        }
        // The watch has seen it when it has seen what comes behind it.
        place.look_again("Mark");
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        for offset in [0, 1_000_000, disc.root.len() - 1000] {
            assert_eq!(read(&file, &disc.root, offset), Ok(true), "at {offset}, {path}");
        }
        assert!(!place.log().contains("ERROR"), "{}", place.log());
    }
}

#[test]
fn an_iso_that_is_replaced_gives_new_bytes_and_an_open_file_the_old() -> io::Result<()> {
    let (old, new) = (Disc::new("Live", 1), Disc::new("Live", 2));
    let place = Place::with("live.iso", &old);
    let _daemon = place.start(&KERNEL);
    let names = ["images/Live.iso", "images/Live", "tftp/vmlinuz_Live", "tftp/initrd_Live.img"];
    let olds = [&old.iso, &old.root, &old.kernel, &old.initrd];
    let open = names.map(|name| File::open(place.tree(name)).unwrap());
    place.put("live.iso", &new);
    place.promised("the new bytes", || place.read("tftp/vmlinuz_Live") == new.kernel);
    for ((file, old), (name, new)) in
        open.iter().zip(olds).zip(names.iter().zip([&new.iso, &new.root, &new.kernel, &new.initrd]))
    {
        let mut bytes = vec![0; old.len()];
        file.read_exact_at(&mut bytes, 0)?;
        assert!(bytes == *old, "{name}");
        assert!(place.read(name) == *new, "{name}");
    }
    Ok(())
}
