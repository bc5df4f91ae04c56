//! The demands on the reader of ISO 9660, today the pre-release `hadris-iso` and `hadris-fs`, so that another could take
//! its place: each test is one of them, asked through [`Image`], which is all of netrootfs that knows the reader.
//!
//! In the reader's own terms: `mount`, `info`, `resolve`, `stat`, `readdir` with a cursor, `readlink`, `extents`, `read`,
//! `boot_catalog`. Damaged images are in `hostile`, whole ones of many makers in `isos`, and the demands on the reader of
//! FAT in `efi`.
//!
//! Needs xorriso and genisoimage.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use netrootfs::image::iso::{DirectoryEntry, EntryKind, Error, Image};
use netrootfs::storage::source::testing::{Counting, Faulty};

use crate::support::isos::{self, Files, pattern};
use crate::support::patch::{Patch, entry, record};

const ROCK_RIDGE: [&str; 3] = ["-R", "-V", "LIVE"];

#[test]
fn rock_ridge_goes_before_joliet_and_joliet_before_plain_names() {
    let files = Files::new().with("A long name.with_dots.txt", "x");
    for (options, name) in [
        (&["-R", "-J"][..], "A long name.with_dots.txt"),
        (&["-R"], "A long name.with_dots.txt"),
        (&["-J"], "A long name.with_dots.txt"),
        // As Linux shows them (isofs(5), map=normal).
        (&[], "a_long_n.txt"),
    ] {
        let mut image = open(genisoimage(&files, options));
        assert_eq!(image.list("/").unwrap(), [name], "{options:?}");
    }
}

#[test]
fn the_volume_id_is_told_byte_for_byte_with_size_and_block_size_of_the_volume() {
    let mut iso = xorriso(&Files::live(), &ROCK_RIDGE);
    iso.put(Patch::VOLUME_ID, b"caf\xe9 \0[x]                        ");
    let size = iso.bytes.len() as u64;
    let image = open(iso.clone());
    assert_eq!(image.volume_id(), b"caf\xe9 \0[x]");
    assert!((1..=size).contains(&image.declared_len()));
    iso.both16(Patch::BLOCK_SIZE, 1024);
    assert!(matches!(refusal(iso.bytes), Error::BlockSize(1024)));
}

#[test]
fn what_is_no_iso_is_told_from_a_damaged_one_and_from_one_that_can_not_be_read() {
    assert!(matches!(refusal(pattern(1, 100_000)), Error::NotIso));
    let mut iso = xorriso(&Files::live(), &ROCK_RIDGE);
    let bytes = iso.bytes.clone();
    let broken = Faulty::new(bytes, |_, _| Err(io::ErrorKind::ConnectionReset.into()));
    let Err(Error::Io(error)) = Image::open(Arc::new(broken)) else { panic!("not the device's own error") };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    iso.both32(Patch::ROOT_RECORD + 2, u32::MAX);
    assert!(
        matches!(refusal(iso.bytes), Error::Damaged { path, reason } if path == "/" && !reason.is_empty())
    );
}

#[test]
fn the_extents_of_a_file_are_its_bytes_in_order() {
    let bytes = pattern(7, 5000);
    let mut iso = xorriso(&Files::live().with("file", &bytes).with("empty", ""), &ROCK_RIDGE);
    assert_eq!(read(&iso, "/file"), bytes);
    assert_eq!(open(iso.clone()).file("/empty").unwrap().unwrap().extents, []);

    // More than one (ECMA-119, 9.1.6): records of one name, all but the last with a mark.
    let second = iso.append(&bytes[2048..]);
    let first = iso.append(&bytes[..2048]);
    let name = entry(b"NM", b"\0parts");
    let dots = [record(&[0], 0, 2048, 2, &[]), record(&[1], 0, 2048, 2, &[])];
    let parts = [(first, 2048, 0x80), (second, 2952, 0)];
    let parts = parts.map(|(sector, len, flags)| record(b"PARTS.;1", sector, len, flags, &name));
    put_directory(&mut iso, "/LiveOS", &[dots.as_slice(), &parts].concat());
    let file = open(iso.clone()).file("/LiveOS/parts").unwrap().unwrap();
    assert_eq!((file.len, file.extents.len()), (5000, 2));
    assert_eq!(read(&iso, "/LiveOS/parts"), bytes);
}

#[test]
fn a_file_with_gaps_between_its_blocks_is_an_error_when_it_is_read() {
    let mut iso = xorriso(&Files::live().with("file", pattern(1, 5000)), &ROCK_RIDGE);
    let record = iso.record("/file");
    // File unit size and interleave gap size (ECMA-119, 9.1.7 and 9.1.8).
    iso.put(record + 26, &[1, 1]);
    assert!(matches!(open(iso).file("/file"), Err(Error::Damaged { .. })));
}

#[test]
fn a_directory_tells_types_sizes_modes_times_and_targets() {
    let files = Files::live().with("file", pattern(1, 5000)).with_link("link", "../any where/\u{e9}");
    isos::run(Command::new("mkfifo").arg(files.path().join("pipe")));
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_001);
    let file = File::options().write(true).open(files.path().join("file")).unwrap();
    file.set_modified(then).unwrap();
    isos::run(Command::new("chmod").arg("0640").arg(files.path().join("file")));

    let mut image = open(xorriso(&files, &ROCK_RIDGE));
    let entries = root_entries(&mut image);
    let of = |name: &str| entries.iter().find(|entry| &*entry.name == name.as_bytes()).unwrap();
    assert_eq!(of("file").kind, EntryKind::File { len: 5000 });
    assert_eq!((of("file").mode & 0o777, of("file").mtime), (0o640, then));
    let target = "../any where/\u{e9}".as_bytes().into();
    assert_eq!(of("link").kind, EntryKind::Link { target });
    assert_eq!(of("LiveOS").kind, EntryKind::Directory);
    assert!(matches!(of("pipe").kind, EntryKind::Other(_)));
}

#[test]
fn a_name_may_have_any_bytes_and_any_length() {
    let files = Files::live().with(&"n".repeat(240), "x").with("odd", "x");
    let mut iso = xorriso(&files, &ROCK_RIDGE);
    let odd = iso.susp(iso.record("/odd"), b"NM");
    iso.put(odd + 5, b"\xff\x01\n");
    let names: BTreeSet<_> = root_entries(&mut open(iso)).into_iter().map(|entry| entry.name).collect();
    assert!(names.contains("n".repeat(240).as_bytes()), "a name in a continuation area (SUSP, 5.1)");
    assert!(names.contains(&b"\xff\x01\n"[..]), "{names:?}");
}

#[test]
fn symbolic_links_are_followed_inside_the_image_and_a_circle_leads_nowhere() {
    let files = Files::live()
        .with_link("a/up", "../images/./pxeboot")
        .with_link("a/absolute", "/images/pxeboot/vmlinuz")
        .with_link("out", "../../etc/passwd")
        .with_link("circle", "a/../circle");
    let iso = xorriso(&files, &ROCK_RIDGE);
    for path in ["/a/up/vmlinuz", "/a/absolute"] {
        assert_eq!(read(&iso, path), pattern(1, 10_000), "{path}");
    }
    let mut image = open(iso);
    assert!(!image.exists("/out") && !image.exists("/circle"));
}

#[test]
fn a_relocated_directory_is_where_it_was_and_nowhere_else() {
    let files = Files::live().with("1/2/3/4/5/6/7/8/9/10/file", pattern(3, 9000));
    let iso = genisoimage(&files, &ROCK_RIDGE);
    assert!(iso.bytes.windows(8).any(|bytes| bytes == b"RR_MOVED"), "the tool is to relocate");
    assert_eq!(read(&iso, "/1/2/3/4/5/6/7/8/9/10/file"), pattern(3, 9000));
    let mut image = open(iso);
    assert_eq!(image.list("/1/2/3/4/5/6/7").unwrap(), ["8"]);
    assert_eq!(image.list("/rr_moved").unwrap(), [""; 0]);
}

#[test]
fn the_boot_catalog_tells_platforms_and_where_their_images_begin() {
    let boot = pattern(8, 8192);
    let files = Files::live().with("bios.img", pattern(9, 4096)).with("efi.img", &boot);
    let options = ["-b", "bios.img", "-no-emul-boot", "-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"];
    let iso = xorriso(&files, &[&ROCK_RIDGE[..], &options].concat());
    let starts = open(iso.clone()).efi_boot_images().unwrap();
    let [start] = starts[..] else { panic!("{starts:?}") };
    assert!(iso.bytes[start as usize..].starts_with(&boot));
    assert_eq!(open(xorriso(&files, &ROCK_RIDGE)).efi_boot_images().unwrap(), [0; 0]);
}

#[test]
fn the_number_of_a_directory_is_where_it_begins_and_numbers_stay_the_same() {
    // A tree tells circles by them, and gives them to the kernel as inode numbers.
    let iso = xorriso(&Files::live().with("sub/dir/file", "x"), &ROCK_RIDGE);
    let ids = |image: &mut Image| root_entries(image).into_iter().map(|entry| entry.id).collect::<Vec<_>>();
    let (mut one, mut other) = (open(iso.clone()), open(iso));
    assert_eq!(ids(&mut one), ids(&mut other));
    assert_eq!(ids(&mut one).into_iter().collect::<HashSet<_>>().len(), ids(&mut one).len());
    // `entries` refuses a directory whose number is anything else.
    let sub = root_entries(&mut one).into_iter().find(|entry| &*entry.name == b"sub").unwrap();
    assert_eq!(one.entries(sub.id, "/sub").unwrap().len(), 1);
}

#[test]
fn looking_into_an_image_reads_its_structures_and_none_of_its_files() {
    let body = 1 << 20;
    let files = Files::live().with("large", pattern(1, body));
    let iso = xorriso(&files, &ROCK_RIDGE);
    let extent = open(iso.clone()).file("/large").unwrap().unwrap().extents[0];
    let source = Arc::new(Counting::new(iso.bytes));
    let mut image = Image::open(source.clone()).unwrap();
    image.file("/large").unwrap().unwrap();
    root_entries(&mut image);
    let inside = |(offset, len): &(u64, usize)| {
        offset + *len as u64 > extent.offset && *offset < extent.offset + extent.len
    };
    let of_file: usize = source.reads().iter().filter(|read| inside(read)).map(|(_, len)| len).sum();
    // The head, for what is compressed, and the last byte, with its block.
    assert!(of_file <= 8 + 2048, "{of_file} bytes of the file");
}

#[test]
fn nothing_is_kept_so_that_what_is_looked_at_again_is_read_again() {
    // The limit of reads is a limit of work only if no cache stands before it.
    let source = Arc::new(Counting::new(xorriso(&Files::live(), &ROCK_RIDGE).bytes));
    let mut image = Image::open(source.clone()).unwrap();
    let mut cost = || {
        let before = source.reads().len();
        root_entries(&mut image);
        source.reads().len() - before
    };
    let costs = [cost(), cost(), cost()];
    assert!(costs[0] > 0 && costs[1] == costs[2], "{costs:?}");
}

#[test]
fn a_read_that_is_refused_ends_the_look_and_comes_back_as_it_is() {
    let iso = xorriso(&Files::live().with("sub/file", "x"), &ROCK_RIDGE);
    let whole = {
        let source = Arc::new(Counting::new(iso.bytes.clone()));
        Image::open(source.clone()).unwrap().file("/sub/file").unwrap().unwrap();
        source.reads().len()
    };
    // Each of the reads fails once.
    for number in 0..whole {
        let left = AtomicUsize::new(number);
        let source = Faulty::new(iso.bytes.clone(), move |_, _| {
            let left = left.fetch_update(Relaxed, Relaxed, |left: usize| left.checked_sub(1));
            left.map(drop).map_err(|_| io::ErrorKind::TimedOut.into())
        });
        let outcome = Image::open(Arc::new(source)).and_then(|mut image| image.file("/sub/file"));
        assert!(
            matches!(&outcome, Err(Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut),
            "read {number} of {whole}: {outcome:?}"
        );
    }
}

#[test]
fn hard_links_cost_no_walk_through_the_image_each() {
    let files = Files::live();
    for number in 0..200 {
        let path = files.path().join(format!("link{number}"));
        std::fs::hard_link(files.path().join("images/pxeboot/vmlinuz"), path).unwrap();
    }
    let source =
        Arc::new(Counting::new(xorriso(&files, &[&ROCK_RIDGE[..], &["--hardlinks"]].concat()).bytes));
    let mut image = Image::open(source.clone()).unwrap();
    assert_eq!(root_entries(&mut image).len(), 200 + 2);
    let reads = source.reads().len();
    assert!(reads < 200 * 20, "{reads} reads for 200 links");
}

fn xorriso(files: &Files, options: &[&str]) -> Patch {
    made(|iso| files.xorriso(options, iso))
}

fn genisoimage(files: &Files, options: &[&str]) -> Patch {
    made(|iso| files.genisoimage(options, iso))
}

fn made(make: impl FnOnce(&Path)) -> Patch {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.iso");
    make(&path);
    Patch { bytes: std::fs::read(path).unwrap() }
}

fn open(iso: Patch) -> Image {
    Image::open(Arc::new(iso.bytes)).unwrap()
}

fn refusal(bytes: Vec<u8>) -> Error {
    Image::open(Arc::new(bytes)).err().expect("it is to be refused")
}

fn read(iso: &Patch, path: &str) -> Vec<u8> {
    open(iso.clone()).read(path, 1 << 20).unwrap().unwrap_or_else(|| panic!("no {path}"))
}

fn root_entries(image: &mut Image) -> Vec<DirectoryEntry> {
    let root = image.root();
    image.entries(root, "/").unwrap()
}

/// Writes other records over those of a directory.
fn put_directory(iso: &mut Patch, path: &str, records: &[Vec<u8>]) {
    let at = iso.extent(iso.record(path));
    let mut dots = iso.bytes[at..at + 2048].to_vec();
    // Its own `.` and `..` stay.
    let own: usize = [0, usize::from(dots[0])].iter().map(|&at| usize::from(dots[at])).sum();
    dots.truncate(own);
    let mut bytes = [dots, records[2..].concat()].concat();
    bytes.resize(2048, 0);
    iso.put(at, &bytes);
}
