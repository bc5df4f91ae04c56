//! casper: Ubuntu, Mint and their relatives (casper(7)).

use super::{Boot, Family, FromServer, Subject};
use crate::boot::names;
use crate::boot::reasons::Caveat;
use crate::boot::transport::Transport;
use crate::image::args::Args;
use crate::image::initrd::Mark;

/// casper.
pub static FAMILY: Family = Family {
    name: "casper",
    markers: &[&["/casper/*.squashfs"]],
    kernels: &[
        ("/casper/vmlinuz", "/casper/initrd"),
        ("/casper/vmlinuz", "/casper/initrd.lz"),
        ("/casper/vmlinuz.efi", "/casper/initrd.lz"),
        ("/casper/vmlinuz", "/casper/initrd.gz"),
    ],
    args: "boot=casper",
    images: &["/casper/filesystem.squashfs", "/casper/*.squashfs"],
    marks: &[Mark::new("scripts/casper", "casper")],
    nfs: Some(FromServer { able: |_| true, boot: nfs }),
    http: Some(FromServer { able: |_| true, boot: http }),
    attached,
    ..Family::UNKNOWN
};

/// Arguments that say where the root is, and are said anew.
const PLACES: [&str; 6] = ["boot", "ip", "url", "iso-url", "nfsroot", "live-media"];

fn nfs(iso: &Subject<'_>, own: Args, place: &str) -> Boot {
    let place = format!("boot=casper netboot=nfs nfsroot={place}/{} ip=dhcp", names::tree_path(iso.label));
    Boot::by(Transport::Nfs, own.without(&PLACES).prepend(Args::parse(&place)))
}

/// `ip=dhcp` is needed for `url=`, which takes an `.iso`.
fn http(iso: &Subject<'_>, own: Args, url: &str) -> Boot {
    let file = names::image_path(&names::whole_iso(iso.label));
    let place = format!("boot=casper netboot=url url={url}/{file} ip=dhcp");
    Boot::by(Transport::Http, own.without(&PLACES).prepend(Args::parse(&place))).but(Caveat::IsoCopied)
}

/// Without noprompt it waits at its end for somebody who takes the disc out.
fn attached(_: &Subject<'_>, own: Args) -> Args {
    own.without(&["boot", "url", "iso-url", "live-media", "noprompt"])
        .prepend(Args::parse("boot=casper live-media=/dev/nbd0 noprompt"))
}
