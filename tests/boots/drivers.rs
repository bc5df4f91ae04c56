//! Second initramfs' for real live ISOs: what is found out of them, and whether the drivers are theirs, byte for byte.
//!
//! Needs root and the ISOs of `scripts/live-iso`: run it by `scripts/boot-test`, which sees to both. What is missing is an
//! error, never a pass.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use netrootfs::boot::netroot::drivers::{self, Drivers, Wanted};
use netrootfs::boot::netroot::{Finding, Needs, kernel, root};
use netrootfs::catalog::probe;
use netrootfs::catalog::scan::{self, IsoFile};
use netrootfs::image::initrd::{self, Features};
use netrootfs::storage::content::Content;
use netrootfs::storage::source::ReadAt;

use crate::support::isos::isos;

fn open(name: &str) -> Arc<IsoFile> {
    let path = isos().unwrap().join(name);
    scan::open_file(&path).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()))
}

fn initrd_of(disc: &IsoFile) -> Features {
    initrd::probe(probe::plain_initrd(disc).reader(), Default::default()).unwrap()
}

fn found(disc: &IsoFile) -> (Needs, Option<Vec<u8>>) {
    let kernel = probe::plain_kernel(disc);
    let (finding, pack) = Finding::of(kernel.reader(), &initrd_of(disc), || probe::plain_roots(disc));
    match finding {
        Finding::Needs(needs) => (needs, pack),
        Finding::Refused(reason) => panic!("{reason}"),
    }
}

fn version_of(disc: &IsoFile) -> String {
    kernel::read(probe::plain_kernel(disc).reader()).unwrap().version
}

fn root_of(disc: &IsoFile) -> Arc<dyn ReadAt> {
    probe::plain_roots(disc).into_iter().next().expect("a root image").1
}

fn all_drivers(disc: &IsoFile) -> Drivers {
    let files = root::open(root_of(disc)).unwrap();
    drivers::take(files.as_ref(), &version_of(disc), &Wanted::all()).unwrap().unwrap()
}

/// A file of an archive, by cpio.
fn extract(directory: &Path, archive: &[u8], name: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(archive).read_to_end(&mut plain).unwrap();
    let file = directory.join("archive.cpio");
    std::fs::write(&file, plain).unwrap();
    let mut cpio = Command::new("cpio");
    let output = cpio.args(["-i", "--quiet", "--to-stdout", "-F"]).arg(file).arg(name).output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{name} is not in the archive");
    output.stdout
}

/// A file of a root image, by unsquashfs.
fn unsquashed(directory: &Path, disc: &IsoFile, path: &str) -> Vec<u8> {
    let image = directory.join("root.squashfs");
    let root = root_of(disc);
    let mut bytes = vec![0; root.len() as usize];
    root.read_exact_at(&mut bytes, 0).unwrap();
    std::fs::write(&image, bytes).unwrap();
    let output = Command::new("unsquashfs").arg("-cat").arg(image).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_dracut_iso_without_nbd_gets_the_nbd_of_its_own_root() {
    let disc = open("stock.iso");
    let (needs, bytes) = found(&disc);
    let (pack, bytes) = (needs.pack.expect("drivers"), bytes.expect("their bytes"));
    assert_eq!((pack.nbd, pack.from.as_str()), (true, "/LiveOS/squashfs.img"));
    assert_lacking(&disc, &pack.nics);
    assert_eq!(pack.len, bytes.len() as u64);
    let directory = tempfile::tempdir().unwrap();
    let module = extract(directory.path(), &bytes, "netrootfs/modules/nbd.ko");
    let path = format!("usr/lib/modules/{}/kernel/drivers/block/nbd.ko", version_of(&disc));
    assert!(module == unsquashed(directory.path(), &disc, &path), "another nbd.ko than the ISO's");
    assert_eq!(extract(directory.path(), &bytes, "netrootfs/load"), b"nbd.ko\n");
}

#[test]
fn alpine_gets_nbd_and_the_drivers_that_its_initramfs_lacks_out_of_its_modloop() {
    let disc = open("alpine.iso");
    let pack = found(&disc).0.pack.expect("drivers");
    assert_eq!((pack.nbd, pack.from.as_str()), (true, "/boot/modloop-virt"));
    assert_lacking(&disc, &pack.nics);
    for (nic, packed) in [("virtio_net", false), ("e1000e", true)] {
        assert_eq!(pack.nics.iter().any(|name| name == nic), packed, "{nic}: {:?}", pack.nics);
    }
}

#[test]
fn an_iso_of_initramfs_tools_needs_no_nbd() {
    let disc = open("debian.iso");
    let (needs, bytes) = found(&disc);
    if let Some(pack) = needs.pack {
        assert!(!pack.nbd && bytes.is_some_and(|bytes| bytes.len() as u64 == pack.len));
        assert_lacking(&disc, &pack.nics);
    }
}

/// Drivers of cards are packed if, and only if, the initrd hasn't got them and the root has.
fn assert_lacking(disc: &IsoFile, packed: &[String]) {
    let initrd = initrd_of(disc);
    assert!(!initrd.nics.is_empty());
    let lacking = all_drivers(disc).nics.into_iter().filter(|nic| !initrd.nics.contains(nic));
    assert_eq!(packed, lacking.collect::<Vec<_>>());
}

#[test]
fn an_ext4_in_a_squashfs_gives_the_same_drivers_as_a_squashfs() {
    let (flat, nested) = (all_drivers(&open("flat.iso")), all_drivers(&open("nested.iso")));
    assert!(flat == nested, "{:?} and {:?}", flat.nics, nested.nics);
    for name in ["virtio_pci", "virtio_net", "ena"] {
        assert!(flat.nics.iter().any(|nic| nic == name), "{name}: {:?}", flat.nics);
    }
    let archive = flat.pack(None);
    assert_eq!(archive, nested.pack(None));
    let directory = tempfile::tempdir().unwrap();
    let nic = String::from_utf8(extract(directory.path(), &archive, "netrootfs/nic")).unwrap();
    let line = nic.lines().find(|line| line.starts_with("virtio:d00000001v")).expect("virtio_net's alias");
    let modules: Vec<&str> = line.split(' ').skip(1).collect();
    assert_eq!(modules.last(), Some(&"virtio_net.ko"), "{line}");
    for module in modules {
        extract(directory.path(), &archive, &format!("netrootfs/modules/{module}"));
    }
    // What the kernel would see: one archive behind the other, none of them damaged.
    let both = Content::Parts(vec![
        Arc::new(probe::plain_initrd(&open("flat.iso"))),
        Arc::new(Content::Rendered(archive)),
    ]);
    assert_eq!(initrd::probe(both.reader(), Default::default()).unwrap().damage, None);
}
