//! Fedora CoreOS: its initrd takes the root from the disc of a label, or fetches it (coreos-assembler, live-generator).

use super::{Boot, Family, FromServer, Subject};
use crate::boot::names;
use crate::boot::reasons::Caveat;
use crate::boot::transport::Transport;
use crate::image::args::Args;

/// Fedora CoreOS.
pub static FAMILY: Family = Family {
    name: "CoreOS",
    markers: &[&["/images/pxeboot/rootfs.img", "/coreos"], &["/images/pxeboot/rootfs.img"]],
    kernels: &[("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img")],
    http: Some(FromServer { able: |_| true, boot: http }),
    ..Family::UNKNOWN
};

/// The file is a cpio archive that is unpacked into memory.
fn http(iso: &Subject<'_>, own: Args, url: &str) -> Boot {
    let place = format!(
        "coreos.live.rootfs_url={url}/{}{} ip=dhcp rd.neednet=1",
        names::tree_path(iso.label),
        iso.found
    );
    let own = own.without(&["coreos.liveiso", "coreos.live.rootfs_url", "ip", "rd.neednet"]);
    Boot::by(Transport::Http, own.prepend(Args::parse(&place))).but(Caveat::RootCopied)
}
