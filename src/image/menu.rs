//! The boot menus inside an ISO: which kernel, initrds and arguments its own loader would boot.
//!
//! One reader a loader ([`grub`], [`syslinux`], [`bls`]) turns configuration text into [`Menu`]s; [`read`] tries the
//! well-known places, for BIOS and for UEFI. What boots no Linux kernel is left out, with the reason. Everything here is
//! foreign text: it passes one gate (one line, no control characters, limited length), and reading always ends, because
//! files, bytes, entries, nesting and evaluation steps are counted.
//!
//! Nothing here opens a file, and nothing decides how a system is booted over a network.

pub mod bls;
mod bounded_files;
mod draft;
mod glob;
pub mod grub;
mod left_out;
mod media_check;
mod path;
pub mod syslinux;

pub use bounded_files::{MAX_FILE, MAX_LISTS, MAX_READS, MAX_TOTAL};
pub use draft::{MAX_ARGS, MAX_ENTRIES, MAX_INITRDS, MAX_MENUS, MAX_SUBMENUS, MAX_TITLE};
pub use left_out::{LeftOut, Reason};
pub use path::MAX_PATH;

use crate::image::args::Args;

use bounded_files::BoundedFiles;

/// Access to the ISO's files. Paths are absolute inside it: `/isolinux/isolinux.cfg`.
pub trait Files {
    /// The file's bytes, or at least the first [`MAX_FILE`] of them; `None` if it is no readable file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;

    /// True if there is a file or directory of that name.
    fn exists(&self, path: &str) -> bool;

    /// The names in a directory, without their path; empty if it is none.
    fn list(&self, dir: &str) -> Vec<String>;
}

/// The machine and the medium that the menus are read for. GRUB menus ask for it; the others hardly do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// GRUB's `grub_cpu`: `x86_64`, `i386`, `arm64`, …
    pub cpu: String,
    /// GRUB's `grub_platform`: `efi` or `pc`. [`read`] goes through both.
    pub platform: String,
    /// Loopback menus name the ISO file by `iso_path`; unset when booted from the medium itself.
    pub iso_path: Option<String>,
    /// The answer of `probe --fs-uuid` about the ISO.
    pub fs_uuid: Option<String>,
    /// The answer of `probe --label` about the ISO: its volume id.
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

/// The firmware of the machines that a menu is shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// PC BIOS, and UEFI's imitation of it.
    Bios,
    /// UEFI.
    Uefi,
    /// Either.
    Both,
}

/// One entry that boots a Linux kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MenuEntry {
    /// One line of at most [`MAX_TITLE`] characters, without hot-key marks; never empty.
    pub title: String,
    /// Titles of the submenus that the entry lies in, outermost first, at most [`MAX_SUBMENUS`].
    pub submenu: Vec<String>,
    /// Absolute path inside the ISO, without a device; spelt as the ISO has it where it was found there.
    pub kernel: String,
    /// As `kernel`, in the order they are loaded, at most [`MAX_INITRDS`]. None for a kernel that has its initramfs inside,
    /// and for what only looks like a kernel to its loader: a memory test, iPXE.
    pub initrds: Vec<String>,
    /// Kernel arguments: one line, single blanks, at most [`MAX_ARGS`] bytes. `initrd=` is taken out of SYSLINUX's,
    /// where it is the loader's own; a GRUB word that holds a blank stands in double quotes, as GRUB passes it.
    pub args: Args,
}

/// The entries of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// The configuration file, absolute inside the ISO; the one that a loader's own chain ended at.
    pub config: String,
    /// The loader whose language it is in.
    pub loader: Loader,
    /// The machines that are shown it.
    pub firmware: Firmware,
    /// The bootable ones, in the order of the menu, at most [`MAX_ENTRIES`]; none of them if all were left out.
    pub entries: Vec<MenuEntry>,
    /// Index of the entry that the loader boots by itself; `None` if that one boots no Linux (a local disk, say).
    pub default: Option<usize>,
    /// What else the menu shows, in its order, at most [`MAX_ENTRIES`].
    pub left_out: Vec<LeftOut>,
}

/// Reads every menu of an ISO, the most useful first, without repetition, at most [`MAX_MENUS`]. The first that is for a
/// firmware is what a machine with that firmware shows.
///
/// GRUB's menus come before SYSLINUX's, because images that carry both keep the older one for BIOS machines; those
/// written for booting the ISO as a file on a disk (`loopback.cfg`) come last, before those without a bootable entry.
///
/// ```
/// use netrootfs::image::menu::{self, Environment, Files, Firmware, Reason};
///
/// struct OneFile(&'static str, &'static str);
///
/// impl Files for OneFile {
///     fn read(&self, path: &str) -> Option<Vec<u8>> {
///         (path == self.0).then(|| self.1.into())
///     }
///     fn exists(&self, path: &str) -> bool {
///         path == self.0
///     }
///     fn list(&self, _: &str) -> Vec<String> {
///         Vec::new()
///     }
/// }
///
/// let script = "menuentry Live { linux /vmlinuz boot=live; initrd /initrd }; menuentry Off { halt }";
/// let menus = menu::read(&OneFile("/boot/grub/grub.cfg", script), &Environment::default());
/// let [menu] = menus.as_slice() else { panic!("one menu, the same for BIOS and UEFI") };
/// assert_eq!((menu.entries[0].title.as_str(), menu.entries[0].kernel.as_str()), ("Live", "/vmlinuz"));
/// assert_eq!((menu.firmware, menu.left_out[0].reason), (Firmware::Both, Reason::Power));
/// ```
#[must_use]
pub fn read(files: &dyn Files, environment: &Environment) -> Vec<Menu> {
    let mut iso = BoundedFiles::new(files);
    let on = |platform: &str| Environment { platform: platform.into(), ..environment.clone() };
    let mut menus = Vec::new();
    grub::read_known(&mut iso, &on("efi"), &mut menus);
    let mut bios = Vec::new();
    syslinux::read_known(&mut iso, &mut bios);
    // An ISO that carries both has GRUB for UEFI alone.
    if !bios.iter().any(|menu| menu.firmware.is_for(Firmware::Bios) && !menu.entries.is_empty()) {
        grub::read_known(&mut iso, &on("pc"), &mut menus);
    }
    menus.append(&mut bios);
    menus.extend(bls::read_from(&mut iso, environment));
    grub::read_loopback(&mut iso, environment, &mut menus);
    let mut menus = without_repetition(menus);
    menus.sort_by_key(|menu| menu.entries.is_empty());
    menus.truncate(MAX_MENUS);
    menus
}

impl Firmware {
    /// True if machines with that firmware, or some of them, have this one.
    #[must_use]
    pub fn is_for(self, other: Self) -> bool {
        self == other || self == Self::Both || other == Self::Both
    }

    /// From GRUB's `grub_platform`.
    fn of_platform(platform: &str) -> Self {
        if platform == "efi" { Self::Uefi } else { Self::Bios }
    }
}

impl Menu {
    /// The entry to boot when nobody chooses: the default, unless that one checks the medium first. Then the first
    /// that boots the same kernel without a check, else the first without one. An ISO served over a network gains
    /// nothing from reading all of it before it boots. Without a default it is the first that has an initrd.
    #[must_use]
    pub fn boot_entry(&self) -> Option<&MenuEntry> {
        let first = || self.entries.iter().find(|entry| !entry.initrds.is_empty()).or(self.entries.first());
        let default = self.default.and_then(|index| self.entries.get(index)).or_else(first)?;
        if !default.checks_media() {
            return Some(default);
        }
        let unchecked = || self.entries.iter().filter(|entry| !entry.checks_media());
        unchecked()
            .find(|entry| entry.kernel == default.kernel)
            .or_else(|| unchecked().find(|entry| !entry.initrds.is_empty()))
            .or(Some(default))
    }
}

/// Of menus with the same entries the first, for the machines of all of them.
fn without_repetition(menus: Vec<Menu>) -> Vec<Menu> {
    let mut kept: Vec<Menu> = Vec::new();
    for menu in menus {
        let same = |other: &&mut Menu| {
            other.entries == menu.entries && (!menu.entries.is_empty() || other.left_out == menu.left_out)
        };
        match kept.iter_mut().find(same) {
            Some(other) if other.firmware != menu.firmware => other.firmware = Firmware::Both,
            Some(_) => {}
            None => kept.push(menu),
        }
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests;
