use super::*;
use crate::image::cpio::Header;
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};

const ALL: [Format; 6] = [Format::Gzip, Format::Bzip2, Format::Lzma, Format::Xz, Format::Lz4, Format::Zstd];

const MARKS: [Mark; 4] = [
    Mark::new("scripts/casper", "casper"),
    Mark::new("scripts/live", "live-boot"),
    Mark::new("hooks/archiso", "archiso"),
    Mark::new("hooks/miso", "miso"),
];

/// A newc entry; the checksum variant of the format has the same shape.
fn entry(magic: &str, mode: u32, name: &str, body: &[u8]) -> Vec<u8> {
    let header = Header { inode: 1, mode, links: 1, body: body.len() as u32, name: name.len() as u32 + 1 };
    let mut bytes = header.to_bytes();
    bytes.splice(..6, magic.bytes());
    bytes.extend(name.as_bytes());
    bytes.push(0);
    pad(&mut bytes, 4);
    bytes.extend(body);
    pad(&mut bytes, 4);
    bytes
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn archive(names: &[&str]) -> Vec<u8> {
    archive_of(&names.iter().map(|name| (*name, b"body".as_slice())).collect::<Vec<_>>())
}

fn archive_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        files.iter().flat_map(|(name, body)| entry("070701", 0o100_644, name, body)).collect();
    bytes.extend(entry("070701", 0, "TRAILER!!!", b""));
    bytes
}

/// An archive whose size is not near that of anything else, with `init` in it.
fn main_archive() -> Vec<u8> {
    let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    archive_of(&[("init", b"#!/bin/sh"), ("usr/lib/firmware/noise", &noise), ("scripts/casper", b"")])
}

fn pack(format: Format, bytes: &[u8]) -> Vec<u8> {
    match format {
        Format::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Format::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Format::Lzma => {
            let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
            let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Format::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Format::Lz4 => {
            let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
            for chunk in bytes.chunks(8 << 20) {
                let block = lz4_flex::block::compress(chunk);
                packed.extend((block.len() as u32).to_le_bytes());
                packed.extend(block);
            }
            packed
        }
        Format::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

fn probe_all(initrd: &[u8]) -> Result<Features, Error> {
    probe_for(initrd, Limits::default(), &MARKS)
}

#[track_caller]
fn assert_whole(initrd: &[u8], marks: &[&str]) {
    let probed = probe_all(initrd).unwrap();
    assert_eq!(probed.damage, None);
    assert_eq!(probed.marks, marks.iter().map(|mark| (*mark).to_owned()).collect());
}

#[test]
fn raw_archive() {
    assert_whole(&main_archive(), &["casper"]);
}

#[test]
fn checksum_archive() {
    let mut initrd = entry("070702", 0o100_644, "scripts/live", b"odd");
    initrd.extend(entry("070702", 0, "TRAILER!!!", b""));
    assert_whole(&initrd, &["live-boot"]);
}

#[test]
fn every_compression() {
    for format in ALL {
        assert_whole(&pack(format, &main_archive()), &["casper"]);
    }
}

#[test]
fn only_the_old_lz4_has_no_mark_for_its_end() {
    for format in ALL {
        let mut initrd = pack(format, &main_archive());
        assert_eq!(probe_all(&initrd).unwrap().open_end, format == Format::Lz4, "{format:?}");
        pad(&mut initrd, 512);
        initrd.extend([0; 512]);
        initrd.extend(archive(&["scripts/live"]));
        assert!(!probe_all(&initrd).unwrap().open_end, "{format:?} in front");
    }
}

#[test]
fn lz4_of_more_than_one_block() {
    let big = vec![7; 20 << 20];
    let initrd = archive_of(&[("init", b""), ("big", &big), ("scripts/live", b"")]);
    assert_whole(&pack(Format::Lz4, &initrd), &["live-boot"]);
}

#[test]
fn early_archive_before_a_compressed_one() {
    for format in ALL {
        let mut initrd = archive(&["kernel/x86/microcode/GenuineIntel.bin"]);
        pad(&mut initrd, 512);
        initrd.extend(pack(format, &main_archive()));
        assert_whole(&initrd, &["casper"]);
    }
}

#[test]
fn raw_archives_with_padding_between() {
    let mut initrd = archive(&["init", "scripts/casper"]);
    pad(&mut initrd, 512);
    initrd.extend(archive(&["hooks/archiso"]));
    pad(&mut initrd, 4096);
    assert_whole(&initrd, &["casper", "archiso"]);
}

#[test]
fn an_archive_without_its_trailer_ends_with_the_initrd() {
    assert_whole(&entry("070701", 0o100_644, "scripts/casper", b"body"), &["casper"]);
}

#[test]
fn several_archives_in_one_compressed() {
    let mut inside = archive(&["init"]);
    pad(&mut inside, 512);
    inside.extend(archive(&["scripts/casper"]));
    for format in ALL {
        assert_whole(&pack(format, &inside), &["casper"]);
    }
}

#[test]
fn every_compression_after_every_other() {
    for first in ALL {
        for second in ALL {
            let mut initrd = pack(first, &archive(&["init", "hooks/miso"]));
            // Nothing but padding tells where the old lz4 format ends: the next magic number may be a block's size.
            if first == Format::Lz4 {
                initrd.extend([0; 4]);
            }
            initrd.extend(pack(second, &archive(&["scripts/casper"])));
            assert_whole(&initrd, &["miso", "casper"]);
        }
    }
}

#[test]
fn raw_archive_after_a_compressed_one() {
    for format in ALL {
        let mut initrd = pack(format, &archive(&["init", "hooks/miso"]));
        pad(&mut initrd, 4);
        initrd.extend(archive(&["scripts/casper"]));
        assert_whole(&initrd, &["miso", "casper"]);
    }
}

#[test]
fn lz4_goes_on_after_its_magic_number() {
    let whole = archive(&["init", "scripts/casper", "hooks/miso"]);
    let (first, second) = whole.split_at(100);
    let initrd = [pack(Format::Lz4, first), pack(Format::Lz4, second)].concat();
    assert_whole(&initrd, &["miso", "casper"]);
}

#[test]
fn names_as_other_programs_write_them() {
    for name in
        ["scripts/casper", "./scripts/casper", "/scripts/casper", "././scripts/casper", "usr/scripts/casper"]
    {
        assert_whole(&archive(&[name]), &["casper"]);
    }
}

#[test]
fn longer_names_and_bodies_of_directories_are_passed_over() {
    let long = format!("scripts/casper{}", "x".repeat(5000));
    let mut initrd = archive_of(&[(&long, b"body"), ("hooks/miso", b"")]);
    initrd.truncate(initrd.len() - entry("070701", 0, "TRAILER!!!", b"").len());
    initrd.extend(entry("070701", 0o040_755, "scripts/live", b"a directory has no body"));
    initrd.extend(archive(&["scripts/casper"]));
    assert_whole(&initrd, &["miso", "casper"]);
}

#[test]
fn archives_made_by_the_tools() {
    let lists = [
        ("gzip", "gzip -n"),
        ("xz", "xz --check=crc32"),
        ("xz", "xz --format=lzma"),
        ("zstd", "zstd -q -19"),
        ("lz4", "lz4 -l -q"),
        ("bzip2", "bzip2"),
        ("cat", "cat"),
    ];
    for (tool, filter) in lists {
        if [tool, "cpio"].iter().any(|tool| {
            Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        }) {
            eprintln!("SKIPPED: no cpio or no {tool} here");
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let script = format!(
            "mkdir scripts && touch init scripts/casper && find . | cpio -o -H newc --quiet | {filter} > initrd"
        );
        let made = Command::new("sh").args(["-ec", &script]).current_dir(&directory).status().unwrap();
        assert!(made.success(), "{script}");
        let initrd = std::fs::read(directory.path().join("initrd")).unwrap();
        assert_whole(&initrd, &["casper"]);
    }
}

#[test]
fn nothing_in_it() {
    assert!(matches!(probe_all(b""), Err(Error::Empty)));
    assert!(matches!(probe_all(&[0; 100_000]), Err(Error::Empty)));
    assert!(matches!(probe_all(&pack(Format::Zstd, b"")), Err(Error::Empty)));
}

#[test]
fn truncated_before_its_end() {
    let whole = main_archive();
    assert!(matches!(probe_all(&whole[..whole.len() / 2]), Err(Error::Truncated { .. })));
    assert!(matches!(
        probe_all(&whole[..50]),
        Err(Error::Truncated { place: Place { initrd: 50, unpacked: None } })
    ));
    for format in ALL {
        let mut initrd = archive(&["kernel/x86/microcode/AuthenticAMD.bin"]);
        let start = initrd.len() as u64;
        let packed = pack(format, &whole);
        initrd.extend(&packed[..packed.len() / 2]);
        match probe_all(&initrd) {
            Err(Error::Truncated { place }) => assert_eq!(place.initrd, start, "{format:?}"),
            other => panic!("{format:?}: {other:?}"),
        }
    }
}

#[test]
fn damage_behind_the_main_archive_is_noted_and_no_error() {
    for format in ALL {
        let mut initrd = pack(format, &main_archive());
        initrd.extend([0; 4]);
        initrd.extend(b"\xaa\xaa\xaa\xaa garbage");
        let features = probe_all(&initrd).unwrap();
        assert!(features.has_mark("casper"));
        assert!(features.damage.unwrap().contains("no known compression"), "{format:?}");
    }
}

#[test]
fn damage_before_the_main_archive_is_an_error() {
    let mut initrd = archive(&["kernel/x86/microcode/GenuineIntel.bin"]);
    let at = initrd.len() as u64;
    initrd.extend(b"garbage!");
    initrd.extend(main_archive());
    let error = probe_all(&initrd).unwrap_err();
    assert!(
        matches!(error, Error::Junk { place: Place { initrd, unpacked: None } } if initrd == at),
        "{error}"
    );
}

#[test]
fn a_bad_checksum_behind_the_trailer_is_noted() {
    let mut initrd = pack(Format::Gzip, &main_archive());
    let checksum = initrd.len() - 8;
    initrd[checksum] ^= 1;
    let features = probe_all(&initrd).unwrap();
    assert!(features.has_mark("casper") && features.damage.is_some());
}

#[test]
fn each_kind_of_damage_has_its_error() {
    let good = archive(&["init"]);
    let patched = |at: usize, with: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        probe_all(&bytes).unwrap_err().to_string()
    };
    assert_eq!(patched(0, b"070707"), "no cpio archive of the newc format at byte 0");
    assert_eq!(patched(0, b"\x89L"), "lzo at byte 0 is not supported");
    assert_eq!(patched(0, b"\x7fELF"), "no archive and no known compression at byte 0");
    assert_eq!(patched(6 + 8, b"xyz"), "the mode of the entry at byte 0 is not a number");
    assert_eq!(patched(6 + 6 * 8, b"-0000001"), "the file size of the entry at byte 0 is not a number");
    assert_eq!(patched(6 + 11 * 8, b"+"), "the name size of the entry at byte 0 is not a number");
    let unaligned = [&[0; 3], good.as_slice()].concat();
    assert_eq!(
        probe_all(&unaligned).unwrap_err().to_string(),
        "the archive at byte 3 is not aligned to four bytes"
    );
    let inside = [0; 4].iter().chain(b"junk").copied().collect::<Vec<_>>();
    assert_eq!(
        probe_all(&pack(Format::Gzip, &inside)).unwrap_err().to_string(),
        "no archive and no known compression at byte 4 of what the archive at byte 0 unpacks to"
    );
}

/// Gives out what it has, then fails.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        match self.0.read(target)? {
            0 => Err(io::Error::other("the disk is gone")),
            read => Ok(read),
        }
    }
}

#[test]
fn a_failing_reader_is_told_from_damage() {
    for format in ALL {
        let packed = pack(format, &main_archive());
        let error = probe(Failing(&packed[..packed.len() / 2]), Limits::default()).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{format:?}: {error}");
        let behind_the_end = probe(Failing(&packed), Limits::default()).unwrap_err();
        assert!(matches!(behind_the_end, Error::Read { .. }), "{format:?}: {behind_the_end}");
    }
}

#[test]
fn a_bomb_ends_at_the_limit_of_bytes() {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let bomb = archive_of(&[("init", b""), ("bomb", &vec![0; 4 << 20])]);
    for initrd in ALL.map(|format| pack(format, &bomb)).iter().chain([&bomb]) {
        let error = probe(initrd.as_slice(), limits).unwrap_err();
        assert!(
            matches!(error, Error::Limit { limit: Limit::Bytes, most, .. } if most == 1 << 20),
            "{error}"
        );
    }
    // Zeros behind an archive are padding, and bytes all the same.
    let mut padded = archive(&["init"]);
    padded.resize(2 << 20, 0);
    assert!(matches!(probe(padded.as_slice(), limits), Err(Error::Limit { limit: Limit::Bytes, .. })));
}

#[test]
fn few_bytes_that_unpack_to_many_end_long_before_that_limit() {
    let limits = Limits { free: 1 << 20, ..Limits::default() };
    let bomb = archive_of(&[("init", b""), ("bomb", &vec![0; 4 << 20])]);
    for initrd in ALL.map(|format| pack(format, &bomb)) {
        let error = probe(initrd.as_slice(), limits).unwrap_err();
        assert!(matches!(error, Error::Limit { limit: Limit::Ratio, most: 32, .. }), "{error}");
        // Bytes that were read pay for it.
        let padded = [[0; 1 << 20].as_slice(), &initrd].concat();
        assert!(probe(padded.as_slice(), limits).is_ok());
    }
}

#[test]
fn entries_and_archives_are_limited() {
    let limits = Limits { entries: 100, archives: 5, ..Limits::default() };
    let many = archive(&["x"; 101]);
    let error = probe(pack(Format::Zstd, &many).as_slice(), limits).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: Limit::Entries, most: 100, .. }), "{error}");
    let small = pack(Format::Gzip, &archive(&["init"]));
    let error = probe(small.repeat(6).as_slice(), limits).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: Limit::Archives, most: 5, .. }), "{error}");
    assert_eq!(probe(small.repeat(5).as_slice(), limits).unwrap().damage, None);
}

#[test]
fn a_decoder_may_not_ask_for_more_memory() {
    // A frame with a window of 2^28 bytes, and one with 2^27, which the kernel takes too; both end early.
    let zstd = |window_log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3, 0x02, 0, 0];
    assert!(matches!(probe_all(&zstd(28)), Err(Error::Damaged { .. })));
    assert!(matches!(probe_all(&zstd(27)), Err(Error::Truncated { .. })));
    // A dictionary of 3 GiB.
    let lzma = [&[0x5d, 0, 0, 0, 0xc0], [0xff; 8].as_slice(), &[0; 64]].concat();
    assert!(matches!(probe_all(&lzma), Err(Error::Damaged { .. })));
    // Blocks of no bytes would never end.
    let empty_blocks = [[0x02, 0x21, 0x4c, 0x18].as_slice(), &[1, 0, 0, 0, 0].repeat(1000)].concat();
    assert!(matches!(probe_all(&empty_blocks), Err(Error::Damaged { .. })));
}

/// Counts what is read, so that a test can say that reading stopped.
struct Counting<'a>(&'a [u8], usize);

impl Read for Counting<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(target)?;
        self.1 += read;
        Ok(read)
    }
}

const TIGHT: Limits =
    Limits { bytes: 256 << 10, entries: 200, archives: 8, name: 256, ratio: 32, free: 64 << 10 };

#[track_caller]
fn assert_bounded(bytes: &[u8]) {
    let mut counting = Counting(bytes, 0);
    if let Ok(features) = probe(&mut counting, TIGHT) {
        assert!(!features.to_string().contains('\n'));
    }
    assert!(counting.1 as u64 <= TIGHT.bytes + (64 << 10));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        magic in prop::sample::select(vec![
            b"".as_slice(), b"070701", b"\x1f\x8b\x08", b"BZh9", b"\x5d\0\0", b"\xfd7zXZ\0", b"\x02\x21\x4c\x18", b"\x28\xb5\x2f\xfd",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        assert_bounded(&[magic, &bytes].concat());
    }

    #[test]
    fn damaged_initrds_never_panic(
        format in prop::sample::select(ALL.to_vec()),
        raw in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..8),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let builtin = b"kernel/drivers/block/nbd.ko\n".repeat(20);
        let inside = archive_of(&[("init", b"x"), ("lib/modules/6.1/modules.builtin", &builtin), ("lib/dracut/dracut-059", b"")]);
        let mut initrd = archive(&["kernel/x86/microcode/GenuineIntel.bin"]);
        initrd.extend(if raw { inside } else { pack(format, &inside) });
        for (index, bit) in flips {
            let at = index.index(initrd.len());
            initrd[at] ^= 1 << bit;
        }
        if cut {
            initrd.truncate(keep.index(initrd.len()));
        }
        assert_bounded(&initrd);
    }
}
