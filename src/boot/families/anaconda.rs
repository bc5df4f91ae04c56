//! Anaconda, the installer of Fedora and EL (anaconda, docs/boot-options.rst).

use super::{Boot, Family, FromServer, Subject};
use crate::boot::names;
use crate::boot::transport::Transport;
use crate::image::args::{Arg, Args};
use crate::image::initrd::Mark;

/// Anaconda.
pub static FAMILY: Family = Family {
    name: "Anaconda",
    markers: &[&["/images/install.img"], &["/.treeinfo", "/LiveOS/squashfs.img"]],
    kernels: &[
        ("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
        ("/isolinux/vmlinuz", "/isolinux/initrd.img"),
    ],
    images: &["/LiveOS/squashfs.img", "/LiveOS/rootfs.img", "/images/install.img"],
    marks: &[Mark::new("lib/anaconda-lib.sh", "anaconda")],
    nfs: Some(FromServer { able: |_| true, boot: nfs }),
    http: Some(FromServer { able: |_| true, boot: http }),
    attached,
    ..Family::UNKNOWN
};

/// Arguments that say where the second stage is, and are said anew. Any `root=` would make it ignore `inst.*`.
const PLACES: [&str; 7] = ["inst.stage2", "inst.repo", "stage2", "repo", "method", "root", "ip"];

fn nfs(iso: &Subject<'_>, own: Args, place: &str) -> Boot {
    let file = names::image_path(&names::whole_iso(iso.label));
    let place = format!("inst.repo=nfs:{place}/{file} ip=dhcp");
    Boot::by(Transport::Nfs, own.without(&PLACES).prepend(Args::parse(&place)))
}

/// A DVD has its packages with it; what boots only has the second stage, and takes packages from the Internet.
fn http(iso: &Subject<'_>, own: Args, url: &str) -> Boot {
    let key = if iso.found == "/.treeinfo" { "inst.repo" } else { "inst.stage2" };
    let place = format!("{key}={url}/{}/ ip=dhcp", names::tree_path(iso.label));
    Boot::by(Transport::Http, own.without(&PLACES).prepend(Args::parse(&place)))
}

fn attached(_: &Subject<'_>, own: Args) -> Args {
    own.without(&PLACES).prepend([Arg::new("inst.stage2=hd:/dev/nbd0")])
}
