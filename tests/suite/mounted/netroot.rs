//! The second initramfs of an ISO whose own can't do NBD: in the tree, in the menus, and the same after a restart.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::disc::noise;

use crate::support::place::{Place, said};
use crate::support::writers::wait_for_writers;

const VERSION: &str = "6.1.0-test";
const ARCHIVE: &str = "tftp/netroot_STOCK.img";
const DEP: &str = "kernel/drivers/block/nbd.ko:\nkernel/drivers/net/virtio_net.ko: kernel/net/failover.ko\nkernel/net/failover.ko:\n";

pub(super) fn run(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    let output = command.args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", said(&output));
}

pub(super) fn put(top: &Path, path: &str, bytes: &[u8]) {
    let path = top.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The fault of an ISO, if any.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoNbd,
    BrokenRoot,
    /// Bytes behind the last archive of its initrd.
    Junk,
    /// A volume id that says nothing.
    Nameless,
}

fn module(name: &str) -> Vec<u8> {
    [b"\x7fELF", name.as_bytes(), &noise(name.len() as u64, 20_000)].concat()
}

/// A kernel's header with its version (Linux, Documentation/arch/x86/boot.rst).
pub(super) fn kernel(version: &str) -> Vec<u8> {
    let mut kernel = vec![0; 0x2000];
    kernel[0x1fe..0x206].copy_from_slice(b"\x55\xaa\x00\x00HdrS");
    kernel[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
    kernel[0x20e..0x210].copy_from_slice(&[0x00, 0x08]);
    kernel[0x236] = 1;
    kernel[0xa00..0xa00 + version.len()].copy_from_slice(version.as_bytes());
    kernel
}

/// An ISO in Debian's layout, made as Debian's are, but that its initrd has nothing in it.
fn stock(place: &Place, fault: Fault) -> PathBuf {
    let top = place.elsewhere("stock");
    put(&top, "iso/live/vmlinuz", &kernel(VERSION));
    let junk: &[u8] = if fault == Fault::Junk { b"junk" } else { b"" };
    put(&top, "iso/live/initrd.img", &[&cpio(&top), junk].concat());
    let modules = format!("root/usr/lib/modules/{VERSION}");
    let dep = if fault == Fault::NoNbd { DEP.replace("block/nbd", "block/loop") } else { DEP.to_owned() };
    put(&top, &format!("{modules}/modules.dep"), dep.as_bytes());
    put(&top, &format!("{modules}/modules.alias"), b"alias virtio:d00000001v* virtio_net\n");
    for (path, name) in
        [("drivers/block/nbd", "nbd"), ("drivers/net/virtio_net", "virtio_net"), ("net/failover", "failover")]
    {
        put(&top, &format!("{modules}/kernel/{path}.ko"), &module(name));
    }
    if fault == Fault::Nameless {
        put(&top, "root/usr/lib/os-release", b"NAME=x\nPRETTY_NAME=\"Small Linux 7\"\n");
    }
    let root = top.join("iso/live/filesystem.squashfs");
    run(
        "mksquashfs",
        &[top.join("root").to_str().unwrap(), root.to_str().unwrap(), "-quiet", "-no-progress"],
    );
    if fault == Fault::BrokenRoot {
        let mut bytes = fs::read(&root).unwrap();
        bytes[96..].fill(0xff);
        fs::write(&root, bytes).unwrap();
    }
    let iso = place.elsewhere("stock.iso");
    let paths = [iso.to_str().unwrap(), top.join("iso").to_str().unwrap()].map(str::to_owned);
    let volume_id = if fault == Fault::Nameless { "CDROM" } else { "STOCK" };
    run("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-V", volume_id, "-o", &paths[0], &paths[1]]);
    wait_for_writers(&iso);
    fs::rename(iso, place.iso("stock.iso")).unwrap();
    place.iso("stock.iso")
}

fn cpio(top: &Path) -> Vec<u8> {
    put(top, "initrd/init", b"#!/bin/sh\n");
    let mut cpio = Command::new("cpio");
    cpio.args(["-o", "-H", "newc", "--quiet"]).current_dir(top.join("initrd"));
    let mut cpio = cpio.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cpio.stdin.take().unwrap().write_all(b"init\n").unwrap();
    cpio.wait_with_output().unwrap().stdout
}

/// A directory with a static program for the archive: a head and one segment, and that text.
pub(super) fn program(place: &Place, text: &str) -> String {
    let mut elf = vec![0; 64 + 56];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, byte) in [(16, 2), (18, 62), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1), (64, 1)] {
        elf[at] = byte;
    }
    elf.extend_from_slice(text.as_bytes());
    put(place.top(), "programs/netroot-init-x86_64", &elf);
    place.top().join("programs").to_str().unwrap().to_owned()
}

pub(super) fn menu(place: &Place) -> String {
    place.text("tftp/pxelinux.cfg/default")
}

/// Unpacks an archive as the kernel does: zeros, then gzip members, one after the other.
pub(super) fn unpacked(place: &Place, archive: &[u8]) -> PathBuf {
    let directory = place.elsewhere("unpacked");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    let (zeros, mut rest) = archive.split_at(512);
    assert!(zeros.iter().all(|byte| *byte == 0));
    while !rest.is_empty() {
        let mut member = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        std::io::Read::read_to_end(&mut decoder, &mut member).unwrap();
        rest = decoder.into_inner();
        let mut cpio = Command::new("cpio");
        cpio.args(["-i", "-d", "-u", "--quiet"]).current_dir(&directory).stdin(Stdio::piped());
        let mut cpio = cpio.spawn().unwrap();
        cpio.stdin.take().unwrap().write_all(&member).unwrap();
        assert!(cpio.wait().unwrap().success());
    }
    directory
}

#[test]
fn an_iso_without_nbd_gets_a_second_initramfs_with_it() {
    let place = Place::new();
    let iso = stock(&place, Fault::None);
    let programs = program(&place, "one");
    let daemon = place.start(&["--netroot-init", &programs]);
    place.eventually("the entry", || menu(&place).contains("netroot_STOCK.img"));
    let entry = "  initrd initrd_STOCK.img,netroot_STOCK.img\n  append rdinit=/netrootfs/init \
                 netroot.nbd=192.0.2.1/STOCK.iso boot=live live-media=/dev/nbd0 components\n  ipappend 2\n";
    assert!(menu(&place).contains(entry) && menu(&place).contains("STOCK [netroot]\n"), "{}", menu(&place));
    assert!(place.text("tftp/grub.cfg").contains("  initrd /initrd_STOCK.img /netroot_STOCK.img\n"));
    assert!(
        place
            .text("tftp/boot.ipxe")
            .contains("\ninitrd initrd_STOCK.img || goto .failed\ninitrd netroot_STOCK.img || ")
    );

    let archive = place.read(ARCHIVE);
    assert_eq!(fs::metadata(place.tree(ARCHIVE)).unwrap().len(), archive.len() as u64);
    let files = unpacked(&place, &archive).join("netrootfs");
    assert_eq!(
        fs::read(files.join("init")).unwrap(),
        fs::read(Path::new(&programs).join("netroot-init-x86_64")).unwrap()
    );
    assert_eq!(fs::metadata(files.join("init")).unwrap().mode() & 0o777, 0o755);
    for name in ["nbd", "virtio_net", "failover"] {
        assert!(fs::read(files.join(format!("modules/{name}.ko"))).unwrap() == module(name), "{name}");
    }
    assert_eq!(fs::read_to_string(files.join("load")).unwrap(), "nbd.ko\n");
    let nic = fs::read_to_string(files.join("nic")).unwrap();
    assert_eq!(nic, "virtio:d00000001v* failover.ko virtio_net.ko\n");
    // The export that the entry names.
    assert!(place.text("images/nbd.conf").contains("[STOCK.iso]\n"));
    assert_eq!(fs::metadata(place.tree("images/STOCK.iso")).unwrap().len(), fs::metadata(iso).unwrap().len());
    daemon.stop();
}

#[test]
fn before_an_initrd_that_ends_in_junk_it_comes_first() {
    let place = Place::new();
    stock(&place, Fault::Junk);
    let daemon = place.start(&["--netroot-init", &program(&place, "one")]);
    place.eventually("the entry", || menu(&place).contains("netroot_STOCK.img"));
    assert!(menu(&place).contains("  initrd netroot_STOCK.img,initrd_STOCK.img\n"), "{}", menu(&place));
    assert!(place.text("tftp/grub.cfg").contains("  initrd /netroot_STOCK.img /initrd_STOCK.img\n"));
    daemon.stop();
}

#[test]
fn an_iso_whose_label_says_nothing_is_called_by_the_system_in_its_root() {
    let place = Place::new();
    stock(&place, Fault::Nameless);
    let programs = program(&place, "one");
    let options = ["--netroot-init", programs.as_str()];
    let named = "menu label Small Linux 7";
    let daemon = place.start(&options);
    place.eventually("its name", || menu(&place).contains(named));
    assert!(
        place.text("status.json").contains("\"title\": \"Small Linux 7"),
        "{}",
        place.text("status.json")
    );
    let kept = || fs::read_to_string(place.top().join("state/initrds.json")).unwrap_or_default();
    place.eventually("it to be kept", || kept().contains("Small Linux 7"));
    daemon.stop();
    let daemon = place.start(&options);
    assert!(menu(&place).contains(named), "it is there from the start");
    daemon.stop();
}

#[test]
fn after_a_restart_it_is_there_at_once_and_the_same() {
    let place = Place::new();
    stock(&place, Fault::None);
    let programs = program(&place, "one");
    let options = ["--netroot-init", programs.as_str()];
    let daemon = place.start(&options);
    place.eventually("the entry", || menu(&place).contains("netroot_STOCK.img"));
    let before = (fs::metadata(place.tree(ARCHIVE)).unwrap().ino(), place.read(ARCHIVE));
    let state = place.top().join("state/initrds.json");
    place.eventually("the state file", || {
        fs::read_to_string(&state).is_ok_and(|text| text.contains("filesystem.squashfs"))
    });
    daemon.stop();

    let daemon = place.start(&options);
    assert!(menu(&place).contains("netroot_STOCK.img"), "it is looked for again");
    assert!((fs::metadata(place.tree(ARCHIVE)).unwrap().ino(), place.read(ARCHIVE)) == before);
    daemon.stop();

    // Another program makes another archive; the drivers are those that were kept.
    program(&place, "two");
    let daemon = place.start(&options);
    assert!(menu(&place).contains("netroot_STOCK.img"));
    assert_ne!(fs::metadata(place.tree(ARCHIVE)).unwrap().ino(), before.0);
    assert!(unpacked(&place, &place.read(ARCHIVE)).join("netrootfs/modules/nbd.ko").exists());
    daemon.stop();

    // Drivers that are gone are found again.
    let packs = || {
        let entries = fs::read_dir(place.top().join("state")).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("netroot-")).count()
    };
    assert_eq!(packs(), 1);
    for entry in fs::read_dir(place.top().join("state")).unwrap().flatten() {
        if entry.file_name() != "initrds.json" {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let daemon = place.start(&options);
    place.eventually("the entry", || menu(&place).contains("netroot_STOCK.img"));
    assert!(unpacked(&place, &place.read(ARCHIVE)).join("netrootfs/modules/nbd.ko").exists());
    assert_eq!(packs(), 1);
    daemon.stop();

    fs::remove_file(place.iso("stock.iso")).unwrap();
    let daemon = place.start(&options);
    place.look_again("Other");
    place.eventually("the drivers to go", || packs() == 0);
    daemon.stop();
}

#[test]
fn the_configuration_chooses_another_way_and_back() {
    let place = Place::new();
    stock(&place, Fault::None);
    let programs = program(&place, "one");
    let file = place.elsewhere("netrootfs.toml");
    let choose = |way: &str| {
        let new = place.elsewhere("new.toml");
        fs::write(&new, format!("[iso.STOCK]\ntransport = \"{way}\"\n")).unwrap();
        fs::rename(new, &file).unwrap();
    };
    choose("http");
    let options =
        ["--netroot-init", &programs, "--http-url", "http://192.0.2.1", "--config", file.to_str().unwrap()];
    let daemon = place.start(&options);
    place.eventually("the archive", || place.tree(ARCHIVE).exists());
    assert!(
        menu(&place).contains("STOCK [HTTP]\n") && !menu(&place).contains("netroot_"),
        "{}",
        menu(&place)
    );
    choose("netroot");
    place.eventually("the other way", || menu(&place).contains("STOCK [netroot]\n"));
    assert!(menu(&place).contains(",netroot_STOCK.img\n"), "{}", menu(&place));
    daemon.stop();
}

#[test]
fn a_machine_s_own_menu_has_it_too() {
    let place = Place::new();
    stock(&place, Fault::None);
    let programs = program(&place, "one");
    let file = place.elsewhere("netrootfs.toml");
    fs::write(&file, "[[machine]]\nmac = \"52:54:00:12:34:56\"\nappend = \"single\"\n").unwrap();
    let daemon = place.start(&["--netroot-init", &programs, "--config", file.to_str().unwrap()]);
    place.eventually("the archive", || place.tree(ARCHIVE).exists());
    let own = place.text("tftp/pxelinux.cfg/01-52-54-00-12-34-56");
    let entry = "  initrd initrd_STOCK.img,netroot_STOCK.img\n  append rdinit=/netrootfs/init \
                 netroot.nbd=192.0.2.1/STOCK.iso boot=live live-media=/dev/nbd0 components single\n";
    assert!(own.contains(entry), "{own}");
    daemon.stop();
}

#[test]
fn without_the_program_there_is_no_such_entry_and_the_log_says_so() {
    let place = Place::new();
    stock(&place, Fault::None);
    let nothing = place.top().join("elsewhere");
    let options = ["--netroot-init", nothing.to_str().unwrap(), "--http-url", "http://192.0.2.1"];
    let daemon = place.start(&options);
    place.eventually("the state file", || place.top().join("state/initrds.json").exists());
    assert!(menu(&place).contains("fetch=http://192.0.2.1/trees/STOCK/live/filesystem.squashfs"));
    assert!(!place.tree(ARCHIVE).exists());
    assert!(
        place.log().contains("netroot-init-x86_64 is not installed: put it beside netrootfs"),
        "{}",
        place.log()
    );
    daemon.stop();
}

fn checked(place: &Place) -> Output {
    let mut check = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    check.arg("check").arg("--netroot-init").arg(program(place, "one")).arg(place.iso("stock.iso"));
    check.output().unwrap()
}

#[test]
fn check_says_what_is_in_it_or_why_there_is_none() {
    for (fault, want) in [
        (Fault::None, "bytes; nbd and 1 network driver out of /live/filesystem.squashfs "),
        (Fault::NoNbd, "no netroot: its kernel has no nbd, neither built in nor as a module "),
        (Fault::BrokenRoot, "no netroot: /live/filesystem.squashfs can't be read: "),
    ] {
        let place = Place::new();
        stock(&place, fault);
        let output = checked(&place);
        // An ISO that is in no menu is a failure.
        assert_eq!(output.status.success(), fault == Fault::None, "{}", said(&output));
        // Lines end where they are full.
        let text = String::from_utf8(output.stdout).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(want), "{text}");
        assert_eq!(text.contains("netroot [STOCK.iso]"), fault == Fault::None, "{text}");
    }
}
