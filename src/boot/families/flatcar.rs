//! Flatcar: its initrd holds all of it, and needs no disc.

use super::{Family, Otherwise};

/// Flatcar.
pub static FAMILY: Family = Family {
    name: "Flatcar",
    markers: &[&["/flatcar/cpio.gz"]],
    kernels: &[("/flatcar/vmlinuz", "/flatcar/cpio.gz")],
    otherwise: Otherwise::ByItself,
    ..Family::UNKNOWN
};
