//! The files: exact sizes, exact bytes, stable numbers, and nothing to write.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, RawDir};
use testkit::disc::{Disc, noise};
use testkit::promise::Stopwatch;

use crate::support::place::{LIVE, Place};

/// The files of an ISO as the tree has them.
fn expected<'a>(label: &str, disc: &'a Disc) -> [(String, &'a [u8]); 5] {
    [
        (format!("images/{label}.iso"), &disc.iso),
        (format!("images/liveos_{label}.img"), &disc.root),
        (format!("images/{label}"), &disc.root),
        (format!("tftp/vmlinuz_{label}"), &disc.kernel),
        (format!("tftp/initrd_{label}.img"), &disc.initrd),
    ]
}

#[test]
fn every_file_of_an_iso_is_served_byte_for_byte() {
    let discs = [("One", Disc::new("One", 1)), ("Two", Disc::new("Two", 2))];
    let place = Place::new();
    discs.iter().for_each(|(label, disc)| drop(place.put(&format!("{label}.iso"), disc)));
    for cache in ["0", "300K", "256M"] {
        let daemon = place.start(&["--data-path", "cache", "--cache-size", cache]);
        for (label, disc) in &discs {
            for (path, bytes) in expected(label, disc) {
                assert!(place.read(&path) == bytes, "{path} with a cache of {cache}");
            }
        }
        daemon.stop();
    }
}

#[test]
fn the_size_of_every_file_is_the_bytes_it_has() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&[]);
    let mut seen = 0;
    let mut directories = vec![place.mnt()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
                continue;
            }
            let mut file = File::open(entry.path()).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let stat = file.metadata().unwrap();
            assert_eq!(stat.len(), bytes.len() as u64, "{}", entry.path().display());
            assert_eq!(fs::metadata(entry.path()).unwrap().len(), stat.len());
            assert_eq!(entry.metadata().unwrap().ino(), stat.ino());
            assert_eq!(stat.blocks(), stat.len().div_ceil(512));
            seen += 1;
        }
    }
    assert!(seen > 6, "{seen}");
}

#[test]
fn loaders_of_this_host_are_passed_through() {
    let place = Place::new();
    let _daemon = place.start(&[]);
    let host = fs::read("/usr/lib/PXELINUX/pxelinux.0").expect("pxelinux.0: is it installed?");
    assert!(place.read("tftp/pxelinux.0") == host);
}

#[test]
fn reads_at_any_offset_are_pieces_of_the_whole() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let _daemon = place.start(&[]);
    for (path, bytes) in expected("One", &disc) {
        let file = File::open(place.tree(&path)).unwrap();
        let len = bytes.len();
        for (offset, size) in [
            (0, 1),
            (1, 2),
            (511, 513),
            (4095, 2),
            (65_535, 3),
            (len - 1, 1),
            (len - 3, 100),
            (len / 2, 70_000),
        ] {
            let mut buffer = vec![0; size];
            let mut got = 0;
            while got < size {
                match file.read_at(&mut buffer[got..], (offset + got) as u64).unwrap() {
                    0 => break,
                    more => got += more,
                }
            }
            assert!(buffer[..got] == bytes[offset..len.min(offset + size)], "{path} {offset}+{size}");
        }
    }
}

#[test]
fn a_read_past_the_end_gives_nothing() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let _daemon = place.start(&[]);
    for path in ["images/One.iso", "images/One", "tftp/vmlinuz_One", "images/nbd.conf"] {
        let file = File::open(place.tree(path)).unwrap();
        let len = file.metadata().unwrap().len();
        for offset in [len, len + 1, len + 100_000, i64::MAX as u64 - 4096] {
            assert_eq!(file.read_at(&mut [0; 4000], offset).unwrap(), 0, "{path} at {offset}");
        }
    }
}

#[test]
fn a_mapped_file_shows_the_same_bytes() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let _daemon = place.start(&[]);
    let file = File::open(place.tree("images/One")).unwrap();
    let len = disc.root.len();
    // SAFETY: a new private mapping; nobody truncates the file while it is looked at.
    let map = unsafe {
        libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    assert_ne!(map, libc::MAP_FAILED);
    // SAFETY: the mapping is `len` bytes long and readable.
    let bytes = unsafe { std::slice::from_raw_parts(map.cast::<u8>(), len) };
    let same = bytes == disc.root;
    // SAFETY: `bytes` isn't used any more.
    unsafe { libc::munmap(map, len) };
    assert!(same);
}

#[test]
fn nothing_can_be_written() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&[]);
    let iso = place.tree("images/One.iso");
    let new = place.tree("images/new");
    let outcomes = [
        ("write", OpenOptions::new().write(true).open(&iso).map(drop)),
        ("create", File::create(&new).map(drop)),
        ("truncate", OpenOptions::new().write(true).truncate(true).open(&iso).map(drop)),
        ("unlink", fs::remove_file(&iso)),
        ("mkdir", fs::create_dir(&new)),
        ("rmdir", fs::remove_dir(place.tree("images"))),
        ("rename", fs::rename(&iso, &new)),
        ("symlink", symlink("x", &new)),
        ("link", fs::hard_link(&iso, &new)),
        ("chmod", fs::set_permissions(&iso, PermissionsExt::from_mode(0o777))),
    ];
    for (what, outcome) in outcomes {
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EROFS), "{what}");
    }
}

#[test]
fn what_is_not_there_is_enoent_at_once() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&[]);
    let names: [&[u8]; 6] =
        [b"none", b"One.ISO", b"\xff\xfe", b"01-52-54-00-12-34-56", b"One.iso ", &[b'x'; 255]];
    let watch = Stopwatch::start();
    for directory in ["", "images", "tftp", "tftp/pxelinux.cfg"] {
        for name in names {
            let path = place.tree(directory).join(std::ffi::OsStr::from_bytes(name));
            assert_eq!(fs::metadata(&path).unwrap_err().kind(), ErrorKind::NotFound, "{}", path.display());
            assert_eq!(File::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
    let took = watch.took();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let below = fs::metadata(place.tree("images/One.iso/x")).unwrap_err();
    assert_eq!(below.raw_os_error(), Some(libc::ENOTDIR));
}

#[test]
fn times_are_those_of_the_iso() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    File::options().write(true).open(place.iso("one.iso")).unwrap().set_modified(then).unwrap();
    let _daemon = place.start(&[]);
    for path in ["images/One.iso", "images/One", "tftp/vmlinuz_One", "images/nbd.conf", "images", ""] {
        assert_eq!(fs::metadata(place.tree(path)).unwrap().modified().unwrap(), then, "{path}");
    }
}

/// Of all but what is made anew at each look-up.
fn numbers(place: &Place) -> Vec<(String, u64)> {
    let live = LIVE.map(|name| place.tree(name));
    let mut numbers = Vec::new();
    for directory in ["", "images", "tftp", "tftp/pxelinux.cfg"] {
        for entry in fs::read_dir(place.tree(directory)).unwrap() {
            let path = entry.unwrap().path();
            if !live.contains(&path) {
                numbers.push((path.display().to_string(), fs::metadata(path).unwrap().ino()));
            }
        }
    }
    numbers.sort();
    numbers
}

#[test]
fn inode_numbers_are_the_same_after_a_restart() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    place.put("two.iso", &Disc::new("Two", 2));
    let daemon = place.start(&[]);
    place.eventually("the verdicts", || {
        place.text("tftp/pxelinux.cfg/default").matches("/dev/nbd0").count() == 2
    });
    let before = numbers(&place);
    daemon.stop();
    let _daemon = place.start(&[]);
    assert_eq!(numbers(&place), before);
    let different: BTreeSet<u64> = before.iter().map(|(_, number)| *number).collect();
    assert_eq!(different.len(), before.len(), "{before:?}");
}

#[test]
fn an_unlisted_name_is_the_same_file() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&[]);
    let ino = |name| fs::metadata(place.tree(name)).unwrap().ino();
    assert_eq!(ino("images/One"), ino("images/liveos_One.img"));
    let names = fs::read_dir(place.tree("images")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(names, ["One.iso", "liveos_One.img", "nbd.conf"].map(str::to_owned).into());
}

#[test]
fn an_iso_cut_short_under_an_open_file_is_an_error_and_never_zeros() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let _daemon = place.start(&["--data-path", "cache", "--cache-size", "0"]);
    let file = File::open(place.tree("images/One.iso")).unwrap();
    let half = disc.iso.len() / 2;
    File::options().write(true).open(place.iso("one.iso")).unwrap().set_len(half as u64).unwrap();
    let read = |offset: usize| {
        let mut buffer = [0; 1000];
        let outcome = file.read_exact_at(&mut buffer, offset as u64);
        outcome.map(|()| buffer == disc.iso[offset..offset + 1000]).map_err(|error| error.raw_os_error())
    };
    // The kernel reads whole pages, and with them the edge.
    for offset in [half + 100_000, disc.iso.len() - 1000, half - 500, half + 8192] {
        assert_eq!(read(offset), Err(Some(libc::EIO)), "at {offset} of {half}");
    }
    assert_eq!(read(half - 300_000), Err(Some(libc::EIO)), "what is left is of an image that is no more");
    // A line for each reason, however often that was one.
    let log = place.log();
    let path = place.iso("one.iso").display().to_string();
    for reason in ["it ends at byte", "it was cut short"] {
        let line = |line: &&str| line.contains(&format!("ERROR] {path}: it can't be read: {reason}"));
        let told = log.lines().filter(line).filter(|line| !line.contains(" more in ")).count();
        assert!(told <= 1, "{log}");
    }
    assert!(log.contains("it can't be read"), "{log}");
}

#[test]
fn many_readers_at_once_get_the_right_bytes() {
    let discs = [Disc::new("One", 1), Disc::new("Two", 2)];
    let place = Place::with("one.iso", &discs[0]);
    place.put("two.iso", &discs[1]);
    // A cache that is too small for either, so that blocks come and go.
    let _daemon = place.start(&["--data-path", "cache", "--cache-size", "1M"]);
    std::thread::scope(|scope| {
        for reader in 0..8_usize {
            let (place, disc) = (&place, &discs[reader % 2]);
            scope.spawn(move || {
                let label = ["One", "Two"][reader % 2];
                let (path, bytes) = if reader < 4 {
                    (format!("images/{label}.iso"), &disc.iso)
                } else {
                    (format!("images/{label}"), &disc.root)
                };
                let file = File::open(place.tree(&path)).unwrap();
                let random = noise(reader as u64 + 77, 8 * 300);
                for number in random.chunks_exact(8) {
                    let number = u64::from_le_bytes(number.try_into().unwrap()) as usize;
                    let offset = number % bytes.len();
                    let size = (1 + (number >> 32) % 60_000).min(bytes.len() - offset);
                    let mut buffer = vec![0; size];
                    file.read_exact_at(&mut buffer, offset as u64).unwrap();
                    assert!(buffer == bytes[offset..offset + size], "{path} {offset}+{size}");
                }
            });
        }
    });
}

/// The names of a directory, read by a buffer of so many bytes.
fn list(directory: &Path, buffer: usize) -> Vec<String> {
    let fd = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut buffer = Vec::with_capacity(buffer);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        names.push(entry.unwrap().file_name().to_str().unwrap().to_owned());
    }
    names
}

#[test]
fn a_listing_of_500_isos_has_each_name_once_while_they_change() {
    let place = Place::new();
    let mut disc = Disc::new("x", 1);
    let labels: Vec<String> = (0..500).map(|number| format!("Live-{number:03}")).collect();
    for label in &labels {
        disc.rename(label);
        disc.write_without_root(&place.iso(&format!("{label}.iso")));
    }
    let daemon = place.start(&[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                // Every name but the first hundred may come or go meanwhile.
                let name = format!("Live-{:03}.iso", 100 + round % 400);
                fs::rename(place.iso(&name), place.elsewhere(&name)).unwrap();
                std::thread::yield_now();
                fs::rename(place.elsewhere(&name), place.iso(&name)).unwrap();
                round += 1;
            }
        });
        for buffer in [300, 1000, 4096, 32_768] {
            for _ in 0..5 {
                let names = list(&place.tree("images"), buffer);
                let different: BTreeSet<&String> = names.iter().collect();
                assert_eq!(different.len(), names.len(), "a name twice with {buffer} bytes");
                for label in &labels[..100] {
                    assert!(different.contains(&format!("{label}.iso")), "{label} with {buffer} bytes");
                    assert!(different.contains(&format!("liveos_{label}.img")), "{label}");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        changing.join().unwrap();
    });
    place.eventually("all", || list(&place.tree("images"), 4096).len() == 2 + 1 + 2 * 500);
    daemon.stop();
}
