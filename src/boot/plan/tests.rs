use super::*;
use crate::image::initrd::Feature;

const OWN: &str = "root=live:CDLABEL=Fedora-42 rd.live.image rd.live.check quiet rhgb";

fn servers() -> Servers {
    Servers { host: Some("10.0.2.2".into()), port: 10809, prefer: None, http: None, nfs: None }
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

fn subject<'a>(family: Family, label: &'a Label, args: &'a str, initrd: Option<&'a Features>) -> Subject<'a> {
    let found = match family {
        Family::Archiso => "/arch/x86_64/airootfs.sfs",
        Family::LiveBoot => "/live/filesystem.squashfs",
        Family::Anaconda => "/images/install.img",
        _ => "/LiveOS/squashfs.img",
    };
    let root = (family == Family::LiveOs).then_some(Format::Squashfs);
    let volume_id = b"Fedora 42";
    Subject {
        family,
        found,
        label,
        volume_id,
        len: 5000,
        args: args.into(),
        root,
        initrd,
        netroot: false,
        way: None,
    }
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
    assert!(boot.args.iter().any(|arg| arg == "netroot=nbd:10.0.2.2:10810::ro:-N,F42.iso"), "{}", boot.args);
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
        try_boot(Family::LiveOs, OWN, Some(&void), &http()).unwrap_err().contains("neither NBD nor livenet")
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
        try_boot(Family::Anaconda, "inst.stage2=hd:LABEL=F42 rd.live.check quiet", None, &http()).unwrap(),
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
    assert!(args(Way::Nbd).starts_with("root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso::ro "));
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

fn by_netroot(family: Family, args: &str, initrd: Option<&Features>, servers: &Servers) -> Boot {
    let label = Label::parse("F42").unwrap();
    boot(&Subject { netroot: true, ..subject(family, &label, args, initrd) }, servers).unwrap()
}

#[test]
fn an_attached_iso_boots_with_its_own_arguments() {
    const INIT: &str = "rdinit=/netrootfs/init netroot.nbd=10.0.2.2/F42.iso";
    let stock = features(&[Feature::Dracut, Feature::DmsquashLive, Feature::Livenet]);
    for (family, own, want) in [
        (Family::LiveOs, OWN, "root=live:CDLABEL=Fedora\\x2042 rd.live.image quiet rhgb"),
        (Family::LiveOs, "root=live:CDLABEL=x liveimg ip=dhcp", "root=live:CDLABEL=Fedora\\x2042 liveimg"),
        (
            Family::LiveBoot,
            "boot=live components ip=frommedia quiet",
            "boot=live live-media=/dev/nbd0 components quiet",
        ),
        (
            Family::Casper,
            "boot=casper quiet splash --- keyboard=x",
            "boot=casper live-media=/dev/nbd0 noprompt quiet splash --- keyboard=x",
        ),
        (Family::Anaconda, "inst.stage2=hd:LABEL=x quiet", "inst.stage2=hd:LABEL=Fedora\\x2042 quiet"),
        (
            Family::Archiso,
            "archisobasedir=arch archisosearchuuid=1 quiet",
            "archisobasedir=arch archisodevice=/dev/nbd0 copytoram=n quiet",
        ),
        (Family::Alpine, "modules=loop,squashfs quiet", "modules=loop,squashfs quiet"),
        (Family::NixOs, "root=LABEL=nixos init=/nix/x", "root=LABEL=nixos init=/nix/x"),
        (Family::Generic, "quiet", "quiet"),
    ] {
        // HTTP and NFS would do too, and are worse.
        let boot = by_netroot(family, own, Some(&stock), &nfs());
        assert_eq!((boot.args.to_string(), boot.transport), (format!("{INIT} {want}"), Transport::Netroot));
    }
}

#[test]
fn another_port_is_said() {
    let boot = by_netroot(Family::Alpine, "", None, &Servers { port: 10810, ..servers() });
    assert_eq!(boot.args.to_string(), "rdinit=/netrootfs/init netroot.nbd=10.0.2.2:10810/F42.iso");
}

#[test]
fn what_attaches_by_itself_needs_no_second_initramfs() {
    let manager = dracut("059", Feature::NetworkManager);
    let networkd = dracut("059", Feature::Networkd);
    let transport = |family, initrd: &Features, servers: &Servers| {
        by_netroot(family, "quiet", Some(initrd), servers).transport
    };
    assert_eq!(transport(Family::LiveOs, &manager, &nfs()), Transport::Nbd(Export::Image));
    assert_eq!(transport(Family::LiveOs, &networkd, &nfs()), Transport::Netroot);
    let hook = features(&[Feature::ArchisoHook, Feature::ArchisoNbd]);
    let other_port = Servers { port: 10810, ..servers() };
    assert_eq!(transport(Family::Archiso, &hook, &nfs()), Transport::Nbd(Export::Iso));
    assert_eq!(transport(Family::Archiso, &hook, &other_port), Transport::Netroot, "its port can't be told");
    let unknown = by_netroot(Family::LiveOs, OWN, None, &servers());
    assert_eq!(unknown.transport, Transport::Netroot);
}

#[test]
fn a_second_initramfs_can_be_chosen_by_hand() {
    let label = Label::parse("F42").unwrap();
    let manager = dracut("059", Feature::NetworkManager);
    let chosen = |netroot| Subject {
        netroot,
        way: Some(Way::Netroot),
        ..subject(Family::LiveOs, &label, OWN, Some(&manager))
    };
    assert_eq!(boot(&chosen(true), &servers()).unwrap().transport, Transport::Netroot);
    assert_eq!(boot(&chosen(false), &servers()), Err(NO_NETROOT));
    let http = Subject { way: Some(Way::Http), ..chosen(true) };
    assert_eq!(boot(&http, &self::http()).unwrap().transport, Transport::Http);
}
