//! ISOs of many makers and ages: what is served of them is, byte for byte, what xorriso extracts.
//!
//! Needs xorriso and genisoimage, and for the images of others the packages grub-rescue-pc, ipxe and memtest86+.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use netrootfs::boot::families::{generic, live_os};
use netrootfs::boot::format::Format;
use netrootfs::boot::inspect::Facts;
use netrootfs::catalog::scan::{self, Catalog, Plain, Scanner};
use netrootfs::image::iso::Image;
use netrootfs::image::menu::Firmware;
use netrootfs::storage::content::Content;
use netrootfs::storage::source::limited_reads::LimitedReads;
use netrootfs::storage::source::{FileSource, PageCache, ReadAt};
use netrootfs::tree::arena::{Kind, Tree};
use netrootfs::tree::layout::{self, Settings};

use crate::support::isos::{self, Files, erofs, ext4, pattern, squashfs};

/// Options that make the three kinds of trees, by both tools.
const ROCK_RIDGE_AND_JOLIET: [&str; 4] = ["-R", "-J", "-V", "LIVE"];
const PLAIN: [&str; 4] = ["-iso-level", "1", "-V", "LIVE"];

#[test]
fn rock_ridge_and_joliet_by_xorriso() {
    let iso = Made::by_xorriso(&menagerie(), &ROCK_RIDGE_AND_JOLIET);
    iso.assert_files_are_those_extracted();
    iso.assert_served_as_extracted();
}

#[test]
fn rock_ridge_and_joliet_by_genisoimage() {
    let iso = Made::by_genisoimage(&menagerie(), &ROCK_RIDGE_AND_JOLIET);
    iso.assert_files_are_those_extracted();
    iso.assert_served_as_extracted();
}

#[test]
fn joliet_without_rock_ridge() {
    let iso = Made::by_genisoimage(&menagerie(), &["-J", "-V", "LIVE"]);
    iso.assert_files_are_those_extracted();
    assert_eq!(iso.facts().files[0].kernel.path, "/images/pxeboot/vmlinuz");
    iso.assert_served_as_extracted();
}

#[test]
fn plain_level_1_by_genisoimage() {
    let iso = Made::by_genisoimage(&Files::live(), &PLAIN);
    iso.assert_files_are_those_extracted();
    assert_eq!(iso.facts().files[0].kernel.path, "/images/pxeboot/vmlinuz");
    iso.assert_served_as_extracted();
}

#[test]
fn plain_level_1_by_xorriso() {
    let iso = Made::by_xorriso(&Files::live(), &["--norock", "-iso-level", "1", "-V", "LIVE"]);
    iso.assert_files_are_those_extracted();
    assert_eq!(iso.facts().files[0].kernel.path, "/images/pxeboot/vmlinuz");
    iso.assert_served_as_extracted();
}

#[test]
fn names_of_sixty_and_of_two_hundred_characters() {
    let (long, longer) = ("n".repeat(60), "m".repeat(200));
    let files = Files::live().with(&format!("{long}/{longer}"), pattern(9, 5000));
    let iso = Made::by_xorriso(&files, &["-R", "-V", "LIVE"]);
    iso.assert_files_are_those_extracted();
    assert!(iso.image().exists(&format!("/{long}/{longer}")));
}

#[test]
fn directories_deeper_than_eight_levels_are_relocated_and_found() {
    let files = Files::live().with("1/2/3/4/5/6/7/8/9/10/11/kernel", pattern(3, 9000));
    let iso = Made::by_genisoimage(&files, &["-R", "-V", "LIVE"]);
    let relocated = fs::read(&iso.path).unwrap();
    assert!(relocated.windows(8).any(|bytes| bytes == b"RR_MOVED"), "the tool is to relocate");
    assert!(iso.image().exists("/1/2/3/4/5/6/7/8/9/10/11/kernel"));
    assert!(!iso.image().exists("/rr_moved/11"));
    iso.assert_files_are_those_extracted();
    let deep = Made::by_xorriso(&files, &["-R", "-V", "LIVE"]);
    deep.assert_files_are_those_extracted();
}

#[test]
fn a_kernel_in_a_relocated_directory_boots() {
    let files = Files::new()
        .with("1/2/3/4/5/6/7/8/9/10/vmlinuz", pattern(3, 9000))
        .with("1/2/3/4/5/6/7/8/9/10/initrd", pattern(4, 9001))
        .with(
            "isolinux/isolinux.cfg",
            "label x\n kernel /1/2/3/4/5/6/7/8/9/10/vmlinuz\n append initrd=/1/2/3/4/5/6/7/8/9/10/initrd\n",
        );
    Made::by_genisoimage(&files, &["-R", "-V", "LIVE"]).assert_served_as_extracted();
}

#[test]
fn symbolic_links_and_hard_links_inside_lead_to_their_file() {
    let files = Files::live().with_link("boot/kernel", "../images/pxeboot/vmlinuz").with_link("loop", "loop");
    fs::hard_link(files.path().join("images/pxeboot/vmlinuz"), files.path().join("hard")).unwrap();
    let iso = Made::by_xorriso(&files, &["-R", "--hardlinks", "-V", "LIVE"]);
    let kernel = pattern(1, 10_000);
    assert_eq!(iso.image().read("/boot/kernel", 20_000).unwrap().unwrap(), kernel);
    assert_eq!(iso.image().read("/hard", 20_000).unwrap().unwrap(), kernel);
    assert!(!iso.image().exists("/loop"));
    iso.assert_files_are_those_extracted();
}

#[test]
fn volume_ids_become_labels() {
    let labels: [(&[u8], &str); 9] = [
        (b"Fedora-WS-Live-42", "Fedora-WS-Live-42"),
        (b"CentOS 7 x86_64", "CentOS_7_x86_64"),
        (b"lower case", "lower_case"),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"),
        (b"caf\xe9", "caf_"),
        (b"20240101", "_20240101"),
        (b"generic", "_generic"),
        (b"../../etc/passwd", "_.._.._etc_passwd"),
        (b"nbd.conf", "_nbd.conf"),
    ];
    let files = Files::live();
    for (id, label) in labels {
        // The tools refuse some of these; a disc has what it has.
        let iso = Made::by_xorriso(&files, &["-R", "-V", "LIVE"]).with_volume_id(id);
        assert_eq!(iso.catalog().isos[0].label.as_str(), label);
        assert_eq!(iso.facts().volume_id, id);
        iso.assert_served_as_extracted();
    }
}

#[test]
fn the_uuid_is_the_one_that_blkid_finds() {
    let menu = "probe -s id -u ($root)\nmenuentry a {\n linux /k media=UUID=$id\n initrd /i\n}\n";
    let files = Files::new().with("boot/grub/grub.cfg", menu).with("k", "kernel").with("i", "initrd");
    let dated = ["-R", "--modification-date=2024021323363042", "-V", "LIVE"];
    for iso in [Made::by_xorriso(&files, &dated), Made::by_genisoimage(&files, &["-R", "-V", "LIVE"])] {
        let blkid = ["-p", "-o", "value", "-s", "UUID"];
        let found = Command::new("blkid").args(blkid).arg(&iso.path).output().expect("blkid");
        let uuid = String::from_utf8(found.stdout).unwrap();
        assert_eq!(iso.image().uuid().unwrap(), uuid.trim());
        assert_eq!(iso.facts().entries[0].args.to_string(), format!("media=UUID={}", uuid.trim()));
    }
}

#[test]
fn without_a_volume_id_the_file_gives_the_label() {
    let iso = Made::by_xorriso(&Files::live(), &["-R", "-V", "LIVE"]).with_volume_id(b"");
    assert_eq!(iso.catalog().isos[0].label.as_str(), "made");
    iso.assert_served_as_extracted();
}

#[test]
fn live_os_of_all_ages() {
    let kernels = [
        ("isolinux/vmlinuz0", "isolinux/initrd0.img"),
        ("isolinux/vmlinuz", "isolinux/initrd.img"),
        ("images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"),
        ("boot/x86_64/loader/linux", "boot/x86_64/loader/initrd"),
    ];
    for (kernel, initrd) in kernels {
        let files = Files::new()
            .with(kernel, pattern(1, 12_345))
            .with(initrd, pattern(2, 23_457))
            .with("LiveOS/squashfs.img", squashfs(30_000));
        let iso = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET);
        let facts = iso.facts();
        assert_eq!(facts.files[0].kernel.path, format!("/{kernel}"));
        assert_eq!(facts.files[0].initrds[0].path, format!("/{initrd}"));
        assert_eq!(facts.family, &live_os::FAMILY);
        iso.assert_served_as_extracted();
    }
}

#[test]
fn root_images_are_known_by_their_magic() {
    let roots = [
        ("LiveOS/squashfs.img", squashfs(30_000), Format::Squashfs),
        ("LiveOS/squashfs.img", erofs(30_000), Format::Erofs),
        ("LiveOS/rootfs.img", ext4(30_000), Format::Ext4),
        ("LiveOS/squashfs.img", pattern(7, 30_000), Format::Unknown),
        ("LiveOS/squashfs.img", b"hsqs".to_vec(), Format::Squashfs),
    ];
    for (path, bytes, format) in roots {
        let files = Files::new()
            .with("images/pxeboot/vmlinuz", pattern(1, 1000))
            .with("images/pxeboot/initrd.img", pattern(2, 1000))
            .with(path, bytes);
        let iso = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET);
        let root = iso.facts().root.unwrap();
        assert_eq!((root.file.path, root.format), (format!("/{path}"), format));
        iso.assert_served_as_extracted();
    }
}

#[test]
fn menus_of_each_loader_name_kernel_and_initrd() {
    let menus = [
        (
            "isolinux/isolinux.cfg",
            "default x\nlabel x\n menu label A ^Title\n kernel /k/linux\n append initrd=/k/rd quiet\n",
        ),
        ("boot/grub/grub.cfg", "menuentry 'A Title' {\n linux /k/linux quiet\n initrd /k/rd\n}\n"),
        ("loader/entries/a.conf", "title A Title\nlinux /k/linux\ninitrd /k/rd\noptions quiet\n"),
    ];
    for (path, text) in menus {
        let files =
            Files::new().with(path, text).with("k/linux", pattern(1, 4097)).with("k/rd", pattern(2, 8191));
        let iso = Made::by_genisoimage(&files, &ROCK_RIDGE_AND_JOLIET);
        let facts = iso.facts();
        assert_eq!(
            (facts.family, facts.entries[0].title.as_str(), facts.entries[0].args.to_string().as_str()),
            (&generic::FAMILY, "A Title", "quiet")
        );
        assert_eq!(facts.root, None);
        iso.assert_served_as_extracted();
    }
}

#[test]
fn two_initrds_are_served_as_one_file_with_the_second_aligned() {
    let microcode = pattern(5, 1001);
    let files = Files::new()
        .with("k/linux", pattern(1, 4097))
        .with("k/microcode", &microcode)
        .with("k/main", pattern(6, 5001))
        .with("boot/grub/grub.cfg", "menuentry T {\n linux /k/linux\n initrd /k/microcode /k/main\n}\n");
    let iso = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET);
    let initrd = iso.served("tftp/initrd_LIVE.img");
    assert_eq!(initrd.len(), 1004 + 5001);
    assert_eq!(initrd[..1001], microcode);
    assert_eq!(initrd[1001..1004], [0; 3]);
    iso.assert_served_as_extracted();
}

#[test]
fn a_menu_that_checks_the_medium_by_itself_boots_the_entry_that_does_not() {
    let menu = "default check\n\
        label check\n menu label Test this media & start\n kernel vmlinuz\n append initrd=initrd.img rd.live.image rd.live.check\n\
        label live\n menu label Start\n kernel vmlinuz\n append initrd=initrd.img rd.live.image quiet\n";
    let files = Files::new()
        .with("isolinux/isolinux.cfg", menu)
        .with("isolinux/vmlinuz", pattern(1, 100))
        .with("isolinux/initrd.img", pattern(2, 100))
        .with("LiveOS/squashfs.img", squashfs(3000));
    let facts = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET).facts();
    assert_eq!(
        (facts.entries[0].title.as_str(), facts.entries[0].args.to_string().as_str()),
        ("Start", "rd.live.image quiet")
    );
}

#[test]
fn a_menu_whose_kernel_is_not_there_gives_way_to_the_layout() {
    let files = Files::live()
        .with("isolinux/isolinux.cfg", "label x\n kernel /gone\n append initrd=/images/pxeboot/initrd.img\n");
    let facts = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET).facts();
    assert_eq!(facts.files[0].kernel.path, "/images/pxeboot/vmlinuz");
    assert_eq!(facts.entries[0].args, "rd.live.image quiet");
}

#[test]
fn a_name_that_is_no_word_gets_into_no_kernel_argument() {
    let files = Files::new()
        .with("live/vmlinuz", "kernel")
        .with("live/initrd.img", "initrd")
        .with("live/a\nlabel evil\u{1b}[31m.squashfs", squashfs(3000))
        .with("live/a b.squashfs", squashfs(3000))
        .with("live/filesystem.squashfs", squashfs(3000));
    let facts = Made::by_xorriso(&files, &["-R", "-V", "LIVE"]).facts();
    assert_eq!(facts.found, "/live/filesystem.squashfs");
}

#[test]
fn an_iso_whose_menu_boots_nothing_that_is_there_is_told_so() {
    let refusal = |menu: &str, files: Files| {
        let files = files.with("isolinux/isolinux.cfg", menu);
        Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET).refusal()
    };
    let live = "label x\n kernel /casper/vmlinuz\n append initrd=/casper/initrd\n";
    let kernel = || Files::new().with("casper/vmlinuz", "kernel");
    assert_eq!(refusal(live, Files::new()), "its boot menu names /casper/vmlinuz, which is not in it");
    assert_eq!(refusal(live, kernel()), "its boot menu names /casper/initrd, which is not in it");
    let empty = Files::new().with("casper/vmlinuz", "");
    assert_eq!(refusal(live, empty), "/casper/vmlinuz: is empty");
}

#[test]
fn an_iso_without_kernel_and_initrd_has_no_entry() {
    let iso = Made::by_xorriso(&Files::new().with("readme", "hello"), &ROCK_RIDGE_AND_JOLIET);
    assert_eq!(
        iso.refusal(),
        "no kernel and initrd found: no boot menu names them, and the layout is not a known one"
    );
    let root_only = Files::new().with("LiveOS/squashfs.img", squashfs(3000));
    let iso = Made::by_xorriso(&root_only, &ROCK_RIDGE_AND_JOLIET);
    assert_eq!(
        iso.refusal(),
        "no kernel and initrd found: no boot menu names them, and the layout is not a known one"
    );
}

#[test]
fn a_root_image_of_five_gigabytes() {
    const LEN: u64 = 5 << 30;
    /// Largest extent that a directory record can hold, in whole sectors (ECMA-119, 9.1.4).
    const EXTENT: u64 = (4 << 30) - 2048;
    let space = tempfile::tempdir_in("/var/tmp").unwrap();
    let files = Files::live();
    let root = File::options().write(true).open(files.path().join("LiveOS/squashfs.img")).unwrap();
    root.set_len(LEN).unwrap();
    let marks: Vec<u64> =
        (0..64).map(|index| index * 83_886_077).chain([EXTENT - 4096, EXTENT, LEN - 4096]).collect();
    for &mark in &marks {
        root.write_all_at(&pattern(mark, 4096), mark).unwrap();
    }
    root.write_all_at(b"hsqs", 0).unwrap();
    drop(root);
    let iso = space.path().join("made.iso");
    make_sparse(&files, &iso);

    let source: Arc<dyn ReadAt> =
        Arc::new(FileSource::new(Arc::new(File::open(&iso).unwrap()), PageCache::Keep).unwrap());
    let facts = netrootfs::boot::inspect::inspect(&source).unwrap();
    let served = facts.root.unwrap();
    assert_eq!((served.file.len, served.format), (LEN, Format::Squashfs));
    assert!(served.file.extents.len() > 1, "a file of this size has several extents");
    let catalog = scan(space.path());
    let tree = lay_out(&catalog);
    let content = content(&tree, "images/liveos_LIVE.img");
    assert_eq!(content.size(), LEN);
    let wanted = File::open(files.path().join("LiveOS/squashfs.img")).unwrap();
    let around = [0, EXTENT - 70_000, EXTENT - 1, EXTENT, (4 << 30) - 1, 4 << 30, LEN - 70_000];
    for offset in marks.iter().copied().chain(around) {
        let mut want = vec![0; usize::try_from((LEN - offset).min(131_072)).unwrap()];
        wanted.read_exact_at(&mut want, offset).unwrap();
        assert!(content.read_at(offset, 131_072).unwrap() == want, "bytes from {offset} on differ");
    }
    assert_eq!(content.read_at(LEN, 1).unwrap(), b"");
}

#[test]
fn roots_and_their_layers_are_found_the_likely_one_first() {
    let roots = |files: &[(&str, Vec<u8>)]| {
        let made = files.iter().fold(Files::live(), |made, (path, bytes)| made.with(path, bytes.clone()));
        let iso = Made::by_xorriso(&made, &["-R", "-V", "LIVE"]);
        let found = netrootfs::boot::inspect::roots(&open(&iso.path)).unwrap();
        found
            .into_iter()
            .map(|file| file.path)
            .filter(|path| !path.starts_with("/LiveOS"))
            .collect::<Vec<_>>()
    };
    let layers = [
        ("casper/a.minimal.squashfs", squashfs(4000)),
        ("casper/filesystem.squashfs", squashfs(4000)),
        ("casper/filesystem.squashfs.gpg", pattern(1, 3000)),
        ("casper/junk.squashfs", pattern(2, 3000)),
    ];
    assert_eq!(roots(&layers), ["/casper/filesystem.squashfs", "/casper/a.minimal.squashfs"]);
    let arch =
        [("arch/x86_64/airootfs.erofs", erofs(4000)), ("arch/x86_64/airootfs.sha512", pattern(3, 3000))];
    assert_eq!(roots(&arch), ["/arch/x86_64/airootfs.erofs"]);
    assert_eq!(roots(&[("boot/modloop-lts", squashfs(4000))]), ["/boot/modloop-lts"]);
    let many: Vec<(String, Vec<u8>)> =
        (0..40).map(|n| (format!("live/{n:02}.squashfs"), squashfs(4000))).collect();
    let many: Vec<(&str, Vec<u8>)> =
        many.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    assert_eq!(roots(&many).len(), 15, "with the one in LiveOS/");
}

#[test]
fn a_root_under_several_names_is_found_once() {
    let other = "live/other.squashfs";
    let files = Files::live().with("live/filesystem.squashfs", squashfs(4000)).with(other, squashfs(4000));
    let first = files.path().join("live/filesystem.squashfs");
    fs::hard_link(first, files.path().join("live/again.squashfs")).unwrap();
    let iso = Made::by_xorriso(&files, &["-R", "--hardlinks", "-V", "LIVE"]);
    assert!(iso.image().exists("/live/again.squashfs"));
    let found = netrootfs::boot::inspect::roots(&open(&iso.path)).unwrap();
    let paths: Vec<_> =
        found.iter().map(|file| file.path.as_str()).filter(|path| path.starts_with("/live/")).collect();
    assert_eq!(paths, ["/live/filesystem.squashfs", "/live/other.squashfs"]);
}

#[test]
fn images_of_others_that_boot_no_linux_say_so() {
    // Its menu starts the Linux of a disk.
    let others = Some("its boot menu names /vmlinuz, which is not in it");
    // It is started by its boot record.
    let nothing =
        Some("no kernel and initrd found: no boot menu names them, and the layout is not a known one");
    let isos = [
        ("/usr/lib/grub-rescue/grub-rescue-cdrom.iso", "grub-rescue-pc", others),
        ("/usr/lib/ipxe/ipxe.iso", "ipxe", None),
        ("/usr/lib/memtest86+/memtest86+x64.iso", "memtest86+", nothing),
    ];
    for (path, package, wanted) in isos {
        assert!(Path::new(path).exists(), "this test needs {path}: install the package {package}");
        let disc = scan::open_file(Path::new(path)).unwrap();
        let reason = disc.facts.unbootable.as_ref().map(ToString::to_string);
        assert_eq!(reason.as_deref(), wanted, "{path}");
        // What boots of the others looks like a kernel to its loader, and needs no initrd.
        assert!(disc.facts.files.iter().all(|files| files.initrds.is_empty()), "{path}");
        assert_eq!(disc.facts.files.is_empty(), wanted.is_some(), "{path}");
        assert_files_are_those_extracted(Path::new(path));
    }
}

#[test]
fn what_is_no_linux_is_served_as_a_whole_and_named() {
    let isos: [(&[&str], &str); 5] = [
        (&["bootmgr", "sources/boot.wim"], "windows"),
        (&["b.b00", "boot.cfg"], "esxi"),
        (&["boot/kernel/kernel"], "free-bsd"),
        (&["boot/grub/grub.cfg"], "multiboot"),
        (&["readme"], "nothing-to-boot"),
    ];
    for (paths, code) in isos {
        let menu = "menuentry Xen {\n multiboot2 /xen\n module2 /vmlinuz\n}\n";
        let files = paths.iter().fold(Files::new(), |files, path| files.with(path, menu));
        let iso = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET);
        let facts = iso.facts();
        assert_eq!(facts.unbootable.unwrap().code(), code);
        assert!(facts.entries.is_empty() && facts.files.is_empty());
        assert_eq!(iso.served("images/LIVE.iso").len() as u64, fs::metadata(&iso.path).unwrap().len());
    }
}

#[test]
fn every_entry_has_its_own_kernel_and_initrds() {
    let menu = "set default=0\n\
        menuentry 'Try' {\n linux /casper/vmlinuz a\n initrd /casper/initrd\n}\n\
        menuentry 'Try (safe graphics)' {\n linux /casper/vmlinuz nomodeset\n initrd /casper/initrd\n}\n\
        submenu 'HWE' {\n menuentry 'Try with HWE' {\n linux /casper/hwe-vmlinuz a\n initrd /casper/hwe-initrd\n}\n}\n\
        menuentry 'Memory test' {\n linux /boot/memtest86+.bin\n}\n\
        menuentry 'Lost' {\n linux /gone a\n initrd /casper/initrd\n}\n\
        menuentry 'Off' {\n halt\n}\n";
    let files = Files::new()
        .with("boot/grub/grub.cfg", menu)
        .with("casper/vmlinuz", pattern(1, 1000))
        .with("casper/initrd", pattern(2, 2000))
        .with("casper/hwe-vmlinuz", pattern(3, 3000))
        .with("casper/hwe-initrd", pattern(4, 4000))
        .with("boot/memtest86+.bin", pattern(5, 5000))
        .with("casper/filesystem.squashfs", squashfs(3000));
    let iso = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET);
    let facts = iso.facts();
    let entries: Vec<_> = facts.entries.iter().map(|entry| (entry.title.as_str(), entry.files)).collect();
    assert_eq!(entries, [("Try", 0), ("Try (safe graphics)", 0), ("Try with HWE", 1), ("Memory test", 2)]);
    assert_eq!(facts.entries[2].submenu, ["HWE"]);
    assert_eq!(facts.left_out.iter().map(|entry| entry.title.as_str()).collect::<Vec<_>>(), ["Off"]);
    assert!(iso.served("tftp/vmlinuz_LIVE") == pattern(1, 1000));
    assert!(iso.served("tftp/vmlinuz_LIVE+casper-hwe-vmlinuz") == pattern(3, 3000));
    assert!(iso.served("tftp/initrd_LIVE+casper-hwe-vmlinuz.img") == pattern(4, 4000));
    assert!(iso.served("tftp/vmlinuz_LIVE+boot-memtest86_.bin") == pattern(5, 5000));
}

#[test]
fn machines_are_offered_the_menu_of_their_firmware() {
    let isolinux = "default bios\n\
        label bios\n menu label By BIOS\n kernel /k/linux\n append initrd=/k/rd bios\n\
        label both\n menu label Either\n kernel /k/linux\n append initrd=/k/rd both\n";
    let grub = "menuentry 'By UEFI' {\n linux /k/linux uefi\n initrd /k/rd\n}\n\
        menuentry 'Either' {\n linux /k/linux both\n initrd /k/rd\n}\n";
    let files = Files::new()
        .with("isolinux/isolinux.cfg", isolinux)
        .with("boot/grub/grub.cfg", grub)
        .with("k/linux", pattern(1, 1000))
        .with("k/rd", pattern(2, 1000));
    let facts = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET).facts();
    let entries: Vec<_> = facts.entries.iter().map(|entry| (entry.title.as_str(), entry.firmware)).collect();
    assert_eq!(
        entries,
        [("By UEFI", Firmware::Uefi), ("By BIOS", Firmware::Bios), ("Either", Firmware::Both)]
    );
    let alone = Files::new()
        .with("isolinux/isolinux.cfg", isolinux)
        .with("k/linux", pattern(1, 1000))
        .with("k/rd", pattern(2, 1000));
    let facts = Made::by_xorriso(&alone, &ROCK_RIDGE_AND_JOLIET).facts();
    assert!(facts.entries.iter().all(|entry| entry.firmware == Firmware::Both));
}

#[test]
fn entries_that_differ_in_what_a_network_has_not_are_one() {
    // As live-build writes them.
    let isolinux = "label live-amd64\n\tmenu label ^Live system (amd64)\n\tmenu default\n\tlinux /live/vmlinuz\n\
        \tinitrd /live/initrd.img\n\tappend boot=live components quiet splash\n";
    let grub = "menuentry \"Live system (amd64)\" --hotkey=l {\n\
        \tlinux\t/live/vmlinuz boot=live components quiet splash findiso=${iso_path}\n\
        \tinitrd\t/live/initrd.img\n}\n";
    let files = Files::new()
        .with("isolinux/isolinux.cfg", isolinux)
        .with("boot/grub/grub.cfg", grub)
        .with("live/vmlinuz", pattern(1, 1000))
        .with("live/initrd.img", pattern(2, 1000))
        .with("live/filesystem.squashfs", squashfs(3000));
    let facts = Made::by_xorriso(&files, &ROCK_RIDGE_AND_JOLIET).facts();
    let entries: Vec<_> = facts
        .entries
        .iter()
        .map(|entry| (entry.title.as_str(), entry.args.to_string(), entry.firmware))
        .collect();
    let args = "boot=live components quiet splash".to_owned();
    assert_eq!(entries, [("Live system (amd64)", args, Firmware::Both)]);
}

#[test]
fn the_label_and_the_uuid_are_those_of_blkid() {
    for options in
        [&["-R", "-V", "A B-1"][..], &["-R", "-J", "-V", "A B-1"], &["-R", "-J", "-udf", "-V", "A B-1"]]
    {
        let iso = Made::by_genisoimage(&Files::live(), options);
        let medium = iso.facts().medium;
        let blkid = |tag: &str| {
            let out =
                Command::new("blkid").args(["-p", "-s", tag, "-o", "value"]).arg(&iso.path).output().unwrap();
            String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
        };
        assert_eq!(String::from_utf8(medium.label).unwrap(), blkid("LABEL"), "{options:?}");
        if let Some(uuid) = medium.uuid {
            assert_eq!(uuid, blkid("UUID"), "{options:?}");
        }
    }
}

#[test]
fn a_plain_iso_has_names_in_lower_case_as_linux_shows_them() {
    let files = Files::new()
        .with("live/vmlinuz", pattern(1, 1000))
        .with("live/initrd.img", pattern(2, 1000))
        .with("live/filesystem.squashfs", squashfs(3000));
    let iso = Made::by_genisoimage(&files, &["-iso-level", "3", "-V", "LIVE"]);
    assert_eq!(iso.facts().found, "/live/filesystem.squashfs");
    let mut image = iso.image();
    let root = image.root();
    let names: Vec<_> = image.entries(root, "/").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [b"live".as_slice().into()]);
}

#[test]
fn a_crowded_directory_is_passed_over() {
    let many = (0..9000).fold(Files::live(), |files, n| files.with(&format!("pool/f{n:05}"), ""));
    let iso = Made::by_genisoimage(&many, &["-R", "-V", "LIVE"]);
    let source = open(&iso.path);
    let counted: Arc<dyn ReadAt> = Arc::new(LimitedReads::new(source, 5000));
    assert!(netrootfs::boot::inspect::inspect(&counted).is_ok(), "it takes more than 5000 reads");
}

#[test]
fn an_independent_reader_finds_the_same_files() {
    for files in [menagerie(), Files::live()] {
        let iso = Made::by_genisoimage(&files, &["-iso-level", "3", "-V", "LIVE"]);
        let theirs: BTreeMap<_, _> = by_iso9660(&iso.path)
            .into_iter()
            .map(|(path, bytes)| (path.to_ascii_lowercase(), bytes))
            .collect();
        let mut image = iso.image();
        let mut ours = BTreeMap::new();
        walk(&mut image, "", &mut ours);
        assert!(!theirs.is_empty());
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            theirs.keys().collect::<Vec<_>>(),
            "names in lower case, without their version"
        );
        assert!(ours == theirs, "bytes differ");
    }
}

#[test]
fn check_reports_a_single_file_as_the_options_have_it() {
    let iso = Made::by_xorriso(&Files::live(), &ROCK_RIDGE_AND_JOLIET);
    let mut check = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    check.args(["check", "--json", "--server", "10.0.2.2", "--label", "made.iso=mine"]).arg(&iso.path);
    let report: serde_json::Value = serde_json::from_slice(&isos::run(&mut check).stdout).unwrap();
    assert_eq!(report["served"][0]["label"], "mine");
    assert_eq!(report["served"][0]["export"], "mine.iso");
    assert_eq!(report["refused"], serde_json::json!([]));
}

/// Files of many sizes, around a live system.
fn menagerie() -> Files {
    let mut files = Files::live().with("empty", "").with("one", "1").with("Mixed.Case", "m");
    for (index, len) in [2047, 2048, 2049, 4096, 70_000].into_iter().enumerate() {
        files = files.with(&format!("sizes/file{len}.bin"), pattern(index as u64 + 10, len));
    }
    // More entries than a directory sector holds.
    for index in 0..150 {
        files = files.with(&format!("many/number{index:03}.txt"), format!("{index}\n"));
    }
    files
}

/// An ISO alone in a directory.
struct Made {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Made {
    fn by_xorriso(files: &Files, options: &[&str]) -> Self {
        let made = Self::nowhere();
        files.xorriso(options, &made.path);
        made
    }

    fn by_genisoimage(files: &Files, options: &[&str]) -> Self {
        let made = Self::nowhere();
        files.genisoimage(options, &made.path);
        made
    }

    fn nowhere() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made.iso");
        Self { directory, path }
    }

    /// Writes another volume id into the descriptor (ECMA-119, 8.4.7).
    fn with_volume_id(self, id: &[u8]) -> Self {
        let mut field = [b' '; 32];
        field[..id.len()].copy_from_slice(id);
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(&field, 16 * 2048 + 40).unwrap();
        self
    }

    fn image(&self) -> Image {
        Image::open(open(&self.path)).unwrap()
    }

    fn catalog(&self) -> Catalog {
        scan(self.directory.path())
    }

    fn facts(&self) -> Facts {
        netrootfs::boot::inspect::inspect(&open(&self.path)).unwrap()
    }

    fn refusal(&self) -> String {
        let catalog = self.catalog();
        let no_entry =
            catalog.isos.first().map(|iso| iso.disc.facts.unbootable.as_ref().unwrap().to_string());
        no_entry.unwrap_or_else(|| catalog.skipped[0].reason.to_string())
    }

    fn served(&self, path: &str) -> Vec<u8> {
        bytes(&lay_out(&self.catalog()), path)
    }

    fn assert_files_are_those_extracted(&self) {
        assert_files_are_those_extracted(&self.path);
    }

    /// Compares what the tree serves with what xorriso extracts.
    fn assert_served_as_extracted(&self) {
        let catalog = self.catalog();
        let [iso] = catalog.isos.as_slice() else { panic!("not served: {:?}", catalog.skipped) };
        let (label, facts) = (&iso.label, &iso.disc.facts);
        let extracted = isos::extract(&self.path);
        let by_name: HashMap<String, PathBuf> = isos::files_below(extracted.path())
            .into_iter()
            .map(|(name, path)| (name.to_ascii_lowercase(), path))
            .collect();
        let wanted = |path: &str| fs::read(&by_name[&path.to_ascii_lowercase()]).unwrap();
        let tree = lay_out(&catalog);
        assert!(bytes(&tree, &format!("images/{label}.iso")) == fs::read(&self.path).unwrap());
        assert!(bytes(&tree, &format!("tftp/vmlinuz_{label}")) == wanted(&facts.files[0].kernel.path));
        let mut initrd = Vec::new();
        for part in &facts.files[0].initrds {
            initrd.resize(initrd.len().next_multiple_of(4), 0);
            initrd.extend(wanted(&part.path));
        }
        assert!(bytes(&tree, &format!("tftp/initrd_{label}.img")) == initrd);
        if let Some(root) = &facts.root {
            let root = wanted(&root.file.path);
            assert!(bytes(&tree, &format!("images/liveos_{label}.img")) == root);
            assert!(bytes(&tree, &format!("images/{label}")) == root);
        }
    }
}

/// Compares every regular file with what xorriso extracts.
fn assert_files_are_those_extracted(iso: &Path) {
    let extracted = isos::extract(iso);
    let mut image = Image::open(open(iso)).unwrap();
    let files = isos::files_below(extracted.path());
    assert!(!files.is_empty(), "{}: nothing was extracted", iso.display());
    for (name, path) in files {
        let want = fs::read(&path).unwrap();
        let found = image.read(&name, want.len() as u64).unwrap();
        assert!(found.is_some_and(|found| found == want), "{name} of {} differs", iso.display());
    }
}

fn open(path: &Path) -> Arc<dyn ReadAt> {
    Arc::new(FileSource::new(Arc::new(File::open(path).unwrap()), PageCache::Keep).unwrap())
}

fn scan(directory: &Path) -> Catalog {
    Scanner::new(directory.to_path_buf(), HashMap::new(), Arc::new(Plain)).scan().unwrap()
}

fn lay_out(catalog: &Catalog) -> Tree {
    let settings = Settings::of_server("/srv/netboot", "10.0.2.2");
    layout::lay_out(catalog, &settings, &[], &Arc::default())
}

fn content(tree: &Tree, path: &str) -> Arc<Content> {
    match &tree.resolve(path).unwrap_or_else(|| panic!("{path} is not in\n{}", tree.dump())).kind {
        Kind::File(content) => content.clone(),
        _ => panic!("{path} is no file of the arena"),
    }
}

fn bytes(tree: &Tree, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    content(tree, path).reader().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Writes the ISO with holes where it is zero, so that it takes no space.
fn make_sparse(files: &Files, iso: &Path) {
    let mut maker = isos::tool("xorriso", "xorriso")
        .args(["-as", "mkisofs", "-quiet", "-iso-level", "3", "-R", "-V", "LIVE", "-o", "-"])
        .arg(files.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = format!("of={}", iso.display());
    let mut writer = isos::tool("dd", "coreutils")
        .args(["bs=1M", "iflag=fullblock", "conv=sparse", "status=none", &output])
        .stdin(maker.stdout.take().unwrap())
        .spawn()
        .unwrap();
    assert!(writer.wait().unwrap().success() && maker.wait().unwrap().success());
}

/// Every file of an image by its path.
fn walk(image: &mut Image, directory: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for name in image.list(if directory.is_empty() { "/" } else { directory }).unwrap() {
        let path = format!("{directory}/{name}");
        match image.read(&path, 1 << 20) {
            Ok(bytes) => drop(found.insert(path, bytes.unwrap())),
            Err(netrootfs::image::iso::Error::NotAFile(_)) => walk(image, &path, found),
            Err(error) => panic!("{error}"),
        }
    }
}

fn by_iso9660(iso: &Path) -> BTreeMap<String, Vec<u8>> {
    use iso9660::{DirectoryEntry, ISO9660, ISODirectory};
    fn walk(directory: &ISODirectory<File>, path: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in directory.contents() {
            match entry.unwrap() {
                DirectoryEntry::Directory(below) if matches!(below.identifier.as_str(), "." | "..") => {}
                DirectoryEntry::Directory(below) => {
                    walk(&below, &format!("{path}/{}", below.identifier), found);
                }
                DirectoryEntry::File(file) => {
                    let mut bytes = Vec::new();
                    file.read().read_to_end(&mut bytes).unwrap();
                    // `NAME.;1` is what a name without an extension is recorded as.
                    let name = file.identifier.trim_end_matches('.').to_owned();
                    found.insert(format!("{path}/{name}"), bytes);
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&ISO9660::new(File::open(iso).unwrap()).unwrap().root, "", &mut found);
    found
}
