//! The kernel arguments that boot an ISO over a network, by family and transport.
//!
//! A function of plain values: what the ISO is, what its initrd can do, which servers there are. What an initrd can do
//! decides more than the family; until that is known, the arguments are those that work either way.

use serde::Deserialize;

use crate::boot::family::{Family, Format};
use crate::boot::servers::Servers;
use crate::image::args::Args;
use crate::image::initrd::Features;
use crate::image::label::Label;

mod dracut;
mod families;
mod hooks;
mod netroot;
#[cfg(test)]
mod tests;

/// Which export a client attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// The root image, `[LABEL]`.
    Image,
    /// The whole ISO, `[LABEL.iso]`.
    Iso,
}

/// How the root comes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Block by block, from an NBD export.
    Nbd(Export),
    /// The same, from the export of the whole ISO, by a second initramfs that attaches it.
    Netroot,
    /// As a whole, into the client's memory.
    Http,
    /// File by file.
    Nfs,
    /// By what the ISO's own arguments say.
    Own,
}

impl Transport {
    /// Its name in tables and menus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nbd(_) => "NBD",
            Self::Netroot => "netroot",
            Self::Http => "HTTP",
            Self::Nfs => "NFS",
            Self::Own => "its own",
        }
    }
}

/// How the root is to come to the client, whatever its initrd seems to be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// By NBD; which export, the rest decides.
    Nbd,
    /// The root image, by NBD.
    NbdImage,
    /// The whole ISO, by NBD.
    NbdIso,
    /// The whole ISO, by NBD and a second initramfs.
    Netroot,
    /// By HTTP.
    Http,
    /// By NFS.
    Nfs,
    /// By what the ISO's own arguments say.
    Own,
}

/// What is known of an ISO when its arguments are made.
#[derive(Clone)]
pub struct Subject<'a> {
    /// Its family.
    pub family: Family,
    /// Where the family's own files lie in it, such as `/arch/x86_64/airootfs.sfs`.
    pub found: &'a str,
    /// Its label, for export names and URLs.
    pub label: &'a Label,
    /// Its volume id, for what looks for `/dev/disk/by-label`.
    pub volume_id: &'a [u8],
    /// Its size in bytes.
    pub len: u64,
    /// The arguments of its own menu.
    pub args: Args,
    /// Its root image.
    pub root: Option<Format>,
    /// What its initrd can do, once that is known.
    pub initrd: Option<&'a Features>,
    /// Whether there is a second initramfs for it.
    pub netroot: bool,
    /// The way that an administrator has chosen.
    pub way: Option<Way>,
}

/// How an ISO boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Kernel arguments.
    pub args: Args,
    /// How its root comes to the client.
    pub transport: Transport,
    /// What may stand in the way, for `check`.
    pub caveat: Option<&'static str>,
}

/// Arguments of a menu that make no sense over a network: media checks, and where a loop-mounted ISO file lies.
const LOCAL_ONLY: [&str; 13] = [
    "BOOT_IMAGE",
    "BOOTIF",
    "checksum",
    "cms_verify",
    "findiso",
    "inst.mediacheck",
    "iso-scan/filename",
    "mediacheck",
    "netboot",
    "rd.live.check",
    "rd.md5check",
    "verify",
    "verify-checksums",
];

const NO_HTTP: &str = "it boots over HTTP only: say with --http-url where an HTTP server shows the tree";
const NO_HTTP_NFS: &str =
    "it boots over HTTP or NFS only: say with --http-url or --nfs where a server shows the tree";
const NO_NFS: &str = "it is to boot over NFS: say with --nfs where an NFS server shows the tree";
const OTHER_WAY: &str = "it can't be booted by the transport that the configuration asks for";
const NO_NETWORK: &str = "its initrd has no network";
const NO_NETROOT: &str = "it is to boot by a second initramfs, and there is none for it";

/// The arguments that boot an ISO.
///
/// # Errors
/// If it can't be booted with these servers, with the reason.
pub fn boot(iso: &Subject<'_>, servers: &Servers) -> Result<Boot, &'static str> {
    let Some(way) = iso.way else { return boot_by_family(iso, servers) };
    // What isn't to be used is not there.
    let servers = Servers {
        prefer: match way {
            Way::NbdImage => Some(Export::Image),
            Way::NbdIso => Some(Export::Iso),
            _ => servers.prefer,
        },
        http: servers.http.clone().filter(|_| way == Way::Http),
        nfs: servers.nfs.clone().filter(|_| way == Way::Nfs),
        ..servers.clone()
    };
    let boot = match (iso.family, way) {
        (_, Way::Own) => Boot { args: own(iso), transport: Transport::Own, caveat: None },
        (_, Way::Netroot) if iso.netroot => netroot::boot(iso, own(iso), &servers),
        (_, Way::Netroot) => return Err(NO_NETROOT),
        (Family::LiveOs, Way::Nbd | Way::NbdImage | Way::NbdIso) => dracut::nbd(iso, own(iso), &servers),
        (Family::LiveOs, Way::Http) => dracut::http(iso, own(iso), &servers)?,
        (Family::LiveOs, Way::Nfs) => dracut::nfs(iso, own(iso), servers.nfs.as_ref().ok_or(NO_NFS)?),
        (_, Way::Http) if servers.http.is_none() => return Err(NO_HTTP),
        (_, Way::Nfs) if servers.nfs.is_none() => return Err(NO_NFS),
        _ => boot_by_family(&Subject { netroot: false, ..iso.clone() }, &servers).map_err(|_| OTHER_WAY)?,
    };
    let fits = match way {
        Way::Nbd => matches!(boot.transport, Transport::Nbd(_)),
        Way::NbdImage => boot.transport == Transport::Nbd(Export::Image),
        Way::NbdIso => boot.transport == Transport::Nbd(Export::Iso),
        Way::Netroot => boot.transport == Transport::Netroot,
        Way::Http => boot.transport == Transport::Http,
        Way::Nfs => boot.transport == Transport::Nfs,
        Way::Own => true,
    };
    if fits { Ok(boot) } else { Err(OTHER_WAY) }
}

fn own(iso: &Subject<'_>) -> Args {
    iso.args.clone().without(&LOCAL_ONLY)
}

/// The best way: attached by what the initrd has itself, else by a second one; then file by file, then copied.
fn boot_by_family(iso: &Subject<'_>, servers: &Servers) -> Result<Boot, &'static str> {
    let own = own(iso);
    if iso.netroot && !attaches_itself(iso, servers) {
        return Ok(netroot::boot(iso, own, servers));
    }
    match iso.family {
        Family::LiveOs => dracut::boot(iso, own, servers),
        Family::Archiso => hooks::boot(iso, own, servers, &hooks::ARCHISO),
        Family::Miso => hooks::boot(iso, own, servers, &hooks::MISO),
        Family::Casper => families::casper(iso, own, servers),
        Family::LiveBoot => families::live_boot(iso, own, servers),
        Family::Anaconda => families::anaconda(iso, own, servers),
        Family::Linuxrc => families::linuxrc(iso, own, servers),
        Family::NixOs | Family::Alpine | Family::Proxmox | Family::Gentoo => Err(NO_NETWORK),
        Family::Generic => Ok(Boot {
            args: own,
            transport: Transport::Own,
            caveat: Some("how it would boot over a network is not known"),
        }),
    }
}

/// Whether an initrd is known to attach the root by itself, with these servers.
fn attaches_itself(iso: &Subject<'_>, servers: &Servers) -> bool {
    match iso.family {
        Family::LiveOs => dracut::attaches(iso),
        Family::Archiso => hooks::attaches(iso, servers, &hooks::ARCHISO),
        Family::Miso => hooks::attaches(iso, servers, &hooks::MISO),
        _ => false,
    }
}
