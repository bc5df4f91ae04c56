//! The ISO's own arguments for a system that finds the whole ISO attached as `/dev/nbd0`, as if it were a disc.
//!
//! Never `ip=`: the card has its address, and what would configure it anew takes the root away.

use super::{Boot, Subject, Transport, dracut, hooks};
use crate::boot::family::Family;
use crate::boot::servers::{NBD_PORT, Servers};
use crate::image::args::{Arg, Args};
use crate::image::label::udev_encode;

/// What the kernel starts in the place of the ISO's `/init`.
const INIT: &str = "rdinit=/netrootfs/init";

/// Arguments that would look for the root elsewhere, or set up a network.
const NETWORK: [&str; 7] = ["ip", "netroot", "nfsroot", "rd.neednet", "rdinit", "ifname", "BOOTIF"];

/// What netroot-init is told, then what the family wants for a root that is attached.
pub(super) fn boot(iso: &Subject<'_>, own: Args, servers: &Servers) -> Boot {
    let own = own.without(&NETWORK).without(&["netroot.*"]);
    let args = match iso.family {
        Family::LiveOs => live_os(iso, own),
        Family::Archiso => hooks::attached(iso, own, &hooks::ARCHISO),
        Family::Miso => hooks::attached(iso, own, &hooks::MISO),
        // Without noprompt it waits at its end for somebody who takes the disc out.
        Family::Casper => own
            .without(&["boot", "url", "iso-url", "live-media", "noprompt"])
            .prepend(Args::parse("boot=casper live-media=/dev/nbd0 noprompt")),
        Family::LiveBoot => own
            .without(&["boot", "fetch", "httpfs", "live-media"])
            .prepend(Args::parse("boot=live live-media=/dev/nbd0")),
        Family::Anaconda => anaconda(iso, own),
        Family::NixOs
        | Family::Alpine
        | Family::Proxmox
        | Family::Gentoo
        | Family::Linuxrc
        | Family::Generic => own,
    };
    let port = match servers.port {
        NBD_PORT => String::new(),
        port => format!(":{port}"),
    };
    let place =
        Arg::new("netroot.nbd=").server(servers.host.as_deref()).text(format!("{port}/{}.iso", iso.label));
    let caveat = (iso.family == Family::Generic).then_some("how it looks for its disc is not known");
    Boot { args: args.prepend([Arg::new(INIT), place]), transport: Transport::Netroot, caveat }
}

fn live_os(iso: &Subject<'_>, own: Args) -> Args {
    let root = match iso.volume_id {
        [] => "root=live:/dev/nbd0".to_owned(),
        volume_id => format!("root=live:CDLABEL={}", udev_encode(volume_id)),
    };
    dracut::live_image(own.without(&dracut::ROOT_ARGS)).prepend([Arg::new(root)])
}

/// Any `root=` would make it ignore `inst.*`.
fn anaconda(iso: &Subject<'_>, own: Args) -> Args {
    let own = own.without(&["inst.stage2", "inst.repo", "stage2", "repo", "method", "root"]);
    own.prepend([Arg::new(match iso.volume_id {
        [] => "inst.stage2=hd:/dev/nbd0".to_owned(),
        volume_id => format!("inst.stage2=hd:LABEL={}", udev_encode(volume_id)),
    })])
}
