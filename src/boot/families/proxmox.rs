//! The installer of Proxmox.

use super::{Family, Subject};
use crate::image::args::{Arg, Args};

/// Proxmox.
pub static FAMILY: Family = Family {
    name: "Proxmox",
    markers: &[&["/boot/linux26"]],
    kernels: &[("/boot/linux26", "/boot/initrd.img")],
    images: &["/pve-base.squashfs", "/pve-installer.squashfs"],
    attached,
    ..Family::UNKNOWN
};

/// Its init looks for the disc at drives of known names only, unless it is told the device.
fn attached(_: &Subject<'_>, own: Args) -> Args {
    own.without(&["root"]).prepend([Arg::new("root=/dev/nbd0")])
}
