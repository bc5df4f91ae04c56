//! The features of an initrd, and what follows from them.
//!
//! [`Features`] collects the names of entries, by the tables of [`table`](super::table), and the lists of drivers that
//! are built into the kernel. What a name says is kept; the name is not, but for two short words of printable ASCII.

use super::table::{self, Driver, Feature, Mark};
use crate::image::{modules, nics};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Where a driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A module in the initrd.
    Module,
    /// In the kernel itself.
    Builtin,
    /// In neither, as far as the initrd tells: its list of built-in drivers was read and has no such line.
    Absent,
    /// The initrd has no (or an empty) list of built-in drivers, or an inner image that may hold more modules.
    Unknown,
}

/// More kernels than this in one initrd are not listed; the largest known is three.
const KERNELS: usize = 16;

/// A version longer than this is not one.
const VERSION: usize = 64;

/// The abilities of an initrd. The answers are for all of its archives together.
///
/// The fields are open to whoever stores or renders them; the methods are what decisions are made by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Features by name.
    pub found: BTreeSet<Feature>,
    /// The marks that were asked for and found.
    pub marks: BTreeSet<String>,
    /// dracut's version as it wrote it, such as `059-22.fc39`; printable ASCII.
    pub dracut_version: Option<String>,
    /// The kernels that the initrd has a module directory for; printable ASCII.
    pub kernels: BTreeSet<String>,
    /// Drivers that are modules in the initrd.
    pub modules: BTreeSet<Driver>,
    /// Drivers in the kernel itself, if the initrd says so.
    pub builtin: Option<BTreeSet<Driver>>,
    /// Drivers of [`nics`] that are modules in the initrd, by name.
    pub nics: BTreeSet<String>,
    /// Drivers of [`nics`] in the kernel itself, as far as the initrd says so.
    pub builtin_nics: BTreeSet<String>,
    /// Whether its last archive is in the old lz4 format, which has no mark for its end.
    pub open_end: bool,
    /// Why the initrd was not read to its end; everything up to there counts, as it does for the kernel.
    pub damage: Option<String>,
}

impl Features {
    /// Whether `feature` was found.
    pub fn has(&self, feature: Feature) -> bool {
        self.found.contains(&feature)
    }

    /// Whether the mark of that name was found.
    pub fn has_mark(&self, name: &str) -> bool {
        self.marks.contains(name)
    }

    /// Where `driver` is.
    pub fn driver(&self, driver: Driver) -> Presence {
        if self.modules.contains(&driver) {
            return Presence::Module;
        }
        match &self.builtin {
            Some(builtin) if builtin.contains(&driver) => Presence::Builtin,
            Some(_) if !self.has(Feature::InnerImage) && self.damage.is_none() => Presence::Absent,
            _ => Presence::Unknown,
        }
    }

    /// Where a driver of [`nics`] is.
    pub fn nic(&self, name: &str) -> Presence {
        match self.driver(Driver::Nic) {
            _ if self.nics.contains(name) => Presence::Module,
            _ if self.builtin_nics.contains(name) => Presence::Builtin,
            Presence::Unknown => Presence::Unknown,
            _ => Presence::Absent,
        }
    }

    /// dracut's version as a number: 59 for `059-22.fc39`.
    pub fn dracut_number(&self) -> Option<u32> {
        let version = self.dracut_version.as_deref()?;
        version.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    }

    /// Notes what `name`, the path of an entry, says.
    pub(super) fn note_path(&mut self, name: &[u8], marks: &[Mark]) {
        let path = plain(name);
        self.found.extend(table::features(path));
        for mark in marks.iter().filter(|mark| mark.is_at(path)) {
            self.marks.insert(mark.name.to_owned());
        }
        if let Some(version) = path.strip_prefix(b"lib/dracut/dracut-")
            && version.first().is_some_and(u8::is_ascii_digit)
        {
            self.dracut_version = printable(version);
        }
        let Some(module) = below_modules(path) else {
            return;
        };
        let kernel = module.split(|&byte| byte == b'/').next().unwrap_or_default();
        if let Some(kernel) = printable(kernel)
            && self.kernels.len() < KERNELS
        {
            self.kernels.insert(kernel);
        }
        self.modules.extend(table::drivers(module));
        self.nics.extend(nic_of(module));
    }

    /// Notes the lines of a `modules.builtin`.
    pub(super) fn note_builtin(&mut self, list: &[u8]) {
        // Installers ship it empty, and a link has its target here: neither says that a driver is missing.
        if !list.windows(3).any(|window| window == b".ko") {
            return;
        }
        let builtin = self.builtin.get_or_insert_default();
        for line in list.split(|&byte| byte == b'\n') {
            builtin.extend(table::drivers(line));
            self.builtin_nics.extend(nic_of(line));
        }
    }
}

/// One line, such as `dracut 059: nbd, NetworkManager, dmsquash-live, livenet`.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (builders, others): (Vec<Feature>, Vec<Feature>) =
            self.found.iter().partition(|it| it.is_builder());
        f.write_str(builders.first().map_or("unknown kind", |builder| builder.label()))?;
        if let Some(version) = &self.dracut_version {
            write!(f, " {version}")?;
        }
        let mut parts: Vec<&str> =
            others.iter().filter(|feature| !feature.is_usual()).map(|feature| feature.label()).collect();
        parts.extend(self.marks.iter().map(String::as_str));
        for (driver, missing) in [(Driver::Nbd, "no nbd driver"), (Driver::Nic, "no network drivers")] {
            if self.driver(driver) == Presence::Absent {
                parts.push(missing);
            }
        }
        if self.damage.is_some() {
            parts.push("damaged at its end");
        }
        if !parts.is_empty() {
            write!(f, ": {}", parts.join(", "))?;
        }
        Ok(())
    }
}

/// Whether the body of the entry `name` is a list of the drivers in the kernel.
pub(super) fn is_builtin_list(name: &[u8]) -> bool {
    below_modules(plain(name)).is_some_and(|path| path.ends_with(b"/modules.builtin"))
}

/// Whether `name` is the program that the kernel starts from an initrd.
pub(super) fn is_init(name: &[u8]) -> bool {
    plain(name) == b"init"
}

fn plain(name: &[u8]) -> &[u8] {
    let mut path = name;
    while let Some(rest) = path.strip_prefix(b"./").or_else(|| path.strip_prefix(b"/")) {
        path = rest;
    }
    path.strip_prefix(b"usr/").unwrap_or(path)
}

/// The text behind `lib/modules/`, which NixOS has in a directory of its store.
fn below_modules(path: &[u8]) -> Option<&[u8]> {
    const MODULES: &[u8] = b"lib/modules/";
    let start = path.windows(MODULES.len()).position(|window| window == MODULES)?;
    let whole = start == 0 || path.get(start - 1) == Some(&b'/');
    path.get(start + MODULES.len()..).filter(|rest| whole && !rest.is_empty())
}

/// The name of the driver of [`nics`] that a module's path is.
fn nic_of(path: &[u8]) -> Option<String> {
    let name = modules::name_of(std::str::from_utf8(path).ok()?.trim_end())?;
    nics::named(&name).map(|nic| nic.name.to_owned())
}

fn printable(text: &[u8]) -> Option<String> {
    let fits = text.len() <= VERSION && !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(names: &[&str]) -> Features {
        let mut features = Features::default();
        names.iter().for_each(|name| features.note_path(name.as_bytes(), MARKS));
        features
    }

    const MARKS: &[Mark] = &[
        Mark::new("scripts/casper", "casper"),
        Mark::new("hooks/archiso", "archiso"),
        Mark::new("hooks/archiso_pxe_nbd", "archiso_pxe_nbd"),
    ];

    const DRACUT: &[&str] = &[
        "usr/lib/dracut-lib.sh",
        "lib/dracut/dracut-059-22.fc39",
        "usr/lib/dracut/hooks/cmdline/90-parse-nbdroot.sh",
        "usr/sbin/nbdroot",
        "usr/sbin/nbd-client",
        "usr/libexec/nm-initrd-generator",
        "sbin/dmsquash-live-root",
        "sbin/livenetroot",
        "usr/lib/modules/6.5.6-300.fc39.x86_64/kernel/drivers/block/nbd.ko.xz",
    ];

    #[test]
    fn dracut_with_everything() {
        let features = features(DRACUT);
        assert_eq!(
            features.to_string(),
            "dracut 059-22.fc39: nbd, nbd-client, NetworkManager, dmsquash-live, livenet"
        );
        assert_eq!(features.dracut_number(), Some(59));
        assert_eq!(features.kernels, BTreeSet::from(["6.5.6-300.fc39.x86_64".to_owned()]));
    }

    #[test]
    fn every_pattern_shows_its_feature() {
        for (pattern, feature) in table::FEATURES {
            let name = pattern.replace('*', "x");
            assert!(features(&[&name]).has(*feature), "{name}");
            assert!(features(&[&format!("./usr/{name}")]).has(*feature), "./usr/{name}");
        }
    }

    #[test]
    fn a_driver_is_a_module_or_in_the_kernel_or_absent() {
        let mut features = features(DRACUT);
        assert_eq!(features.driver(Driver::Nbd), Presence::Module);
        features.modules.clear();
        assert_eq!(features.driver(Driver::Nbd), Presence::Unknown);
        features.note_builtin(b"kernel/fs/overlayfs/overlay.ko\n");
        assert_eq!(features.driver(Driver::Nbd), Presence::Absent);
        features.note_builtin(b"kernel/fs/ext4/ext4.ko\nkernel/drivers/block/nbd.ko\n");
        assert_eq!(features.driver(Driver::Nbd), Presence::Builtin);
        assert_eq!(features.driver(Driver::Overlay), Presence::Builtin);
    }

    #[test]
    fn only_the_marks_that_were_asked_for_are_kept() {
        let marked = features(&["./usr/hooks/archiso", "hooks/another"]);
        assert!(marked.has_mark("archiso") && !marked.has_mark("casper"));
        assert_eq!(marked.marks.len(), 1);
    }

    #[test]
    fn drivers_of_cards_are_told_one_by_one() {
        let mut features = features(&[
            "lib/modules/6.6/kernel/drivers/net/virtio_net.ko.gz",
            "lib/modules/6.6/kernel/drivers/net/ethernet/amd/xgbe/amd-xgbe.ko.zst",
            "lib/modules/6.6/kernel/drivers/net/ethernet/intel/e1000e.so",
            "usr/share/e1000e.ko",
        ]);
        assert_eq!(features.nics, BTreeSet::from(["amd_xgbe", "virtio_net"].map(str::to_owned)));
        features.note_builtin(b"kernel/drivers/net/ethernet/intel/igb/igb.ko\n");
        let found = ["virtio_net", "igb", "e1000e"].map(|name| features.nic(name));
        assert_eq!(found, [Presence::Module, Presence::Builtin, Presence::Absent]);
    }

    #[test]
    fn what_is_hidden_or_damaged_is_not_absent() {
        let mut hidden = features(&["squashfs-root.img"]);
        hidden.note_builtin(b"kernel/fs/ext4/ext4.ko\n");
        assert_eq!(hidden.driver(Driver::Nic), Presence::Unknown);
        let mut damaged = Features { damage: Some("x".into()), ..Features::default() };
        damaged.note_builtin(b"kernel/fs/ext4/ext4.ko\n");
        assert_eq!(damaged.driver(Driver::Nic), Presence::Unknown);
    }

    #[test]
    fn a_list_without_drivers_says_nothing() {
        let mut features = Features::default();
        features.note_builtin(b"");
        features.note_builtin(b"../elsewhere/modules.builtin");
        assert_eq!(features.builtin, None);
    }

    #[test]
    fn summaries() {
        let ubuntu = [
            "conf/initramfs.conf",
            "scripts/casper",
            "lib/modules/6.8.0-31-generic/kernel/drivers/net/ethernet/intel/e1000/e1000.ko.zst",
        ];
        assert_eq!(features(&ubuntu).to_string(), "initramfs-tools: casper");
        let arch = ["buildconfig", "hooks/archiso", "hooks/archiso_pxe_nbd", "bin/nbd-client"];
        assert_eq!(features(&arch).to_string(), "mkinitcpio: nbd-client, archiso, archiso_pxe_nbd");
        let mut alpine = features(&["sbin/nlplug-findfs", "lib/modules/6.6.31-0-lts/modules.dep"]);
        alpine.note_builtin(b"kernel/fs/ext4/ext4.ko\n");
        assert_eq!(alpine.to_string(), "mkinitfs: no nbd driver, no network drivers");
        assert_eq!(features(&[]).to_string(), "unknown kind");
    }

    #[test]
    fn kernels_in_a_store() {
        let nixos = features(&[
            "nix/store/abc-linux-6.6.32-modules-shrunk/lib/modules/6.6.32/kernel/fs/isofs/isofs.ko.xz",
        ]);
        assert_eq!(nixos.kernels, BTreeSet::from(["6.6.32".to_owned()]));
        assert_eq!(nixos.driver(Driver::Isofs), Presence::Module);
        assert!(features(&["mylib/modules/6.6/nbd.ko", "lib/modules/"]).kernels.is_empty());
    }

    #[test]
    fn what_is_foreign_is_kept_only_if_it_is_one_short_word() {
        let long = format!("lib/modules/{}", "6".repeat(VERSION + 1));
        let bad = features(&["lib/dracut/dracut-059\n060", "lib/modules/6.1 x/nbd.ko", &long]);
        assert_eq!((bad.dracut_version, bad.kernels.len()), (None, 0));
        let many: Vec<String> = (0..100).map(|n| format!("lib/modules/{n}")).collect();
        assert_eq!(features(&many.iter().map(String::as_str).collect::<Vec<_>>()).kernels.len(), KERNELS);
    }

    #[test]
    fn survives_being_stored() {
        let mut before = features(DRACUT);
        before.note_builtin(b"kernel/fs/overlayfs/overlay.ko\n");
        let json = serde_json::to_string(&before).unwrap();
        assert!(json.contains("\"dmsquash-live\""));
        assert_eq!(serde_json::from_str::<Features>(&json).unwrap(), before);
    }
}
