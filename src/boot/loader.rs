//! The boot loaders that this host has installed, wherever its distribution keeps them.
//!
//! They are passed through as they are. A host without them serves the tree all the same; [`missing`] has the sentences
//! that say what to install. Names are paths below `tftp/`: BIOS and UEFI modules of syslinux have the same names and
//! different contents, so those for UEFI lie in a directory of their own, where their loader looks for them.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::boot::names::{EFI_AA64, EFI_X64, PXELINUX};

/// The text menu of syslinux.
pub const MENU: &str = "menu.c32";

/// The directory of syslinux for UEFI.
pub const EFI64: &str = "efi64";

/// Files that lie together, on the host and in the tree.
struct Group {
    /// Directory in the tree.
    to: &'static str,
    /// Directories on hosts.
    from: &'static [&'static str],
    /// Names.
    files: &'static [&'static str],
}

/// Loader, core and modules, in the order in which they are asked for: the core by itself, the two menus with the
/// libraries they are linked to, and what a menu of an administrator's own may call.
const SYSLINUX: [Group; 2] = [
    Group {
        to: "",
        // Debian and Ubuntu; Fedora and openSUSE; Arch.
        from: &[
            "/usr/lib/PXELINUX",
            "/usr/lib/syslinux/modules/bios",
            "/usr/share/syslinux",
            "/usr/lib/syslinux/bios",
            "/usr/lib/syslinux",
            "/usr/share/syslinux/modules/bios",
        ],
        files: &[
            PXELINUX,
            "lpxelinux.0",
            "ldlinux.c32",
            "libutil.c32",
            "libcom32.c32",
            MENU,
            "vesamenu.c32",
            "chain.c32",
            "reboot.c32",
            "poweroff.c32",
            "hdt.c32",
        ],
    },
    Group {
        to: EFI64,
        // Debian and Ubuntu; Fedora, openSUSE and Alpine; Arch.
        from: &[
            "/usr/lib/SYSLINUX.EFI/efi64",
            "/usr/lib/syslinux/modules/efi64",
            "/usr/share/syslinux/efi64",
            "/usr/lib/syslinux/efi64",
        ],
        files: &[
            "syslinux.efi",
            "ldlinux.e64",
            "libutil.c32",
            "libcom32.c32",
            MENU,
            "vesamenu.c32",
            "chain.c32",
            "reboot.c32",
            "poweroff.c32",
            "hdt.c32",
        ],
    },
];

/// iPXE: name in the tree, and paths on hosts. Debian and Ubuntu; Fedora and openSUSE; Arch.
const IPXE: [(&str, &[&str]); 5] = [
    ("undionly.kpxe", &["/usr/lib/ipxe/undionly.kpxe", "/usr/share/ipxe/undionly.kpxe"]),
    (
        "ipxe.efi",
        &[
            "/usr/lib/ipxe/ipxe.efi",
            "/usr/share/ipxe/ipxe-x86_64.efi",
            "/usr/share/ipxe/x86_64/ipxe.efi",
            "/usr/share/ipxe/ipxe.efi",
        ],
    ),
    (
        "snponly.efi",
        &[
            "/usr/lib/ipxe/snponly.efi",
            "/usr/share/ipxe/ipxe-snponly-x86_64.efi",
            "/usr/share/ipxe/x86_64/snponly.efi",
            "/usr/share/ipxe/snponly.efi",
        ],
    ),
    ("ipxe-arm64.efi", &["/usr/lib/ipxe/ipxe-arm64.efi", "/usr/share/ipxe/arm64-efi/ipxe.efi"]),
    ("snponly-arm64.efi", &["/usr/lib/ipxe/snponly-arm64.efi", "/usr/share/ipxe/arm64-efi/snponly.efi"]),
];

/// A shim, the network GRUB that it accepts, and its MOK manager: taken from one distribution or not at all, since a
/// shim accepts its own distribution's signature only. The first two are needed.
type Chain = [(&'static str, &'static [&'static str]); 3];

/// By processor, in the order in which they are tried: Debian and Ubuntu, Fedora, EL, openSUSE.
const CHAINS: [&[Chain]; 2] = [
    &[
        [
            (EFI_X64, &["/usr/lib/shim/shimx64.efi.signed", "/usr/lib/shim/shimx64.efi.signed.latest"]),
            ("grubx64.efi", &["/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"]),
            ("mmx64.efi", &["/usr/lib/shim/mmx64.efi.signed", "/usr/lib/shim/mmx64.efi"]),
        ],
        [
            (EFI_X64, &["/boot/efi/EFI/fedora/shimx64.efi"]),
            ("grubx64.efi", &["/boot/efi/EFI/fedora/grubx64.efi"]),
            ("mmx64.efi", &["/boot/efi/EFI/fedora/mmx64.efi"]),
        ],
        [
            (EFI_X64, &["/boot/efi/EFI/redhat/shimx64.efi"]),
            ("grubx64.efi", &["/boot/efi/EFI/redhat/grubx64.efi"]),
            ("mmx64.efi", &["/boot/efi/EFI/redhat/mmx64.efi"]),
        ],
        [
            (EFI_X64, &["/boot/efi/EFI/centos/shimx64.efi"]),
            ("grubx64.efi", &["/boot/efi/EFI/centos/grubx64.efi"]),
            ("mmx64.efi", &["/boot/efi/EFI/centos/mmx64.efi"]),
        ],
        [
            (EFI_X64, &["/boot/efi/EFI/rocky/shimx64.efi"]),
            ("grubx64.efi", &["/boot/efi/EFI/rocky/grubx64.efi"]),
            ("mmx64.efi", &["/boot/efi/EFI/rocky/mmx64.efi"]),
        ],
        [
            (EFI_X64, &["/boot/efi/EFI/almalinux/shimx64.efi"]),
            ("grubx64.efi", &["/boot/efi/EFI/almalinux/grubx64.efi"]),
            ("mmx64.efi", &["/boot/efi/EFI/almalinux/mmx64.efi"]),
        ],
        [
            (EFI_X64, &["/usr/share/efi/x86_64/shim.efi"]),
            ("grub.efi", &["/usr/share/efi/x86_64/grub.efi", "/usr/share/grub2/x86_64-efi/grub.efi"]),
            ("MokManager.efi", &["/usr/share/efi/x86_64/MokManager.efi"]),
        ],
    ],
    &[
        [
            (EFI_AA64, &["/usr/lib/shim/shimaa64.efi.signed", "/usr/lib/shim/shimaa64.efi.signed.latest"]),
            ("grubaa64.efi", &["/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed"]),
            ("mmaa64.efi", &["/usr/lib/shim/mmaa64.efi.signed", "/usr/lib/shim/mmaa64.efi"]),
        ],
        [
            (EFI_AA64, &["/boot/efi/EFI/fedora/shimaa64.efi"]),
            ("grubaa64.efi", &["/boot/efi/EFI/fedora/grubaa64.efi"]),
            ("mmaa64.efi", &["/boot/efi/EFI/fedora/mmaa64.efi"]),
        ],
        [
            (EFI_AA64, &["/usr/share/efi/aarch64/shim.efi"]),
            ("grub.efi", &["/usr/share/efi/aarch64/grub.efi", "/usr/share/grub2/arm64-efi/grub.efi"]),
            ("MokManager.efi", &["/usr/share/efi/aarch64/MokManager.efi"]),
        ],
    ],
];

/// A network GRUB for machines without Secure Boot, where there is no chain: name in the tree, paths on hosts.
const UNSIGNED: [(&str, &[&str]); 2] = [
    ("grubx64.efi", &["/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi"]),
    ("grubaa64.efi", &["/usr/lib/grub/arm64-efi/monolithic/grubnetaa64.efi"]),
];

/// A loader's file on this host.
pub struct Loader {
    /// Path below `tftp/`.
    pub name: String,
    /// The opened file.
    pub file: File,
}

/// The directories of a host in which loaders may lie, whether they are there or not; `root` is where its `/` is.
pub fn directories(root: &Path) -> BTreeSet<PathBuf> {
    let groups = SYSLINUX.iter().flat_map(|group| group.from).copied();
    let files = IPXE.iter().chain(&UNSIGNED).chain(CHAINS.iter().copied().flatten().flatten());
    let of_files = files.flat_map(|(_, paths)| *paths).filter_map(|path| Some(path.rsplit_once('/')?.0));
    groups.chain(of_files).map(|directory| below(root, directory)).collect()
}

/// Opens what is installed.
pub fn find(root: &Path) -> Vec<Loader> {
    let open = |(name, path): (String, PathBuf)| Some(Loader { name, file: File::open(path).ok()? });
    installed(root).into_iter().filter_map(open).collect()
}

/// What is installed on a host whose `/` is at `root`: name in the tree, and file.
pub fn installed(root: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for group in &SYSLINUX {
        for name in group.files {
            let paths: Vec<String> = group.from.iter().map(|from| format!("{from}/{name}")).collect();
            let name = if group.to.is_empty() { (*name).to_owned() } else { format!("{}/{name}", group.to) };
            found.extend(first(root, &name, paths.iter().map(String::as_str)));
        }
    }
    found.extend(IPXE.iter().filter_map(|(name, paths)| first(root, name, paths.iter().copied())));
    let mut add = |loaders: Vec<(String, PathBuf)>| {
        // openSUSE's GRUB has one name for all processors: the first has it.
        if !loaders.iter().any(|new| found.iter().any(|loader| loader.0 == new.0)) {
            found.extend(loaders);
        }
    };
    for chains in CHAINS {
        add(chains.iter().find_map(|chain| whole(root, chain)).unwrap_or_default());
    }
    for (name, paths) in &UNSIGNED {
        add(first(root, name, paths.iter().copied()).into_iter().collect());
    }
    found
}

/// Sentences for firmware that finds no loader on this host; none where there is one for each.
pub fn missing(loaders: &[Loader]) -> Vec<&'static str> {
    let has = |name: &str| loaders.iter().any(|loader| loader.name == name);
    let mut sentences = Vec::new();
    if !has(PXELINUX) {
        sentences.push(
            "pxelinux.0 is not installed on this host, so BIOS machines find no loader in tftp/: install pxelinux and \
             syslinux-common (Debian, Ubuntu), syslinux-nonlinux (Fedora) or syslinux (openSUSE, Arch)",
        );
    }
    if !has(EFI_X64) {
        sentences.push(
            "shim and a network GRUB are not installed on this host, so UEFI machines find those of the ISOs only: \
             install shim-signed and grub-efi-amd64-signed (Debian, Ubuntu), shim-x64 and grub2-efi-x64 (Fedora, EL) \
             or shim and grub2-x86_64-efi (openSUSE)",
        );
    }
    sentences
}

/// The files of a chain, if shim and GRUB are both there.
fn whole(root: &Path, chain: &Chain) -> Option<Vec<(String, PathBuf)>> {
    let [shim, grub, mok_manager] = chain.map(|(name, paths)| first(root, name, paths.iter().copied()));
    Some([shim?, grub?].into_iter().chain(mok_manager).collect())
}

/// The first of the files that is there.
fn first<'a>(root: &Path, name: &str, paths: impl IntoIterator<Item = &'a str>) -> Option<(String, PathBuf)> {
    let mut paths = paths.into_iter().map(|path| below(root, path));
    Some((name.to_owned(), paths.find(|path| path.is_file())?))
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these files, each of which holds its own path; what is found of them, as name and content.
    fn host(paths: &[&str]) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            let file = root.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, path).unwrap();
        }
        let read = |loader: Loader| (loader.name, std::io::read_to_string(loader.file).unwrap());
        find(root.path()).into_iter().map(read).collect()
    }

    fn names(paths: &[&str]) -> Vec<String> {
        host(paths).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn each_file_is_taken_from_the_first_directory_that_has_it() {
        let found = host(&[
            "/usr/share/syslinux/pxelinux.0",
            "/usr/lib/PXELINUX/pxelinux.0",
            "/usr/lib/syslinux/modules/bios/menu.c32",
        ]);
        let path = |name: &str| found.iter().find(|entry| entry.0 == name).unwrap().1.as_str();
        assert_eq!(found.len(), 2);
        assert_eq!(path("pxelinux.0"), "/usr/lib/PXELINUX/pxelinux.0");
        assert_eq!(path("menu.c32"), "/usr/lib/syslinux/modules/bios/menu.c32");
    }

    #[test]
    fn modules_for_bios_and_uefi_do_not_meet() {
        let found = names(&[
            "/usr/share/syslinux/menu.c32",
            "/usr/share/syslinux/efi64/menu.c32",
            "/usr/share/syslinux/efi64/syslinux.efi",
        ]);
        assert_eq!(found, ["menu.c32", "efi64/syslinux.efi", "efi64/menu.c32"]);
    }

    #[test]
    fn a_chain_is_taken_whole_and_from_one_distribution() {
        let (debian, fedora) = ("/usr/lib/shim/shimx64.efi.signed", "/boot/efi/EFI/fedora");
        let (shim, grub) = (format!("{fedora}/shimx64.efi"), format!("{fedora}/grubx64.efi"));
        let found = host(&[debian, "/usr/lib/shim/mmx64.efi.signed", &shim, &grub]);
        assert_eq!(found, [("bootx64.efi".into(), shim), ("grubx64.efi".into(), grub)]);
        assert!(names(&[debian]).is_empty());
    }

    #[test]
    fn without_a_shim_the_unsigned_grub_is_there() {
        let monolithic = "/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi";
        assert_eq!(names(&[monolithic]), ["grubx64.efi"]);
        let signed = "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed";
        let found = host(&[monolithic, signed, "/usr/lib/shim/shimx64.efi.signed"]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], ("grubx64.efi".into(), signed.into()));
    }

    #[test]
    fn no_two_files_of_a_full_host_have_one_name() {
        let mut paths: Vec<String> = Vec::new();
        let groups = SYSLINUX.iter().flat_map(|group| {
            let files = |from: &'static str| group.files.iter().map(move |name| format!("{from}/{name}"));
            group.from.iter().flat_map(move |from| files(from))
        });
        paths.extend(groups);
        let single = IPXE.iter().chain(&UNSIGNED).chain(CHAINS.iter().copied().flatten().flatten());
        paths.extend(single.flat_map(|(_, paths)| paths.iter().map(|path| (*path).to_owned())));
        let mut found = names(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        let count = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), count);
        assert_eq!(count, 11 + 10 + 5 + 6);
    }

    #[test]
    fn each_directory_that_a_loader_is_taken_from_is_known() {
        let directories = directories(Path::new("/host"));
        for path in ["usr/lib/PXELINUX", "usr/lib/shim", "usr/share/ipxe/x86_64", "boot/efi/EFI/fedora"] {
            assert!(directories.contains(&Path::new("/host").join(path)), "{path}");
        }
    }

    #[test]
    fn a_host_is_told_what_to_install_for_which_firmware() {
        let loader = |name: &str| Loader { name: name.into(), file: File::open("/dev/null").unwrap() };
        let sentences = missing(&[]);
        assert_eq!(sentences.len(), 2);
        assert!(sentences[0].contains("install pxelinux") && sentences[1].contains("install shim-signed"));
        assert!(missing(&[loader(PXELINUX)])[0].contains("UEFI"));
        assert!(missing(&[loader("bootx64.efi")])[0].contains("BIOS"));
        assert!(missing(&[loader(PXELINUX), loader("bootx64.efi")]).is_empty());
    }
}
