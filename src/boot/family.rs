//! The families of live and installer ISOs: how one is recognised and where its files lie.
//!
//! One table of plain values. How a family boots over a network is [`crate::boot::plan`]'s; a new family is a row here and a
//! function there.

/// How an ISO finds its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// archiso: Arch, EndeavourOS, SystemRescue.
    Archiso,
    /// miso: Manjaro, Garuda.
    Miso,
    /// casper: Ubuntu, Mint and their relatives.
    Casper,
    /// live-boot: Debian live, Kali, Clonezilla, grml.
    LiveBoot,
    /// Anaconda, the installer of Fedora and EL.
    Anaconda,
    /// A root image in `LiveOS/`: Fedora, EL, openSUSE and others with dracut's dmsquash-live or kiwi's live module.
    LiveOs,
    /// NixOS.
    NixOs,
    /// Alpine.
    Alpine,
    /// The installer of Proxmox.
    Proxmox,
    /// Gentoo.
    Gentoo,
    /// linuxrc, the installer of SUSE up to 15.
    Linuxrc,
    /// Anything else whose own boot menu names a kernel and an initrd.
    Generic,
}

/// One row of the table. A `*` in a path stands for any part of a name.
pub struct Layout {
    /// The family that it belongs to.
    pub family: Family,
    /// Paths that show it: all of one list. The first path of the list is where the family's own files lie.
    pub markers: &'static [&'static [&'static str]],
    /// Kernel and initrd, as the family has kept them over the years, for ISOs without a menu that can be read.
    pub kernels: &'static [(&'static str, &'static str)],
    /// Root images that can be exported by themselves.
    pub roots: &'static [&'static str],
    /// Arguments where the ISO has no menu that can be read.
    pub args: &'static str,
}

/// In the order in which they are tried: what looks for its own directory before what shares `LiveOS/` or `boot/`.
pub const LAYOUTS: [Layout; 11] = [
    Layout {
        family: Family::Archiso,
        markers: &[&["/*/x86_64/airootfs.*"], &["/*/aarch64/airootfs.*"]],
        kernels: &[
            ("/arch/boot/x86_64/vmlinuz-linux", "/arch/boot/x86_64/initramfs-linux.img"),
            ("/arch/boot/x86_64/vmlinuz", "/arch/boot/x86_64/archiso.img"),
            ("/sysresccd/boot/x86_64/vmlinuz", "/sysresccd/boot/x86_64/sysresccd.img"),
        ],
        roots: &[],
        args: "",
    },
    Layout {
        family: Family::Miso,
        markers: &[&["/*/x86_64/rootfs.sfs"]],
        kernels: &[("/boot/vmlinuz-x86_64", "/boot/initramfs-x86_64.img")],
        roots: &[],
        args: "",
    },
    Layout {
        family: Family::Casper,
        markers: &[&["/casper/*.squashfs"]],
        kernels: &[
            ("/casper/vmlinuz", "/casper/initrd"),
            ("/casper/vmlinuz", "/casper/initrd.lz"),
            ("/casper/vmlinuz.efi", "/casper/initrd.lz"),
            ("/casper/vmlinuz", "/casper/initrd.gz"),
        ],
        roots: &[],
        args: "boot=casper",
    },
    Layout {
        family: Family::LiveBoot,
        markers: &[&["/live/*.squashfs"]],
        kernels: &[("/live/vmlinuz", "/live/initrd.img"), ("/live/vmlinuz", "/live/initrd")],
        roots: &[],
        args: "boot=live components",
    },
    Layout {
        family: Family::Anaconda,
        markers: &[&["/images/install.img"], &["/.treeinfo", "/LiveOS/squashfs.img"]],
        kernels: &[
            ("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
            ("/isolinux/vmlinuz", "/isolinux/initrd.img"),
        ],
        roots: &[],
        args: "",
    },
    Layout {
        family: Family::LiveOs,
        markers: &[&["/LiveOS/squashfs.img"], &["/LiveOS/rootfs.img"]],
        kernels: &[
            ("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
            ("/isolinux/vmlinuz", "/isolinux/initrd.img"),
            ("/isolinux/vmlinuz0", "/isolinux/initrd0.img"),
            ("/syslinux/vmlinuz0", "/syslinux/initrd0.img"),
            ("/boot/x86_64/loader/linux", "/boot/x86_64/loader/initrd"),
            ("/boot/aarch64/loader/linux", "/boot/aarch64/loader/initrd"),
            ("/boot/vmlinuz", "/boot/initrd"),
            ("/boot/vmlinux", "/boot/initrd"),
        ],
        roots: &["/LiveOS/squashfs.img", "/LiveOS/rootfs.img"],
        args: "rd.live.image quiet",
    },
    Layout {
        family: Family::NixOs,
        markers: &[&["/nix-store.squashfs"]],
        kernels: &[("/boot/bzImage", "/boot/initrd")],
        roots: &[],
        args: "",
    },
    Layout {
        family: Family::Alpine,
        markers: &[&["/apks/.boot_repository"]],
        kernels: &[
            ("/boot/vmlinuz-lts", "/boot/initramfs-lts"),
            ("/boot/vmlinuz-virt", "/boot/initramfs-virt"),
        ],
        roots: &[],
        args: "modules=loop,squashfs quiet",
    },
    Layout {
        family: Family::Proxmox,
        markers: &[&["/boot/linux26"]],
        kernels: &[("/boot/linux26", "/boot/initrd.img")],
        roots: &[],
        args: "",
    },
    Layout {
        family: Family::Gentoo,
        markers: &[&["/image.squashfs"]],
        kernels: &[("/boot/gentoo", "/boot/gentoo.igz")],
        roots: &[],
        args: "",
    },
    Layout {
        family: Family::Linuxrc,
        markers: &[&["/boot/*/root", "/boot/*/loader/linux"]],
        kernels: &[("/boot/x86_64/loader/linux", "/boot/x86_64/loader/initrd")],
        roots: &[],
        args: "",
    },
];

/// Images that hold a family's root, or the modules of its kernel, on this host: each family has its own of them. The most
/// likely one comes first.
pub const ROOTS: [&str; 15] = [
    "/LiveOS/squashfs.img",
    "/LiveOS/rootfs.img",
    "/images/install.img",
    "/live/filesystem.squashfs",
    "/live/*.squashfs",
    "/casper/filesystem.squashfs",
    "/casper/*.squashfs",
    "/*/x86_64/airootfs.*",
    "/*/aarch64/airootfs.*",
    "/*/x86_64/*.sfs",
    "/nix-store.squashfs",
    "/boot/modloop-*",
    "/pve-base.squashfs",
    "/pve-installer.squashfs",
    "/image.squashfs",
];

/// What a root image is, by its magic number: names don't tell, Fedora 42 calls an EROFS `squashfs.img`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `hsqs` at 0 (Linux, fs/squashfs/squashfs_fs.h).
    Squashfs,
    /// 0xE0F5E1E2 at 1024 (Linux, fs/erofs/erofs_fs.h).
    Erofs,
    /// 0xEF53 at 1080: ext2, ext3 and ext4 (Linux, fs/ext4/ext4.h).
    Ext4,
    /// None of them.
    Unknown,
}

impl Family {
    /// Name of the family in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Archiso => "archiso",
            Self::Miso => "miso",
            Self::Casper => "casper",
            Self::LiveBoot => "live-boot",
            Self::Anaconda => "Anaconda",
            Self::LiveOs => "LiveOS",
            Self::NixOs => "NixOS",
            Self::Alpine => "Alpine",
            Self::Proxmox => "Proxmox",
            Self::Gentoo => "Gentoo",
            Self::Linuxrc => "linuxrc",
            Self::Generic => "generic",
        }
    }
}

impl Layout {
    /// The first row that fits, with the path that its first marker stands for. `find` gives the path for a pattern.
    pub fn recognise(mut find: impl FnMut(&str) -> Option<String>) -> Option<(&'static Self, String)> {
        LAYOUTS.iter().find_map(|layout| {
            let found = layout.markers.iter().find_map(|all| {
                let paths: Option<Vec<String>> = all.iter().map(|marker| find(marker)).collect();
                paths?.into_iter().next()
            });
            Some((layout, found?))
        })
    }
}

/// Whether a file name fits a pattern with at most one `*`, in any case.
pub fn fits(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    match pattern.split_once('*') {
        None => name == pattern,
        Some((head, tail)) => {
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        }
    }
}

impl Format {
    /// Bytes of an image that tell what it is.
    pub const HEAD: usize = 1082;

    /// Recognises a root image by its first [`Format::HEAD`] bytes.
    pub fn of(head: &[u8]) -> Self {
        let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
        if at(0, b"hsqs") {
            Self::Squashfs
        } else if at(1024, &0xe0f5_e1e2_u32.to_le_bytes()) {
            Self::Erofs
        } else if at(1080, &0xef53_u16.to_le_bytes()) {
            Self::Ext4
        } else {
            Self::Unknown
        }
    }

    /// Name of the file system in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Ext4 => "ext4",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(paths: &[&str]) -> Option<(Family, String)> {
        let find = |pattern: &str| {
            let fits_all = |path: &&&str| {
                let (names, patterns) = (path.split('/'), pattern.split('/'));
                names.clone().count() == patterns.clone().count()
                    && names.zip(patterns).all(|(name, pattern)| fits(name, pattern))
            };
            paths.iter().find(fits_all).map(|path| (*path).to_owned())
        };
        Layout::recognise(find).map(|(layout, found)| (layout.family, found))
    }

    #[test]
    fn a_family_is_recognised_by_what_is_there() {
        let family = |paths: &[&str]| recognise(paths).unwrap().0;
        assert_eq!(family(&["/LiveOS/rootfs.img"]), Family::LiveOs);
        assert_eq!(family(&["/casper/minimal.standard.squashfs"]), Family::Casper);
        assert_eq!(family(&["/live/filesystem.squashfs"]), Family::LiveBoot);
        assert_eq!(family(&["/LiveOS/squashfs.img", "/.treeinfo"]), Family::Anaconda);
        assert_eq!(family(&["/LiveOS/squashfs.img", "/images/install.img"]), Family::Anaconda);
        assert_eq!(family(&["/boot/x86_64/root", "/boot/x86_64/loader/linux"]), Family::Linuxrc);
        assert_eq!(recognise(&["/boot/grub/root"]), None);
    }

    #[test]
    fn the_marker_tells_where_the_files_lie() {
        let found = recognise(&["/sysresccd/x86_64/airootfs.sfs"]).unwrap();
        assert_eq!(found, (Family::Archiso, "/sysresccd/x86_64/airootfs.sfs".into()));
        assert_eq!(recognise(&["/manjaro/x86_64/rootfs.sfs"]).unwrap().0, Family::Miso);
    }

    #[test]
    fn patterns_fit_in_any_case() {
        assert!(fits("airootfs.sfs", "airootfs.*") && fits("FILESYSTEM.SQUASHFS", "*.squashfs"));
        assert!(
            !fits("airootfs", "airootfs.*") && !fits("a", "aa*") && fits("aa", "a*a") && !fits("a", "a*a")
        );
    }

    #[test]
    fn a_root_image_is_known_by_its_magic() {
        let image = |offset: usize, magic: &[u8]| {
            let mut head = vec![0; Format::HEAD];
            head[offset..offset + magic.len()].copy_from_slice(magic);
            Format::of(&head)
        };
        assert_eq!(image(0, b"hsqs"), Format::Squashfs);
        assert_eq!(image(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), Format::Erofs);
        assert_eq!(image(1080, &[0x53, 0xef]), Format::Ext4);
        assert_eq!(image(0, b"sqsh"), Format::Unknown);
        assert_eq!(Format::of(b""), Format::Unknown);
    }
}
