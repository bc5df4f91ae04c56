//! The meaning of paths in an initrd, as two tables: what initrds are made with, and drivers.
//!
//! Here is what initrds of many systems have in common. What tells the initrd of one family, that family asks for by a
//! [`Mark`].
//!
//! In a pattern `*` stands for any bytes, also `/`. A path is compared without a leading `./` or `/`, and without
//! `usr/`. dracut puts a number and a dash before the name of a hook.

use serde::{Deserialize, Serialize};

/// Something an initrd is made by or has in it. The first eight are programs that make initrds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the table says what each one is")]
pub enum Feature {
    Dracut,
    InitramfsTools,
    Mkinitcpio,
    Mkinitfs,
    Genkernel,
    NixOs,
    DebianInstaller,
    Linuxrc,
    DracutNbd,
    NbdClient,
    NetworkManager,
    NetworkLegacy,
    Networkd,
    Connman,
    DmsquashLive,
    Livenet,
    DracutOverlay,
    Nfs,
    /// The script of Debian's nbd-client. It runs for `boot=local` only: a live system never gets to it.
    InitramfsToolsNbd,
    /// An image in the initrd, with files in it that are not seen: dracut's squash module, SUSE's installer.
    InnerImage,
    /// The program that loads drivers by what a device says of itself.
    Modprobe,
}

/// A path that somebody wants to know of, and the name that it is found under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Pattern of the path.
    pub path: &'static str,
    /// Its name, also in summaries. Several paths may have one.
    pub name: &'static str,
}

impl Mark {
    /// A path and its name.
    pub const fn new(path: &'static str, name: &'static str) -> Self {
        Self { path, name }
    }

    /// Whether `path`, a path of an initrd without its prefix, is it.
    pub(super) fn is_at(self, path: &[u8]) -> bool {
        matches(self.path.as_bytes(), path)
    }
}

/// A kernel driver, or a kind of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the table says what each one is")]
pub enum Driver {
    Nbd,
    Overlay,
    Squashfs,
    Erofs,
    Isofs,
    /// Any driver of a network card that a machine is likely to boot from.
    Nic,
}

/// Path in an initrd, and what it shows.
pub(super) const FEATURES: &[(&str, Feature)] = &[
    ("lib/dracut-lib.sh", Feature::Dracut),
    ("lib/dracut/dracut-*", Feature::Dracut),
    ("conf/initramfs.conf", Feature::InitramfsTools),
    ("scripts/init-top*", Feature::InitramfsTools),
    ("init_functions", Feature::Mkinitcpio),
    ("buildconfig", Feature::Mkinitcpio),
    ("sbin/nlplug-findfs", Feature::Mkinitfs),
    ("etc/initrd.scripts", Feature::Genkernel),
    ("etc/initrd.defaults", Feature::Genkernel),
    ("nix/store/*", Feature::NixOs),
    ("sbin/debian-installer-startup", Feature::DebianInstaller),
    ("lib/debian-installer-startup.d", Feature::DebianInstaller),
    ("linuxrc.config", Feature::Linuxrc),
    ("etc/linuxrc.d", Feature::Linuxrc),
    ("sbin/nbdroot", Feature::DracutNbd),
    ("*/*-parse-nbdroot.sh", Feature::DracutNbd),
    ("bin/nbd-client", Feature::NbdClient),
    ("sbin/nbd-client", Feature::NbdClient),
    ("nix/store/*bin/nbd-client", Feature::NbdClient),
    ("*/nm-initrd-generator", Feature::NetworkManager),
    ("*/*-nm-config.sh", Feature::NetworkManager),
    ("*/*-nm-run.sh", Feature::NetworkManager),
    ("*/*-parse-ip-opts.sh", Feature::NetworkLegacy),
    ("sbin/dhcp-multi.sh", Feature::NetworkLegacy),
    ("lib/systemd/systemd-networkd", Feature::Networkd),
    ("*/*-networkd-run.sh", Feature::Networkd),
    ("*/*-cm-run.sh", Feature::Connman),
    ("sbin/dmsquash-live-root", Feature::DmsquashLive),
    ("*/*-parse-dmsquash-live.sh", Feature::DmsquashLive),
    ("sbin/livenetroot", Feature::Livenet),
    ("*/*-parse-livenet.sh", Feature::Livenet),
    ("*/*-mount-overlayfs.sh", Feature::DracutOverlay),
    ("*/*-prepare-overlayfs.sh", Feature::DracutOverlay),
    ("lib/nfs-lib.sh", Feature::Nfs),
    ("bin/mount.nfs", Feature::Nfs),
    ("sbin/mount.nfs", Feature::Nfs),
    ("bin/nfsmount", Feature::Nfs),
    ("scripts/local-top/nbd", Feature::InitramfsToolsNbd),
    ("squashfs-root.img", Feature::InnerImage),
    ("squash-root.img", Feature::InnerImage),
    ("erofs-root.img", Feature::InnerImage),
    ("squash/root.img", Feature::InnerImage),
    ("parts/*", Feature::InnerImage),
    ("bin/modprobe", Feature::Modprobe),
    ("sbin/modprobe", Feature::Modprobe),
    ("bin/kmod", Feature::Modprobe),
    ("sbin/kmod", Feature::Modprobe),
    ("nix/store/*bin/modprobe", Feature::Modprobe),
    ("nix/store/*bin/kmod", Feature::Modprobe),
];

/// Path of a module under `lib/modules/`, or in a `modules.builtin`, and the driver it is.
pub(super) const DRIVERS: &[(&str, Driver)] = &[
    ("*/nbd.ko*", Driver::Nbd),
    ("*/overlay.ko*", Driver::Overlay),
    ("*/squashfs.ko*", Driver::Squashfs),
    ("*/erofs.ko*", Driver::Erofs),
    ("*/isofs.ko*", Driver::Isofs),
    ("*/drivers/net/ethernet/*.ko*", Driver::Nic),
    ("*/drivers/net/usb/*.ko*", Driver::Nic),
    ("*/virtio_net.ko*", Driver::Nic),
    ("*/vmxnet3.ko*", Driver::Nic),
    ("*/e1000*.ko*", Driver::Nic),
];

impl Feature {
    /// Whether it is a program that initrds are made with.
    pub(super) fn is_builder(self) -> bool {
        self <= Feature::Linuxrc
    }

    /// Whether it is something that nearly every initrd has, and so is nothing to tell.
    pub(super) fn is_usual(self) -> bool {
        self == Feature::Modprobe
    }

    /// Its name in a summary.
    pub fn label(self) -> &'static str {
        match self {
            Feature::Dracut => "dracut",
            Feature::InitramfsTools => "initramfs-tools",
            Feature::Mkinitcpio => "mkinitcpio",
            Feature::Mkinitfs => "mkinitfs",
            Feature::Genkernel => "genkernel",
            Feature::NixOs => "NixOS stage 1",
            Feature::DebianInstaller => "debian-installer",
            Feature::Linuxrc => "linuxrc",
            Feature::DracutNbd => "nbd",
            Feature::NbdClient => "nbd-client",
            Feature::NetworkManager => "NetworkManager",
            Feature::NetworkLegacy => "network-legacy",
            Feature::Networkd => "systemd-networkd",
            Feature::Connman => "connman",
            Feature::DmsquashLive => "dmsquash-live",
            Feature::Livenet => "livenet",
            Feature::DracutOverlay => "rd.overlay",
            Feature::Nfs => "nfs",
            Feature::InitramfsToolsNbd => "nbdroot",
            Feature::InnerImage => "inner image",
            Feature::Modprobe => "modprobe",
        }
    }
}

/// What `path`, a path of an initrd without its prefix, shows.
pub(super) fn features(path: &[u8]) -> impl Iterator<Item = Feature> + '_ {
    let hits = FEATURES.iter().filter(|row| matches(row.0.as_bytes(), path));
    hits.map(|row| row.1)
}

/// The drivers that `path`, a path of a module, is.
pub(super) fn drivers(path: &[u8]) -> impl Iterator<Item = Driver> + '_ {
    let hits = DRIVERS.iter().filter(|row| matches(row.0.as_bytes(), path));
    hits.map(|row| row.1)
}

/// Whether `path` is like `pattern`, where `*` is any run of bytes. Time is bounded by the product of the lengths.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut pattern, mut path) = (pattern, path);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), path.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, path));
                pattern = after;
                continue;
            }
            (None, None) => return true,
            (Some((want, wants)), Some((byte, bytes))) if want == byte => {
                (pattern, path) = (wants, bytes);
                continue;
            }
            _ => {}
        }
        // One more byte to the last star; none left to give means no.
        let Some((after, from)) = retry else {
            return false;
        };
        let Some((_, shorter)) = from.split_first() else {
            return false;
        };
        retry = Some((after, shorter));
        (pattern, path) = (after, shorter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars() {
        for (pattern, path, want) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*/nbd.ko*", "k/xnbd.ko/nbd.ko.xz", true),
            ("*/nbd.ko*", "nbd.ko", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "aab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), want, "{pattern} {path}");
        }
    }
}
