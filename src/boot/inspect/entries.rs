//! The entries that an ISO's own menus offer, each with its kernel and initrds, for BIOS machines and UEFI machines.
//!
//! Where an ISO has a menu for each, a machine is offered that of its firmware. An entry whose files are damaged or not there
//! doesn't stand in the way of the others.

use std::cell::RefCell;

use super::{Error, Unbootable};
use crate::boot::families::Family;
use crate::boot::plan;
use crate::image::args::Args;
use crate::image::iso::{self, Image};
use crate::image::menu::{self, Firmware, LeftOut, Menu, MenuEntry};

/// Entries that are offered. Language menus have hundreds.
const MAX_ENTRIES: usize = 48;

/// Kernels with their initrds: each initrd is unpacked once to look into it. An installer's disc with a text and a graphical
/// installer, both also for speech, has four.
const MAX_FILES: usize = 8;

/// A kernel and its initrds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// What tells its files from those of the ISO's other kernels: made of the path of the kernel, so that it stays when
    /// the menu is sorted anew. The first has none.
    pub name: Option<String>,
    /// The kernel.
    pub kernel: iso::File,
    /// The initrds, in the order in which they are loaded. A kernel without has its initramfs inside.
    pub initrds: Vec<iso::File>,
}

/// An entry of the ISO's own menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its title: one line; empty if the ISO has no menu.
    pub title: String,
    /// Titles of the submenus that it lies in, outermost first.
    pub submenu: Vec<String>,
    /// Its kernel and initrds, as a position in [`Facts::files`](super::Facts::files).
    pub files: usize,
    /// Its arguments, without those that make no sense over a network.
    pub args: Args,
    /// The machines that are shown it.
    pub firmware: Firmware,
    /// Set if it reads the whole medium before, or instead of, booting.
    pub checks_media: bool,
}

/// All that was found.
#[derive(Default)]
pub(super) struct Entries {
    pub files: Vec<BootFiles>,
    pub entries: Vec<Entry>,
    pub left_out: Vec<LeftOut>,
    /// Why there is no entry.
    pub unbootable: Option<Unbootable>,
}

/// The entries of an ISO: the one that boots by itself first, then the others in their order.
///
/// # Errors
/// If there is none because the ISO is damaged.
pub(super) fn find(image: &mut Image, family: &Family) -> Result<Entries, Error> {
    let menus = menus(image);
    let mut found = Entries::default();
    let mut faults = Vec::new();
    let chosen = choose(image, &menus, &mut found, &mut faults);
    for (menu, firmware) in &chosen {
        for entry in &menu.entries {
            // The faults of these are no reason for anything.
            let _ = found.add(image, entry, *firmware);
        }
    }
    let shown = if chosen.is_empty() {
        menus.iter().collect()
    } else {
        chosen.iter().map(|(menu, _)| *menu).collect()
    };
    found.left_out = left_out(shown);
    if found.entries.is_empty() {
        by_family(image, family, &mut found, &mut faults);
    }
    if found.entries.is_empty() {
        // What is there and can't be used says more than what isn't there.
        let damage = faults.iter().position(|fault| matches!(fault, Error::Iso(_)));
        if let Some(damage) = damage {
            return Err(faults.swap_remove(damage));
        }
        let empty = faults.iter().position(|fault| matches!(fault, Error::Unbootable(Unbootable::Empty(_))));
        let first = (!faults.is_empty()).then(|| faults.swap_remove(empty.unwrap_or(0)));
        found.unbootable = first.and_then(|fault| match fault {
            Error::Unbootable(reason) => Some(reason),
            Error::Iso(_) => None,
        });
    }
    Ok(found)
}

/// The menu of UEFI machines and that of BIOS machines, or the one that all are shown; the entry that boots by itself is
/// added already.
fn choose<'a>(
    image: &mut Image,
    menus: &'a [Menu],
    found: &mut Entries,
    faults: &mut Vec<Error>,
) -> Vec<(&'a Menu, Firmware)> {
    let mut first_of = |firmware: Firmware, shown: Firmware, found: &mut Entries| {
        menus.iter().filter(|menu| menu.firmware.is_for(firmware)).find(|menu| {
            let Some(entry) = menu.boot_entry() else { return false };
            match found.add(image, entry, shown) {
                Ok(()) => true,
                Err(error) => {
                    faults.push(error);
                    false
                }
            }
        })
    };
    let has = |firmware: Firmware| {
        menus.iter().any(|menu| menu.firmware.is_for(firmware) && !menu.entries.is_empty())
    };
    // A menu of the other firmware is better than none.
    if !has(Firmware::Bios) || !has(Firmware::Uefi) {
        return first_of(Firmware::Both, Firmware::Both, found)
            .map(|menu| (menu, Firmware::Both))
            .into_iter()
            .collect();
    }
    let uefi = first_of(Firmware::Uefi, Firmware::Uefi, found);
    let bios = first_of(Firmware::Bios, Firmware::Bios, found);
    match (uefi, bios) {
        (Some(uefi), Some(bios)) if std::ptr::eq(uefi, bios) => vec![(uefi, Firmware::Both)],
        (Some(uefi), Some(bios)) => vec![(uefi, Firmware::Uefi), (bios, Firmware::Bios)],
        (Some(only), None) | (None, Some(only)) => {
            found.entries.iter_mut().for_each(|entry| entry.firmware = Firmware::Both);
            vec![(only, Firmware::Both)]
        }
        (None, None) => Vec::new(),
    }
}

/// Where the family has always kept its kernel, for an ISO without a menu that can be read.
fn by_family(image: &mut Image, family: &Family, found: &mut Entries, faults: &mut Vec<Error>) {
    for (kernel, initrd) in family.kernels {
        let entry = MenuEntry {
            title: String::new(),
            submenu: Vec::new(),
            kernel: (*kernel).to_owned(),
            initrds: vec![(*initrd).to_owned()],
            args: Args::parse(family.args),
        };
        match found.add(image, &entry, Firmware::Both) {
            Ok(()) => return,
            // No ISO has all that its family ever had.
            Err(Error::Unbootable(Unbootable::Missing(_))) => {}
            Err(error) => faults.push(error),
        }
    }
}

impl Entries {
    /// Adds an entry, or the firmware to one that is the same.
    fn add(&mut self, image: &mut Image, entry: &MenuEntry, firmware: Firmware) -> Result<(), Error> {
        let files = self.files_of(image, entry)?;
        // live-build's menu for UEFI has `findiso=` in the entry that the one for BIOS has without.
        let args = plan::over_network(entry.args.clone());
        let same = |other: &&mut Entry| other.files == files && other.args == args;
        if let Some(other) = self.entries.iter_mut().find(same) {
            if other.firmware != firmware {
                other.firmware = Firmware::Both;
                other.title = of_both(&other.title);
            }
        } else if self.entries.len() < MAX_ENTRIES {
            self.entries.push(Entry {
                title: entry.title.clone(),
                submenu: entry.submenu.clone(),
                files,
                args,
                firmware,
                checks_media: entry.checks_media(),
            });
        }
        Ok(())
    }

    fn files_of(&mut self, image: &mut Image, entry: &MenuEntry) -> Result<usize, Error> {
        let (kernel, initrds) = load(image, &entry.kernel, &entry.initrds)?;
        // By their bytes: lorax and others link the kernel of the BIOS menu to that of the UEFI menu.
        let same = |other: &BootFiles| other.is(&kernel, &initrds);
        if let Some(position) = self.files.iter().position(same) {
            return Ok(position);
        }
        if self.files.len() >= MAX_FILES {
            return Err(Unbootable::TooMany.into());
        }
        let name = (!self.files.is_empty()).then(|| self.new_name(&kernel, &initrds));
        self.files.push(BootFiles { name, kernel, initrds });
        Ok(self.files.len() - 1)
    }

    /// The kernel's path, and behind it the last initrd's where another entry has the same kernel.
    fn new_name(&self, kernel: &iso::File, initrds: &[iso::File]) -> String {
        let own = plain_name(&kernel.path);
        let taken = self.files.iter().any(|other| other.kernel.extents == kernel.extents);
        let name = match initrds.last() {
            Some(initrd) if taken => format!("{own}-{}", plain_name(&initrd.path)),
            _ => own,
        };
        let is_free = |name: &String| self.files.iter().all(|other| other.name.as_ref() != Some(name));
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        // The first of them is free: there are fewer others than numbers.
        std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
    }
}

impl BootFiles {
    fn is(&self, kernel: &iso::File, initrds: &[iso::File]) -> bool {
        let extents = |files: &[iso::File]| files.iter().map(|file| file.extents.clone()).collect::<Vec<_>>();
        self.kernel.extents == kernel.extents && extents(&self.initrds) == extents(initrds)
    }
}

/// A title that is shown to machines of both kinds, where the ISO's own menus name one: "Arch Linux (x86_64, UEFI)".
fn of_both(title: &str) -> String {
    const KINDS: [&str; 3] = ["UEFI", "BIOS", "EFI"];
    let among_others = KINDS.iter().map(|kind| (format!(", {kind})"), ")"));
    let alone = KINDS.iter().map(|kind| (format!(" ({kind})"), ""));
    among_others.chain(alone).fold(title.to_owned(), |title, (named, left)| title.replace(&named, left))
}

/// A path as a part of a file's name: `casper-hwe-vmlinuz`.
fn plain_name(path: &str) -> String {
    let symbol = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) => char::from(byte),
        b'/' => '-',
        _ => '_',
    };
    let name: Vec<char> = path.trim_matches('/').bytes().map(symbol).collect();
    // Together with a label it must stay below atftpd's limit of 256 for a path.
    name.get(name.len().saturating_sub(60)..).unwrap_or_default().iter().collect()
}

fn load(image: &mut Image, kernel: &str, initrds: &[String]) -> Result<(iso::File, Vec<iso::File>), Error> {
    let missing = |path: &str| Unbootable::Missing(path.to_owned());
    let kernel = image.file(kernel)?.ok_or_else(|| missing(kernel))?;
    if kernel.len == 0 {
        return Err(Unbootable::Empty(kernel.path).into());
    }
    let mut found = Vec::new();
    for path in initrds {
        found.push(image.file(path)?.ok_or_else(|| missing(path))?);
    }
    match found.first() {
        Some(first) if found.iter().all(|file| file.len == 0) => {
            Err(Unbootable::Empty(first.path.clone()).into())
        }
        _ => Ok((kernel, found)),
    }
}

/// Each once, in the order of the menus.
fn left_out(menus: Vec<&Menu>) -> Vec<LeftOut> {
    let mut all: Vec<LeftOut> = Vec::new();
    for entry in menus.into_iter().flat_map(|menu| &menu.left_out) {
        if all.len() < MAX_ENTRIES && !all.contains(entry) {
            all.push(entry.clone());
        }
    }
    all
}

fn menus(image: &mut Image) -> Vec<Menu> {
    let label = String::from_utf8_lossy(image.volume_id()).into_owned();
    let environment =
        menu::Environment { label: Some(label), fs_uuid: image.uuid(), ..menu::Environment::default() };
    menu::read(&MenuFiles(RefCell::new(image)), &environment)
}

/// The image as the menu readers see it. What can't be read is not there.
struct MenuFiles<'a>(RefCell<&'a mut Image>);

impl menu::Files for MenuFiles<'_> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.borrow_mut().read(path, menu::MAX_FILE as u64).ok().flatten()
    }

    fn exists(&self, path: &str) -> bool {
        self.0.borrow_mut().exists(path)
    }

    fn list(&self, directory: &str) -> Vec<String> {
        self.0.borrow_mut().list(directory).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::extent::Extent;

    fn file(path: &str, offset: u64) -> iso::File {
        iso::File { path: path.into(), len: 5, extents: vec![Extent { offset, len: 5 }] }
    }

    fn names(sets: &[(iso::File, Vec<iso::File>)]) -> Vec<Option<String>> {
        let mut found = Entries::default();
        for (kernel, initrds) in sets {
            if found.files.iter().any(|other| other.is(kernel, initrds)) {
                continue;
            }
            let name = (!found.files.is_empty()).then(|| found.new_name(kernel, initrds));
            found.files.push(BootFiles { name, kernel: kernel.clone(), initrds: initrds.clone() });
        }
        found.files.into_iter().map(|files| files.name).collect()
    }

    #[test]
    fn a_title_for_machines_of_both_kinds_names_neither() {
        assert_eq!(of_both("Arch Linux install medium (x86_64, UEFI)"), "Arch Linux install medium (x86_64)");
        assert_eq!(of_both("Live system (BIOS)"), "Live system");
        assert_eq!(of_both("Kernel with EFI stub"), "Kernel with EFI stub");
    }

    #[test]
    fn no_two_sets_of_files_have_one_name() {
        let name = |text: &str| Some(text.to_owned());
        let long = "x".repeat(80);
        assert_eq!(
            names(&[
                (file("/k", 0), vec![file("/i", 2048)]),
                (file("/a/b", 4096), Vec::new()),
                (file("/a-b", 6144), Vec::new()),
                (file("/k", 0), vec![file("/ucode", 8192), file("/i", 2048)]),
                (file("/k", 0), vec![file("/amd", 10240), file("/i", 2048)]),
                (file(&format!("/1{long}"), 12288), Vec::new()),
                (file(&format!("/2{long}"), 14336), Vec::new()),
            ]),
            [
                None,
                name("a-b"),
                name("a-b-2"),
                name("k-i"),
                name("k-i-2"),
                name(&long[..60]),
                name(&format!("{}-2", &long[..60])),
            ]
        );
    }

    #[test]
    fn the_same_bytes_under_two_paths_are_one_set() {
        let initrd = || vec![file("/isolinux/initrd.img", 2048)];
        let other = (file("/images/pxeboot/vmlinuz", 0), vec![file("/images/pxeboot/initrd.img", 2048)]);
        assert_eq!(names(&[(file("/isolinux/vmlinuz", 0), initrd()), other]), [None]);
    }
}
