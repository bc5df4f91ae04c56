//! The boot menus inside an ISO: which kernel, initrds and arguments its own loader would boot.
//!
//! One reader a loader ([`grub`], [`syslinux`], [`bls`]) turns configuration text into [`Menu`]s; [`read`] tries the
//! well-known places. Only entries that boot a Linux kernel with an initrd come out: memory tests, chain loaders and
//! "reboot" are left out. Everything here is foreign text: it passes one gate (one line, no control characters,
//! limited length), and reading always ends, because files, bytes, entries, nesting and evaluation steps are counted.
//!
//! Nothing here opens a file, and nothing decides how a system is booted over a network.

pub mod bls;
mod bounded_files;
mod draft;
pub mod grub;
mod path;
pub mod syslinux;

pub use bounded_files::{MAX_FILE, MAX_LISTS, MAX_READS, MAX_TOTAL};
pub use draft::{MAX_ARGS, MAX_ENTRIES, MAX_INITRDS, MAX_MENUS, MAX_SUBMENUS, MAX_TITLE};
pub use path::MAX_PATH;

use crate::image::args::Args;

use bounded_files::BoundedFiles;

/// What a reader may ask of the ISO. Paths are absolute inside it: `/isolinux/isolinux.cfg`.
pub trait Files {
    /// The file's bytes, or at least the first [`MAX_FILE`] of them; `None` if it is no readable file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;

    /// Whether there is a file or directory of that name.
    fn exists(&self, path: &str) -> bool;

    /// The names in a directory, without their path; empty if it is none.
    fn list(&self, dir: &str) -> Vec<String>;
}

/// What the menus are read as being booted on. GRUB menus ask for it; the others hardly do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// GRUB's `grub_cpu`: `x86_64`, `i386`, `arm64`, …
    pub cpu: String,
    /// GRUB's `grub_platform`: `efi` or `pc`.
    pub platform: String,
    /// Loopback menus name the ISO file by `iso_path`; unset when booted from the medium itself.
    pub iso_path: Option<String>,
    /// What `probe --fs-uuid` says of the ISO.
    pub fs_uuid: Option<String>,
    /// What `probe --label` says of the ISO: its volume id.
    pub label: Option<String>,
}

impl Default for Environment {
    fn default() -> Self {
        Self { cpu: "x86_64".into(), platform: "efi".into(), iso_path: None, fs_uuid: None, label: None }
    }
}

/// The boot loader that a menu was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loader {
    /// GNU GRUB 2.
    Grub,
    /// SYSLINUX, ISOLINUX and their relatives.
    Syslinux,
    /// systemd-boot and others that read the Boot Loader Specification's entries.
    SystemdBoot,
}

/// One entry that boots a Linux kernel with at least one initrd.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MenuEntry {
    /// One line of at most [`MAX_TITLE`] characters, without hot-key marks; never empty.
    pub title: String,
    /// Titles of the submenus that the entry lies in, outermost first, at most [`MAX_SUBMENUS`].
    pub submenu: Vec<String>,
    /// Absolute path inside the ISO, without a device; spelt as the ISO has it where it was found there.
    pub kernel: String,
    /// As `kernel`, in the order they are loaded; at least one.
    pub initrds: Vec<String>,
    /// Kernel arguments: one line, single blanks, at most [`MAX_ARGS`] bytes. `initrd=` is taken out of SYSLINUX's,
    /// where it is the loader's own; a GRUB word that holds a blank stands in double quotes, as GRUB passes it.
    pub args: Args,
}

/// The bootable entries of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// The configuration file, absolute inside the ISO; the one that a loader's own chain ended at.
    pub config: String,
    /// Which loader's language it is in.
    pub loader: Loader,
    /// In the order of the menu; never empty, at most [`MAX_ENTRIES`].
    pub entries: Vec<MenuEntry>,
    /// Index of the entry that the loader boots by itself; `None` if that one boots no Linux (a local disk, say).
    pub default: Option<usize>,
}

/// Reads every menu of an ISO, the most useful first, without repetition, at most [`MAX_MENUS`].
///
/// GRUB's menus come before SYSLINUX's, because images that carry both keep the older one for BIOS machines; those
/// written for booting the ISO as a file on a disk (`loopback.cfg`) come last.
#[must_use]
pub fn read(files: &dyn Files, environment: &Environment) -> Vec<Menu> {
    let mut iso = BoundedFiles::new(files);
    let mut menus = Vec::new();
    grub::read_known(&mut iso, environment, &mut menus);
    syslinux::read_known(&mut iso, &mut menus);
    menus.extend(bls::read_from(&mut iso, environment));
    grub::read_loopback(&mut iso, environment, &mut menus);
    let mut menus = without_repetition(menus);
    menus.truncate(MAX_MENUS);
    menus
}

impl Menu {
    /// The entry to boot when nobody chooses: the default, unless that one checks the medium first. Then the first
    /// that boots the same kernel without a check, else the first without one. An ISO served over a network gains
    /// nothing from reading all of it before it boots.
    #[must_use]
    pub fn boot_entry(&self) -> Option<&MenuEntry> {
        let default = self.default.and_then(|index| self.entries.get(index)).or(self.entries.first())?;
        if !default.checks_media() {
            return Some(default);
        }
        let unchecked = || self.entries.iter().filter(|entry| !entry.checks_media());
        unchecked()
            .find(|entry| entry.kernel == default.kernel)
            .or_else(|| unchecked().next())
            .or(Some(default))
    }
}

impl MenuEntry {
    /// Whether the entry reads the whole medium to verify it before, or instead of, booting.
    #[must_use]
    pub fn checks_media(&self) -> bool {
        self.args.iter().any(|arg| argument_checks_media(&arg.to_string())) || title_checks_media(&self.title)
    }
}

/// Arguments that start a media check: dracut and Anaconda, archiso and SystemRescue, casper and live-boot, the Debian
/// installer, openSUSE, antiX, genkernel, KNOPPIX. archiso's `cms_verify` checks a signature only.
const CHECK_ARGUMENTS: [&str; 12] = [
    "rd.live.check",
    "mediacheck",
    "inst.mediacheck",
    "checksum",
    "verify",
    "integrity-check",
    "verify-checksums",
    "checkmd5",
    "md5check",
    "testcd",
    "check_medium",
    "menu=/bin/cdrom-checker-menu",
];

fn argument_checks_media(argument: &str) -> bool {
    let argument = argument.to_ascii_lowercase();
    if CHECK_ARGUMENTS.contains(&argument.as_str()) {
        return true;
    }
    let Some((key, value)) = argument.split_once('=') else {
        return false;
    };
    CHECK_ARGUMENTS.contains(&key) && !matches!(value, "0" | "n" | "no" | "off" | "false")
}

fn title_checks_media(title: &str) -> bool {
    let title = title.to_lowercase();
    let words: Vec<&str> = title.split(|c: char| !c.is_alphanumeric()).collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let names_medium = has(&["media", "medium", "iso", "disk", "cd", "dvd"]);
    (has(&["check", "test", "verify", "verifies"]) && names_medium)
        || has(&["mediacheck", "checksum", "defects"])
        || (has(&["integrity"]) && has(&["check", "test", "verify"]))
}

fn without_repetition(menus: Vec<Menu>) -> Vec<Menu> {
    let mut kept: Vec<Menu> = Vec::new();
    for menu in menus {
        if !kept.iter().any(|other| other.entries == menu.entries) {
            kept.push(menu);
        }
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// An ISO of a few files in memory.
    #[derive(Default)]
    pub(crate) struct Memory(pub BTreeMap<String, Vec<u8>>);

    impl Memory {
        pub(crate) fn of<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Self {
            Self(files.iter().map(|(path, bytes)| (path.to_string(), bytes.as_ref().to_vec())).collect())
        }
    }

    impl Files for Memory {
        fn read(&self, path: &str) -> Option<Vec<u8>> {
            self.0.get(path).cloned()
        }

        fn exists(&self, path: &str) -> bool {
            self.0.keys().any(|key| key == path || key.starts_with(&format!("{path}/")))
        }

        fn list(&self, dir: &str) -> Vec<String> {
            let prefix = format!("{}/", dir.trim_end_matches('/'));
            let rest = self.0.keys().filter_map(|key| key.strip_prefix(&prefix));
            let mut names: Vec<String> =
                rest.filter_map(|rest| rest.split('/').next()).map(String::from).collect();
            names.dedup();
            names
        }
    }

    fn entry(title: &str, kernel: &str, args: &str) -> MenuEntry {
        MenuEntry {
            title: title.into(),
            submenu: Vec::new(),
            kernel: kernel.into(),
            initrds: vec!["/initrd".into()],
            args: Args::parse(args),
        }
    }

    fn menu(entries: Vec<MenuEntry>, default: Option<usize>) -> Menu {
        Menu { config: "/x.cfg".into(), loader: Loader::Grub, entries, default }
    }

    const GRUB: &str = "menuentry 'Live' {\n linux /k a\n initrd /i\n}\n";
    const ISOLINUX: &str = "label live\n kernel /k\n append initrd=/i b\n";

    #[test]
    fn boot_entry_is_the_default() {
        let menu = menu(vec![entry("a", "/k", ""), entry("b", "/k", "quiet")], Some(1));
        assert_eq!(menu.boot_entry().unwrap().title, "b");
    }

    #[test]
    fn boot_entry_avoids_the_media_check_and_keeps_the_kernel() {
        let entries = vec![
            entry("Installer", "/install", ""),
            entry("Test this media & start Live", "/k", "rd.live.image rd.live.check"),
            entry("Start Live", "/k", "rd.live.image"),
        ];
        assert_eq!(menu(entries, Some(1)).boot_entry().unwrap().title, "Start Live");
    }

    #[test]
    fn boot_entry_is_the_check_if_there_is_nothing_else() {
        let menu = menu(vec![entry("check", "/k", "checksum=y")], Some(0));
        assert_eq!(menu.boot_entry().unwrap().title, "check");
    }

    #[test]
    fn boot_entry_without_a_default_is_the_first() {
        let menu = menu(vec![entry("a", "/k", ""), entry("b", "/k", "")], None);
        assert_eq!(menu.boot_entry().unwrap().title, "a");
    }

    #[test]
    fn media_checks_are_known_by_argument_or_title() {
        let checks = |title: &str, args: &str| entry(title, "/k", args).checks_media();
        assert!(checks("x", "quiet rd.live.check"));
        assert!(checks("x", "checksum=y"));
        assert!(checks("x", "boot=casper integrity-check"));
        assert!(checks("x", "MENU=/bin/cdrom-checker-menu"));
        assert!(checks("Check iso for defects", ""));
        assert!(checks("Boot and verify integrity of the medium (checksum)", ""));
        assert!(!checks("Arch Linux", "cms_verify=y"));
        assert!(!checks("x", "rd.live.check=0"));
        assert!(!checks("Try it (test version)", "fsck.mode=skip"));
        assert!(!checks("Start the live image", "rd.live.image"));
    }

    #[test]
    fn grub_comes_first_and_loopback_last() {
        let loopback = "menuentry 'Loop' {\n linux /k iso=$iso_path\n initrd /i\n}";
        let files = Memory::of(&[
            ("/isolinux/isolinux.cfg", ISOLINUX),
            ("/boot/grub/grub.cfg", GRUB),
            ("/boot/grub/loopback.cfg", loopback),
        ]);
        let configs: Vec<String> =
            read(&files, &Environment::default()).into_iter().map(|m| m.config).collect();
        assert_eq!(configs, ["/boot/grub/grub.cfg", "/isolinux/isolinux.cfg", "/boot/grub/loopback.cfg"]);
    }

    #[test]
    fn copies_of_a_menu_come_once() {
        let files = Memory::of(&[("/EFI/BOOT/grub.cfg", GRUB), ("/EFI/BOOT/BOOT.conf", GRUB)]);
        assert_eq!(read(&files, &Environment::default()).len(), 1);
    }

    #[test]
    fn names_in_another_case_are_found() {
        let files = Memory::of(&[("/ISOLINUX/ISOLINUX.CFG", ISOLINUX), ("/K", ""), ("/I", "")]);
        let menus = read(&files, &Environment::default());
        assert_eq!(menus[0].config, "/ISOLINUX/ISOLINUX.CFG");
        assert_eq!(
            (menus[0].entries[0].kernel.as_str(), menus[0].entries[0].initrds[0].as_str()),
            ("/K", "/I")
        );
    }

    #[test]
    fn an_iso_without_menus_has_none() {
        assert!(read(&Memory::default(), &Environment::default()).is_empty());
    }
}
