//! Debian's installer: a disc whose drivers lie in packages, and whose initrd looks for it in a drive.

use std::fs;

use netrootfs::image::cpio::{Writer, gzip};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

use super::netroot::{kernel, menu, program, put, run, unpacked};
use crate::support::place::Place;
use crate::support::writers::wait_for_writers;

const VERSION: &str = "6.1.0-50-amd64";
const MENU: &str = "default install\nlabel install\n  kernel /install.amd/vmlinuz\n  \
                    append vga=788 initrd=/install.amd/initrd.gz --- quiet\n";

/// A module that is nothing but what it says of itself.
fn module(info: &[u8]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section = object.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(section, info, 1);
    object.write().unwrap()
}

/// A package as dpkg-deb makes it, by ar and tar.
fn package(place: &Place, name: &str, path: &str, module: &[u8]) -> Vec<u8> {
    let top = place.elsewhere(name);
    put(&top, &format!("root/lib/modules/{VERSION}/kernel/{path}"), module);
    put(&top, "debian-binary", b"2.0\n");
    let at = |file: &str| top.join(file).to_str().unwrap().to_owned();
    run("tar", &["-cJf", &at("control.tar.xz"), "-T", "/dev/null"]);
    run("tar", &["-cJf", &at("data.tar.xz"), "-C", &at("root"), "."]);
    run("ar", &["qc", &at("udeb"), &at("debian-binary"), &at("control.tar.xz"), &at("data.tar.xz")]);
    fs::read(top.join("udeb")).unwrap()
}

fn initrd() -> Vec<u8> {
    let mut writer = Writer::default();
    for name in ["init", "sbin/debian-installer-startup", "sbin/modprobe"] {
        writer.file(name, 0o755, b"x");
    }
    gzip(&writer.finish())
}

fn netinst(place: &Place) {
    let top = place.elsewhere("netinst");
    put(&top, "install.amd/vmlinuz", &kernel(VERSION));
    put(&top, "install.amd/initrd.gz", &initrd());
    put(&top, "isolinux/isolinux.cfg", MENU.as_bytes());
    put(&top, ".disk/info", b"Debian GNU/Linux 12.13.0 \"Bookworm\" - NETINST\n");
    put(&top, "dists/bookworm/Release", b"Origin: Debian\n");
    let nic: &[u8] = b"license=GPL\0alias=pci:v00008086d000010D3sv*\0depends=ptp\0";
    for (package_name, path, info) in [
        ("nbd", "drivers/block/nbd.ko", &b"depends=\0"[..]),
        ("nic", "drivers/net/ethernet/intel/e1000e/e1000e.ko", nic),
        ("nic-shared", "drivers/ptp/ptp.ko", b"depends=\0"),
    ] {
        let bytes = package(place, package_name, path, &module(info));
        let name = format!("{package_name}-modules-{VERSION}-di_6.1.176-1_amd64.udeb");
        put(&top, &format!("pool/main/l/linux-signed-amd64/{name}"), &bytes);
    }
    let iso = place.elsewhere("netinst.iso");
    let paths = [iso.to_str().unwrap(), top.to_str().unwrap()];
    run("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-V", "Debian-12", "-o", paths[0], paths[1]]);
    wait_for_writers(&iso);
    fs::rename(iso, place.iso("netinst.iso")).unwrap();
}

#[test]
fn its_archive_has_the_drivers_of_its_packages_and_makes_the_disk_a_disc() {
    let place = Place::new();
    netinst(&place);
    let daemon = place.start(&["--netroot-init", &program(&place, "one")]);
    place.eventually("the entry", || menu(&place).contains("netroot_Debian-12.img"));
    let append = "append rdinit=/netrootfs/init netroot.nbd=192.0.2.1/Debian-12.iso vga=788 --- quiet\n";
    assert!(menu(&place).contains(append), "{}", menu(&place));
    let archive = place.read("tftp/netroot_Debian-12.img");
    // The directory is the initrd's own.
    fs::create_dir_all(place.elsewhere("unpacked/lib/udev/rules.d")).unwrap();
    let files = unpacked(&place, &archive);
    let nic = fs::read_to_string(files.join("netrootfs/nic")).unwrap();
    assert_eq!(nic, "pci:v00008086d000010D3sv* ptp.ko e1000e.ko\n");
    assert_eq!(fs::read_to_string(files.join("netrootfs/load")).unwrap(), "nbd.ko\n");
    let rule = fs::read_to_string(files.join("lib/udev/rules.d/61-netroot-cd.rules")).unwrap();
    assert_eq!(rule, "KERNEL==\"nbd0\", ENV{ID_CDROM}=\"1\"\n");
    daemon.stop();
}
