//! ISOs that break the rules, one field at a time: the outcome of each is known, and nothing but it happens.
//!
//! Each test damages an image that a tool has made, and says what becomes of it: refused with a reason, or served with
//! the right bytes all the same. Time is not measured; what an image may cost is counted in reads.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use netrootfs::boot::inspect::{self, Facts};
use netrootfs::catalog::scan::{Catalog, FileId, Iso, IsoFile};
use netrootfs::image::iso::{self, Image, MAX_READS};
use netrootfs::image::label::Label;
use netrootfs::storage::source::ReadAt;
use netrootfs::storage::source::testing::Counting;
use netrootfs::tree::arena::{Kind, Tree};
use netrootfs::tree::layout::{self, Settings};
use proptest::prelude::*;

use crate::support::isos::{Files, pattern, squashfs};
use crate::support::patch::{Patch, both32, continuation, directory, entry, record};

mod cost;

const KERNEL: &str = "/images/pxeboot/vmlinuz";
const INITRD: &str = "/images/pxeboot/initrd.img";
const ROOT: &str = "/LiveOS/squashfs.img";

/// Flags of a directory record (ECMA-119, 9.1.6).
const IS_DIRECTORY: u8 = 2;
const NOT_FINAL: u8 = 0x80;

const RECORD_FAULT: &str = "damaged ISO 9660 structure (invalid directory record)";
const SUSP_FAULT: &str = "damaged ISO 9660 structure (invalid system use area)";

// Class 1: continuation areas (SUSP, 5.1).

#[test]
fn a_continuation_area_in_a_circle_damages_its_file_only() {
    let mut iso = sound();
    let sector = iso.append(&[]);
    iso.append(&continuation(sector, 0, 28));
    let readme = iso.record("/readme");
    iso.replace_px(readme, &continuation(sector, 0, 28));
    assert_served(&iso);
    assert_eq!(fault(&iso, "/README"), format!("/README: {SUSP_FAULT}"));
}

#[test]
fn continuation_areas_that_lead_nowhere_damage_their_file_only() {
    let beyond = u32::MAX;
    for area in [
        continuation(beyond, 0, 28),
        continuation(16, 5000, 28),
        continuation(16, 0, beyond),
        continuation(16, beyond, beyond),
        continuation(16, 0, 0),
    ] {
        let mut iso = sound();
        let readme = iso.record("/readme");
        iso.replace_px(readme, &area);
        assert_served(&iso);
        assert_eq!(fault(&iso, "/README"), format!("/README: {SUSP_FAULT}"), "{area:?}");
    }
}

#[test]
fn a_long_chain_of_continuation_areas_damages_its_file_only() {
    let mut iso = sound();
    let first = iso.append(&[]);
    for next in 1..400 {
        iso.append(&continuation(first + next, 0, 28));
    }
    iso.append(&entry(b"NM", b"\0end"));
    let readme = iso.record("/readme");
    iso.replace_px(readme, &continuation(first, 0, 28));
    assert_served(&iso);
    assert_eq!(fault(&iso, "/README"), format!("/README: {SUSP_FAULT}"));
}

#[test]
fn a_kernel_with_a_continuation_area_in_a_circle_is_the_reason_to_refuse() {
    let mut iso = sound();
    let sector = iso.append(&[]);
    iso.append(&continuation(sector, 0, 28));
    let kernel = iso.record(KERNEL);
    iso.replace_px(kernel, &continuation(sector, 0, 28));
    assert_refused(&iso, &format!("/images/pxeboot/VMLINUZ: {SUSP_FAULT}"));
}

// Class 2: relocated directories (RRIP, 4.1.5).

#[test]
fn a_relocated_directory_that_is_itself_or_no_directory() {
    for target in [0, 16, 17, u32::MAX] {
        let mut iso = sound();
        let readme = iso.record("/readme");
        iso.replace_px(readme, &entry(b"CL", &both32(target)));
        assert_served(&iso);
        assert!(!image(&iso).exists("/readme/x"));
    }
    let mut iso = sound();
    let images = iso.record("/images");
    let sector = u32::try_from(iso.extent(images)).unwrap() / 2048;
    // In its own directory, a child that is its own parent.
    let child = iso.record("/images/pxeboot");
    iso.replace_px(child, &entry(b"CL", &both32(sector)));
    assert_refused(&iso, NOTHING);
    assert!(image(&iso).exists("/images/pxeboot/pxeboot/pxeboot"));
}

#[test]
fn relocated_directories_in_a_circle() {
    let mut iso = sound();
    let one = iso.append(&[]);
    let other = one + 1;
    let dots = |at| [record(&[0], at, 2048, IS_DIRECTORY, &[]), record(&[1], at, 2048, IS_DIRECTORY, &[])];
    for (at, to) in [(one, other), (other, one)] {
        let link = record(b"X", 0, 0, 0, &[entry(b"NM", b"\0x"), entry(b"CL", &both32(to))].concat());
        iso.append(&directory(&[dots(at).as_slice(), &[link]].concat()));
    }
    let readme = iso.record("/readme");
    iso.replace_px(readme, &entry(b"CL", &both32(one)));
    assert_served(&iso);
    assert!(image(&iso).exists(&format!("/readme{}", "/x".repeat(200))));
    assert!(!image(&iso).exists(&format!("/readme{}/y", "/x".repeat(200))));
}

#[test]
fn a_mark_of_relocation_without_a_link_hides_the_directory() {
    let mut iso = sound();
    let images = iso.record("/images");
    iso.replace_px(images, &entry(b"RE", &[]));
    assert_refused(&iso, NOTHING);
}

// Classes 3 and 4: malformed system use entries.

#[test]
fn malformed_system_use_entries_damage_their_file_only() {
    let entries: [(&str, Vec<u8>); 8] = [
        ("length 0", vec![b'P', b'X', 0, 1]),
        ("length 1", vec![b'P', b'X', 1, 1]),
        ("length 2", vec![b'P', b'X', 2, 1]),
        ("length 3", vec![b'P', b'X', 3, 1]),
        ("past its record", vec![b'P', b'X', 200, 1]),
        ("SL past itself", entry(b"SL", &[0, 0, 200, b'x'])),
        ("ER past itself", entry(b"ER", &[200, 200, 200, 1])),
        ("CD-XA", b"\0\0\0\0\x8dUXA\0\0\0\0\0\0".to_vec()),
    ];
    for (what, bytes) in entries {
        let mut iso = sound();
        let readme = iso.record("/readme");
        iso.replace_px(readme, &bytes);
        assert_served(&iso);
        // CD-XA's zero ends the area without a fault, and with it the name.
        let expected = if what == "CD-XA" { "" } else { &format!("/README: {SUSP_FAULT}") };
        assert_eq!(fault(&iso, "/README"), expected, "{what}");
    }
}

#[test]
fn an_extension_s_name_may_have_any_length_that_it_says() {
    // Where it belongs: in the `.` of the root (SUSP, 5.5; RRIP, 4.3).
    for lengths in [[255, 0, 0], [0, 255, 255], [10, 84, 135]] {
        let mut iso = sound();
        let dot = iso.extent(Patch::ROOT_RECORD);
        let at = iso.susp(dot, b"CE");
        let number = |at: usize| u32::from_le_bytes(iso.bytes[at..at + 4].try_into().unwrap()) as usize;
        let area = number(at + 4) * 2048 + number(at + 12);
        assert_eq!(iso.bytes[area..area + 2], *b"ER");
        iso.put(area + 4, &lengths);
        match image(&iso).list("/") {
            Ok(names) => assert!(names.contains(&"readme".to_owned()), "{lengths:?}: {names:?}"),
            Err(error) => assert_eq!(error.to_string(), format!("/: {SUSP_FAULT}"), "{lengths:?}"),
        }
    }
}

#[test]
fn a_name_of_great_length_or_with_a_nul_is_one_name_or_none() {
    // Pieces of a name follow one another (RRIP, 4.1.4); Linux takes 254 bytes (CVE-2016-4913).
    for (pieces, piece) in [(1, 240), (4, 240), (64, 240)] {
        let mut iso = sound();
        let flag = |number: usize| u8::from(number + 1 < pieces);
        let area: Vec<u8> = (0..pieces)
            .flat_map(|number| entry(b"NM", &[&[flag(number)], vec![b'n'; piece].as_slice()].concat()))
            .collect();
        let sector = iso.append(&area);
        let readme = iso.record("/readme");
        let name = iso.susp(readme, b"NM");
        iso.put(name + 4, &[1]);
        iso.replace_px(readme, &continuation(sector, 0, u32::try_from(area.len()).unwrap()));
        assert_served(&iso);
        let names = image(&iso).list("/").unwrap();
        assert!(names.iter().filter(|name| name.contains("nnn")).count() <= 1, "{names:?}");
        let tree = tree_of(&iso, inspect(&iso).unwrap(), &Label::parse("LIVE").unwrap());
        let shown = tree.read(&tree.find("trees/LIVE").unwrap().unwrap()).unwrap();
        assert!(shown.iter().all(|entry| (1..=255).contains(&entry.name.len())), "{shown:?}");
    }
    let mut iso = sound();
    let readme = iso.record("/readme");
    let name = iso.susp(readme, b"NM");
    iso.put(name + 7, &[0]);
    assert_served(&iso);
    let tree = tree_of(&iso, inspect(&iso).unwrap(), &Label::parse("LIVE").unwrap());
    let shown = tree.read(&tree.find("trees/LIVE").unwrap().unwrap()).unwrap();
    assert!(shown.iter().all(|entry| !entry.name.as_encoded_bytes().contains(&0)), "{shown:?}");
}

#[test]
fn a_name_in_another_encoding_is_shown_as_it_is() {
    let mut iso = sound();
    let readme = iso.record("/readme");
    let name = iso.susp(readme, b"NM");
    // "réadme" in Latin-1 is no UTF-8.
    iso.put(name + 6, b"\xe9");
    assert_served(&iso);
    let tree = tree_of(&iso, inspect(&iso).unwrap(), &Label::parse("LIVE").unwrap());
    let root = tree.find("trees/LIVE").unwrap().unwrap();
    let entry = tree.enter(&root, OsStr::from_bytes(b"r\xe9adme")).unwrap().unwrap();
    assert!(matches!(&entry.kind, Kind::Unopened(file) if file.size() == 5));
    assert!(tree.read(&root).unwrap().iter().any(|entry| entry.name.as_bytes() == b"r\xe9adme"));
}

#[test]
fn times_that_cannot_be_are_no_matter() {
    let mut iso = sound();
    for path in [KERNEL, INITRD, ROOT] {
        let record = iso.record(path);
        iso.put(record + 18, &[255; 7]);
        let times = iso.susp(record, b"TF");
        let len = usize::from(iso.bytes[times + 2]);
        iso.put(times + 5, &vec![255; len - 5]);
    }
    assert_served(&iso);
    let kernel = iso.record(KERNEL);
    let times = iso.susp(kernel, b"TF");
    // The long form needs more bytes than there are.
    iso.put(times + 4, &[0xff]);
    assert_refused(&iso, &format!("/images/pxeboot/VMLINUZ: {SUSP_FAULT}"));
}

#[test]
fn a_link_of_great_length_leads_nowhere() {
    let mut iso = sound();
    let part = entry(b"SL", &[&[1, 0, 240], [b'x'; 240].as_slice()].concat());
    let area = part.repeat(64);
    let sector = iso.append(&area);
    let readme = iso.record("/readme");
    iso.replace_px(readme, &continuation(sector, 0, u32::try_from(area.len()).unwrap()));
    assert_served(&iso);
    assert!(!image(&iso).exists("/readme"));
}

// Classes 5 and 6: directory records.

#[test]
fn a_record_of_a_wrong_length_ends_its_directory() {
    for len in [1, 32, 33, 255] {
        let mut iso = sound();
        let kernel = iso.record(KERNEL);
        iso.put(kernel, &[len]);
        assert_refused(&iso, &format!("{KERNEL}: {RECORD_FAULT}"));
        let error = image(&iso).list("/images/pxeboot").unwrap_err();
        assert_eq!(error.to_string(), format!("/images/pxeboot: {RECORD_FAULT}"));
    }
}

#[test]
fn a_record_across_the_end_of_its_sector_ends_its_directory() {
    let mut iso = sound();
    let at = iso.append(&[]);
    let dot = |name: u8| record(&[name], at, 4096, IS_DIRECTORY, &[]);
    // 68 bytes of `.` and `..`, and records of 44 each: the last of them begins in one sector and ends in the next.
    let files = (0..50).map(|number| record(format!("FILE{number:05}").as_bytes(), 16, 1, 0, &[]));
    let mut bytes: Vec<u8> = [dot(0), dot(1)].into_iter().chain(files).flatten().collect();
    bytes.resize(4096, 0);
    iso.append(&bytes);
    let pxeboot = iso.record("/images/pxeboot");
    iso.point(pxeboot, at, 4096);
    assert_refused(&iso, &format!("{KERNEL}: {RECORD_FAULT}"));
}

#[test]
fn a_record_of_length_zero_ends_its_sector() {
    let mut iso = sound();
    let first = iso.records(iso.extent(iso.record("/images/pxeboot")))[0];
    iso.put(first, &[0]);
    assert_refused(&iso, NOTHING);
}

#[test]
fn a_directory_beyond_the_end_is_refused() {
    let mut iso = sound();
    let pxeboot = iso.record("/images/pxeboot");
    iso.point(pxeboot, 1_000_000, 2048);
    assert_refused(&iso, "/images/pxeboot: damaged ISO 9660 structure (a pointer lies outside the image)");
}

#[test]
fn a_name_that_is_longer_than_its_record_ends_its_directory() {
    for len in [0, 200, 255] {
        let mut iso = sound();
        let kernel = iso.record(KERNEL);
        iso.put(kernel + 32, &[len]);
        assert_refused(&iso, &format!("{KERNEL}: {RECORD_FAULT}"));
    }
}

#[test]
fn names_that_would_leave_their_directory_become_others() {
    for name in [&b"..\0\0\0\0"[..], b"../../", b"a/b/cd", b"\n\n\n\n\n\n"] {
        let mut iso = sound();
        let readme = iso.record("/readme");
        let at = iso.susp(readme, b"NM");
        iso.put(at + 5, name);
        assert_served(&iso);
        let names = image(&iso).list("/").unwrap();
        assert!(names.iter().all(|name| !name.contains(['/', '\0']) && name != ".."), "{names:?}");
    }
}

// Class 7: directories in circles and in depth.

#[test]
fn a_directory_that_contains_itself_is_only_gone_through_as_far_as_asked() {
    let mut iso = sound();
    let root = u32::try_from(iso.extent(Patch::ROOT_RECORD)).unwrap() / 2048;
    let child = iso.record("/images/pxeboot");
    iso.point(child, root, 2048);
    assert_refused(&iso, NOTHING);
    let mut image = image(&iso);
    assert!(image.exists("/images/pxeboot/images/pxeboot/readme"));
    assert!(!image.exists(&format!("{}/gone", "/images/pxeboot".repeat(100))));
}

#[test]
fn a_thousand_levels_are_no_matter() {
    let mut iso = sound();
    let first = iso.append(&[]);
    for level in 0..1000 {
        let at = first + level;
        iso.append(&directory(&[
            record(&[0], at, 2048, IS_DIRECTORY, &[]),
            record(&[1], at, 2048, IS_DIRECTORY, &[]),
            record(b"D", at + 1, 2048, IS_DIRECTORY, &entry(b"NM", b"\0d")),
        ]));
    }
    let pxeboot = iso.record("/images/pxeboot");
    assert_served(&iso);
    iso.point(pxeboot, first, 2048);
    assert!(image(&iso).exists(&format!("/images/pxeboot{}", "/d".repeat(900))));
    assert!(image(&iso).exists("/LiveOS/squashfs.img"));
    assert_refused(&iso, NOTHING);
}

// Class 8: a listing that meets a fault and stays where it is.

#[test]
fn a_listing_that_meets_a_fault_comes_to_an_end() {
    let mut iso = sound();
    let kernel = iso.record(KERNEL);
    iso.put(kernel, &[1]);
    let source = Arc::new(Counting::new(iso.bytes.clone()));
    let mut image = Image::open(source.clone()).unwrap();
    // Asked again and again, it is the same fault.
    for _ in 0..3 {
        let error = image.list("/images/pxeboot").unwrap_err();
        assert_eq!(error.to_string(), format!("/images/pxeboot: {RECORD_FAULT}"));
    }
    assert!(source.reads().len() < 100, "{} reads", source.reads().len());
    let tree = tree_of(&iso, inspect(&sound()).unwrap(), &Label::parse("LIVE").unwrap());
    let damaged = tree.find("trees/LIVE/images/pxeboot").unwrap().unwrap();
    assert!(tree.read(&damaged).unwrap_err().to_string().contains(RECORD_FAULT));
    let other = tree.find("trees/LIVE/LiveOS").unwrap().unwrap();
    assert_eq!(tree.read(&other).unwrap().len(), 1, "the others are listed");
}

// Class 9: the two byte orders of a number.

#[test]
fn byte_orders_that_disagree_are_refused() {
    let mut iso = sound();
    iso.put(Patch::SPACE_SIZE + 4, &[9; 4]);
    assert_refused(&iso, "/: damaged ISO 9660 structure (volume descriptor fields disagree)");
    let mut iso = sound();
    let kernel = iso.record(KERNEL);
    iso.put(kernel + 2 + 4, &[9; 4]);
    assert_refused(&iso, &format!("{KERNEL}: {RECORD_FAULT}"));
}

// Class 10: files whose bytes are not their content.

#[test]
fn a_compressed_file_is_refused() {
    for magic in [b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07", b"\xef\x22\x55\xa1\xbc\x1b\x95\xa0"] {
        let mut iso = sound();
        let at = iso.extent(iso.record(KERNEL));
        iso.put(at, magic);
        assert_refused(&iso, &format!("{KERNEL}: compressed with zisofs, which can't be served in place"));
    }
}

#[test]
fn an_interleaved_file_is_refused() {
    // File unit size and interleave gap; number of the disc in its set (ECMA-119, 9.1.7 to 9.1.9).
    for (at, bytes) in [(26, &[1, 1][..]), (28, &[2, 0, 0, 2])] {
        let mut iso = sound();
        let root = iso.record(ROOT);
        iso.put(root + at, bytes);
        assert_refused(
            &iso,
            &format!("{ROOT}: damaged ISO 9660 structure (interleaved or multi-volume file)"),
        );
    }
}

// Class 11: block sizes.

#[test]
fn a_block_size_other_than_2048_is_refused() {
    for size in [0, 3, 512, 1024, 4096, 32_768] {
        let mut iso = sound();
        iso.both16(Patch::BLOCK_SIZE, size);
        assert_refused(&iso, &format!("its logical block size is {size} bytes; only 2048 is supported"));
    }
}

// Class 12: extents and sizes beyond the end.

#[test]
fn a_file_beyond_the_end_is_refused() {
    for (sector, len) in [(1_000_000, 10), (20, u32::MAX), (u32::MAX, u32::MAX)] {
        let mut iso = sound();
        let kernel = iso.record(KERNEL);
        iso.point(kernel, sector, len);
        assert_refused(&iso, &format!("{KERNEL}: its extent lies outside the image"));
    }
    let mut iso = sound();
    let readme = iso.record("/readme");
    iso.point(readme, 1_000_000, 10);
    assert_served(&iso);
}

#[test]
fn an_image_that_is_cut_short_is_incomplete() {
    let sound = sound();
    let declared = u64::from(u32::from_le_bytes(
        sound.bytes[Patch::SPACE_SIZE..Patch::SPACE_SIZE + 4].try_into().unwrap(),
    )) * 2048;
    for len in [declared - 1, declared / 2, 20 * 2048] {
        let iso = Patch { bytes: sound.bytes[..usize::try_from(len).unwrap()].to_vec() };
        assert_refused(&iso, &format!("it is incomplete: {len} bytes of {declared}"));
    }
    let mut iso = sound.clone();
    iso.both32(Patch::SPACE_SIZE, u32::MAX);
    let len = iso.bytes.len();
    assert_refused(&iso, &format!("it is incomplete: {len} bytes of {}", u64::from(u32::MAX) * 2048));
}

#[test]
fn what_is_too_short_is_no_image() {
    for len in [0, 1, 2047, 32_768, 34_815] {
        let iso = Patch { bytes: sound().bytes[..len].to_vec() };
        assert_refused(&iso, "it is not an ISO 9660 image");
    }
}

// Class 13: files of several extents.

#[test]
fn a_file_whose_last_extent_is_missing_is_refused() {
    // The kernel is the last of its directory; after the initrd comes another name.
    for path in [KERNEL, INITRD] {
        let mut iso = sound();
        let record = iso.record(path);
        iso.put(record + 25, &[NOT_FINAL]);
        assert_refused(&iso, &format!("{KERNEL}: damaged ISO 9660 structure (invalid multi-extent file)"));
    }
}

#[test]
fn extents_with_a_gap_between_them_are_one_file() {
    let mut iso = sound();
    let (one, other) = (pattern(1, 4096), pattern(2, 100));
    let first = iso.append(&one);
    iso.append(&[0; 2048]);
    let second = iso.append(&other);
    let name = entry(b"NM", b"\0vmlinuz");
    let initrd = iso.record(INITRD);
    let copied = iso.bytes[initrd..initrd + usize::from(iso.bytes[initrd])].to_vec();
    let pxeboot = iso.record("/images/pxeboot");
    let at = iso.append(&[]);
    iso.append(&directory(&[
        record(&[0], at, 2048, IS_DIRECTORY, &[]),
        record(&[1], at, 2048, IS_DIRECTORY, &[]),
        copied,
        record(b"VMLINUZ.;1", first, 4096, NOT_FINAL, &name),
        record(b"VMLINUZ.;1", second, 100, 0, &name),
    ]));
    iso.point(pxeboot, at, 2048);
    let facts = inspect(&iso).unwrap();
    assert_eq!(facts.files[0].kernel.extents.len(), 2);
    assert!(bytes_of(&iso, &facts.files[0].kernel) == [one, other].concat());
}

// Class 14: volume descriptors.

#[test]
fn without_descriptors_it_is_no_image() {
    for bytes in [&[0; 2048][..], &[255; 2048], b"\0BEA01\x01"] {
        let mut iso = sound();
        iso.put(Patch::PVD, bytes);
        assert_refused(&iso, "it is not an ISO 9660 image");
    }
}

#[test]
fn descriptors_without_an_end_are_refused() {
    let mut iso = sound();
    let pvd = iso.bytes[Patch::PVD..Patch::PVD + 2048].to_vec();
    iso.bytes.resize(2048 * 1200, 0);
    for sector in 17..1100 {
        iso.put(sector * 2048, &pvd);
    }
    assert_refused(&iso, "/: damaged ISO 9660 structure (no primary volume descriptor)");
    let (_, reads) = counted(&iso);
    assert!(reads < 100, "{reads} reads");
}

#[test]
fn without_a_terminator_it_is_served() {
    let mut iso = sound();
    let end = (17..).find(|sector| iso.bytes[sector * 2048] == 255).unwrap();
    iso.put(end * 2048, &[0; 7]);
    assert_served(&iso);
}

#[test]
fn a_disc_with_udf_only_is_no_image() {
    let mut iso = Patch { bytes: vec![0; 600 * 2048] };
    for (sector, id) in [(16, b"BEA01"), (17, b"NSR02"), (18, b"TEA01")] {
        iso.put(sector * 2048 + 1, id);
    }
    iso.put(256 * 2048, &[2, 0, 2, 0]);
    assert_refused(&iso, "it is not an ISO 9660 image");
}

// Class 15: names twice.

#[test]
fn of_two_files_of_one_name_the_first_counts() {
    let mut iso = sound();
    let readme = iso.record("/readme");
    let at = iso.susp(readme, b"NM");
    iso.put(at + 5, b"images");
    assert_served(&iso);
    assert_eq!(image(&iso).list("/").unwrap().iter().filter(|name| *name == "images").count(), 2);
}

#[test]
fn names_that_differ_in_case_are_two_files() {
    let iso = made(&live().with("sub/Name", "one").with("sub/NAME", "other").with("sub/name;1", "third"));
    assert_served(&iso);
    let mut image = image(&iso);
    let mut read = |path: &str| image.read(path, 100).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(read("/sub/Name").as_deref(), Some("one"));
    assert_eq!(read("/sub/NAME").as_deref(), Some("other"));
    assert_eq!(read("/sub/name;1").as_deref(), Some("third"));
    // As a loader asks that knows no case: one of them.
    assert!(["one", "other"].contains(&read("/SUB/nAmE").unwrap().as_str()));
}

// Class 16: extents anywhere.

#[test]
fn an_empty_file_may_lie_anywhere() {
    for sector in [0, 16, 1_000_000, u32::MAX] {
        let mut iso = sound();
        let readme = iso.record("/readme");
        iso.point(readme, sector, 0);
        assert_served(&iso);
        assert_eq!(image(&iso).read("/readme", 10).unwrap().unwrap(), b"");
    }
}

#[test]
fn files_that_share_their_extent_have_the_same_bytes() {
    let mut iso = sound();
    let (readme, kernel) = (iso.record("/readme"), iso.record(KERNEL));
    let sector = u32::try_from(iso.extent(kernel) / 2048).unwrap();
    iso.point(readme, sector, 9000);
    assert_served(&iso);
    assert!(image(&iso).read("/readme", 1 << 20).unwrap().unwrap() == pattern(1, 10_000)[..9000]);
}

#[test]
fn an_empty_kernel_or_root_image_is_refused() {
    for path in [KERNEL, ROOT] {
        let mut iso = sound();
        let record = iso.record(path);
        iso.point(record, u32::MAX, 0);
        assert_refused(&iso, &format!("{path}: is empty"));
    }
}

#[test]
fn a_boot_catalog_anywhere_is_no_matter() {
    let mut iso = made_with(&live(), &["-R", "-J", "-V", "LIVE"]);
    let mut boot = vec![0; 2048];
    boot[..7].copy_from_slice(b"\0CD001\x01");
    boot[7..30].copy_from_slice(b"EL TORITO SPECIFICATION");
    boot[71..75].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(iso.bytes[17 * 2048], 2, "Joliet's descriptor is to give its place");
    iso.put(17 * 2048, &boot);
    assert_served(&iso);
}

#[test]
fn a_file_that_overlaps_the_directories_is_only_bytes() {
    let mut iso = sound();
    let readme = iso.record("/readme");
    iso.point(readme, 16, 2048 * 4);
    assert_served(&iso);
    assert_eq!(image(&iso).read("/readme", 1 << 20).unwrap().unwrap(), iso.bytes[16 * 2048..20 * 2048]);
}

// Class 18: text that is meant to get into files of ours.

#[test]
fn a_volume_id_adds_nothing_to_our_files() {
    for id in [
        &b"x]\n[y"[..],
        b"%n%s%n",
        b"a\nlabel evil\n kernel x",
        b"\r\n[generic]\nport=1",
        b"\"; reboot \"$(id)`",
    ] {
        let mut iso = sound();
        let mut field = [b' '; 32];
        field[..id.len().min(32)].copy_from_slice(&id[..id.len().min(32)]);
        iso.put(Patch::VOLUME_ID, &field);
        assert_written_as_expected(&iso);
    }
}

#[test]
fn a_menu_adds_nothing_to_our_files() {
    let texts = [
        "label x\r\n menu label a\\nlabel evil\r\n kernel /images/pxeboot/vmlinuz\r\n append initrd=/images/pxeboot/initrd.img quiet\0label evil2\r\n",
        "label x\n menu label ]\n kernel /images/pxeboot/vmlinuz\n append initrd=/images/pxeboot/initrd.img %n \u{2028}label evil \u{85}[evil]\n",
        "label x\n menu label \x0b\x0cui evil.c32\x0c\n kernel /images/pxeboot/vmlinuz\n append initrd=/images/pxeboot/initrd.img a\x0blabel\x0cb\n",
    ];
    for text in texts {
        let iso = made(&live().with("isolinux/isolinux.cfg", text));
        let facts = inspect(&iso).unwrap();
        assert!(!facts.entries[0].title.is_empty(), "the menu is to be read: {text:?}");
        assert_written_as_expected(&iso);
    }
    let grub = "menuentry 'a\nlabel evil\n[evil]' {\n linux /images/pxeboot/vmlinuz 'a\nb' \"c\n\"\n initrd /images/pxeboot/initrd.img\n}\n";
    let iso = made(&live().with("boot/grub/grub.cfg", grub));
    assert!(inspect(&iso).unwrap().entries[0].title.starts_with('a'));
    assert_written_as_expected(&iso);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn whatever_is_damaged_what_is_served_lies_in_the_image(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        truncated in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        static BASE: OnceLock<(Patch, Vec<usize>)> = OnceLock::new();
        let (base, metadata) = BASE.get_or_init(|| {
            let iso = made(&live().with("isolinux/isolinux.cfg", MENU));
            let metadata = metadata_of(&iso);
            (iso, metadata)
        });
        let mut iso = base.clone();
        for (at, byte) in flips {
            iso.bytes[metadata[at.index(metadata.len())]] = byte;
        }
        if let Some(at) = truncated {
            iso.bytes.truncate(at.index(iso.bytes.len()));
        }
        let (outcome, reads) = counted(&iso);
        prop_assert!(reads as u64 <= MAX_READS, "{} reads", reads);
        if let Ok(facts) = outcome {
            let root = facts.root.as_ref().map(|root| &root.file);
            let of_entries = facts.files.iter().flat_map(|files| std::iter::once(&files.kernel).chain(&files.initrds));
            for file in of_entries.chain(root) {
                let end = |extent: &netrootfs::storage::extent::Extent| extent.offset.checked_add(extent.len).unwrap();
                prop_assert!(file.extents.iter().all(|extent| end(extent) <= iso.bytes.len() as u64));
                prop_assert_eq!(file.extents.iter().map(|extent| extent.len).sum::<u64>(), file.len);
            }
            for entry in &facts.entries {
                let text = format!("{}{}", entry.title, entry.args);
                prop_assert!(!text.contains(char::is_control) && entry.files < facts.files.len());
            }
        }
    }
}

/// A few hundred in the suite; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

const NOTHING: &str =
    "no kernel and initrd found: no boot menu names them, and the layout is not a known one";

const MENU: &str = "label x\n menu label Start\n kernel /images/pxeboot/vmlinuz\n append initrd=/images/pxeboot/initrd.img quiet\n";

fn live() -> Files {
    Files::live().with("readme", "hello")
}

/// An image with Rock Ridge, and nothing wrong in it.
fn sound() -> Patch {
    static SOUND: OnceLock<Patch> = OnceLock::new();
    SOUND.get_or_init(|| made(&live())).clone()
}

fn made(files: &Files) -> Patch {
    made_with(files, &["-R", "-V", "LIVE"])
}

fn made_with(files: &Files, options: &[&str]) -> Patch {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.iso");
    files.xorriso(options, &path);
    Patch { bytes: std::fs::read(path).unwrap() }
}

/// Where flipping a byte can lead a reader astray: the descriptors and path tables, and every directory.
fn metadata_of(iso: &Patch) -> Vec<usize> {
    let mut offsets: Vec<usize> = (Patch::PVD..64 << 10).collect();
    for path in ["/", "/images", "/images/pxeboot", "/LiveOS", "/isolinux"] {
        let at = iso.extent(iso.record(path));
        offsets.extend(at..at + 2048);
    }
    // Most of it is padding; what has a meaning is to be hit more often.
    let used: Vec<usize> = offsets.iter().copied().filter(|&at| iso.bytes[at] != 0).collect();
    offsets.extend(used.repeat(8));
    offsets
}

fn source(iso: &Patch) -> Arc<dyn ReadAt> {
    Arc::new(iso.bytes.clone())
}

fn image(iso: &Patch) -> Image {
    Image::open(source(iso)).unwrap()
}

fn inspect(iso: &Patch) -> Result<Facts, inspect::Error> {
    inspect::inspect(&source(iso))
}

/// Looks into an image and counts the reads.
fn counted(iso: &Patch) -> (Result<Facts, inspect::Error>, usize) {
    let source = Arc::new(Counting::new(iso.bytes.clone()));
    let outcome = inspect::inspect(&(source.clone() as Arc<dyn ReadAt>));
    (outcome, source.reads().len())
}

fn refusal(iso: &Patch) -> String {
    match inspect(iso) {
        Err(error) => error.to_string(),
        Ok(facts) => facts.unbootable.expect("it is to be refused, or to have no entry").to_string(),
    }
}

fn assert_refused(iso: &Patch, reason: &str) {
    assert_eq!(refusal(iso), reason);
}

/// The fault of a file; empty if it can be read.
fn fault(iso: &Patch, path: &str) -> String {
    image(iso).file(path).err().map_or_else(String::new, |error| error.to_string())
}

/// The three files of [`Files::live`] are served, with their bytes.
fn assert_served(iso: &Patch) {
    let facts = inspect(iso).unwrap();
    assert!(bytes_of(iso, &facts.files[0].kernel) == pattern(1, 10_000));
    assert!(bytes_of(iso, &facts.files[0].initrds[0]) == pattern(2, 50_001));
    assert!(bytes_of(iso, &facts.root.unwrap().file) == squashfs(30_000));
}

fn bytes_of(iso: &Patch, file: &iso::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extent in &file.extents {
        let at = usize::try_from(extent.offset).unwrap();
        bytes.extend(&iso.bytes[at..at + usize::try_from(extent.len).unwrap()]);
    }
    bytes
}

/// Reads the rendered files back: they have exactly the sections, keys and commands that one ISO makes.
fn assert_written_as_expected(iso: &Patch) {
    let facts = inspect(iso).unwrap();
    let label = Label::from_volume_id(&facts.volume_id).unwrap();
    let tree = tree_of(iso, facts, &label);
    let conf = text(&tree, "images/nbd.conf");
    let sections: Vec<&str> = conf.split(['\n', '\r']).filter(|line| line.starts_with('[')).collect();
    assert_eq!(sections, ["[generic]", &format!("[{label}]"), &format!("[{label}.iso]")], "{conf}");
    for line in conf.split(['\n', '\r']).filter(|line| !line.is_empty() && !line.starts_with('[')) {
        let key = line.split_once(" = ").unwrap_or_else(|| panic!("no key: {line}")).0;
        let keys = ["allowlist", "exportname", "virtstyle", "readonly", "multifile", "copyonwrite"];
        assert!(keys.contains(&key), "{conf}");
    }
    assert!(conf.contains(&format!("exportname = /srv/netboot/images/liveos_{label}.img\n")), "{conf}");

    let menu = text(&tree, "tftp/pxelinux.cfg/default");
    // What a program may take for the end of a line.
    let ends = ['\n', '\r', '\x0b', '\x0c', '\0', '\u{85}', '\u{2028}', '\u{2029}'];
    let commands: Vec<&str> =
        menu.split(ends).filter_map(|line| line.split_ascii_whitespace().next()).collect();
    let entry = ["label", "menu", "linux", "initrd", "append", "ipappend"];
    let expected =
        [&["prompt", "say", "default", "timeout"], entry.as_slice(), &["label", "menu", "localboot"]];
    assert_eq!(commands, expected.concat(), "{menu}");
}

fn tree_of(iso: &Patch, facts: Facts, label: &Label) -> Tree {
    tree_of_source(source(iso), facts, label)
}

fn tree_of_source(source: Arc<dyn ReadAt>, facts: Facts, label: &Label) -> Tree {
    let id = FileId { device: 1, inode: 1, len: source.len(), mtime: 0, written: 0 };
    let disc = IsoFile {
        id,
        source: source.clone().into(),
        plain: source,
        len: id.len,
        mtime: SystemTime::UNIX_EPOCH,
        facts,
    };
    let iso = Iso {
        label: label.clone(),
        name: "x.iso".into(),
        disc: Arc::new(disc),
        arrived: 1,
        product: None,
        initrd: None,
        further: Vec::new(),
        netroot: Default::default(),
    };
    let settings = Settings::of_server("/srv/netboot", "10.0.2.2");
    layout::lay_out(&Catalog { isos: vec![iso], ..Catalog::default() }, &settings, &[], &Arc::default())
}

fn text(tree: &Tree, path: &str) -> String {
    match &tree.resolve(path).unwrap().kind {
        Kind::File(content) => String::from_utf8(content.read_at(0, 1 << 20).unwrap()).unwrap(),
        _ => panic!("{path} is no file of the arena"),
    }
}
