use std::sync::Arc;

use super::*;
use crate::boot::families::generic;
use crate::boot::inspect::Facts;
use crate::boot::inspect::{BootFiles, Entry};
use crate::catalog::scan::{FileId, IsoFile};
use crate::image::iso::File;
use crate::image::menu::Firmware;
use crate::storage::source::ReadAt;
use crate::tree::arena::Tree;

/// Debian's host with all that BIOS, syslinux for UEFI, iPXE and Secure Boot need.
const HOST: [&str; 10] = [
    "pxelinux.0",
    "ldlinux.c32",
    "menu.c32",
    "efi64/syslinux.efi",
    "efi64/ldlinux.e64",
    "undionly.kpxe",
    "snponly.efi",
    "bootx64.efi",
    "grubx64.efi",
    "mmx64.efi",
];

fn host(names: &[&str]) -> Vec<LoaderFile> {
    let file = |name: &&str| LoaderFile {
        name: (*name).to_owned(),
        source: Arc::new(b"host".to_vec()) as Arc<dyn ReadAt>,
        identity: 1,
        mtime: SystemTime::UNIX_EPOCH,
    };
    names.iter().map(file).collect()
}

fn iso(label: &str, efi: Vec<EfiLoader>) -> Iso {
    let file = || File { path: "/x".into(), len: 1, extents: vec![Extent { offset: 0, len: 1 }] };
    let entry = Entry {
        title: String::new(),
        submenu: Vec::new(),
        files: 0,
        args: "".into(),
        firmware: Firmware::Both,
        checks_media: false,
    };
    let facts = Facts {
        volume_id: label.as_bytes().to_vec(),
        product: None,
        medium: Default::default(),
        family: &generic::FAMILY,
        found: String::new(),
        files: vec![BootFiles { name: None, kernel: file(), initrds: vec![file()] }],
        entries: vec![entry],
        left_out: Vec::new(),
        unbootable: None,
        root: None,
        efi,
    };
    let disc = IsoFile {
        id: FileId { device: 1, inode: 1, len: 1, mtime: 1, written: 0 },
        source: Arc::new(b"i".to_vec()).into(),
        plain: Arc::new(b"i".to_vec()),
        len: 1,
        mtime: SystemTime::UNIX_EPOCH,
        facts,
    };
    Iso {
        label: Label::parse(label).unwrap(),
        name: format!("{label}.iso"),
        disc: Arc::new(disc),
        arrived: 1,
        product: None,
        initrd: None,
        further: Vec::new(),
        netroot: Default::default(),
    }
}

/// Shim, GRUB and MOK manager as Fedora (network) and Debian (none) write them.
fn chain(suffix: &str, arch: Arch, network: bool) -> Vec<EfiLoader> {
    let loader = |name: String, role| EfiLoader::made_up(&name, arch, role, true, network);
    vec![
        loader(format!("BOOT{}.EFI", suffix.to_uppercase()), Role::Shim),
        loader(format!("grub{suffix}.efi"), Role::Grub),
        loader(format!("mm{suffix}.efi"), Role::MokManager),
    ]
}

/// The tree below `tftp/`, a line a name; files of the host are 4 bytes long, those of ISOs one. iPXE's two menus, which
/// are always there, and on wish GRUB's are left out.
fn lay(host: &[LoaderFile], isos: Vec<Iso>, default: Option<&str>, grub: bool) -> Vec<String> {
    let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
    let kernel = Content::text("kernel".into());
    builder.file(Tree::ROOT, "vmlinuz_X", kernel, SystemTime::UNIX_EPOCH);
    let catalog = Catalog { isos, ..Catalog::default() };
    let menus = Menus {
        syslinux: &|_, graphical| if graphical { "graphical".into() } else { "plain".into() },
        grub: &|| "?".repeat(10),
        grub_for: &|iso| iso.label.to_string(),
        ipxe: &|| "#!ipxe".into(),
    };
    let default = default.map(|label| Label::parse(label).unwrap());
    add(&mut builder, Tree::ROOT, &catalog, default.as_ref(), host, &menus);
    let dump = builder.build().dump();
    assert!(dump.contains("\nboot.ipxe 6 ") && dump.contains("autoexec.ipxe 6 "), "{dump}");
    let shown =
        |line: &&str| !line.contains(".ipxe ") && (grub || !line.contains("grub.cfg") && *line != "grub/");
    dump.lines().filter(shown).map(|line| line.replace(" rendered", "").replace(" @0+1", " iso")).collect()
}

#[test]
fn a_host_with_everything() {
    let dump = lay(&host(&HOST), vec![iso("F42", chain("x64", Arch::X64, true))], None, true);
    assert_eq!(
        dump,
        [
            "bootx64.efi 4 @0+4",
            "efi/",
            "efi/F42/",
            "(efi/F42/BOOTX64.EFI) 1 iso",
            "efi/F42/bootx64.efi 1 iso",
            "efi/F42/grub.cfg 3",
            "efi/F42/grubx64.efi 1 iso",
            "efi/F42/mmx64.efi 1 iso",
            "efi64/",
            "efi64/ldlinux.e64 4 @0+4",
            "efi64/pxelinux.cfg/",
            "efi64/pxelinux.cfg/default 5",
            "efi64/syslinux.efi 4 @0+4",
            "(efi64/vmlinuz_X) 6",
            "grub/",
            "grub/grub.cfg 10",
            "grub.cfg 10",
            "grubx64.efi 4 @0+4",
            "ldlinux.c32 4 @0+4",
            "menu.c32 4 @0+4",
            "mmx64.efi 4 @0+4",
            "pxelinux.0 4 @0+4",
            "pxelinux.cfg/",
            "pxelinux.cfg/default 9",
            "snponly.efi 4 @0+4",
            "undionly.kpxe 4 @0+4",
            "vmlinuz_X 6",
        ]
    );
}

#[test]
fn a_host_with_nothing_serves_the_chain_of_an_iso() {
    let dump = lay(&[], vec![iso("F42", chain("x64", Arch::X64, true))], None, false);
    assert_eq!(
        dump,
        [
            "(BOOTX64.EFI) 1 iso",
            "bootx64.efi 1 iso",
            "efi/",
            "efi/F42/",
            "(efi/F42/BOOTX64.EFI) 1 iso",
            "efi/F42/bootx64.efi 1 iso",
            "efi/F42/grubx64.efi 1 iso",
            "efi/F42/mmx64.efi 1 iso",
            "grubx64.efi 1 iso",
            "mmx64.efi 1 iso",
            "pxelinux.cfg/",
            "pxelinux.cfg/default 5",
            "vmlinuz_X 6",
        ]
    );
}

#[test]
fn a_host_with_nothing_and_no_iso_has_a_menu() {
    assert_eq!(lay(&[], Vec::new(), None, false), ["pxelinux.cfg/", "pxelinux.cfg/default 5", "vmlinuz_X 6"]);
}

/// Which names there are at the top, without menus.
fn top(host: &[LoaderFile], isos: Vec<Iso>, default: Option<&str>) -> Vec<String> {
    let lines = lay(host, isos, default, false).into_iter();
    lines.filter(|line| line.contains(".efi ") && !line.contains('/')).collect()
}

#[test]
fn each_missing_loader_leaves_the_others() {
    for gone in HOST {
        let rest: Vec<_> = HOST.into_iter().filter(|name| *name != gone).collect();
        let dump = lay(&host(&rest), Vec::new(), None, false);
        for name in rest {
            assert!(dump.iter().any(|line| *line == format!("{name} 4 @0+4")), "{name} without {gone}");
        }
        let alone = gone == "bootx64.efi";
        assert_eq!(dump.iter().any(|line| line.starts_with(&format!("{gone} "))), alone, "{gone}");
    }
}

#[test]
fn a_disc_grub_is_no_entry() {
    assert!(top(&[], vec![iso("Deb", chain("x64", Arch::X64, false))], None).is_empty());
    let found = top(&host(&["grubx64.efi"]), vec![iso("Deb", chain("x64", Arch::X64, false))], None);
    assert_eq!(found, ["bootx64.efi 4 @0+4", "grubx64.efi 4 @0+4"]);
}

#[test]
fn a_chain_is_not_mixed_with_the_host_s() {
    let found = top(&host(&["grubx64.efi"]), vec![iso("F42", chain("x64", Arch::X64, true))], None);
    let expected = ["bootx64.efi 1 iso", "grubx64.efi 1 iso", "mmx64.efi 1 iso"];
    assert_eq!(found, expected);
}

#[test]
fn signed_chains_come_before_unsigned_ones_and_the_default_before_others() {
    let offset = |label: &str, offset, signed| {
        let mut made = chain("x64", Arch::X64, true);
        made.iter_mut().for_each(|loader| {
            loader.file.extents = vec![Extent { offset, len: 1 }];
            loader.signed = signed;
        });
        iso(label, made)
    };
    let entry = |isos, default| top(&[], isos, default).remove(0);
    assert_eq!(entry(vec![offset("A", 7, false), offset("B", 8, true)], None), "bootx64.efi 1 @8+1");
    assert_eq!(entry(vec![offset("A", 7, true), offset("B", 8, true)], Some("B")), "bootx64.efi 1 @8+1");
    assert_eq!(entry(vec![offset("A", 7, false)], None), "bootx64.efi 1 @7+1");
}

#[test]
fn processors_have_entries_of_their_own() {
    let isos = vec![iso("Arm", chain("aa64", Arch::Aa64, true)), iso("F42", chain("x64", Arch::X64, true))];
    let names = top(&[], isos, None);
    let names: Vec<_> = names.iter().filter_map(|line| line.split(' ').next()).collect();
    let arm = ["bootaa64.efi", "grubaa64.efi", "mmaa64.efi"];
    assert!(arm.iter().all(|name| names.contains(name)) && names.contains(&"bootx64.efi"), "{names:?}");
}

#[test]
fn two_chains_with_one_name_for_grub_do_not_meet() {
    let suse = |suffix: &str, arch| {
        let boot = EfiLoader::made_up(&format!("boot{suffix}.efi"), arch, Role::Shim, true, true);
        vec![boot, EfiLoader::made_up("grub.efi", arch, Role::Grub, true, true)]
    };
    let isos = vec![iso("Arm", suse("aa64", Arch::Aa64)), iso("Intel", suse("x64", Arch::X64))];
    assert_eq!(top(&[], isos, None), ["bootx64.efi 1 iso", "grub.efi 1 iso"]);
}
