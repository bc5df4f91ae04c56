//! A root image in `LiveOS/`, by dracut's own means (dracut.cmdline(7)) or kiwi's.

use super::{Boot, Export, NO_HTTP, Subject, Transport};
use crate::boot::family::Format;
use crate::boot::servers::{NBD_PORT, Servers};
use crate::image::args::{Arg, Args};
use crate::image::initrd::{Feature, Features};
use crate::image::label::udev_encode;

/// What dracut and its modules can do with a `LiveOS/` (dracut.cmdline(7)).
pub(super) fn boot(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    // What is not known yet, or could not be read, may be able to: the whole ISO by its label always works then.
    let Some(initrd) = iso.initrd.filter(|initrd| initrd.damage.is_none() || initrd.has(Feature::Dracut))
    else {
        return Ok(nbd(iso, own, servers));
    };
    if initrd.native_nbd() {
        return Ok(nbd(iso, own, servers));
    }
    if let Some(place) = servers.nfs.as_ref().filter(|_| initrd.has(Feature::Nfs) && iso.root.is_some()) {
        return Ok(nfs(iso, own, place));
    }
    if !initrd.has(Feature::KiwiLive) && !initrd.has(Feature::Livenet) {
        return Err(
            "its initrd has neither NBD nor livenet: make the image with nbd and dracut-network in it",
        );
    }
    http(iso, own, servers)
}

/// Whether its initrd is known to attach an NBD export by itself.
pub(super) fn attaches(iso: &Subject<'_>) -> bool {
    iso.initrd.is_some_and(|initrd| initrd.native_nbd() && caveat(iso).is_none())
}

/// By NFS: the root image is mounted where it lies.
pub(super) fn nfs(iso: &Subject<'_>, own: Args, nfs: &str) -> Boot {
    let file = root_file(iso);
    let root = format!("root=live:nfs:{nfs}/images/{file} ip=dhcp rd.neednet=1");
    let args = live_image(own.without(&ROOT_ARGS)).prepend(Args::parse(&root));
    Boot { args, transport: Transport::Nfs, caveat: None }
}

/// By HTTP: it is copied.
pub(super) fn http(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let http = servers.http.as_ref().ok_or(NO_HTTP)?;
    let root = if iso.initrd.is_some_and(|initrd| initrd.has(Feature::KiwiLive)) {
        // kiwi copies the ISO into /dev/ram0, which is 2 GiB unless told otherwise.
        let size = iso.len.div_ceil(1024);
        format!("root=live:{http}/images/{}.iso ramdisk_size={size} ip=dhcp", iso.label)
    } else {
        format!("root=live:{http}/images/{} ip=dhcp rd.neednet=1", root_file(iso))
    };
    let args = live_image(own.without(&ROOT_ARGS)).prepend(Args::parse(&root));
    Ok(Boot { args, transport: Transport::Http, caveat: Some("it is copied into the client's memory") })
}

/// What is fetched as a file: the root image, else the whole ISO.
fn root_file(iso: &Subject<'_>) -> String {
    if iso.root.is_some() { format!("liveos_{}.img", iso.label) } else { format!("{}.iso", iso.label) }
}

/// Arguments that say where the root is, and are said anew.
pub(super) const ROOT_ARGS: [&str; 4] = ["root", "netroot", "ip", "rd.neednet"];

/// `liveimg` is what `rd.live.image` was called before dracut 024.
pub(super) fn live_image(own: Args) -> Args {
    let named = own.has("rd.live.image") || own.has("liveimg");
    if named { own } else { own.prepend([Arg::new("rd.live.image")]) }
}

/// `netroot=nbd:` attaches the export as /dev/nbd0, `root=live:` says where on it the root image is.
pub(super) fn nbd(iso: &Subject<'_>, own: Args, servers: &Servers) -> Boot {
    let export = match (servers.prefer, iso.root) {
        (Some(Export::Image), Some(_)) => Export::Image,
        (None, Some(root)) if takes_bare_image(root, iso.initrd) => Export::Image,
        _ => Export::Iso,
    };
    let (name, root) = match export {
        Export::Image => (iso.label.to_string(), "/dev/nbd0".to_owned()),
        Export::Iso if iso.volume_id.is_empty() => (format!("{}.iso", iso.label), "/dev/nbd0".to_owned()),
        Export::Iso => (format!("{}.iso", iso.label), format!("CDLABEL={}", udev_encode(iso.volume_id))),
    };
    // Server, export, file system, mount options, nbd-client's options. The third is a port if it is a number; then the
    // export is named to nbd-client itself (dracut, 95nbd/nbdroot.sh).
    let place = match servers.port {
        NBD_PORT => format!("{name}::ro"),
        port => format!("{port}::ro:-N,{name}"),
    };
    let network = [
        Arg::new(format!("root=live:{root}")),
        Arg::new("netroot=nbd:").server(servers.host.as_deref()).text(format!(":{place}")),
        Arg::new("ip=dhcp"),
        Arg::new("rd.neednet=1"),
    ];
    let args = live_image(own.without(&ROOT_ARGS)).prepend(network);
    Boot { args, transport: Transport::Nbd(export), caveat: caveat(iso) }
}

/// Whether an initrd can take a root image that is the block device itself. It needs NetworkManager: with dracut's
/// network-legacy, udev starts the mount when the still empty nbd0 appears, before nbd-client has connected.
fn takes_bare_image(root: Format, initrd: Option<&Features>) -> bool {
    let Some(initrd) = initrd.filter(|initrd| initrd.native_nbd() && initrd.has(Feature::NetworkManager))
    else {
        return false;
    };
    let since = match root {
        Format::Squashfs => 52,
        Format::Erofs => 103,
        Format::Ext4 | Format::Unknown => return false,
    };
    initrd.has(Feature::DmsquashLive) && initrd.dracut_number().is_some_and(|version| version >= since)
}

fn caveat(iso: &Subject<'_>) -> Option<&'static str> {
    let initrd = iso.initrd?;
    if !initrd.native_nbd() {
        return Some("its initrd can't be read, so whether it can do NBD is not known");
    }
    if initrd.has(Feature::Networkd) && !initrd.has(Feature::NetworkManager) {
        return Some("its initrd uses systemd-networkd, with which dracut doesn't attach an NBD root");
    }
    None
}
