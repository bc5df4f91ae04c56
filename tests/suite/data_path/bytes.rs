//! The same bytes on both paths.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock};

use netrootfs::storage::inotify::Inotify;
use netrootfs::storage::passthrough::{MappedIso, Mapper};
use netrootfs::storage::source::PageCache;
use netrootfs::storage::unchanged::{FileWatch, Unchanged, UnchangedSource};
use proptest::prelude::*;
use testkit::disc::{Disc, noise};

use crate::support::place::Place;
use crate::support::readers::{READERS, open_direct, read_direct};

fn files<'a>(label: &str, disc: &'a Disc) -> [(String, &'a [u8]); 5] {
    [
        (format!("images/{label}.iso"), &disc.iso),
        (format!("images/{label}"), &disc.root),
        (format!("tftp/vmlinuz_{label}"), &disc.kernel),
        (format!("trees/{label}/isolinux/initrd.img"), &disc.initrd),
        (format!("trees/{label}/LiveOS/squashfs.img"), &disc.root),
    ]
}

/// Pieces of a file of `len` bytes: offsets and lengths of all alignments.
fn pieces(seed: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let numbers = noise(seed, 8 * 40);
    let numbers: Vec<_> =
        numbers.chunks_exact(8).map(|n| u64::from_le_bytes(n.try_into().unwrap())).collect();
    numbers.into_iter().map(move |number| {
        let offset = number as usize % len;
        let offset = if number >> 60 & 1 == 0 { offset } else { offset & !4095 };
        (offset as u64, (1 + (number >> 32) as usize % 200_000).min(len - offset))
    })
}

#[test]
fn both_paths_give_the_same_bytes_to_every_way_of_reading() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    for path in ["kernel", "cache"] {
        let daemon = place.start(&["--data-path", path]);
        for (name, bytes) in files("One", &disc) {
            std::thread::scope(|scope| {
                for reader in 0..4 {
                    let (place, name) = (&place, &name);
                    scope.spawn(move || {
                        let file = File::open(place.tree(name)).unwrap();
                        for (number, (offset, len)) in pieces(reader, bytes.len()).enumerate() {
                            let (way, read) = READERS[number % READERS.len()];
                            let got = read(&file, offset, len).unwrap();
                            let wanted = &bytes[offset as usize..offset as usize + len];
                            assert!(got == wanted, "{name} {offset}+{len} by {way} on {path}");
                        }
                    });
                }
            });
        }
        // The root image is the same file of the ISO below both names; what is small is not worth it.
        let mapped = daemon.descriptors().iter().filter(|name| *name == "/file").count();
        assert_eq!(mapped, if path == "kernel" { 2 } else { 0 });
        daemon.stop();
    }
}

#[test]
fn what_the_kernel_reads_by_itself_needs_no_daemon() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&["--data-path", "kernel"]);
    let large = files("One", &disc).into_iter().filter(|(_, bytes)| bytes.len() > 1 << 20);
    let open: Vec<_> =
        large.map(|(name, bytes)| (File::open(place.tree(&name)).unwrap(), name, bytes)).collect();
    assert_eq!(open.len(), 3);
    daemon.stand_still();
    for (file, name, bytes) in &open {
        let mut got = vec![0; bytes.len()];
        file.read_exact_at(&mut got, 0).unwrap();
        assert!(got == *bytes, "{name}");
    }
    daemon.go_on();
    // What is on no disk is asked for.
    assert!(place.text("images/nbd.conf").contains("[One]"));
}

#[test]
fn direct_reads_give_the_same_bytes() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    for path in ["kernel", "cache"] {
        let daemon = place.start(&["--data-path", path]);
        for (name, bytes) in files("One", &disc) {
            let file = open_direct(&place.tree(&name)).unwrap();
            for (block, blocks) in [(0, 1), (3, 7), (bytes.len() as u64 / 4096, 1)] {
                let wanted = &bytes[block as usize * 4096..bytes.len().min((block as usize + blocks) * 4096)];
                assert!(
                    read_direct(&file, block, blocks).unwrap() == wanted,
                    "{name} {block}+{blocks} on {path}"
                );
            }
        }
        daemon.stop();
    }
}

/// A file that is no ISO but for what is asked of one, and what maps it.
static MAPPED: LazyLock<(Vec<u8>, Arc<MappedIso>)> = LazyLock::new(|| {
    let bytes = noise(5, 4 << 20);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let file = Arc::new(file);
    (bytes, mapped(file))
});

fn mapped(file: Arc<File>) -> Arc<MappedIso> {
    let unchanged =
        Unchanged::new(file.clone(), Some(&FileWatch::start(Inotify::new().unwrap()).unwrap())).unwrap();
    let source = UnchangedSource::new(unchanged, PageCache::DropBehind).unwrap();
    MappedIso::new(&Mapper::start().unwrap(), file, Arc::new(source))
}

/// Pieces of it that can be mapped.
fn extents() -> impl Strategy<Value = Vec<Range<u64>>> {
    let extent = (0u64..1900, 1u64..140);
    (prop::collection::vec(extent, 1..8), 0u64..2048).prop_map(|(extents, tail)| {
        let last = extents.len() - 1;
        let range = |(number, (sector, sectors)): (usize, (u64, u64))| {
            sector * 2048..(sector + sectors) * 2048 - if number == last { tail } else { 0 }
        };
        extents.into_iter().enumerate().map(range).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_extents_are_mapped_byte_for_byte(
        extents in extents(), picks in prop::collection::vec((any::<u64>(), 1usize..100_000), 12),
    ) {
        let (bytes, iso) = &*MAPPED;
        let wanted: Vec<u8> =
            extents.iter().flat_map(|range| &bytes[range.start as usize..range.end as usize]).copied().collect();
        let file = iso.file(&extents).unwrap();
        prop_assert_eq!(file.metadata().unwrap().len(), wanted.len() as u64);
        std::thread::scope(|scope| {
            for (picks, (way, read)) in picks.chunks(3).zip(READERS) {
                let (file, wanted) = (&file, &wanted);
                scope.spawn(move || for (pick, len) in picks {
                    let offset = *pick as usize % wanted.len();
                    let len = (*len).min(wanted.len() - offset);
                    let got = read(file, offset as u64, len).unwrap();
                    assert!(got == wanted[offset..offset + len], "{offset}+{len} by {way}");
                });
            }
        });
        let mut whole = vec![0; wanted.len()];
        file.read_exact_at(&mut whole, 0).unwrap();
        prop_assert!(whole == wanted);
    }
}

#[test]
fn a_file_over_four_gigabytes_is_mapped_to_its_end() {
    let marks = [0, (4 << 30) - 3, (4 << 30) + 20_480, (9 << 30) + 77].map(|at: u64| (at, noise(at, 9000)));
    let file = tempfile::tempfile().unwrap();
    let start = 2048 * 3;
    marks.iter().for_each(|(at, mark)| file.write_all_at(mark, start + at).unwrap());
    let len = (9 << 30) + 9077;
    file.set_len((10 << 30) + start).unwrap();
    let file = Arc::new(file);
    let iso = mapped(file);
    // As an ISO has it: extents of 4 GiB less a sector.
    let most = (4 << 30) - 2048;
    let extents: Vec<_> =
        (0..3).map(|n| start + n * most..(start + len).min(start + (n + 1) * most)).collect();
    let mapped = iso.file(&extents).unwrap();
    assert_eq!(mapped.metadata().unwrap().len(), len);
    for (at, mark) in &marks {
        let mut got = vec![0; mark.len()];
        mapped.read_exact_at(&mut got, *at).unwrap();
        assert!(got == *mark, "{at}");
    }
}
