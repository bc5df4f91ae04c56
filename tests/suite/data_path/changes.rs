//! Clients on the kernel's path whose ISO changes under them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise};
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

#[test]
fn an_iso_that_is_overwritten_in_place_is_an_error_from_then_on() {
    let (old, new) = (Disc::new("Live", 1), Disc::new("Live", 2));
    for truncate in [true, false] {
        let place = Place::with("live.iso", &old);
        let _daemon = place.start(&KERNEL);
        let open = ["images/Live", "images/Live.iso"].map(|name| File::open(place.tree(name)).unwrap());
        for file in &open {
            file.read_exact_at(&mut [0; 4096], 0).unwrap();
        }
        let mut writer = File::options().write(true).truncate(truncate).open(place.iso("live.iso")).unwrap();
        writer.write_all(&new.iso).unwrap();
        drop(writer);
        place.eventually("the revocation", || place.log().contains("can't be read any more"));
        for (file, bytes) in open.iter().zip([&old.root, &old.iso]) {
            // What was in memory may be there for a moment.
            place.eventually("the end of its pages", || {
                [0, 1_000_000, bytes.len() - 1000].map(|offset| read(file, bytes, offset)) == [EIO; 3]
            });
        }
        place.eventually("the new ISO", || {
            fs::read(place.tree("tftp/vmlinuz_Live")).is_ok_and(|bytes| bytes == new.kernel)
        });
        assert!(place.read("images/Live") == new.root);
        assert!(place.read("images/Live.iso") == new.iso);
    }
}

#[test]
fn an_iso_that_is_opened_for_writing_touched_or_written_again_with_the_same_bytes_is_read_on() {
    let disc = Disc::new("Live", 1);
    let place = Place::with("live.iso", &disc);
    let _daemon = place.start(&KERNEL);
    let file = File::open(place.tree("images/Live")).unwrap();
    let mut writer = File::options().write(true).open(place.iso("live.iso")).unwrap();
    writer.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(read(&file, &disc.root, 100_000), Ok(true));
    writer.write_all(&disc.iso).unwrap();
    drop(writer);
    // The watch has seen it when it has seen what comes behind it.
    place.look_again("Mark");
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    for offset in [0, 1_000_000, disc.root.len() - 1000] {
        assert_eq!(read(&file, &disc.root, offset), Ok(true), "at {offset}");
    }
    assert!(!place.log().contains("ERROR"), "{}", place.log());
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
