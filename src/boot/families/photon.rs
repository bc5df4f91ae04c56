//! Photon: its installer is in the initrd, and takes packages from the medium that `photon.media=` names.

use super::Family;
use crate::image::args::Arg;

/// Photon.
pub static FAMILY: Family = Family {
    name: "Photon",
    markers: &[&["/sample_ks.cfg", "/RPMS"]],
    kernels: &[("/isolinux/vmlinuz", "/isolinux/initrd.img")],
    attached: |_, own| own.without(&["photon.media"]).prepend([Arg::new("photon.media=/dev/nbd0")]),
    ..Family::UNKNOWN
};
