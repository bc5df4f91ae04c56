//! A root image in `LiveOS/`: Fedora, EL, openSUSE and others, by dracut's own means (dracut.cmdline(7)) or kiwi's.

use super::{Ability, Boot, Family, FromServer, Nbd, Otherwise, Subject};
use crate::boot::format::Format;
use crate::boot::names;
use crate::boot::reasons::{Caveat, Refusal};
use crate::boot::servers::{NBD_PORT, Servers};
use crate::boot::transport::{Export, Transport};
use crate::image::args::{Arg, Args};
use crate::image::initrd::{Driver, Feature, Features, Mark, Presence};
use crate::image::label::udev_encode;

/// LiveOS.
pub static FAMILY: Family = Family {
    name: "LiveOS",
    markers: &[&["/LiveOS/squashfs.img"], &["/LiveOS/rootfs.img"]],
    kernels: &[
        ("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
        ("/isolinux/vmlinuz", "/isolinux/initrd.img"),
        ("/isolinux/vmlinuz0", "/isolinux/initrd0.img"),
        ("/syslinux/vmlinuz0", "/syslinux/initrd0.img"),
        ("/boot/x86_64/loader/linux", "/boot/x86_64/loader/initrd"),
        ("/boot/aarch64/loader/linux", "/boot/aarch64/loader/initrd"),
        ("/boot/vmlinuz", "/boot/initrd"),
        ("/boot/vmlinux", "/boot/initrd"),
    ],
    args: "rd.live.image quiet",
    roots: &["/LiveOS/squashfs.img", "/LiveOS/rootfs.img"],
    images: &["/LiveOS/squashfs.img", "/LiveOS/rootfs.img"],
    marks: &[Mark::new("sbin/kiwi-live-root", KIWI), Mark::new("*/*-parse-kiwi-live.sh", KIWI)],
    nbd: Some(Nbd { able: |iso, _| attaches(iso), boot: nbd }),
    nfs: Some(FromServer { able: |iso| has(iso, Feature::Nfs) && iso.root.is_some(), boot: nfs }),
    http: Some(FromServer { able: |iso| is_kiwi(iso) || has(iso, Feature::Livenet), boot: http }),
    attached,
    otherwise: Otherwise::Not(Refusal::NoNbdNorLivenet),
    ..Family::UNKNOWN
};

/// The device that has nothing but what netroot-init or nbd-client has attached.
const ATTACHED: &str = "/dev/nbd0";

/// kiwi's own live module for dracut.
const KIWI: &str = "kiwi-live";

/// Arguments that say where the root is, and are said anew.
const PLACES: [&str; 4] = ["root", "netroot", "ip", "rd.neednet"];

fn attaches(iso: &Subject<'_>) -> Ability {
    // What is not known yet, or could not be read, may be able to: the whole ISO by its label always works then.
    let readable = |initrd: &&Features| initrd.damage.is_none() || initrd.has(Feature::Dracut);
    match iso.initrd.filter(readable) {
        Some(initrd) if !has_nbd(initrd) => Ability::No,
        Some(_) if caveat(iso).is_none() => Ability::Yes,
        _ => Ability::Perhaps,
    }
}

/// Whether an initrd has all that it takes: driver (there, or not known to be missing), client, and a script that calls it.
/// A dracut of systemd-networkd has all three and, up to 059 at least, never runs the script.
fn has_nbd(initrd: &Features) -> bool {
    initrd.driver(Driver::Nbd) != Presence::Absent
        && initrd.has(Feature::NbdClient)
        && initrd.has(Feature::DracutNbd)
}

fn has(iso: &Subject<'_>, feature: Feature) -> bool {
    iso.initrd.is_some_and(|initrd| initrd.has(feature))
}

fn is_kiwi(iso: &Subject<'_>) -> bool {
    iso.initrd.is_some_and(|initrd| initrd.has_mark(KIWI))
}

/// `netroot=nbd:` attaches the export as /dev/nbd0, `root=live:` says where on it the root image is.
fn nbd(iso: &Subject<'_>, own: Args, servers: &Servers) -> Boot {
    let export = match (servers.prefer, iso.root) {
        (Some(Export::Image), Some(_)) => Export::Image,
        (None, Some(root)) if takes_bare_image(root, iso.initrd) => Export::Image,
        _ => Export::Iso,
    };
    let name = names::export(iso.label, export);
    let root = match export {
        Export::Iso => whole_iso(iso),
        Export::Image => ATTACHED.to_owned(),
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
    Boot::by(Transport::Nbd(export), live_image(own.without(&PLACES)).prepend(network)).but(caveat(iso))
}

/// The root image is mounted where it lies.
fn nfs(iso: &Subject<'_>, own: Args, place: &str) -> Boot {
    let file = names::image_path(&root_file(iso));
    let root = format!("root=live:nfs:{place}/{file} ip=dhcp rd.neednet=1");
    Boot::by(Transport::Nfs, live_image(own.without(&PLACES)).prepend(Args::parse(&root)))
}

/// The root image is copied.
fn http(iso: &Subject<'_>, own: Args, url: &str) -> Boot {
    let root = if is_kiwi(iso) {
        // kiwi copies the ISO into /dev/ram0, which is 2 GiB unless told otherwise.
        let (file, size) = (names::image_path(&names::whole_iso(iso.label)), iso.len.div_ceil(1024));
        format!("root=live:{url}/{file} ramdisk_size={size} ip=dhcp")
    } else {
        format!("root=live:{url}/{} ip=dhcp rd.neednet=1", names::image_path(&root_file(iso)))
    };
    let args = live_image(own.without(&PLACES)).prepend(Args::parse(&root));
    Boot::by(Transport::Http, args).but(Caveat::Copied)
}

/// kiwi knows a label only (kiwi, dracut/modules.d/55kiwi-live/parse-kiwi-live.sh).
fn attached(iso: &Subject<'_>, own: Args) -> Args {
    let root = if is_kiwi(iso) { by_label(iso) } else { ATTACHED.to_owned() };
    live_image(own.without(&PLACES)).prepend([Arg::new(format!("root=live:{root}"))])
}

/// The whole ISO as what it is found by on a device that is attached while udev runs: a UUID needs no quotes in any
/// loader's language, and no other disc has it. Every dracut takes one, but kiwi's module may be what the initrd has as
/// long as that is not known.
fn whole_iso(iso: &Subject<'_>) -> String {
    match &iso.medium.uuid {
        Some(uuid) if iso.initrd.is_some_and(|initrd| initrd.has(Feature::DmsquashLive)) && !is_kiwi(iso) => {
            format!("UUID={uuid}")
        }
        _ => by_label(iso),
    }
}

fn by_label(iso: &Subject<'_>) -> String {
    match iso.medium.label.as_slice() {
        [] => ATTACHED.to_owned(),
        label => format!("CDLABEL={}", udev_encode(label)),
    }
}

/// Fetched as a file: the root image, else the whole ISO.
fn root_file(iso: &Subject<'_>) -> String {
    if iso.root.is_some() { names::root_image(iso.label) } else { names::whole_iso(iso.label) }
}

/// `liveimg` is what `rd.live.image` was called before dracut 024.
fn live_image(own: Args) -> Args {
    let named = own.has("rd.live.image") || own.has("liveimg");
    if named { own } else { own.prepend([Arg::new("rd.live.image")]) }
}

/// Whether an initrd can take a root image that is the block device itself. It needs NetworkManager: with dracut's
/// network-legacy, udev starts the mount when the still empty nbd0 appears, before nbd-client has connected.
fn takes_bare_image(root: Format, initrd: Option<&Features>) -> bool {
    let Some(initrd) = initrd.filter(|initrd| has_nbd(initrd) && initrd.has(Feature::NetworkManager)) else {
        return false;
    };
    let since = match root {
        Format::Squashfs => 52,
        Format::Erofs => 103,
        Format::Ext4 | Format::Unknown => return false,
    };
    initrd.has(Feature::DmsquashLive) && initrd.dracut_number().is_some_and(|version| version >= since)
}

fn caveat(iso: &Subject<'_>) -> Option<Caveat> {
    let initrd = iso.initrd?;
    if !has_nbd(initrd) {
        return Some(Caveat::InitrdUnread);
    }
    let networkd = initrd.has(Feature::Networkd) && !initrd.has(Feature::NetworkManager);
    networkd.then_some(Caveat::Networkd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nbd_needs_driver_client_and_script() {
        let found = [Feature::DracutNbd, Feature::NbdClient].into();
        let initrd = Features { found, ..Features::default() };
        assert!(has_nbd(&initrd), "the driver is not known to be missing");
        let missing = Features { builtin: Some([Driver::Overlay].into()), ..initrd.clone() };
        assert!(!has_nbd(&missing), "known to be missing");
        let builtin = Features { builtin: Some([Driver::Nbd].into()), ..initrd.clone() };
        assert!(has_nbd(&builtin));
        for needed in [Feature::DracutNbd, Feature::NbdClient] {
            let mut without = builtin.clone();
            without.found.remove(&needed);
            assert!(!has_nbd(&without), "{needed:?}");
        }
    }
}
