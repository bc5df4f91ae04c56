//! The kernel arguments that boot an ISO over a network, by family and transport.
//!
//! A function of plain values: what the ISO is, what its initrd can do, which servers there are. What an initrd can do
//! decides more than the family; until that is known, the arguments are those that work either way.

use serde::Deserialize;

use crate::args::Args;
use crate::family::{Family, Format};
use crate::initrd::{Feature, Features};
use crate::label::{Label, udev_encode};
use crate::render::nbd::DEFAULT_PORT;

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
    /// As a whole, into the client's memory.
    Http,
    /// File by file.
    Nfs,
    /// By what the ISO's own arguments say.
    Own,
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
    /// By HTTP.
    Http,
    /// By NFS.
    Nfs,
    /// By what the ISO's own arguments say.
    Own,
}

/// The servers that show the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Address or name of the NBD server, as clients call it.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The export to use wherever there is a choice.
    pub prefer: Option<Export>,
    /// URL at which an HTTP server shows the tree, without a slash at its end.
    pub http: Option<String>,
    /// `HOST:/PATH` at which an NFS server shows the tree, without a slash at its end.
    pub nfs: Option<String>,
}

/// What is known of an ISO when its arguments are made.
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
    pub args: &'a str,
    /// Its root image.
    pub root: Option<Format>,
    /// What its initrd can do, once that is known.
    pub initrd: Option<&'a Features>,
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
        (Family::LiveOs, Way::Nbd | Way::NbdImage | Way::NbdIso) => dracut_nbd(iso, own(iso), &servers),
        (Family::LiveOs, Way::Http) => live_http(iso, own(iso), &servers)?,
        (Family::LiveOs, Way::Nfs) => live_nfs(iso, own(iso), servers.nfs.as_ref().ok_or(NO_NFS)?),
        (_, Way::Http) if servers.http.is_none() => return Err(NO_HTTP),
        (_, Way::Nfs) if servers.nfs.is_none() => return Err(NO_NFS),
        _ => boot_by_family(iso, &servers).map_err(|_| OTHER_WAY)?,
    };
    let fits = match way {
        Way::Nbd => matches!(boot.transport, Transport::Nbd(_)),
        Way::NbdImage => boot.transport == Transport::Nbd(Export::Image),
        Way::NbdIso => boot.transport == Transport::Nbd(Export::Iso),
        Way::Http => boot.transport == Transport::Http,
        Way::Nfs => boot.transport == Transport::Nfs,
        Way::Own => true,
    };
    if fits { Ok(boot) } else { Err(OTHER_WAY) }
}

fn own(iso: &Subject<'_>) -> Args {
    Args::parse(iso.args).without(&LOCAL_ONLY)
}

fn boot_by_family(iso: &Subject<'_>, servers: &Servers) -> Result<Boot, &'static str> {
    let own = own(iso);
    match iso.family {
        Family::LiveOs => live_os(iso, own, servers),
        Family::Archiso => hooks(iso, own, servers, &ARCHISO),
        Family::Miso => hooks(iso, own, servers, &MISO),
        Family::Casper => casper(iso, own, servers),
        Family::LiveBoot => live_boot(iso, own, servers),
        Family::Anaconda => anaconda(iso, own, servers),
        Family::Linuxrc => linuxrc(iso, own, servers),
        Family::NixOs | Family::Alpine | Family::Proxmox | Family::Gentoo => Err(NO_NETWORK),
        Family::Generic => Ok(Boot {
            args: own,
            transport: Transport::Own,
            caveat: Some("how it would boot over a network is not known"),
        }),
    }
}

/// What dracut and its modules can do with a `LiveOS/` (dracut.cmdline(7)).
fn live_os(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    // What is not known yet, or could not be read, may be able to: the whole ISO by its label always works then.
    let Some(initrd) = iso.initrd.filter(|initrd| initrd.damage.is_none() || initrd.has(Feature::Dracut))
    else {
        return Ok(dracut_nbd(iso, own, servers));
    };
    if initrd.native_nbd() {
        return Ok(dracut_nbd(iso, own, servers));
    }
    if let Some(nfs) = servers.nfs.as_ref().filter(|_| initrd.has(Feature::Nfs) && iso.root.is_some()) {
        return Ok(live_nfs(iso, own, nfs));
    }
    if !initrd.has(Feature::KiwiLive) && !initrd.has(Feature::Livenet) {
        return Err(
            "its initrd has neither NBD nor livenet: make the image with nbd and dracut-network in it",
        );
    }
    live_http(iso, own, servers)
}

fn live_nfs(iso: &Subject<'_>, own: Args, nfs: &str) -> Boot {
    let file = root_file(iso);
    let root = format!("root=live:nfs:{nfs}/images/{file} ip=dhcp rd.neednet=1");
    let args = live_image(own.without(&DRACUT_ROOT)).prepend(&root);
    Boot { args, transport: Transport::Nfs, caveat: None }
}

fn live_http(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let http = servers.http.as_ref().ok_or(NO_HTTP)?;
    let root = if iso.initrd.is_some_and(|initrd| initrd.has(Feature::KiwiLive)) {
        // kiwi copies the ISO into /dev/ram0, which is 2 GiB unless told otherwise.
        let size = iso.len.div_ceil(1024);
        format!("root=live:{http}/images/{}.iso ramdisk_size={size} ip=dhcp", iso.label)
    } else {
        format!("root=live:{http}/images/{} ip=dhcp rd.neednet=1", root_file(iso))
    };
    let args = live_image(own.without(&DRACUT_ROOT)).prepend(&root);
    Ok(Boot { args, transport: Transport::Http, caveat: Some("it is copied into the client's memory") })
}

/// What is fetched as a file: the root image, else the whole ISO.
fn root_file(iso: &Subject<'_>) -> String {
    if iso.root.is_some() { format!("liveos_{}.img", iso.label) } else { format!("{}.iso", iso.label) }
}

/// Arguments that say where the root is, and are said anew.
const DRACUT_ROOT: [&str; 4] = ["root", "netroot", "ip", "rd.neednet"];

/// `liveimg` is what `rd.live.image` was called before dracut 024.
fn live_image(own: Args) -> Args {
    let named = own.has("rd.live.image") || own.has("liveimg");
    if named { own } else { own.prepend("rd.live.image") }
}

/// `netroot=nbd:` attaches the export as /dev/nbd0, `root=live:` says where on it the root image is.
fn dracut_nbd(iso: &Subject<'_>, own: Args, servers: &Servers) -> Boot {
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
        DEFAULT_PORT => format!("{name}::ro"),
        port => format!("{port}::ro:-N,{name}"),
    };
    let host = &servers.host;
    let network = format!("root=live:{root} netroot=nbd:{host}:{place} ip=dhcp rd.neednet=1");
    let args = live_image(own.without(&DRACUT_ROOT)).prepend(&network);
    Boot { args, transport: Transport::Nbd(export), caveat: dracut_caveat(iso) }
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

fn dracut_caveat(iso: &Subject<'_>) -> Option<&'static str> {
    let initrd = iso.initrd?;
    if !initrd.native_nbd() {
        return Some("its initrd can't be read, so whether it can do NBD is not known");
    }
    if initrd.has(Feature::Networkd) && !initrd.has(Feature::NetworkManager) {
        return Some("its initrd uses systemd-networkd, with which dracut doesn't attach an NBD root");
    }
    None
}

/// The mkinitcpio hooks of archiso, and miso's copies of them.
struct Hooks {
    /// What the arguments begin with.
    prefix: &'static str,
    nbd: Feature,
    http: Feature,
    nfs: Feature,
}

const ARCHISO: Hooks = Hooks {
    prefix: "archiso",
    nbd: Feature::ArchisoNbd,
    http: Feature::ArchisoHttp,
    nfs: Feature::ArchisoNfs,
};

const MISO: Hooks =
    Hooks { prefix: "miso", nbd: Feature::MisoNbd, http: Feature::MisoHttp, nfs: Feature::MisoNfs };

/// mkinitcpio-archiso, docs/README.bootparams. `ip=` must be there, or none of the hooks runs; without `copytoram=n` the
/// image is copied into memory and the network taken down.
fn hooks(iso: &Subject<'_>, own: Args, servers: &Servers, hooks: &Hooks) -> Result<Boot, &'static str> {
    let Hooks { prefix, .. } = hooks;
    // archisosearchuuid would be preferred to the device that NBD attaches.
    let places =
        ["label", "device", "searchuuid", "searchfilename", "basedir"].map(|key| format!("{prefix}{key}"));
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let own = own.without(&places).without(&["ip", "copytoram", "img_dev", "img_loop"]);
    // The hooks of releng, until it is known otherwise; what an administrator has chosen, in any case.
    let has = |feature, ways: &[Way]| match iso.way {
        Some(way) => ways.contains(&way),
        None => iso.initrd.is_none_or(|initrd| initrd.has(feature)),
    };
    let base = iso.found.split('/').find(|name| !name.is_empty()).unwrap_or_default();
    let (label, host) = (iso.label, &servers.host);
    let (way, transport) = if has(hooks.nbd, &[Way::Nbd, Way::NbdImage, Way::NbdIso]) {
        let way = format!("{prefix}_nbd_srv={host} {prefix}_nbd_name={label}.iso copytoram=n");
        (way, Transport::Nbd(Export::Iso))
    } else if let Some(nfs) = servers.nfs.as_ref().filter(|_| has(hooks.nfs, &[Way::Nfs])) {
        (format!("{prefix}_nfs_srv={nfs}/trees/{label} copytoram=n"), Transport::Nfs)
    } else if has(hooks.http, &[Way::Http]) {
        let http = servers.http.as_ref().ok_or(NO_HTTP)?;
        (format!("{prefix}_http_srv={http}/trees/{label}/"), Transport::Http)
    } else {
        return Err("its initrd has none of the network hooks");
    };
    let args = own.prepend(&format!("{prefix}basedir={base} {way} ip=dhcp"));
    let port = matches!(transport, Transport::Nbd(_)) && servers.port != DEFAULT_PORT;
    let caveat = port.then_some("its initrd attaches NBD on port 10809 only, and the server has another");
    Ok(Boot { args, transport, caveat })
}

/// casper(7). `ip=dhcp` is needed for `url=`, which takes an `.iso`.
fn casper(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let own = own.without(&["boot", "ip", "url", "iso-url", "nfsroot", "live-media"]);
    let label = iso.label;
    if let Some(nfs) = &servers.nfs {
        let args = own.prepend(&format!("boot=casper netboot=nfs nfsroot={nfs}/trees/{label} ip=dhcp"));
        return Ok(Boot { args, transport: Transport::Nfs, caveat: None });
    }
    let http = servers.http.as_ref().ok_or(NO_HTTP_NFS)?;
    let args = own.prepend(&format!("boot=casper netboot=url url={http}/images/{label}.iso ip=dhcp"));
    let caveat =
        Some("the whole ISO is copied into the client's memory: it needs the ISO's size and 2 GiB more");
    Ok(Boot { args, transport: Transport::Http, caveat })
}

/// live-boot(7). `fetch=` takes the image that `live/` holds, by its extension.
fn live_boot(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let own = own.without(&["boot", "fetch", "httpfs", "ip", "live-media", "netboot", "nfsroot"]);
    let label = iso.label;
    if let Some(nfs) = &servers.nfs {
        let args = own.prepend(&format!("boot=live netboot=nfs nfsroot={nfs}/trees/{label}"));
        return Ok(Boot { args, transport: Transport::Nfs, caveat: None });
    }
    let http = servers.http.as_ref().ok_or(NO_HTTP_NFS)?;
    let args = own.prepend(&format!("boot=live fetch={http}/trees/{label}{}", iso.found));
    let caveat = Some("the root image is copied into the client's memory");
    Ok(Boot { args, transport: Transport::Http, caveat })
}

/// anaconda, docs/boot-options.rst. Any `root=` would make it ignore `inst.*`.
fn anaconda(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
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
    Ok(Boot { args: own.prepend(&format!("{key}={place} ip=dhcp")), transport, caveat: None })
}

/// linuxrc, linuxrc_repo.md.
fn linuxrc(iso: &Subject<'_>, own: Args, servers: &Servers) -> Result<Boot, &'static str> {
    let http = servers.http.as_ref().ok_or(NO_HTTP)?;
    let args = own.without(&["install"]).prepend(&format!("install={http}/trees/{}/", iso.label));
    Ok(Boot { args, transport: Transport::Http, caveat: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "root=live:CDLABEL=Fedora-42 rd.live.image rd.live.check quiet rhgb";

    fn servers() -> Servers {
        Servers { host: "10.0.2.2".into(), port: 10809, prefer: None, http: None, nfs: None }
    }

    fn http() -> Servers {
        Servers { http: Some("http://10.0.2.2/nb".into()), ..servers() }
    }

    fn nfs() -> Servers {
        Servers { nfs: Some("10.0.2.2:/srv/netboot".into()), ..http() }
    }

    fn features(found: &[Feature]) -> Features {
        Features { found: found.iter().copied().collect(), ..Features::default() }
    }

    fn dracut(version: &str, network: Feature) -> Features {
        let found = [Feature::Dracut, Feature::DracutNbd, Feature::NbdClient, Feature::DmsquashLive, network];
        Features { dracut_version: Some(version.into()), ..features(&found) }
    }

    fn subject<'a>(
        family: Family,
        label: &'a Label,
        args: &'a str,
        initrd: Option<&'a Features>,
    ) -> Subject<'a> {
        let found = match family {
            Family::Archiso => "/arch/x86_64/airootfs.sfs",
            Family::LiveBoot => "/live/filesystem.squashfs",
            Family::Anaconda => "/images/install.img",
            _ => "/LiveOS/squashfs.img",
        };
        let root = (family == Family::LiveOs).then_some(Format::Squashfs);
        Subject { family, found, label, volume_id: b"Fedora 42", len: 5000, args, root, initrd, way: None }
    }

    fn try_boot(
        family: Family,
        args: &str,
        initrd: Option<&Features>,
        servers: &Servers,
    ) -> Result<String, &'static str> {
        let label = Label::parse("F42").unwrap();
        boot(&subject(family, &label, args, initrd), servers).map(|boot| boot.args.to_string())
    }

    fn live(root: Option<Format>, initrd: Option<&Features>, prefer: Option<Export>) -> Boot {
        let label = Label::parse("F42").unwrap();
        let subject = Subject { root, ..subject(Family::LiveOs, &label, OWN, initrd) };
        boot(&subject, &Servers { prefer, ..servers() }).unwrap()
    }

    #[test]
    fn until_the_initrd_is_known_the_whole_iso_is_attached() {
        let boot = live(Some(Format::Squashfs), None, None);
        assert_eq!(
            boot.args.to_string(),
            "root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso::ro ip=dhcp rd.neednet=1 rd.live.image quiet rhgb"
        );
        assert_eq!(boot.transport, Transport::Nbd(Export::Iso));
    }

    #[test]
    fn an_initrd_with_networkmanager_takes_the_bare_root_image() {
        let initrd = dracut("059-22.fc39", Feature::NetworkManager);
        let boot = live(Some(Format::Squashfs), Some(&initrd), None);
        assert_eq!(
            boot.args.to_string(),
            "root=live:/dev/nbd0 netroot=nbd:10.0.2.2:F42::ro ip=dhcp rd.neednet=1 rd.live.image quiet rhgb"
        );
        assert_eq!((boot.transport, boot.caveat), (Transport::Nbd(Export::Image), None));
    }

    #[test]
    fn another_port_stands_before_the_name() {
        let label = Label::parse("F42").unwrap();
        let other = Servers { port: 10810, ..servers() };
        let boot = boot(&subject(Family::LiveOs, &label, OWN, None), &other).unwrap();
        assert!(
            boot.args.iter().any(|arg| arg == "netroot=nbd:10.0.2.2:10810::ro:-N,F42.iso"),
            "{}",
            boot.args
        );
    }

    #[test]
    fn others_take_the_whole_iso() {
        let legacy = dracut("059", Feature::NetworkLegacy);
        let old = dracut("049", Feature::NetworkManager);
        let middle = dracut("059", Feature::NetworkManager);
        let new = dracut("103", Feature::NetworkManager);
        let transport = |root, initrd: &Features| live(Some(root), Some(initrd), None).transport;
        assert_eq!(transport(Format::Squashfs, &legacy), Transport::Nbd(Export::Iso));
        assert_eq!(transport(Format::Squashfs, &old), Transport::Nbd(Export::Iso));
        assert_eq!(transport(Format::Ext4, &new), Transport::Nbd(Export::Iso));
        assert_eq!(transport(Format::Erofs, &middle), Transport::Nbd(Export::Iso));
        assert_eq!(transport(Format::Erofs, &new), Transport::Nbd(Export::Image));
    }

    #[test]
    fn an_administrator_can_prefer_an_export() {
        let legacy = dracut("059", Feature::NetworkLegacy);
        let manager = dracut("059", Feature::NetworkManager);
        let transport =
            |initrd: &Features, prefer| live(Some(Format::Squashfs), Some(initrd), Some(prefer)).transport;
        assert_eq!(transport(&legacy, Export::Image), Transport::Nbd(Export::Image));
        assert_eq!(transport(&manager, Export::Iso), Transport::Nbd(Export::Iso));
        assert_eq!(live(None, None, Some(Export::Image)).transport, Transport::Nbd(Export::Iso));
    }

    #[test]
    fn a_stock_live_initrd_boots_over_http_where_there_is_one() {
        let stock = features(&[Feature::Dracut, Feature::DmsquashLive, Feature::Livenet]);
        assert_eq!(try_boot(Family::LiveOs, OWN, Some(&stock), &servers()), Err(NO_HTTP));
        assert_eq!(
            try_boot(Family::LiveOs, OWN, Some(&stock), &http()).unwrap(),
            "root=live:http://10.0.2.2/nb/images/liveos_F42.img ip=dhcp rd.neednet=1 rd.live.image quiet rhgb"
        );
        let void = features(&[Feature::Dracut, Feature::DmsquashLive]);
        assert!(
            try_boot(Family::LiveOs, OWN, Some(&void), &http())
                .unwrap_err()
                .contains("neither NBD nor livenet")
        );
    }

    #[test]
    fn kiwi_wants_the_whole_iso_and_a_ramdisk_for_it() {
        let kiwi = features(&[Feature::Dracut, Feature::KiwiLive]);
        assert_eq!(
            try_boot(Family::LiveOs, "root=live:CDLABEL=CDROM rd.live.image", Some(&kiwi), &http()).unwrap(),
            "root=live:http://10.0.2.2/nb/images/F42.iso ramdisk_size=5 ip=dhcp rd.live.image"
        );
    }

    #[test]
    fn archiso_attaches_the_whole_iso() {
        let own = "archisobasedir=arch archisosearchuuid=2024-01-01 cms_verify=y quiet";
        assert_eq!(
            try_boot(Family::Archiso, own, None, &servers()).unwrap(),
            "archisobasedir=arch archiso_nbd_srv=10.0.2.2 archiso_nbd_name=F42.iso copytoram=n ip=dhcp quiet"
        );
        let only_http = features(&[Feature::ArchisoHook, Feature::ArchisoHttp]);
        assert_eq!(
            try_boot(Family::Archiso, own, Some(&only_http), &http()).unwrap(),
            "archisobasedir=arch archiso_http_srv=http://10.0.2.2/nb/trees/F42/ ip=dhcp quiet"
        );
    }

    #[test]
    fn casper_fetches_the_iso_or_mounts_its_tree() {
        let own = "boot=casper iso-scan/filename=/x.iso quiet --- splash";
        assert_eq!(
            try_boot(Family::Casper, own, None, &http()).unwrap(),
            "boot=casper netboot=url url=http://10.0.2.2/nb/images/F42.iso ip=dhcp quiet --- splash"
        );
        assert_eq!(
            try_boot(Family::Casper, own, None, &nfs()).unwrap(),
            "boot=casper netboot=nfs nfsroot=10.0.2.2:/srv/netboot/trees/F42 ip=dhcp quiet --- splash"
        );
        assert_eq!(try_boot(Family::Casper, own, None, &servers()), Err(NO_HTTP_NFS));
    }

    #[test]
    fn live_boot_fetches_its_image() {
        assert_eq!(
            try_boot(Family::LiveBoot, "boot=live components quiet findiso=/x.iso", None, &http()).unwrap(),
            "boot=live fetch=http://10.0.2.2/nb/trees/F42/live/filesystem.squashfs components quiet"
        );
    }

    #[test]
    fn anaconda_finds_its_second_stage() {
        assert_eq!(
            try_boot(Family::Anaconda, "inst.stage2=hd:LABEL=F42 rd.live.check quiet", None, &http())
                .unwrap(),
            "inst.stage2=http://10.0.2.2/nb/trees/F42/ ip=dhcp quiet"
        );
        assert_eq!(
            try_boot(Family::Anaconda, "inst.stage2=hd:LABEL=F42 quiet", None, &nfs()).unwrap(),
            "inst.repo=nfs:10.0.2.2:/srv/netboot/images/F42.iso ip=dhcp quiet"
        );
    }

    #[test]
    fn an_iso_without_network_is_told_so() {
        assert_eq!(try_boot(Family::NixOs, "", None, &nfs()), Err(NO_NETWORK));
    }

    #[test]
    fn an_unknown_iso_keeps_its_own_arguments() {
        let own = "boot=x components findiso=/x.iso BOOT_IMAGE=/vmlinuz quiet";
        assert_eq!(try_boot(Family::Generic, own, None, &servers()).unwrap(), "boot=x components quiet");
    }

    fn forced(family: Family, way: Way, servers: &Servers) -> Result<String, &'static str> {
        let label = Label::parse("F42").unwrap();
        let own = if family == Family::LiveOs { OWN } else { "quiet" };
        let subject = Subject { way: Some(way), ..subject(family, &label, own, None) };
        boot(&subject, servers).map(|boot| boot.args.to_string())
    }

    #[test]
    fn a_way_can_be_chosen_by_hand() {
        let args = |way| forced(Family::LiveOs, way, &nfs()).unwrap();
        assert!(
            args(Way::Nbd).starts_with("root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso::ro ")
        );
        assert!(args(Way::NbdIso).starts_with("root=live:CDLABEL=Fedora\\x2042 "));
        assert!(args(Way::NbdImage).starts_with("root=live:/dev/nbd0 netroot=nbd:10.0.2.2:F42::ro "));
        assert!(args(Way::Http).starts_with("root=live:http://10.0.2.2/nb/images/liveos_F42.img ip=dhcp "));
        assert!(args(Way::Nfs).starts_with("root=live:nfs:10.0.2.2:/srv/netboot/images/liveos_F42.img "));
        assert_eq!(args(Way::Own), "root=live:CDLABEL=Fedora-42 rd.live.image quiet rhgb");
        let casper = |way| forced(Family::Casper, way, &nfs()).unwrap();
        assert!(casper(Way::Http).starts_with("boot=casper netboot=url "));
        assert!(casper(Way::Nfs).starts_with("boot=casper netboot=nfs "));
        let arch = |way| forced(Family::Archiso, way, &nfs()).unwrap();
        assert!(arch(Way::NbdIso).starts_with("archisobasedir=arch archiso_nbd_srv="));
        assert!(arch(Way::Http).starts_with("archisobasedir=arch archiso_http_srv="));
        assert_eq!(forced(Family::Alpine, Way::Own, &servers()).unwrap(), "quiet");
    }

    #[test]
    fn a_way_that_is_none_is_refused() {
        assert_eq!(forced(Family::Casper, Way::Nbd, &nfs()), Err(OTHER_WAY));
        assert_eq!(forced(Family::Archiso, Way::NbdImage, &nfs()), Err(OTHER_WAY));
        assert_eq!(forced(Family::Alpine, Way::Http, &nfs()), Err(OTHER_WAY));
        assert_eq!(forced(Family::Casper, Way::Http, &servers()), Err(NO_HTTP));
        assert_eq!(forced(Family::LiveOs, Way::Http, &servers()), Err(NO_HTTP));
        assert_eq!(forced(Family::LiveOs, Way::Nfs, &http()), Err(NO_NFS));
    }
}
