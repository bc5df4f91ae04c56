//! archiso and miso: hooks of mkinitcpio that attach, mount or fetch.

use super::{Boot, Export, NO_HTTP, Subject, Transport, Way};
use crate::boot::servers::{NBD_PORT, Servers};
use crate::image::args::{Arg, Args};
use crate::image::initrd::Feature;

/// The mkinitcpio hooks of archiso, and miso's copies of them.
pub(super) struct Hooks {
    /// What the arguments begin with.
    prefix: &'static str,
    nbd: Feature,
    http: Feature,
    nfs: Feature,
}

pub(super) const ARCHISO: Hooks = Hooks {
    prefix: "archiso",
    nbd: Feature::ArchisoNbd,
    http: Feature::ArchisoHttp,
    nfs: Feature::ArchisoNfs,
};

pub(super) const MISO: Hooks =
    Hooks { prefix: "miso", nbd: Feature::MisoNbd, http: Feature::MisoHttp, nfs: Feature::MisoNfs };

/// mkinitcpio-archiso, docs/README.bootparams. `ip=` must be there, or none of the hooks runs; without `copytoram=n` the
/// image is copied into memory and the network taken down.
pub(super) fn boot(
    iso: &Subject<'_>,
    own: Args,
    servers: &Servers,
    hooks: &Hooks,
) -> Result<Boot, &'static str> {
    let Hooks { prefix, .. } = hooks;
    let own = without_places(own, hooks);
    // The hooks of releng, until it is known otherwise; what an administrator has chosen, in any case.
    let has = |feature, ways: &[Way]| match iso.way {
        Some(way) => ways.contains(&way),
        None => iso.initrd.is_none_or(|initrd| initrd.has(feature)),
    };
    let base = base(iso);
    let label = iso.label;
    let (way, transport) = if has(hooks.nbd, &[Way::Nbd, Way::NbdImage, Way::NbdIso]) {
        let server = Arg::new(format!("{prefix}_nbd_srv=")).server(servers.host.as_deref());
        let export = Args::parse(&format!("{prefix}_nbd_name={label}.iso copytoram=n"));
        (export.prepend([server]), Transport::Nbd(Export::Iso))
    } else if let Some(nfs) = servers.nfs.as_ref().filter(|_| has(hooks.nfs, &[Way::Nfs])) {
        (Args::parse(&format!("{prefix}_nfs_srv={nfs}/trees/{label} copytoram=n")), Transport::Nfs)
    } else if has(hooks.http, &[Way::Http]) {
        let http = servers.http.as_ref().ok_or(NO_HTTP)?;
        (Args::parse(&format!("{prefix}_http_srv={http}/trees/{label}/")), Transport::Http)
    } else {
        return Err("its initrd has none of the network hooks");
    };
    let args = own
        .prepend([Arg::new("ip=dhcp")])
        .prepend(way)
        .prepend([Arg::new(format!("{prefix}basedir={base}"))]);
    let port = matches!(transport, Transport::Nbd(_)) && servers.port != NBD_PORT;
    let caveat = port.then_some("its initrd attaches NBD on port 10809 only, and the server has another");
    Ok(Boot { args, transport, caveat })
}

/// Whether its initrd is known to attach an NBD export by itself.
pub(super) fn attaches(iso: &Subject<'_>, servers: &Servers, hooks: &Hooks) -> bool {
    servers.port == NBD_PORT && iso.initrd.is_some_and(|initrd| initrd.has(hooks.nbd))
}

/// The device that a second initramfs has attached.
pub(super) fn attached(iso: &Subject<'_>, own: Args, hooks: &Hooks) -> Args {
    let Hooks { prefix, .. } = hooks;
    let place = format!("{prefix}basedir={} {prefix}device=/dev/nbd0 copytoram=n", base(iso));
    without_places(own, hooks).prepend(Args::parse(&place))
}

/// archisosearchuuid would be preferred to the device that NBD attaches.
fn without_places(own: Args, hooks: &Hooks) -> Args {
    let places = ["label", "device", "searchuuid", "searchfilename", "basedir"];
    let places = places.map(|key| format!("{}{key}", hooks.prefix));
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    own.without(&places).without(&["ip", "copytoram", "img_dev", "img_loop"])
}

/// The directory that it all lies in.
fn base<'a>(iso: &Subject<'a>) -> &'a str {
    iso.found.split('/').find(|name| !name.is_empty()).unwrap_or_default()
}
