//! Packages made of modules that are nothing but what they say of themselves.

use std::io::Write;

use object::write::{Object, SectionId};
use object::{Architecture, BinaryFormat, SectionKind};
use proptest::prelude::*;

use super::*;
use crate::boot::netroot::drivers::Wanted;

const VERSION: &str = "6.1.0-50-amd64";

fn module(info: &[&str]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section: SectionId = object.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    let text: Vec<u8> = info.iter().flat_map(|line| [line.as_bytes(), b"\0"].concat()).collect();
    object.append_section_data(section, &text, 1);
    object.write().unwrap()
}

/// A package, packed as its content's name says.
fn package(content: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let path = path.replace("MODULES", &format!("./lib/modules/{VERSION}/kernel"));
        // As dpkg-deb writes it, with the dot that tar's own builder leaves out.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let packed = match content.rsplit('.').next() {
        Some("xz") => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        Some("gz") => crate::image::cpio::gzip(&tar),
        Some("zst") => zstd::encode_all(tar.as_slice(), 1).unwrap(),
        _ => tar,
    };
    archive(content, &packed)
}

fn archive(content: &str, packed: &[u8]) -> Vec<u8> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b"x"), (content, packed)] {
        archive.append(&ar::Header::new(name.into(), bytes.len() as u64), bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The packages of a disc.
pub(in crate::boot::netroot) fn disc(content: &str) -> Vec<Arc<dyn ReadAt>> {
    let nbd = package(content, &[("MODULES/drivers/block/nbd.ko", module(&["depends=", "license=GPL"]))]);
    let shared = package(
        content,
        &[
            ("MODULES/drivers/net/phy/libphy.ko", module(&["depends="])),
            ("MODULES/drivers/net/phy/realtek.ko", module(&["depends=libphy"])),
        ],
    );
    let nics = package(
        content,
        &[
            ("./etc/nothing.ko", b"x".to_vec()),
            (
                "MODULES/drivers/net/ethernet/realtek/r8169.ko",
                module(&[
                    "alias=pci:v000010ECd00008168sv*",
                    "alias=pci:v000010ECd00008169sv*",
                    "softdep=pre: realtek",
                    "depends=libphy,mdio-of-the-initrd",
                ]),
            ),
            (
                "MODULES/drivers/net/ethernet/amd/xgbe/amd-xgbe.ko",
                module(&["alias=acpi*:AMDI8001:*", "depends="]),
            ),
            ("MODULES/drivers/net/ethernet/intel/igb/igb.ko", b"junk".to_vec()),
        ],
    );
    [nbd, shared, nics].into_iter().map(|package| Arc::new(package) as Arc<dyn ReadAt>).collect()
}

#[test]
fn drivers_are_taken_out_of_packages() {
    for content in ["data.tar.xz", "data.tar.gz", "data.tar.zst", "data.tar"] {
        let files = Udebs::open(&disc(content), VERSION).unwrap();
        let drivers = drivers::take(&files, VERSION, &Wanted::all()).unwrap().unwrap();
        assert!(drivers.has_nbd(), "{content}");
        assert_eq!(drivers.nics, ["r8169", "amd_xgbe"], "{content}");
        let bytes = drivers.pack(None);
        let mut archive = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut archive).unwrap();
        let text = String::from_utf8_lossy(&archive);
        let line = "pci:v000010ECd00008168sv* libphy.ko realtek.ko r8169.ko\n";
        assert!(text.contains(line) && !text.contains("igb"), "{text}");
    }
}

#[test]
fn other_kernels_have_none() {
    let files = Udebs::open(&disc("data.tar.xz"), "6.1.0-47-amd64").unwrap();
    assert!(drivers::take(&files, "6.1.0-50-amd64", &Wanted::all()).unwrap().is_none());
}

#[test]
fn a_damaged_package_is_left_out() {
    let mut packages = disc("data.tar.xz");
    packages.push(Arc::new(b"!<arch>\njunk".to_vec()));
    let dep = Udebs::open(&packages, VERSION).unwrap().read("lib/modules/6.1.0-50-amd64/modules.dep", 1000);
    assert!(String::from_utf8(dep.unwrap().unwrap()).unwrap().contains("/nbd.ko:"));
    let none: Vec<Arc<dyn ReadAt>> = vec![Arc::new(b"junk".to_vec())];
    assert!(Udebs::open(&none, VERSION).is_err());
}

#[test]
fn a_member_that_says_that_it_is_large_takes_no_memory() {
    let sound = package("data.tar", &[("MODULES/x.ko", module(&["depends="]))]);
    for name in ["#1/9999999999", "//", "/"] {
        let mut package = b"!<arch>\n".to_vec();
        package.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, 9_999_999_999_u64).bytes(),
        );
        package.extend(&sound);
        let error = Udebs::open(&[Arc::new(package) as Arc<dyn ReadAt>], VERSION).err().unwrap();
        assert_eq!(error.to_string(), "a package without content", "{name}");
    }
}

#[test]
fn a_path_of_more_than_a_header_holds_is_read_and_one_without_end_is_not() {
    let deep = format!("./lib/modules/{VERSION}/{}/x.ko", "d".repeat(120));
    for (path, is_there) in [(deep.clone(), true), (format!("{deep}{}", "o".repeat(5000)), false)] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(path.len() as u64 + 1);
        header.set_cksum();
        tar.append(&header, format!("{path}\0").as_bytes()).unwrap();
        let module = module(&["depends="]);
        let mut header = tar::Header::new_gnu();
        header.set_size(module.len() as u64);
        header.set_cksum();
        tar.append(&header, module.as_slice()).unwrap();
        let package = archive("data.tar", &tar.into_inner().unwrap());
        let files = Udebs::open(&[Arc::new(package) as Arc<dyn ReadAt>], VERSION).unwrap();
        let found = files.read(deep.trim_start_matches("./"), u64::MAX).unwrap();
        assert_eq!(found, is_there.then_some(module));
    }
}

#[test]
fn packages_are_known_by_their_names() {
    let path = "/pool/main/l/linux-signed-amd64/nbd-modules-6.1.0-50-amd64-di_6.1.176-1_amd64.udeb";
    assert!(
        is_package(path) && is_of(path, VERSION) && !is_of(path, "6.1.0-50-amd") && !is_of(path, "6.1.0-5")
    );
    for other in [
        "/pool/main/l/linux/sata-modules-6.1-di_1_amd64.udeb",
        "/x/nbd-modules-6.1-di_1_amd64.deb",
        "/live/x",
    ] {
        assert!(!is_package(other), "{other}");
    }
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    let path = format!("MODULES/{}", "x.ko");
    let bomb = package("data.tar.xz", &[(&path, vec![0; LARGEST_MODULE as usize + 1])]);
    let files = Udebs::open(&[Arc::new(bomb) as Arc<dyn ReadAt>], VERSION).unwrap();
    assert_eq!(files.read(&format!("lib/modules/{VERSION}/kernel/x.ko"), u64::MAX).unwrap(), None);
    let empty: Vec<(&str, Vec<u8>)> = vec![("./x", Vec::new()); MOST_FILES + 1];
    let many = Udebs::open(&[Arc::new(package("data.tar.xz", &empty)) as Arc<dyn ReadAt>], VERSION);
    assert_eq!(many.err().unwrap().to_string(), "packages with too many files or bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_packages_end_in_modules_or_a_reason(
        plain: bool, flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..8), cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let content = if plain { "data.tar" } else { "data.tar.gz" };
        let mut bytes = package(content, &[("MODULES/nbd.ko", module(&["depends=", "alias=pci:v1"]))]);
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let read = super::super::guarded(|| Ok(Udebs::open(&[Arc::new(bytes.clone()) as Arc<dyn ReadAt>], VERSION)?.0));
        if let Ok(files) = read {
            prop_assert!(files.keys().all(|path| path.starts_with("lib/modules/")));
        }
    }
}
