//! Images made by the programs that make real ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const MODULE: &str = "lib/modules/6.1.0-x/kernel/drivers/block/nbd.ko";

/// Text that packs well, and is longer than any block.
fn text() -> Vec<u8> {
    (0..400_000_u32).flat_map(|number| format!("{}\n", number % 977).into_bytes()).collect()
}

/// Bytes that don't pack.
fn noise() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..300_000).map(|_| next()).collect()
}

fn tree(directory: &Path) {
    let put = |path: &str, bytes: &[u8]| {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put(MODULE, &noise());
    put("lib/modules/6.1.0-x/modules.dep", &text());
    put("lib/modules/6.1.0-x/small", b"small");
    put("lib/modules/6.1.0-x/empty", b"");
    put("etc/hostname", b"x\n");
    std::os::unix::fs::symlink("small", directory.join("lib/modules/6.1.0-x/link")).unwrap();
    std::os::unix::fs::symlink("../../../etc/hostname", directory.join("lib/modules/6.1.0-x/far")).unwrap();
    std::os::unix::fs::symlink("lib/modules", directory.join("modules")).unwrap();
}

fn run(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    let output = command.output().unwrap_or_else(|error| panic!("{program}, of scripts/setup test: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A place for images, with a tree in it.
struct Workshop {
    top: TempDir,
}

impl Workshop {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        tree(&top.path().join("tree"));
        Self { top }
    }

    fn path(&self, name: &str) -> String {
        self.top.path().join(name).to_str().unwrap().to_owned()
    }

    fn squashfs(&self, from: &str, options: &[&str]) -> Arc<dyn ReadAt> {
        let image = self.path("out.squashfs");
        let _ = fs::remove_file(&image);
        let quiet = ["-quiet", "-no-progress", "-all-root", "-processors", "1"];
        run("mksquashfs", &[&[self.path(from).as_str(), &image], &quiet[..], options].concat());
        Arc::new(fs::read(image).unwrap())
    }

    fn ext4(&self, image: &str) -> Arc<dyn ReadAt> {
        let image = self.path(image);
        fs::create_dir_all(Path::new(&image).parent().unwrap()).unwrap();
        let size = 16 << 20;
        fs::File::create(&image).unwrap().set_len(size).unwrap();
        run("mke2fs", &["-q", "-t", "ext4", "-d", &self.path("tree"), &image]);
        Arc::new(fs::read(image).unwrap())
    }

    fn erofs(&self, from: &str, options: &[&str]) -> Arc<dyn ReadAt> {
        let image = self.path("out.erofs");
        let _ = fs::remove_file(&image);
        run("mkfs.erofs", &[options, &[image.as_str(), &self.path(from)]].concat());
        Arc::new(fs::read(image).unwrap())
    }
}

/// Reads all that there is, and says whether it is right.
fn check(image: Arc<dyn ReadAt>) {
    let files = open(image).unwrap();
    let read = |path: &str| files.read(path, 8 << 20).unwrap();
    assert!(read(MODULE).unwrap() == noise(), "noise");
    assert!(read("lib/modules/6.1.0-x/modules.dep").unwrap() == text(), "text");
    assert_eq!(read("lib/modules/6.1.0-x/small").unwrap(), b"small");
    assert_eq!(read("lib/modules/6.1.0-x/empty").unwrap(), b"");
    assert_eq!(read("lib/modules/6.1.0-x/gone"), None);
    assert_eq!(read("lib/modules/6.1.0-x"), None, "a directory");
    assert_eq!(read("lib/modules/6.1.0-x/small/x"), None);
    assert!(matches!(files.read(MODULE, 1000), Err(Error::TooLarge(_, 1000))));
    let top = files.top().unwrap();
    assert!(top.contains(&"lib".to_owned()) && top.contains(&"etc".to_owned()), "{top:?}");
}

#[test]
fn squashfs_in_each_compression() {
    let workshop = Workshop::new();
    for options in [
        &["-comp", "gzip"][..],
        &["-comp", "xz", "-b", "1M"],
        &["-comp", "xz", "-Xbcj", "x86"],
        &["-comp", "zstd"],
        &["-comp", "lz4"],
        &["-comp", "gzip", "-noI", "-noD", "-noF", "-noX"],
        &["-comp", "zstd", "-no-fragments"],
        &["-comp", "zstd", "-always-use-fragments", "-b", "4096"],
    ] {
        println!("{options:?}");
        check(workshop.squashfs("tree", options));
    }
}

#[test]
fn a_link_to_a_file_beside_is_followed_and_no_other() {
    let workshop = Workshop::new();
    for image in [
        workshop.squashfs("tree", &["-comp", "gzip"]),
        workshop.erofs("tree", &[]),
        workshop.ext4("root.img"),
    ] {
        let files = open(image).unwrap();
        assert_eq!(files.read("lib/modules/6.1.0-x/link", 9).unwrap().unwrap(), b"small");
        assert_eq!(files.read("lib/modules/6.1.0-x/far", 9).unwrap(), None);
        assert_eq!(files.read("modules/6.1.0-x/small", 9).unwrap(), None, "by a link of a directory");
    }
}

#[test]
fn a_link_that_says_that_it_is_far_longer_than_any_is_refused() {
    let workshop = Workshop::new();
    workshop.ext4("root.img");
    let image = workshop.path("root.img");
    for link in ["lib/modules/6.1.0-x/link", "modules"] {
        run("debugfs", &["-w", "-R", &format!("set_inode_field /{link} size 0xfffffff0"), &image]);
    }
    let files = open(Arc::new(fs::read(&image).unwrap())).unwrap();
    let error = files.read("lib/modules/6.1.0-x/link", 9).unwrap_err().to_string();
    assert_eq!(error, "/lib/modules/6.1.0-x/link is a link of 4294967280 bytes");
    assert_eq!(files.read("modules/6.1.0-x/small", 9).unwrap(), None);
    assert_eq!(files.read("lib/modules/6.1.0-x/small", 9).unwrap().unwrap(), b"small");
}

#[test]
fn a_directory_that_says_that_it_is_far_larger_than_any_is_refused() {
    for (directory, shown) in [("", "/"), ("lib", "/lib")] {
        let workshop = Workshop::new();
        workshop.ext4("root.img");
        let image = workshop.path("root.img");
        run("debugfs", &["-w", "-R", &format!("set_inode_field /{directory} size 0x7ffffc00"), &image]);
        let files = open(Arc::new(fs::read(&image).unwrap())).unwrap();
        let error = files.read("lib/modules/6.1.0-x/small", 9).unwrap_err().to_string();
        assert_eq!(error, format!("{shown} is a directory of 2147482624 bytes"));
        assert_eq!(files.top().is_err(), directory.is_empty());
    }
}

#[test]
fn a_directory_of_far_more_names_than_any_is_refused_in_a_squashfs() {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("tree/many")).unwrap();
    for name in 0..8500 {
        fs::write(workshop.path(&format!("tree/many/{name:0248}")), "").unwrap();
    }
    let files = open(workshop.squashfs("tree", &["-comp", "gzip"])).unwrap();
    let error = files.read("many/small", 9).unwrap_err().to_string();
    assert_eq!(error, "a directory of more than 2097152 bytes");
    assert_eq!(files.read("lib/modules/6.1.0-x/small", 9).unwrap().unwrap(), b"small");
}

/// Places and what stands there.
type Patches<'a> = &'a [(usize, &'a [u8])];

/// An EROFS whose root directory's inode has these bytes at these places (Linux, fs/erofs/erofs_fs.h, `erofs_inode_compact`).
fn erofs_with_root(image: &dyn ReadAt, patches: Patches<'_>) -> Arc<dyn ReadAt> {
    let mut bytes = vec![0; usize::try_from(image.len()).unwrap()];
    image.read_exact_at(&mut bytes, 0).unwrap();
    // root_nid and meta_blkaddr of the superblock; the blocks have 4 KiB, and inodes lie at multiples of 32 bytes.
    let nid = usize::from(u16::from_le_bytes([bytes[1024 + 14], bytes[1024 + 15]]));
    let meta = usize::try_from(u32::from_le_bytes(bytes[1024 + 40..1024 + 44].try_into().unwrap())).unwrap();
    for (at, patch) in patches {
        let at = meta * 4096 + nid * 32 + at;
        bytes[at..][..<[u8]>::len(patch)].copy_from_slice(patch);
    }
    Arc::new(bytes)
}

#[test]
fn a_directory_that_costs_much_is_refused_in_an_erofs() {
    let workshop = Workshop::new();
    let plain = workshop.erofs("tree", &["-Eforce-inode-compact"]);
    check(erofs_with_root(plain.as_ref(), &[]));
    let cases: [(Patches<'_>, &str); 3] = [
        // A few blocks that are many of the directory: i_format of a file in chunks, and of one that is packed.
        (&[(0, &[4 << 1, 0]), (16, &[0, 0])], "/ is a directory that is packed or in chunks"),
        (&[(0, &[1 << 1, 0])], "/ is a directory that is packed or in chunks"),
        // i_size, of one that is neither.
        (&[(0, &[0, 0]), (8, &[1, 0, 0x20, 0])], "/ is a directory of 2097153 bytes"),
    ];
    for (patches, said) in cases {
        let error = open(erofs_with_root(plain.as_ref(), patches)).err().unwrap().to_string();
        assert_eq!(error, said);
    }
}

#[test]
fn directories_of_far_more_names_than_any_are_refused_in_an_erofs() {
    let workshop = Workshop::new();
    for directory in ["some", "many"] {
        fs::create_dir(workshop.path(&format!("tree/{directory}"))).unwrap();
        for name in 0..10_000 {
            fs::write(workshop.path(&format!("tree/{directory}/{name}")), "").unwrap();
        }
    }
    let files = open(workshop.erofs("tree", &[])).unwrap();
    assert_eq!(files.read("some/9999", 9).unwrap().unwrap(), b"");
    let error = files.read("many/9999", 9).unwrap_err().to_string();
    assert_eq!(error, "more than 16384 names in its directories");
    assert_eq!(files.read("some/9998", 9).unwrap().unwrap(), b"", "what is known stays known");
}

#[test]
fn an_empty_directory_has_no_file_in_an_erofs() {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("nothing")).unwrap();
    let files = open(workshop.erofs("nothing", &[])).unwrap();
    assert_eq!(files.read("lib/modules/6.1.0-x/small", 9).unwrap(), None);
    assert_eq!(files.top().unwrap(), Vec::<String>::new());
}

#[test]
fn a_compression_that_nobody_can_read_is_said() {
    let workshop = Workshop::new();
    let error = open(workshop.squashfs("tree", &["-comp", "lzo"])).err().unwrap();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
}

/// Counts what is read.
struct Counted(Arc<dyn ReadAt>, std::sync::atomic::AtomicU64);

impl ReadAt for Counted {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.1.fetch_add(buf.len() as u64, std::sync::atomic::Ordering::Relaxed);
        self.0.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.0.len()
    }
}

#[test]
fn of_a_squashfs_with_many_names_only_those_on_the_way_are_read() {
    let workshop = Workshop::new();
    for directory in 0..40 {
        let directory = workshop.path(&format!("tree/many/{directory}"));
        fs::create_dir_all(&directory).unwrap();
        (0..500).for_each(|name| fs::write(format!("{directory}/{name}"), "").unwrap());
    }
    let image = workshop.squashfs("tree", &["-comp", "gzip", "-noI"]);
    let counted = Arc::new(Counted(image, Default::default()));
    let files = open(counted.clone()).unwrap();
    assert_eq!(files.read("lib/modules/6.1.0-x/small", 9).unwrap().unwrap(), b"small");
    assert_eq!(files.read("many/39/499", 9).unwrap().unwrap(), b"");
    // 20,000 inodes of 32 bytes.
    let read = counted.1.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read < 200_000, "{read}");
}

#[test]
fn a_squashfs_of_another_version_or_with_impossible_blocks_is_refused() {
    let workshop = Workshop::new();
    let image = workshop.squashfs("tree", &["-comp", "gzip"]);
    let mut sound = vec![0; image.len() as usize];
    image.read_exact_at(&mut sound, 0).unwrap();
    for (place, bytes, reason) in [
        (28, &[3, 0][..], "it is a squashfs of version 3"),
        (12, &[0, 0, 0, 1], "blocks of 16777216 bytes"),
        (12, &[1, 0, 2, 0], "blocks of 131073 bytes"),
        (20, &[2, 0], "its compression, number 2, is not supported"),
    ] {
        let mut image = sound.clone();
        image[place..place + bytes.len()].copy_from_slice(bytes);
        assert_eq!(open(Arc::new(image)).err().unwrap().to_string(), reason);
    }
}

#[test]
fn erofs_plain_and_compressed() {
    let workshop = Workshop::new();
    for options in [
        &[][..],
        &["-zlz4"],
        &["-zlz4hc,9", "-C65536"],
        &["-zlz4", "-Eall-fragments"],
        &["-zlz4", "-Eztailpacking"],
    ] {
        println!("{options:?}");
        check(workshop.erofs("tree", options));
    }
}

/// Made by erofs-utils 1.8.6, `-T0 -z<KIND> -C65536 -Efragments,ztailpacking`: Debian 12's can't.
#[test]
fn erofs_in_compressions_of_newer_tools() {
    let samples: [(&str, &[u8]); 3] = [
        ("deflate", include_bytes!("../../../../tests/erofs/deflate.erofs")),
        ("lzma", include_bytes!("../../../../tests/erofs/lzma.erofs")),
        ("zstd", include_bytes!("../../../../tests/erofs/zstd.erofs")),
    ];
    for (kind, image) in samples {
        let files = open(Arc::new(image.to_vec())).unwrap();
        assert!(files.read("lib/modules/6.1.0-x/modules.dep", 8 << 20).unwrap().unwrap() == text(), "{kind}");
        assert_eq!(files.read("lib/modules/6.1.0-x/small", 9).unwrap().unwrap(), b"small", "{kind}");
    }
}

#[test]
fn ext4_by_itself() {
    check(Workshop::new().ext4("root.img"));
}

#[test]
fn an_ext4_that_says_that_it_is_far_larger_than_any_is_refused() {
    let image = Workshop::new().ext4("root.img");
    let mut sound = vec![0; image.len() as usize];
    image.read_exact_at(&mut sound, 0).unwrap();
    for (place, bytes, reason) in [
        (0x18, &[7, 0, 0, 0][..], "blocks of more than 64 KiB"),
        (0x7, &[0xff], "more than 65536 block groups"),
        (0x20, &[0, 0, 0, 0], "more than 65536 block groups"),
        (0x150, &[0xff], "more than 65536 block groups"),
    ] {
        let mut image = sound.clone();
        image[1024 + place..1024 + place + bytes.len()].copy_from_slice(bytes);
        assert_eq!(open(Arc::new(image)).err().unwrap().to_string(), reason, "{place:#x}");
    }
}

#[test]
fn an_ext4_in_a_squashfs_is_the_root() {
    for (inner, options) in [
        ("shell/LiveOS/rootfs.img", &["-comp", "xz", "-b", "1M"][..]),
        ("shell/LiveOS/ext3fs.img", &["-comp", "gzip", "-noD"]),
        ("shell/airootfs.img", &["-comp", "zstd", "-always-use-fragments"]),
    ] {
        let workshop = Workshop::new();
        workshop.ext4(inner);
        check(workshop.squashfs("shell", options));
    }
}

#[test]
fn an_ext4_in_an_erofs_is_the_root() {
    let workshop = Workshop::new();
    workshop.ext4("shell/LiveOS/rootfs.img");
    check(workshop.erofs("shell", &["-zlz4"]));
}

#[test]
fn a_file_in_a_squashfs_is_read_at_any_place() {
    let workshop = Workshop::new();
    for options in [&["-comp", "gzip"][..], &["-comp", "lz4", "-always-use-fragments"], &["-noD", "-noF"]] {
        let image = workshop.squashfs("tree", options);
        let files = squashfs::Squashfs::open(image).unwrap();
        for (path, whole) in [(MODULE, noise()), ("lib/modules/6.1.0-x/small", b"small".to_vec())] {
            let file = files.image(path).unwrap().unwrap();
            assert_eq!(file.len(), whole.len() as u64);
            let ranges = [
                (0, whole.len()),
                (whole.len() - 1, 1),
                (whole.len(), 0),
                (whole.len() / 2, whole.len() / 3),
            ];
            for (offset, len) in ranges {
                let mut buf = vec![0; len];
                file.read_exact_at(&mut buf, offset as u64).unwrap();
                assert!(buf == whole[offset..offset + len], "{path} {offset} {len}");
            }
            assert!(file.read_exact_at(&mut [0; 2], file.len() - 1).is_err());
        }
    }
}

#[test]
fn what_is_no_file_system_is_not_read() {
    for bytes in [Vec::new(), vec![0; 5000], b"hsqs".to_vec()] {
        assert!(open(Arc::new(bytes)).is_err());
    }
}

/// Damages an image, and reads from it whatever can be read: it ends, and never in a panic of ours.
fn survive(image: &[u8], flips: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) {
    let mut image = image.to_vec();
    for (place, byte) in flips {
        let place = place.index(image.len());
        image[place] ^= byte;
    }
    image.truncate(cut.map_or(image.len(), |cut| cut.index(image.len())));
    let read = guarded(|| {
        let files = open(Arc::new(image.clone()))?;
        let _ = files.top();
        for path in [MODULE, "lib/modules/6.1.0-x/modules.dep", "lib/modules/6.1.0-x/small"] {
            if let Ok(Some(bytes)) = files.read(path, 8 << 20) {
                assert!(bytes.len() <= 8 << 20);
            }
        }
        Ok(())
    });
    if let Err(error) = read {
        assert!(error.to_string().chars().all(|symbol| !symbol.is_control()));
    }
}

fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..12)
}

/// The images of which damaged ones are made, once.
fn samples() -> &'static [Vec<u8>] {
    static SAMPLES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    let bytes = |image: Arc<dyn ReadAt>| {
        let mut bytes = vec![0; image.len() as usize];
        image.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    SAMPLES.get_or_init(|| {
        let workshop = Workshop::new();
        // Little of it is text and noise, so that most flips hit the structures.
        fs::write(workshop.path("tree/lib/modules/6.1.0-x/modules.dep"), b"a: b\n").unwrap();
        fs::write(workshop.path(&format!("tree/{MODULE}")), b"\x7fELF").unwrap();
        let mut images = vec![
            bytes(workshop.squashfs("tree", &["-comp", "gzip"])),
            bytes(workshop.squashfs("tree", &["-comp", "zstd", "-noI"])),
            bytes(workshop.erofs("tree", &[])),
            bytes(workshop.erofs("tree", &["-zlz4"])),
        ];
        let ext4 = bytes(workshop.ext4("shell/LiveOS/rootfs.img"));
        images.push(bytes(workshop.squashfs("shell", &["-comp", "gzip"])));
        images.push(ext4);
        images
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_images_end_in_files_or_a_reason(
        sample in any::<prop::sample::Index>(), flips in flips(), cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let samples = samples();
        survive(&samples[sample.index(samples.len())], &flips, cut);
    }

    /// Flips in the first kilobytes: the superblock and what it leads to.
    #[test]
    fn damaged_superblocks_end_in_files_or_a_reason(
        sample in any::<prop::sample::Index>(), flips in prop::collection::vec((0_usize..2048, any::<u8>()), 1..6),
    ) {
        let samples = samples();
        let mut image = samples[sample.index(samples.len())].clone();
        for (place, byte) in flips {
            if let Some(target) = image.get_mut(place) { *target = byte; }
        }
        survive(&image, &[], None);
    }
}
