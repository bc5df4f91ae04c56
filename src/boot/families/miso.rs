//! miso: Manjaro, Garuda. archiso's hooks under another name.

use super::{Family, FromServer, Nbd, Otherwise, archiso};
use crate::boot::reasons::Refusal;
use crate::image::initrd::Mark;

/// miso.
pub static FAMILY: Family = Family {
    name: "miso",
    markers: &[&["/*/x86_64/rootfs.sfs"]],
    kernels: &[("/boot/vmlinuz-x86_64", "/boot/initramfs-x86_64.img")],
    images: &["/*/x86_64/*.sfs"],
    marks: &[
        Mark::new("hooks/miso", "miso"),
        Mark::new("hooks/miso_pxe_nbd", "miso_pxe_nbd"),
        Mark::new("hooks/miso_pxe_http", "miso_pxe_http"),
        Mark::new("hooks/miso_pxe_nfs", "miso_pxe_nfs"),
    ],
    nbd: Some(Nbd {
        able: |iso, servers| archiso::attaches(iso, servers, PREFIX),
        boot: |iso, own, servers| archiso::nbd(iso, own, servers, PREFIX),
    }),
    nfs: Some(FromServer {
        able: |iso| archiso::has_hook(iso, PREFIX, "nfs"),
        boot: |iso, own, place| archiso::nfs(iso, own, place, PREFIX),
    }),
    http: Some(FromServer {
        able: |iso| archiso::has_hook(iso, PREFIX, "http"),
        boot: |iso, own, url| archiso::http(iso, own, url, PREFIX),
    }),
    attached: |iso, own| archiso::attached(iso, own, PREFIX),
    otherwise: Otherwise::Not(Refusal::NoNetworkHook),
    ..Family::UNKNOWN
};

const PREFIX: &str = "miso";
