//! The names of the tree and of its exports, for whoever writes, serves or asks for them.
//!
//! Kernel arguments, menus, nbd.conf and reports name the same files: all of them take the name from here. What a
//! [`Label`] may look like, so that none of these names is taken for another, is the label's own.

use crate::boot::transport::Export;
use crate::image::label::{self, Label};

/// Directory for the NBD server.
pub const IMAGES: &str = "images";

/// Directory for the TFTP server.
pub const TFTP: &str = "tftp";

/// Directory of the ISOs' own files, for HTTP and NFS servers.
pub const TREES: &str = "trees";

/// How the mount fares, for programs, in the root.
pub const STATUS: &str = "status.json";

/// The same as metrics in the text format of OpenMetrics.
pub const METRICS: &str = "metrics";

/// The same for who looks at the tree with a browser.
pub const INDEX: &str = "index.html";

/// Configuration of nbd-server, in [`IMAGES`].
pub const NBD_CONF: &str = label::NBD_CONF;

/// The loader that PXE firmware of BIOS machines asks for, in [`TFTP`].
pub const PXELINUX: &str = "pxelinux.0";

/// The loader that UEFI firmware on x86-64 asks for.
pub const EFI_X64: &str = "bootx64.efi";

/// The loader that UEFI firmware on AArch64 asks for.
pub const EFI_AA64: &str = "bootaa64.efi";

/// iPXE's script, and what it looks for by itself beside what it was loaded from.
pub const IPXE: [&str; 2] = ["boot.ipxe", "autoexec.ipxe"];

/// Beginnings of the names of kernels, of their initrds and of second ones, in [`TFTP`].
const KERNEL: &str = "vmlinuz_";
const INITRD: &str = "initrd_";
const NETROOT: &str = "netroot_";

/// The part of a boot that a file of the tree is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A menu, by the loader of that name.
    Menu(&'static str),
    /// A kernel.
    Kernel,
    /// An initramfs.
    Initrd,
    /// What the root lies in, by an NBD server.
    Root,
    /// None that would be known.
    Other,
}

impl Part {
    /// That of a path in the tree.
    ///
    /// ```
    /// use netrootfs::boot::names::Part;
    ///
    /// assert_eq!(Part::of("tftp/pxelinux.cfg/default"), Part::Menu("pxelinux"));
    /// assert_eq!(Part::of("tftp/vmlinuz_F42"), Part::Kernel);
    /// assert_eq!(Part::of("images/F42.iso"), Part::Root);
    /// ```
    pub fn of(path: &str) -> Self {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is = |prefix: &str| name.starts_with(prefix);
        match directory.split('/').next() {
            Some(IMAGES) if name != NBD_CONF => Self::Root,
            Some(TFTP) if is(KERNEL) => Self::Kernel,
            Some(TFTP) if is(INITRD) || is(NETROOT) => Self::Initrd,
            Some(TFTP) if directory.ends_with("pxelinux.cfg") => Self::Menu("pxelinux"),
            Some(TFTP) if is("grub.cfg") => Self::Menu("GRUB"),
            Some(TFTP) if name.ends_with(".ipxe") => Self::Menu("iPXE"),
            _ => Self::Other,
        }
    }
}

/// The root image, in [`IMAGES`].
pub fn root_image(label: &Label) -> String {
    format!("{}{label}.img", label::ROOT_IMAGE)
}

/// The whole ISO, in [`IMAGES`].
pub fn whole_iso(label: &Label) -> String {
    format!("{label}{}", label::WHOLE_ISO)
}

/// A kernel, in [`TFTP`]: the ISO's first, or the one of that name.
///
/// ```
/// use netrootfs::boot::names;
/// use netrootfs::image::label::Label;
///
/// let label = Label::parse("Ubuntu").unwrap();
/// assert_eq!(names::kernel(&label, None), "vmlinuz_Ubuntu");
/// assert_eq!(names::kernel(&label, Some("casper-hwe-vmlinuz")), "vmlinuz_Ubuntu+casper-hwe-vmlinuz");
/// ```
pub fn kernel(label: &Label, name: Option<&str>) -> String {
    format!("{KERNEL}{}", with_name(label, name))
}

/// Its initrds, in [`TFTP`].
pub fn initrd(label: &Label, name: Option<&str>) -> String {
    format!("{INITRD}{}.img", with_name(label, name))
}

/// The second initramfs for it, in [`TFTP`].
pub fn netroot(label: &Label, name: Option<&str>) -> String {
    format!("{NETROOT}{}.img", with_name(label, name))
}

/// No label has a `+`, so none is taken for another ISO's.
fn with_name(label: &Label, name: Option<&str>) -> String {
    name.map_or_else(|| label.to_string(), |name| format!("{label}+{name}"))
}

/// The directory of an ISO's own loaders for UEFI, in [`TFTP`].
pub fn efi_directory(label: &Label) -> String {
    format!("efi/{label}")
}

/// The loader that the firmware of that processor asks for, as in `bootx64.efi`.
pub fn efi_loader(suffix: &str) -> String {
    format!("boot{suffix}.efi")
}

/// An export of the NBD server.
///
/// ```
/// use netrootfs::boot::names;
/// use netrootfs::boot::transport::Export;
/// use netrootfs::image::label::Label;
///
/// let label = Label::parse("F42").unwrap();
/// assert_eq!(names::export(&label, Export::Image), "F42");
/// assert_eq!(names::export(&label, Export::Iso), "F42.iso");
/// ```
pub fn export(label: &Label, export: Export) -> String {
    match export {
        Export::Image => label.to_string(),
        Export::Iso => whole_iso(label),
    }
}

/// Path of a file in [`IMAGES`].
pub fn image_path(file: &str) -> String {
    format!("{IMAGES}/{file}")
}

/// Path of the ISO's own files.
pub fn tree_path(label: &Label) -> String {
    format!("{TREES}/{label}")
}
