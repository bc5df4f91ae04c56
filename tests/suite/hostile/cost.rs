//! What an image may cost, in reads, bytes and memory: the worst that there are. What they take of a processor's time follows from
//! that and is printed: a second at most, of a program that is built to be fast.

use super::*;
use crate::support::memory::peak;

/// Bytes that the worst ISO may hold at a time, from its descriptors to a listing of all its directories.
const MOST_MEMORY: usize = 64 << 20;

/// Bytes that are read of it at most: the budget's reads are of a sector each, twice, and then come menus and EFI images.
const MOST_BYTES: u64 = 2 * MAX_READS * 2048 + (64 << 20);

#[test]
fn the_worst_isos_cost_no_more_than_the_budget_of_reads_and_of_memory() {
    let worst: [(&str, Arc<dyn ReadAt>); 7] = [
        ("a directory of gigabytes", Arc::new(directory_of_gigabytes())),
        ("long names", Arc::new(full_of_names(60_000, 190).bytes)),
        ("more names than a directory may have", Arc::new(full_of_names(80_000, 8).bytes)),
        ("directories in directories in circles", Arc::new(full_of_circles().bytes)),
        ("menus that include each other", Arc::new(full_of_menus().bytes)),
        ("a menu without an end", Arc::new(endless_menu().bytes)),
        ("loaders in thousands of clusters", Arc::new(full_of_clusters().bytes)),
    ];
    for (what, iso) in worst {
        let source = Arc::new(Counting::new(iso));
        let since = std::time::Instant::now();
        let ((), memory) = peak(|| {
            let read: Arc<dyn ReadAt> = source.clone();
            if let Ok(facts) = inspect::inspect(&read) {
                list_all(&tree_of_source(read, facts, &Label::parse("LIVE").unwrap()));
            }
        });
        let time = since.elapsed().as_millis();
        let reads = source.reads().len();
        let bytes: u64 = source.reads().iter().map(|(_, len)| *len as u64).sum();
        // The look into it, and one listing: each has a budget of its own.
        println!("{what}: {} KiB, {reads} reads of {} KiB, {time} ms", memory >> 10, bytes >> 10);
        assert!(memory <= MOST_MEMORY, "{what}: {memory} bytes");
        assert!(bytes <= MOST_BYTES, "{what}: {bytes} bytes");
        assert!(reads as u64 <= 2 * MAX_READS, "{what}: {reads} reads");
    }
}

/// Lists the directories of an ISO, some thousands of them at most.
fn list_all(tree: &Tree) {
    let mut left = vec![tree.find("trees/LIVE").unwrap().unwrap()];
    let mut directories = 0;
    while let Some(directory) = left.pop() {
        directories += 1;
        let Ok(entries) = tree.read(&directory) else { continue };
        for entry in entries.iter().filter(|entry| entry.kind == netrootfs::tree::lazy::Type::Directory) {
            if directories + left.len() < 1000 {
                left.extend(tree.enter(&directory, &entry.name).ok().flatten());
            }
        }
    }
}

/// Files of GRUB's that read each other, each with an entry for each.
fn full_of_menus() -> Patch {
    const COUNT: usize = 200;
    let entry = |number| {
        format!(
            "source /boot/grub/{number}.cfg\nmenuentry 'M{number}' {{\n linux {KERNEL} a={number}\n initrd /i\n}}\n"
        )
    };
    let menu: String = (0..COUNT).map(entry).collect();
    let names = (0..COUNT).map(|number| format!("boot/grub/{number}.cfg"));
    let files = names.fold(live(), |files, name| files.with(&name, &menu));
    made(&files.with("boot/grub/grub.cfg", &menu))
}

/// One that goes on for ever, each time with more.
fn endless_menu() -> Patch {
    let menu = "x=1\nwhile true; do x=\"${x}${x}1\"; menuentry \"$x\" { linux /k $x; initrd /i; }; done\n";
    made(&live().with("boot/grub/grub.cfg", menu))
}

/// Four El Torito images, each a FAT16 with as many loaders as are looked at, each of 16 MiB in clusters of a sector. Those of
/// the first half are in one piece, and each other cluster of the others lies elsewhere (Microsoft, "FAT: General Overview of
/// On-Disk Format").
fn full_of_clusters() -> Patch {
    const SECTOR: usize = 512;
    const LOADERS: u16 = 32;
    const CLUSTERS: u16 = 32_000;
    // Behind the boot sector: the FAT, the root directory, and clusters from number 2 on.
    const FAT_SECTORS: u16 = 252;
    let root = SECTOR * (1 + usize::from(FAT_SECTORS));
    let cluster = |number: u16| root + SECTOR * usize::from(number - 1);
    let (boot, file) = (3, 8);
    let mut fat = vec![0; cluster(file)];
    let parameters = [
        b"\xeb\x3c\x90MSDOS5.0\0\x02\x01\x01\0\x01\x10\0\0\0\xf8",
        &FAT_SECTORS.to_le_bytes()[..],
        &[0; 8],
        &64_300_u32.to_le_bytes(),
        b"\x80\0\x29\0\0\0\0NO NAME    FAT16   ",
    ];
    let parameters = parameters.concat();
    fat[..parameters.len()].copy_from_slice(&parameters);
    fat[510..512].copy_from_slice(b"\x55\xaa");
    let mut link = |from: u16, to: u16| {
        let at = SECTOR + 2 * usize::from(from);
        fat[at..at + 2].copy_from_slice(&to.to_le_bytes());
    };
    // EFI, and BOOT with its three clusters.
    link(0, 0xfff8);
    link(1, 0xffff);
    link(2, 0xffff);
    link(boot, boot + 1);
    link(boot + 1, boot + 2);
    link(boot + 2, 0xffff);
    let jumping = file + CLUSTERS;
    for number in 0..CLUSTERS - 1 {
        link(file + number, file + number + 1);
        // All with even numbers, and then the others.
        link(jumping + number, jumping + if number == CLUSTERS - 2 { 1 } else { number + 2 });
    }
    link(file + CLUSTERS - 1, 0xffff);
    link(jumping + CLUSTERS - 1, 0xffff);
    let entry = |name: &str, attributes: u8, first: u16, len: u32| {
        let mut entry = [name.as_bytes(), &[attributes], &[0; 14]].concat();
        entry.extend(first.to_le_bytes());
        entry.extend(len.to_le_bytes());
        entry
    };
    let mut directory = |at: usize, entries: Vec<u8>| fat[at..at + entries.len()].copy_from_slice(&entries);
    directory(root, entry("EFI        ", 0x10, 2, 0));
    directory(cluster(2), entry("BOOT       ", 0x10, boot, 0));
    let loader = |number: u16| {
        let first = if number < LOADERS / 2 { file } else { jumping };
        entry(&format!("L{number:02}     EFI"), 0x20, first, u32::from(CLUSTERS) * SECTOR as u32)
    };
    directory(cluster(boot), (0..LOADERS).flat_map(loader).collect());
    let images = ["a.img", "b.img", "c.img", "d.img"];
    let image = |name| ["-eltorito-alt-boot", "-e", name, "-no-emul-boot"];
    let options = [&["-R", "-V", "LIVE"][..], &images.map(image).concat()].concat();
    let mut iso = made_with(&images.iter().fold(live(), |files, name| files.with(name, &fat)), &options);
    // The volume goes on behind the end of its file.
    iso.bytes.resize(iso.bytes.len() + (34 << 20), 0);
    iso
}

/// So many files of that length of name in the root.
fn full_of_names(count: usize, len: usize) -> Patch {
    let mut iso = sound();
    let at = iso.append(&[]);
    let dot = |name: u8| record(&[name], at, 2048, IS_DIRECTORY, &[]);
    let file = |number: usize| {
        let name = entry(b"NM", &[&[0], format!("{number:0len$}").as_bytes()].concat());
        record(format!("F{number}").as_bytes(), 16, 1, 0, &name)
    };
    let bytes = directory(&[dot(0), dot(1)].into_iter().chain((0..count).map(file)).collect::<Vec<_>>());
    let len = u32::try_from(bytes.len()).unwrap();
    iso.append(&bytes);
    iso.both32(at as usize * 2048 + 10, len);
    let images = iso.record("/LiveOS");
    iso.point(images, at, len);
    iso
}

/// Thirty directories, each of which has all thirty in it.
fn full_of_circles() -> Patch {
    const COUNT: u32 = 30;
    let mut iso = sound();
    let first = iso.append(&[]);
    for number in 0..COUNT {
        let at = first + number;
        let dots = [record(&[0], at, 2048, IS_DIRECTORY, &[]), record(&[1], at, 2048, IS_DIRECTORY, &[])];
        let inside = (0..COUNT).map(|other| {
            let name = format!("D{other}");
            let long = entry(b"NM", &[b"\0", name.as_bytes()].concat());
            record(name.as_bytes(), first + other, 2048, IS_DIRECTORY, &long)
        });
        let bytes = directory(&dots.into_iter().chain(inside).collect::<Vec<_>>());
        iso.append(bytes.get(..2048).unwrap());
    }
    let images = iso.record("/LiveOS");
    iso.point(images, first, 2048);
    iso
}

#[test]
fn a_directory_of_gigabytes_ends_with_the_budget() {
    let source = Arc::new(Counting::new(directory_of_gigabytes()));
    let error = inspect::inspect(&(source.clone() as Arc<dyn ReadAt>)).unwrap_err();
    assert_eq!(error.to_string(), iso::Error::Endless.to_string());
    assert!(source.reads().len() as u64 <= MAX_READS);
}

fn directory_of_gigabytes() -> Endless {
    let mut iso = sound();
    let root = iso.record("/");
    // The image ends in a sparse file's zeros; a copy of the root directory is said to reach over all of them.
    let copy = iso.bytes[root..root + 2048].to_vec();
    let at = iso.append(&copy);
    iso.point(at as usize * 2048, at, u32::MAX - 2047);
    iso.point(Patch::ROOT_RECORD, at, u32::MAX - 2047);
    Endless { head: iso.bytes, len: 8 << 30 }
}

#[test]
fn a_directory_that_is_full_of_versions_ends_with_the_budget() {
    // To know whether a name is the latest of its versions, all of them are looked at.
    let mut iso = Patch { bytes: made_with(&live(), &["--norock", "-V", "LIVE"]).bytes };
    let at = iso.append(&[]);
    let dot = |name: u8| record(&[name], at, 2048, IS_DIRECTORY, &[]);
    let files = (0..10_000).map(|number| record(format!("F{number};2").as_bytes(), 16, 1, 0, &[]));
    let bytes = directory(&[dot(0), dot(1)].into_iter().chain(files).collect::<Vec<_>>());
    let len = u32::try_from(bytes.len()).unwrap();
    iso.append(&bytes);
    iso.both32(at as usize * 2048 + 10, len);
    iso.point(Patch::ROOT_RECORD, at, len);
    let ((outcome, reads), memory) = peak(|| counted(&iso));
    assert_eq!(outcome.unwrap_err().to_string(), iso::Error::Endless.to_string());
    assert!(reads as u64 <= MAX_READS && memory <= MOST_MEMORY, "{memory} bytes");
}

#[test]
fn a_directory_that_is_too_large_refuses_itself_and_not_the_image() {
    let menu = made(&live().with("isolinux/isolinux.cfg", MENU).with("pool/package", "1"));
    for path in ["/pool", "/isolinux", "/images/pxeboot", "/LiveOS", "/"] {
        for count in [3_000, 80_000] {
            let mut iso = menu.clone();
            crowd(&mut iso, path, count);
            let (outcome, reads) = counted(&iso);
            let facts =
                outcome.unwrap_or_else(|error| panic!("{count} files in {path}: {error}, {reads} reads"));
            let files = facts.main_files().expect("an entry");
            assert_eq!((files.kernel.path.as_str(), facts.root.is_some()), (KERNEL, true), "{path}");
        }
    }
}

#[test]
fn names_in_another_case_are_not_looked_for_among_many_thousands() {
    let mut iso = made(&live().with("isolinux/isolinux.cfg", MENU));
    crowd(&mut iso, "/isolinux", 80_000);
    let mut image = Image::open(Arc::new(iso.bytes.clone())).unwrap();
    assert!(image.list("/isolinux").unwrap().is_empty());
    assert!(image.exists("/isolinux/isolinux.cfg") && !image.exists("/isolinux/ISOLINUX.CFG"));
    assert!(image.exists("/IMAGES/PXEBOOT/VMLINUZ"));
    image.check_budget().unwrap();
}

/// Puts so many files into a directory.
fn crowd(iso: &mut Patch, path: &str, count: u32) {
    let to = iso.record(path);
    let dot = if path == "/" { to } else { iso.extent(to) };
    let bytes_of = |at: usize| iso.bytes[at..at + usize::from(iso.bytes[at])].to_vec();
    let dotdot = dot + usize::from(iso.bytes[dot]);
    let own = [dot, dotdot].into_iter().chain(iso.records(dot)).map(bytes_of).collect::<Vec<_>>();
    let more = (0..count).map(|number| record(format!("F{number:06}.;1").as_bytes(), 16, 1, 0, &[]));
    let bytes = directory(&own.into_iter().chain(more).collect::<Vec<_>>());
    let (at, len) = (iso.append(&bytes), u32::try_from(bytes.len()).unwrap());
    iso.point(at as usize * 2048, at, len);
    iso.point(if path == "/" { Patch::ROOT_RECORD } else { to }, at, len);
}

#[test]
fn a_sound_image_costs_a_small_part_of_the_budget() {
    let (outcome, reads) = counted(&sound());
    outcome.unwrap();
    assert!((reads as u64) < MAX_READS / 50, "{reads} reads");
}

/// Some bytes, and zeros up to a length that no memory holds.
struct Endless {
    head: Vec<u8>,
    len: u64,
}

impl ReadAt for Endless {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let head = usize::try_from(offset).ok().and_then(|at| self.head.get(at..)).unwrap_or_default();
        let (part, rest) = buf.split_at_mut(head.len().min(buf.len()));
        part.copy_from_slice(&head[..part.len()]);
        rest.fill(0);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }
}
