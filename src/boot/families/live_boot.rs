//! live-boot: Debian live, Kali, Clonezilla, grml (live-boot(7)).

use super::{Boot, Family, FromServer, Subject};
use crate::boot::names;
use crate::boot::reasons::Caveat;
use crate::boot::transport::Transport;
use crate::image::args::Args;
use crate::image::initrd::Mark;

/// live-boot.
pub static FAMILY: Family = Family {
    name: "live-boot",
    markers: &[&["/live/*.squashfs"]],
    kernels: &[("/live/vmlinuz", "/live/initrd.img"), ("/live/vmlinuz", "/live/initrd")],
    args: "boot=live components",
    images: &["/live/filesystem.squashfs", "/live/*.squashfs"],
    marks: &[
        Mark::new("scripts/live", "live-boot"),
        Mark::new("lib/live/boot/*", "live-boot"),
        Mark::new("bin/httpfs*", "httpfs"),
        Mark::new("sbin/httpfs*", "httpfs"),
    ],
    nfs: Some(FromServer { able: |_| true, boot: nfs }),
    http: Some(FromServer { able: |_| true, boot: http }),
    attached,
    ..Family::UNKNOWN
};

/// Arguments that say where the root is, and are said anew.
const PLACES: [&str; 7] = ["boot", "fetch", "httpfs", "ip", "live-media", "netboot", "nfsroot"];

fn nfs(iso: &Subject<'_>, own: Args, place: &str) -> Boot {
    let place = format!("boot=live netboot=nfs nfsroot={place}/{}", names::tree_path(iso.label));
    Boot::by(Transport::Nfs, own.without(&PLACES).prepend(Args::parse(&place)))
}

/// `fetch=` takes the image that `live/` holds, by its extension.
fn http(iso: &Subject<'_>, own: Args, url: &str) -> Boot {
    let place = format!("boot=live fetch={url}/{}{}", names::tree_path(iso.label), iso.found);
    Boot::by(Transport::Http, own.without(&PLACES).prepend(Args::parse(&place))).but(Caveat::RootCopied)
}

fn attached(_: &Subject<'_>, own: Args) -> Args {
    own.without(&["boot", "fetch", "httpfs", "live-media"])
        .prepend(Args::parse("boot=live live-media=/dev/nbd0"))
}
