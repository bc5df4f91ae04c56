//! Entries of a menu that aren't offered, and why.

use std::fmt;

/// An entry that boots no Linux kernel of the ISO.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// As a [`MenuEntry`](super::MenuEntry)'s, but it may be empty: some menus draw lines that way.
    pub title: String,
    /// Titles of the submenus that the entry lies in, outermost first.
    pub submenu: Vec<String>,
    /// Why it isn't offered.
    pub reason: Reason,
    /// The files of the ISO that it would load, as far as they are known: a hypervisor, then its kernel and initrd; a chain
    /// loader's program. At most [`MAX_INITRDS`](super::MAX_INITRDS).
    pub files: Vec<String>,
}

/// Why an entry isn't offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// GRUB's `chainloader`, `chain.c32`, `localboot`, an EFI program.
    Chainload,
    /// GRUB's `multiboot` and `multiboot2`, `mboot.c32`: Xen, mostly.
    Multiboot,
    /// GRUB's `kfreebsd`, `xnu_kernel`, `ntldr` and their like.
    OtherSystem,
    /// `memdisk`.
    DiskImage,
    /// A program of SYSLINUX that starts no kernel: `hdt.c32`.
    Program,
    /// `configfile`, `menu goto`.
    OtherMenu,
    /// `halt`, `reboot`, `fwsetup`, `exit`.
    Power,
    /// Nothing that boots anything: a help text, a line between others.
    NoLinux,
    /// Arguments of more than [`MAX_ARGS`](super::MAX_ARGS) bytes, more than [`MAX_INITRDS`](super::MAX_INITRDS) initrds.
    TooLong,
    /// A kernel or initrd that is no path in the ISO: a URL, a block list.
    NotInIso,
    /// Another processor's.
    Architecture,
}

/// What is said of the entry, after its title.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chainload => "starts another boot loader, an EFI program or a disk",
            Self::Multiboot => "boots a hypervisor or kernel by Multiboot, such as Xen",
            Self::OtherSystem => "boots another system than Linux",
            Self::DiskImage => "boots the image of a disk, by memdisk",
            Self::Program => "runs a program of its boot loader",
            Self::OtherMenu => "leads to another menu",
            Self::Power => "halts, restarts or leaves the boot loader",
            Self::NoLinux => "boots nothing",
            Self::TooLong => "has too many arguments or initrds",
            Self::NotInIso => "names a kernel or initrd that is no file of the ISO",
            Self::Architecture => "is for another processor",
        })
    }
}
