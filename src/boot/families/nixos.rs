//! NixOS: its stage 1 looks for the disc by its label, and knows no network.

use super::{Family, Subject};
use crate::image::args::{Arg, Args};

/// NixOS.
pub static FAMILY: Family = Family {
    name: "NixOS",
    markers: &[&["/nix-store.squashfs"]],
    kernels: &[("/boot/bzImage", "/boot/initrd")],
    images: &["/nix-store.squashfs"],
    attached,
    ..Family::UNKNOWN
};

/// Where its own menu names a label, the device is named: stage 1 makes a link to it (nixpkgs,
/// nixos/modules/system/boot/stage-1-init.sh). Without `root=` the image itself has the label, for systemd's stage 1.
fn attached(_: &Subject<'_>, own: Args) -> Args {
    match own.value("root") {
        Some(root) if root.starts_with("LABEL=") => {
            own.without(&["root"]).prepend([Arg::new("root=/dev/nbd0")])
        }
        _ => own,
    }
}
