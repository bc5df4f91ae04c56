//! The boot loaders that this host has installed, wherever its distribution keeps them.
//!
//! They are passed through as they are. A host without them serves the tree all the same; [`missing`] has the sentence
//! that says what to install.

use std::fs::File;
use std::path::Path;

/// Where distributions put syslinux's files for BIOS: Debian and Ubuntu, Fedora and openSUSE, Arch.
const DIRECTORIES: [&str; 6] = [
    "/usr/lib/PXELINUX",
    "/usr/lib/syslinux/modules/bios",
    "/usr/share/syslinux",
    "/usr/lib/syslinux/bios",
    "/usr/lib/syslinux",
    "/usr/share/syslinux/modules/bios",
];

/// The network loader for BIOS.
pub const PXELINUX: &str = "pxelinux.0";

/// The text menu.
pub const MENU: &str = "menu.c32";

/// Loader, core and modules, in the order in which pxelinux asks for them: the core by itself, the two menus with the
/// libraries they are linked to, and what a menu of an administrator's own may call.
const FILES: [&str; 11] = [
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
];

/// A loader's file on this host.
pub struct Loader {
    /// Name in the tree.
    pub name: &'static str,
    /// The opened file.
    pub file: File,
}

/// Opens what is installed.
pub fn find() -> Vec<Loader> {
    find_in(&DIRECTORIES.map(Path::new))
}

/// What to say where there is no pxelinux; `None` where there is.
pub fn missing(loaders: &[Loader]) -> Option<&'static str> {
    let found = loaders.iter().any(|loader| loader.name == PXELINUX);
    (!found).then_some(
        "pxelinux.0 is not installed on this host, so BIOS machines find no loader in tftp/: install pxelinux and \
         syslinux-common (Debian, Ubuntu), syslinux-nonlinux (Fedora) or syslinux (openSUSE, Arch)",
    )
}

fn find_in(directories: &[&Path]) -> Vec<Loader> {
    let open = |name| {
        let path = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file())?;
        Some(Loader { name, file: File::open(path).ok()? })
    };
    FILES.into_iter().filter_map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_taken_from_the_first_directory_that_has_it() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(one.path().join("pxelinux.0"), "one").unwrap();
        std::fs::write(two.path().join("pxelinux.0"), "other").unwrap();
        std::fs::write(two.path().join("menu.c32"), "two").unwrap();
        let loaders = find_in(&[Path::new("/nonexistent"), one.path(), two.path()]);
        let found: Vec<_> = loaders
            .into_iter()
            .map(|loader| (loader.name, std::io::read_to_string(loader.file).unwrap()))
            .collect();
        assert_eq!(found, [("pxelinux.0", "one".to_owned()), ("menu.c32", "two".to_owned())]);
    }

    #[test]
    fn a_host_without_pxelinux_is_told_what_to_install() {
        let sentence = missing(&[]).unwrap();
        assert!(sentence.contains("install pxelinux"));
        let file = File::open("/dev/null").unwrap();
        assert!(missing(&[Loader { name: PXELINUX, file }]).is_none());
    }
}
