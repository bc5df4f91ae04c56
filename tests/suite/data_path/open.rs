//! Opening and closing: which way a file is read, and that nothing is left.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;
use testkit::disc::Disc;

use crate::support::place::Place;
use crate::support::readers::{open_direct, read_direct};

fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn many_clients_open_and_close_one_file_at_once() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&["--data-path", "kernel"]);
    std::thread::scope(|scope| {
        for reader in 0..32 {
            let (place, disc) = (&place, &disc);
            scope.spawn(move || {
                for round in 0..30 {
                    let file = File::open(place.tree("images/One")).unwrap();
                    let offset = (reader * 90_001 + round * 7919) % 2_900_000;
                    let mut bytes = [0; 5000];
                    file.read_exact_at(&mut bytes, offset as u64).unwrap();
                    assert!(bytes == disc.root[offset..offset + 5000]);
                }
            });
        }
    });
    assert_eq!(daemon.mapped(), 1, "one file, however often it is opened");
    daemon.stop();
}

#[test]
fn direct_reads_are_refused_while_the_kernel_reads_the_file_by_itself() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let _daemon = place.start(&["--data-path", "kernel"]);
    let path = place.tree("images/One");
    let usual = File::open(&path).unwrap();
    assert_eq!(open_direct(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(whole(&usual) == disc.root);
    drop(usual);
    // The close is told to the daemon a little later.
    place.eventually("the file to be closed", || open_direct(&path).is_ok());
    let direct = open_direct(&path).unwrap();
    let usual = File::open(&path).unwrap();
    assert!(read_direct(&direct, 1, 2).unwrap() == disc.root[4096..3 * 4096]);
    assert!(whole(&usual) == disc.root);
}

#[test]
fn no_mount_shows_while_files_are_mapped_and_nothing_is_left_afterwards() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&["--data-path", "kernel"]);
    let descriptors = daemon.descriptors();
    let file = File::open(place.tree("images/One")).unwrap();
    assert!(whole(&file) == disc.root);
    assert_eq!(daemon.mapped(), 1);
    // Others may mount what they like; what is mounted here comes from a descriptor.
    let mounts = fs::read_to_string(daemon.proc("mountinfo")).unwrap();
    assert!(!mounts.contains("/proc/self/fd/"), "{mounts}");
    // The ISO goes: its file stays for who has it open, and with the last one all of it goes.
    fs::remove_file(place.iso("one.iso")).unwrap();
    place.eventually("its end", || !place.tree("images/One").exists());
    assert!(whole(&file) == disc.root);
    drop(file);
    let known: HashSet<_> = descriptors.into_iter().filter(|name| !name.contains("one.iso")).collect();
    place.eventually("the mapping's end", || daemon.descriptors().iter().all(|name| known.contains(name)));
    daemon.stop();
}

#[test]
fn a_file_that_is_open_is_read_on_when_the_daemon_has_ended() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let mut daemon = place.start(&["--data-path", "kernel"]);
    let file = File::open(place.tree("images/One")).unwrap();
    file.read_exact_at(&mut [0; 100], 5000).unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", place.log());
    assert_eq!(place.mounts(), 0);
    let mut bytes = vec![0; disc.root.len()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == disc.root);
}

/// How many pages of a file are in memory.
fn residents(path: &Path) -> Vec<bool> {
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len() as usize;
    let mut pages = vec![0u8; len.div_ceil(4096)];
    // SAFETY: a new private mapping that is not looked at; mincore(2) writes a byte a page into `pages`.
    unsafe {
        let map = mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &file, 0).unwrap();
        assert_eq!(libc::mincore(map, len, pages.as_mut_ptr()), 0);
        munmap(map, len).unwrap();
    }
    pages.into_iter().map(|page| page & 1 == 1).collect()
}

fn resident(path: &Path) -> usize {
    residents(path).into_iter().filter(|&there| there).count()
}

#[test]
fn an_image_is_in_memory_once() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    // What has just been written is in memory.
    let iso = File::open(place.iso("one.iso")).unwrap();
    iso.sync_all().unwrap();
    rustix::fs::fadvise(&iso, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let _daemon = place.start(&["--data-path", "kernel"]);
    let file = File::open(place.tree("images/One")).unwrap();
    assert!(whole(&file) == disc.root);
    // Nobody has it open any more, and the next client finds it there.
    drop(file);
    assert_eq!(resident(&place.tree("images/One")), disc.root.len().div_ceil(4096), "the image's own");
    // What was read to look into the ISO may have been read ahead of a little: of the root image, hardly a piece.
    let pages = residents(&place.iso("one.iso"));
    let start = disc.iso.windows(64).position(|bytes| bytes == &disc.root[..64]).unwrap();
    let of_root = &pages[start / 4096..(start + disc.root.len()).div_ceil(4096)];
    let found = of_root.iter().filter(|&&there| there).count();
    assert!(found < of_root.len() / 2, "{found} of {} pages of the root image in the ISO", of_root.len());
}

#[test]
fn overlayfs_can_be_stacked_on_the_mount_only_where_all_goes_through_the_cache() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    for name in ["upper", "work", "over"] {
        fs::create_dir(place.elsewhere(name)).unwrap();
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        place.tree("trees/One").display(),
        place.elsewhere("upper").display(),
        place.elsewhere("work").display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    for (path, works) in [("kernel", false), ("cache", true)] {
        let daemon = place.start(&["--data-path", path]);
        let over = place.elsewhere("over");
        let mounted = mount("none", &over, "overlay", MountFlags::empty(), Some(options.as_c_str()));
        let seen = over.join("LiveOS/squashfs.img").exists();
        if mounted.is_ok() {
            unmount(&over, UnmountFlags::DETACH).unwrap();
        }
        assert_eq!((mounted.is_ok(), seen), (works, works), "{path}");
        daemon.stop();
    }
}

#[test]
fn an_iso_in_memory_is_mapped_too() {
    let disc = Disc::new("One", 1);
    let place = Place::new();
    mount("none", place.iso(""), "tmpfs", MountFlags::empty(), None).unwrap();
    fs::write(place.iso("one.iso"), &disc.iso).unwrap();
    let outcome = std::panic::catch_unwind(|| {
        let daemon = place.start(&["--data-path", "kernel"]);
        let file = File::open(place.tree("images/One")).unwrap();
        assert!(whole(&file) == disc.root);
        assert_eq!(daemon.mapped(), 1);
        drop(file);
        daemon.stop();
    });
    unmount(place.iso(""), UnmountFlags::DETACH).unwrap();
    assert!(outcome.is_ok(), "{}", place.log());
}

#[test]
fn an_iso_that_others_can_change_unseen_is_read_through_the_cache_and_one_line_says_so() {
    let disc = Disc::new("One", 1);
    let far = Place::with("one.iso", &disc);
    let _server = far.start(&["--data-path", "cache"]);
    let place = Place::new();
    for path in ["kernel", "auto"] {
        let _ = fs::remove_file(place.top().join("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        command.arg(far.tree("images")).arg(place.mnt()).args(["--data-path", path]);
        command
            .arg("--state-dir")
            .arg(place.top().join("state"))
            .arg("--log-file")
            .arg(place.top().join("log"));
        let daemon = place.start_by(&mut command);
        place.eventually("the ISO to have settled", || place.tree("images/One").exists());
        for name in ["images/One.iso", "images/One", "images/One"] {
            let file = File::open(place.tree(name)).unwrap();
            assert!(whole(&file) == if name.ends_with("iso") { &disc.iso[..] } else { &disc.root[..] });
        }
        assert_eq!(daemon.mapped(), 0);
        let line = "/images/One.iso: read through the block cache: it lies on a file system whose changes";
        assert_eq!(place.log().matches(line).count(), 1, "{}", place.log());
        daemon.stop();
    }
}
