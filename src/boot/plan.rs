//! How an ISO boots over a network: which of its family's ways is taken, and the kernel arguments for it.
//!
//! A function of plain values: what the ISO is, what its initrd can do, which servers there are, what an administrator
//! wishes. What an initrd can do decides more than the family; until that is known, the arguments are those that work
//! either way.

use std::net::SocketAddrV4;

use crate::boot::families::{Ability, Boot, FromServer, Otherwise, Subject};
use crate::boot::names;
use crate::boot::reasons::Refusal;
use crate::boot::servers::{NBD_PORT, Servers};
use crate::boot::transport::{Export, Transport, Wish};
use crate::image::args::{Arg, Args};

#[cfg(test)]
mod tests;

/// Arguments of a menu that make no sense over a network: where a loop-mounted ISO file lies, and the like.
const LOCAL_ONLY: [&str; 6] =
    ["BOOT_IMAGE", "BOOTIF", "cms_verify", "findiso", "iso-scan/filename", "netboot"];

/// Arguments that check the medium, which an entry for that keeps.
const CHECKS: [&str; 7] = [
    "checksum",
    "inst.mediacheck",
    "mediacheck",
    "rd.live.check",
    "rd.md5check",
    "verify",
    "verify-checksums",
];

/// Arguments that would look for an attached root elsewhere, or set up a network.
const NETWORK: [&str; 8] =
    ["ip", "netroot", "netroot.*", "nfsroot", "rd.neednet", "rdinit", "ifname", "BOOTIF"];

/// The program that the kernel starts in the place of the ISO's `/init`.
const INIT: &str = "rdinit=/netrootfs/init";

/// How an ISO boots whose own menu has these arguments.
///
/// ```
/// use netrootfs::boot::families::{self, Subject};
/// use netrootfs::boot::plan;
/// use netrootfs::boot::servers::Servers;
/// use netrootfs::image::label::Label;
///
/// let iso = Subject {
///     family: &families::casper::FAMILY,
///     found: "/casper/filesystem.squashfs",
///     label: &Label::parse("Ubuntu").unwrap(),
///     medium: &Default::default(),
///     len: 3 << 30,
///     root: None,
///     initrd: None,
///     netroot: true,
///     has_initrd: true,
///     checks_media: false,
/// };
/// let servers = Servers::at("10.0.0.1");
/// assert_eq!(
///     plan::boot(&iso, "quiet splash".into(), None, &servers).unwrap().args,
///     "rdinit=/netrootfs/init netroot.nbd=10.0.0.1/Ubuntu.iso \
///      boot=casper live-media=/dev/nbd0 noprompt quiet splash"
/// );
/// ```
///
/// # Errors
/// If it can't be booted with these servers, or not as it is wished.
pub fn boot(iso: &Subject<'_>, own: Args, wish: Option<Wish>, servers: &Servers) -> Result<Boot, Refusal> {
    let own = over_network(own);
    if !iso.has_initrd {
        return Ok(Boot::by(Transport::Own, own));
    }
    if iso.checks_media {
        let whole = Servers { prefer: Some(Export::Iso), ..servers.clone() };
        let boot = by_wish(iso, own, wish, &whole)?;
        let is_whole = boot.transport.export() == Some(Export::Iso);
        return if is_whole { Ok(boot) } else { Err(Refusal::NoWholeMedium) };
    }
    by_wish(iso, own.without(&CHECKS), wish, servers)
}

/// A menu's arguments without those that make no sense over a network.
pub(super) fn over_network(own: Args) -> Args {
    own.without(&LOCAL_ONLY)
}

fn by_wish(iso: &Subject<'_>, own: Args, wish: Option<Wish>, servers: &Servers) -> Result<Boot, Refusal> {
    let Some(wish) = wish else { return best(iso, own, servers) };
    let boot = wished(iso, own, wish, servers)?;
    if wish.is_met_by(boot.transport) { Ok(boot) } else { Err(Refusal::OtherTransport) }
}

/// By one way, whatever the initrd seems to be able to do.
fn wished(iso: &Subject<'_>, own: Args, wish: Wish, servers: &Servers) -> Result<Boot, Refusal> {
    let from = |server: &Option<String>, way: &Option<FromServer>, none| {
        let place = server.as_deref().ok_or(none)?;
        way.as_ref().ok_or(Refusal::OtherTransport).map(|way| (way.boot)(iso, own.clone(), place))
    };
    match wish {
        Wish::AnyNbd => nbd(iso, own, servers),
        Wish::Exactly(Transport::Nbd(export)) => {
            nbd(iso, own, &Servers { prefer: Some(export), ..servers.clone() })
        }
        Wish::Exactly(Transport::Netroot) if has_netroot(iso, servers) => Ok(netroot(iso, own, servers)),
        Wish::Exactly(Transport::Netroot) if iso.netroot => Err(Refusal::NamedServer),
        Wish::Exactly(Transport::Netroot) => Err(Refusal::NoNetroot),
        Wish::Exactly(Transport::Http) => from(&servers.http, &iso.family.http, Refusal::NoHttp),
        Wish::Exactly(Transport::Nfs) => from(&servers.nfs, &iso.family.nfs, Refusal::NoNfs),
        Wish::Exactly(Transport::Own) => Ok(Boot::by(Transport::Own, own)),
    }
}

fn nbd(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, Refusal> {
    let way = iso.family.nbd.as_ref().ok_or(Refusal::OtherTransport)?;
    Ok((way.boot)(iso, own, servers))
}

/// The best way: attached by what the initrd has itself, else by a second one; then file by file, then copied.
fn best(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, Refusal> {
    let family = iso.family;
    let nbd = family.nbd.as_ref().map(|way| (way, (way.able)(iso, servers)));
    match nbd {
        _ if matches!(family.otherwise, Otherwise::ByItself) => return Ok(Boot::by(Transport::Own, own)),
        // What an ISO's own initrd has knows one server, for ever.
        _ if has_netroot(iso, servers) && servers.several.len() > 1 => return Ok(netroot(iso, own, servers)),
        Some((way, Ability::Yes)) => return Ok((way.boot)(iso, own, servers)),
        _ if has_netroot(iso, servers) => return Ok(netroot(iso, own, servers)),
        Some((way, Ability::Perhaps)) => return Ok((way.boot)(iso, own, servers)),
        Some((_, Ability::No)) | None => {}
    }
    let nfs = family.nfs.as_ref().filter(|way| (way.able)(iso));
    let http = family.http.as_ref().filter(|way| (way.able)(iso));
    match (nfs, &servers.nfs, http, &servers.http) {
        (Some(way), Some(place), _, _) | (_, _, Some(way), Some(place)) => Ok((way.boot)(iso, own, place)),
        // It could, had the server an address.
        _ if iso.netroot => Err(Refusal::NamedServer),
        (Some(_), None, Some(_), None) => Err(Refusal::NoHttpOrNfs),
        (Some(_), None, None, _) => Err(Refusal::NoNfs),
        (None, _, Some(_), None) => Err(Refusal::NoHttp),
        (None, _, None, _) => match family.otherwise {
            Otherwise::Not(refusal) => Err(refusal),
            Otherwise::AsItIs(caveat) => Ok(Boot::by(Transport::Own, own).but(caveat)),
            Otherwise::ByItself => Ok(Boot::by(Transport::Own, own)),
        },
    }
}

/// Whether there is a second initramfs that can be told where the ISO is: it has no resolver.
fn has_netroot(iso: &Subject<'_>, servers: &Servers) -> bool {
    iso.netroot && (!servers.by_name || !servers.several.is_empty())
}

/// netroot-init is told where the whole ISO is, and the ISO's own `/init` finds it attached.
fn netroot(iso: &Subject<'_>, own: Args, servers: &Servers) -> Boot {
    let port = match servers.port {
        NBD_PORT => String::new(),
        port => format!(":{port}"),
    };
    let export = names::export(iso.label, Export::Iso);
    let own = (iso.family.attached)(iso, own.without(&NETWORK));
    let args = match servers.several.as_slice() {
        [] => {
            let place = Arg::new("netroot.nbd=").server(servers.host.as_deref());
            own.prepend([Arg::new(INIT), place.text(format!("{port}/{export}"))])
        }
        several => {
            let places: Vec<String> = several.iter().map(place).collect();
            let servers = Arg::new(format!("netroot.servers={}", places.join(",")));
            own.prepend([Arg::new(INIT), Arg::new(format!("netroot.nbd=/{export}")), servers])
        }
    };
    Boot::by(Transport::Netroot, args).but(iso.family.attached_caveat)
}

/// A server, without the port that every client takes anyhow.
fn place(server: &SocketAddrV4) -> String {
    match server.port() {
        NBD_PORT => server.ip().to_string(),
        _ => server.to_string(),
    }
}
