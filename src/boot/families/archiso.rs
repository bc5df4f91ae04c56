//! archiso: Arch, EndeavourOS, SystemRescue. Hooks of mkinitcpio that attach, mount or fetch.
//!
//! mkinitcpio-archiso, docs/README.bootparams. miso has copies of these hooks under another name, so what can differ is an
//! argument here.

use super::{Ability, Boot, Family, FromServer, Nbd, Otherwise, Subject};
use crate::boot::names;
use crate::boot::reasons::{Caveat, Refusal};
use crate::boot::servers::{NBD_PORT, Servers};
use crate::boot::transport::{Export, Transport};
use crate::image::args::{Arg, Args};
use crate::image::initrd::Mark;

/// archiso.
pub static FAMILY: Family = Family {
    name: "archiso",
    markers: &[&["/*/x86_64/airootfs.*"], &["/*/aarch64/airootfs.*"]],
    kernels: &[
        ("/arch/boot/x86_64/vmlinuz-linux", "/arch/boot/x86_64/initramfs-linux.img"),
        ("/arch/boot/x86_64/vmlinuz", "/arch/boot/x86_64/archiso.img"),
        ("/sysresccd/boot/x86_64/vmlinuz", "/sysresccd/boot/x86_64/sysresccd.img"),
    ],
    images: &["/*/x86_64/airootfs.*", "/*/aarch64/airootfs.*"],
    marks: &[
        Mark::new("hooks/archiso", "archiso"),
        Mark::new("hooks/archiso_pxe_nbd", "archiso_pxe_nbd"),
        Mark::new("hooks/archiso_pxe_http", "archiso_pxe_http"),
        Mark::new("hooks/archiso_pxe_nfs", "archiso_pxe_nfs"),
    ],
    nbd: Some(Nbd {
        able: |iso, servers| attaches(iso, servers, PREFIX),
        boot: |iso, own, servers| nbd(iso, own, servers, PREFIX),
    }),
    nfs: Some(FromServer {
        able: |iso| has_hook(iso, PREFIX, "nfs"),
        boot: |iso, own, place| nfs(iso, own, place, PREFIX),
    }),
    http: Some(FromServer {
        able: |iso| has_hook(iso, PREFIX, "http"),
        boot: |iso, own, url| http(iso, own, url, PREFIX),
    }),
    attached: |iso, own| attached(iso, own, PREFIX),
    otherwise: Otherwise::Not(Refusal::NoNetworkHook),
    ..Family::UNKNOWN
};

/// The prefix of the arguments.
const PREFIX: &str = "archiso";

/// Whether the initrd attaches by itself: its hook has no word for a port.
pub(super) fn attaches(iso: &Subject<'_>, servers: &Servers, prefix: &str) -> Ability {
    match iso.initrd {
        _ if !has_hook(iso, prefix, "nbd") => Ability::No,
        Some(_) if servers.port == NBD_PORT => Ability::Yes,
        _ => Ability::Perhaps,
    }
}

/// Whether it has a hook; until that is known, it has those of releng.
pub(super) fn has_hook(iso: &Subject<'_>, prefix: &str, hook: &str) -> bool {
    iso.initrd.is_none_or(|initrd| initrd.has_mark(&format!("{prefix}_pxe_{hook}")))
}

pub(super) fn nbd(iso: &Subject<'_>, own: Args, servers: &Servers, prefix: &str) -> Boot {
    let server = Arg::new(format!("{prefix}_nbd_srv=")).server(servers.host.as_deref());
    let name = Arg::new(format!("{prefix}_nbd_name={}", names::export(iso.label, Export::Iso)));
    // Without copytoram=n the image is copied into memory and the network taken down.
    let args = over_network(iso, own, prefix, [server, name, Arg::new("copytoram=n")]);
    let caveat = (servers.port != NBD_PORT).then_some(Caveat::OtherPort);
    Boot::by(Transport::Nbd(Export::Iso), args).but(caveat)
}

pub(super) fn nfs(iso: &Subject<'_>, own: Args, place: &str, prefix: &str) -> Boot {
    let server = format!("{prefix}_nfs_srv={place}/{} copytoram=n", names::tree_path(iso.label));
    Boot::by(Transport::Nfs, over_network(iso, own, prefix, Args::parse(&server)))
}

pub(super) fn http(iso: &Subject<'_>, own: Args, url: &str, prefix: &str) -> Boot {
    let server = format!("{prefix}_http_srv={url}/{}/", names::tree_path(iso.label));
    Boot::by(Transport::Http, over_network(iso, own, prefix, Args::parse(&server)))
}

/// The device that a second initramfs has attached.
pub(super) fn attached(iso: &Subject<'_>, own: Args, prefix: &str) -> Args {
    let place = format!("{prefix}basedir={} {prefix}device=/dev/nbd0 copytoram=n", base(iso));
    without_places(own, prefix).prepend(Args::parse(&place))
}

/// `ip=` must be there, or none of the hooks runs.
fn over_network(iso: &Subject<'_>, own: Args, prefix: &str, place: impl IntoIterator<Item = Arg>) -> Args {
    without_places(own, prefix)
        .prepend([Arg::new("ip=dhcp")])
        .prepend(place)
        .prepend([Arg::new(format!("{prefix}basedir={}", base(iso)))])
}

/// archisosearchuuid would be preferred to the device that NBD attaches.
fn without_places(own: Args, prefix: &str) -> Args {
    let places = ["label", "device", "searchuuid", "searchfilename", "basedir"];
    let places = places.map(|key| format!("{prefix}{key}"));
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    own.without(&places).without(&["ip", "copytoram", "img_dev", "img_loop"])
}

/// The directory that it all lies in.
fn base<'a>(iso: &Subject<'a>) -> &'a str {
    iso.found.split('/').find(|name| !name.is_empty()).unwrap_or_default()
}
