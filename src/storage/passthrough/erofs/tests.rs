//! Of the metadata: what it looks like, that a reader of its own finds each byte where it should be, and that the tools of
//! EROFS agree.

use std::fs;
use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Lines of an image that are not zeros.
fn dump(image: &Metadata) -> String {
    let lines = image.bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|&byte| byte != 0));
    let hex = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    lines.map(|(number, line)| format!("{:04x} {}\n", number * 16, hex(line))).collect()
}

#[test]
fn an_image_looks_like_this() {
    // Two pieces: sector 20, and 5000 bytes from sector 7 on.
    let image = encode(&[40_960..43_008, 14_336..19_336], 100_000).unwrap();
    let dump = dump(&image);
    assert_eq!(dump, include_str!("golden.txt"), "\n{dump}");
    assert_eq!(image.len, 7048);
}

/// The image as the kernel reads it (fs/erofs/super.c, inode.c, data.c), from the numbers in it alone.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&self, at: u64, len: usize) -> u64 {
        let bytes = &self.0[at as usize..at as usize + len];
        bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    fn inode(&self, nid: u64) -> u64 {
        let block = 1 << self.number(1024 + 12, 1);
        self.number(1024 + 40, 4) * block + 32 * nid
    }

    /// Where the file's inode is, by its name.
    fn file(&self) -> u64 {
        let root = self.inode(self.number(1024 + 14, 2));
        assert_eq!(self.number(root, 2), 1, "a plain file of the long form");
        let directory = self.number(root + 16, 4) << self.number(1024 + 12, 1);
        let first = self.number(directory + 8, 2);
        let entries = (0..first / 12).map(|entry| directory + 12 * entry);
        let mut found = entries.filter(|entry| {
            let name = directory + self.number(entry + 8, 2);
            self.0[name as usize..].starts_with(NAME.as_bytes())
        });
        self.inode(self.number(found.next().unwrap(), 8))
    }

    /// Length of the file.
    fn len(&self) -> u64 {
        self.number(self.file() + 8, 8)
    }

    /// The device and the place on it of a byte of the file.
    fn place(&self, byte: u64) -> (u64, u64) {
        let inode = self.file();
        assert_eq!(self.number(inode, 2), 9, "chunks, of the long form");
        let format = self.number(inode + 16, 4);
        assert_eq!(format & !0x1f, 0x20, "indexes");
        let bits = self.number(1024 + 12, 1);
        let chunk = 1 << (bits + (format & 0x1f));
        let entry = inode + 64 + 8 * (byte / chunk);
        (self.number(entry + 2, 2), (self.number(entry + 4, 4) << bits) + byte % chunk)
    }
}

/// Pieces that can be mapped: each begins at a sector, and all but the last end at one.
fn pieces() -> impl Strategy<Value = (Vec<Range<u64>>, u64)> {
    let piece = (0u64..1 << 22, prop_oneof![1u64..20, 1u64..30_000, (1u64..30).prop_map(|n| n << 17)]);
    (prop::collection::vec(piece, 1..12), 0u64..2048).prop_map(|(pieces, tail)| {
        let last = pieces.len() - 1;
        let ranges = pieces.into_iter().enumerate().map(|(number, (sector, sectors))| {
            let start = sector * BLOCK;
            start..start + sectors * BLOCK - if number == last { tail } else { 0 }
        });
        let ranges: Vec<_> = ranges.collect();
        let end = ranges.iter().map(|range| range.end).max().unwrap();
        (ranges, end.next_multiple_of(BLOCK))
    })
}

proptest! {
    #[test]
    fn every_byte_is_where_it_should_be((ranges, device) in pieces(), picks in prop::collection::vec(any::<u64>(), 40)) {
        let image = match encode(&ranges, device) {
            Err(Error::TooManyChunks(chunks)) => {
                prop_assert!(chunks > 1 << 20);
                return Ok(());
            }
            image => image.unwrap(),
        };
        let reader = Reader(&image.bytes);
        let len: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        prop_assert_eq!((reader.len(), image.len), (len, len));
        let mut borders = Vec::new();
        let mut at = 0;
        for range in &ranges {
            at += range.end - range.start;
            borders.extend([at - 1, at.min(len - 1)]);
        }
        for byte in picks.iter().map(|pick| pick % len).chain(borders) {
            let mut before = 0;
            let range = ranges.iter().find(|range| {
                let here = byte < before + (range.end - range.start);
                before += if here { 0 } else { range.end - range.start };
                here
            });
            prop_assert_eq!(reader.place(byte), (1, range.unwrap().start + byte - before), "byte {}", byte);
        }
    }

    #[test]
    fn whatever_the_pieces_are_it_ends_well(
        ranges in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5), device in any::<u64>(),
    ) {
        let ranges: Vec<_> = ranges.iter().map(|(start, end)| *start..*end).collect();
        let _ = encode(&ranges, device);
    }

    #[test]
    fn what_is_revoked_lies_nowhere_that_can_be_read((ranges, device) in pieces(), pick in any::<u64>()) {
        let Ok(mut image) = encode(&ranges, device) else { return Ok(()) };
        image.bytes = image.revoked();
        let reader = Reader(&image.bytes);
        for byte in [0, pick % image.len, image.len - 1] {
            prop_assert_eq!(reader.place(byte).0, 2);
        }
        prop_assert_eq!(reader.len(), image.len, "nothing else has changed");
    }
}

#[test]
fn a_file_of_many_gigabytes_in_one_piece_takes_a_few_kilobytes() {
    let gib = 1 << 30;
    let whole = 2048..2048 + 9 * gib + 1;
    // As an ISO records it: extents of at most 4 GiB less a sector, one behind the other.
    let most = (4 << 30) - 2048;
    let extents: Vec<_> = (0..3).map(|n| 2048 + n * most..whole.end.min(2048 + (n + 1) * most)).collect();
    let image = encode(&extents, 10 * gib).unwrap();
    assert_eq!(image.len, 9 * gib + 1);
    assert!(image.bytes.len() < 8192, "{}", image.bytes.len());
    assert_eq!(image, encode(std::slice::from_ref(&whole), 10 * gib).unwrap());
}

#[test]
fn what_can_not_be_said_is_an_error() {
    let error = |ranges: &[Range<u64>], device| encode(ranges, device).unwrap_err();
    let one = |range: Range<u64>, device| encode(std::slice::from_ref(&range), device);
    assert_eq!(error(&[], 9), Error::Empty);
    assert_eq!(one(4096..4096, 9999).unwrap_err(), Error::Empty);
    assert_eq!(error(&[2048..4096, 100..200], 9999), Error::Unaligned(100));
    assert_eq!(error(&[2048..4000, 8192..8193], 10_240), Error::Ragged(1952));
    assert_eq!(one(2048..4097, 4096).unwrap_err(), Error::PastTheEnd { end: 4097, device: 4096 });
    assert_eq!(one(2048..4095, 4095).unwrap_err(), Error::HalfABlock(4095));
    assert_eq!(one(2048..4095, 4096).unwrap().len, 2047);
    let far = 2048 * u64::from(u32::MAX);
    assert_eq!(one(far..far + 1, u64::MAX).unwrap_err(), Error::TooFar(far + 1));
    // A sector, and then so many that chunks of a sector are too many.
    assert_eq!(error(&[4096..6144, 8192..8192 + (2048 << 20)], 1 << 40), Error::TooManyChunks(1 + (1 << 20)));
}

/// Runs a tool of EROFS on the image, with the devices that it needs.
fn tool(name: &str, options: &[&str], image: &Metadata, device: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let image = put("image", &image.bytes);
    let devices = [put("device", device), put("none", b"")];
    let output = Command::new(name)
        .args(options)
        .args(devices.iter().map(|device| format!("--device={device}")))
        .arg(image)
        .current_dir(dir.path())
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}: is erofs-utils installed?"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{name}: {text}");
    if options.iter().any(|option| option.starts_with("--extract")) {
        return String::from_utf8_lossy(&fs::read(dir.path().join("out/file")).unwrap()).into_owned();
    }
    text
}

fn letters(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + (at / 7 % 26) as u8).collect()
}

#[test]
fn the_tools_of_erofs_read_it_too() {
    let device = letters(733 * 4096);
    // Debian 12's know no blocks but of 4096 bytes; the block size is in a field, and nothing else depends on it.
    let ranges = [40_960..1_089_536, 8192..12_288, 2_002_944..2_999_999];
    let image = encode_with(4096, &ranges, device.len() as u64).unwrap();
    let wanted: Vec<u8> =
        ranges.iter().flat_map(|r| &device[r.start as usize..r.end as usize]).copied().collect();
    let extracted = tool("fsck.erofs", &["--extract=out"], &image, &device);
    assert!(extracted.as_bytes() == wanted);
    let about = tool("dump.erofs", &["-s"], &image, &device);
    assert!(about.contains("chunked_file"), "{about}");
    let file = tool("dump.erofs", &["--path=/file", "-e"], &image, &device);
    assert!(file.contains(&format!("{}", wanted.len())), "{file}");
}
