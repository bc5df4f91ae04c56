//! Families whose initramfs can mount by NFS or fetch by HTTP, and nothing by NBD.

use super::{Boot, NO_HTTP, NO_HTTP_NFS, Subject, Transport};
use crate::boot::servers::Servers;
use crate::image::args::Args;

/// casper(7). `ip=dhcp` is needed for `url=`, which takes an `.iso`.
pub(super) fn casper(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let own = own.without(&["boot", "ip", "url", "iso-url", "nfsroot", "live-media"]);
    let label = iso.label;
    if let Some(nfs) = &servers.nfs {
        let args =
            own.prepend(Args::parse(&format!("boot=casper netboot=nfs nfsroot={nfs}/trees/{label} ip=dhcp")));
        return Ok(Boot { args, transport: Transport::Nfs, caveat: None });
    }
    let http = servers.http.as_ref().ok_or(NO_HTTP_NFS)?;
    let args =
        own.prepend(Args::parse(&format!("boot=casper netboot=url url={http}/images/{label}.iso ip=dhcp")));
    let caveat =
        Some("the whole ISO is copied into the client's memory: it needs the ISO's size and 2 GiB more");
    Ok(Boot { args, transport: Transport::Http, caveat })
}

/// live-boot(7). `fetch=` takes the image that `live/` holds, by its extension.
pub(super) fn live_boot(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let own = own.without(&["boot", "fetch", "httpfs", "ip", "live-media", "netboot", "nfsroot"]);
    let label = iso.label;
    if let Some(nfs) = &servers.nfs {
        let args = own.prepend(Args::parse(&format!("boot=live netboot=nfs nfsroot={nfs}/trees/{label}")));
        return Ok(Boot { args, transport: Transport::Nfs, caveat: None });
    }
    let http = servers.http.as_ref().ok_or(NO_HTTP_NFS)?;
    let args = own.prepend(Args::parse(&format!("boot=live fetch={http}/trees/{label}{}", iso.found)));
    let caveat = Some("the root image is copied into the client's memory");
    Ok(Boot { args, transport: Transport::Http, caveat })
}

/// anaconda, docs/boot-options.rst. Any `root=` would make it ignore `inst.*`.
pub(super) fn anaconda(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let own = own.without(&["inst.stage2", "inst.repo", "stage2", "repo", "method", "root", "ip"]);
    let label = iso.label;
    let (place, transport) = match (&servers.nfs, &servers.http) {
        (Some(nfs), _) => (format!("nfs:{nfs}/images/{label}.iso"), Transport::Nfs),
        (None, Some(http)) => (format!("{http}/trees/{label}/"), Transport::Http),
        (None, None) => return Err(NO_HTTP_NFS),
    };
    // A DVD has its packages with it; what boots only has the second stage, and takes packages from the Internet.
    let key =
        if iso.found == "/.treeinfo" || transport == Transport::Nfs { "inst.repo" } else { "inst.stage2" };
    Ok(Boot { args: own.prepend(Args::parse(&format!("{key}={place} ip=dhcp"))), transport, caveat: None })
}

/// linuxrc, linuxrc_repo.md.
pub(super) fn linuxrc(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let http = servers.http.as_ref().ok_or(NO_HTTP)?;
    let args =
        own.without(&["install"]).prepend(Args::parse(&format!("install={http}/trees/{}/", iso.label)));
    Ok(Boot { args, transport: Transport::Http, caveat: None })
}
