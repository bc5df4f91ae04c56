use std::sync::LazyLock;

use super::*;
use crate::boot::families::{
    Family, alpine, anaconda, archiso, casper, debian_installer, generic, gentoo, live_boot, live_os, mx,
    nixos, photon, porteus, proxmox, puppy, slax,
};
use crate::boot::format::Format;
use crate::boot::reasons::Caveat;
use crate::image::initrd::{Feature, Features};
use crate::image::iso::Medium;
use crate::image::label::Label;

const OWN: &str = "root=live:CDLABEL=Fedora-42 rd.live.image rd.live.check quiet rhgb";

fn servers() -> Servers {
    Servers::at("10.0.2.2")
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

fn marked(marks: &[&str]) -> Features {
    Features { marks: marks.iter().map(|mark| (*mark).to_owned()).collect(), ..Features::default() }
}

fn dracut(version: &str, network: Feature) -> Features {
    let found = [Feature::Dracut, Feature::DracutNbd, Feature::NbdClient, Feature::DmsquashLive, network];
    Features { dracut_version: Some(version.into()), ..features(&found) }
}

fn subject<'a>(family: &'static Family, label: &'a Label, initrd: Option<&'a Features>) -> Subject<'a> {
    let found = match family.name {
        "archiso" => "/arch/x86_64/airootfs.sfs",
        "live-boot" => "/live/filesystem.squashfs",
        "Anaconda" => "/images/install.img",
        _ => "/LiveOS/squashfs.img",
    };
    let root = (*family == live_os::FAMILY).then_some(Format::Squashfs);
    static MEDIUM: LazyLock<Medium> = LazyLock::new(|| Medium {
        label: b"Fedora 42".to_vec(),
        uuid: Some("2025-04-11-00-00-00-00".into()),
    });
    let (has_initrd, checks_media) = (true, false);
    Subject {
        family,
        found,
        label,
        medium: &MEDIUM,
        len: 5000,
        root,
        initrd,
        netroot: false,
        has_initrd,
        checks_media,
    }
}

fn try_boot(
    family: &'static Family,
    args: &str,
    initrd: Option<&Features>,
    servers: &Servers,
) -> Result<String, Refusal> {
    let label = Label::parse("F42").unwrap();
    boot(&subject(family, &label, initrd), args.into(), None, servers).map(|boot| boot.args.to_string())
}

fn live(root: Option<Format>, initrd: Option<&Features>, prefer: Option<Export>) -> Boot {
    let label = Label::parse("F42").unwrap();
    let subject = Subject { root, ..subject(&live_os::FAMILY, &label, initrd) };
    boot(&subject, OWN.into(), None, &Servers { prefer, ..servers() }).unwrap()
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
    let boot = boot(&subject(&live_os::FAMILY, &label, None), OWN.into(), None, &other).unwrap();
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
    assert_eq!(try_boot(&live_os::FAMILY, OWN, Some(&stock), &servers()), Err(Refusal::NoHttp));
    assert_eq!(
        try_boot(&live_os::FAMILY, OWN, Some(&stock), &http()).unwrap(),
        "root=live:http://10.0.2.2/nb/images/liveos_F42.img ip=dhcp rd.neednet=1 rd.live.image quiet rhgb"
    );
    let void = features(&[Feature::Dracut, Feature::DmsquashLive]);
    assert_eq!(try_boot(&live_os::FAMILY, OWN, Some(&void), &http()), Err(Refusal::NoNbdNorLivenet));
}

#[test]
fn kiwi_wants_the_whole_iso_and_a_ramdisk_for_it() {
    let kiwi = Features { found: [Feature::Dracut].into(), ..marked(&["kiwi-live"]) };
    assert_eq!(
        try_boot(&live_os::FAMILY, "root=live:CDLABEL=CDROM rd.live.image", Some(&kiwi), &http()).unwrap(),
        "root=live:http://10.0.2.2/nb/images/F42.iso ramdisk_size=5 ip=dhcp rd.live.image"
    );
}

#[test]
fn archiso_attaches_the_whole_iso() {
    let own = "archisobasedir=arch archisosearchuuid=2024-01-01 cms_verify=y quiet";
    assert_eq!(
        try_boot(&archiso::FAMILY, own, None, &servers()).unwrap(),
        "archisobasedir=arch archiso_nbd_srv=10.0.2.2 archiso_nbd_name=F42.iso copytoram=n ip=dhcp quiet"
    );
    let only_http = marked(&["archiso", "archiso_pxe_http"]);
    assert_eq!(
        try_boot(&archiso::FAMILY, own, Some(&only_http), &http()).unwrap(),
        "archisobasedir=arch archiso_http_srv=http://10.0.2.2/nb/trees/F42/ ip=dhcp quiet"
    );
}

#[test]
fn casper_fetches_the_iso_or_mounts_its_tree() {
    let own = "boot=casper iso-scan/filename=/x.iso quiet --- splash";
    assert_eq!(
        try_boot(&casper::FAMILY, own, None, &http()).unwrap(),
        "boot=casper netboot=url url=http://10.0.2.2/nb/images/F42.iso ip=dhcp quiet --- splash"
    );
    assert_eq!(
        try_boot(&casper::FAMILY, own, None, &nfs()).unwrap(),
        "boot=casper netboot=nfs nfsroot=10.0.2.2:/srv/netboot/trees/F42 ip=dhcp quiet --- splash"
    );
    assert_eq!(try_boot(&casper::FAMILY, own, None, &servers()), Err(Refusal::NoHttpOrNfs));
}

#[test]
fn live_boot_fetches_its_image() {
    assert_eq!(
        try_boot(&live_boot::FAMILY, "boot=live components quiet findiso=/x.iso", None, &http()).unwrap(),
        "boot=live fetch=http://10.0.2.2/nb/trees/F42/live/filesystem.squashfs components quiet"
    );
}

#[test]
fn anaconda_finds_its_second_stage() {
    assert_eq!(
        try_boot(&anaconda::FAMILY, "inst.stage2=hd:LABEL=F42 rd.live.check quiet", None, &http()).unwrap(),
        "inst.stage2=http://10.0.2.2/nb/trees/F42/ ip=dhcp quiet"
    );
    assert_eq!(
        try_boot(&anaconda::FAMILY, "inst.stage2=hd:LABEL=F42 quiet", None, &nfs()).unwrap(),
        "inst.repo=nfs:10.0.2.2:/srv/netboot/images/F42.iso ip=dhcp quiet"
    );
}

#[test]
fn an_iso_without_network_is_told_so() {
    assert_eq!(try_boot(&nixos::FAMILY, "", None, &nfs()), Err(Refusal::NoNetwork));
}

#[test]
fn an_unknown_iso_keeps_its_own_arguments() {
    let own = "boot=x components findiso=/x.iso BOOT_IMAGE=/vmlinuz quiet";
    assert_eq!(try_boot(&generic::FAMILY, own, None, &servers()).unwrap(), "boot=x components quiet");
}

fn forced(family: &'static Family, wish: Wish, servers: &Servers) -> Result<String, Refusal> {
    let label = Label::parse("F42").unwrap();
    let own = if *family == live_os::FAMILY { OWN } else { "quiet" };
    let iso = subject(family, &label, None);
    boot(&iso, own.into(), Some(wish), servers).map(|boot| boot.args.to_string())
}

#[test]
fn a_transport_can_be_wished() {
    let args = |wish| forced(&live_os::FAMILY, wish, &nfs()).unwrap();
    assert!(
        args(Wish::AnyNbd).starts_with("root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso::ro ")
    );
    assert!(args(Wish::Exactly(Transport::Nbd(Export::Iso))).starts_with("root=live:CDLABEL=Fedora\\x2042 "));
    assert!(
        args(Wish::Exactly(Transport::Nbd(Export::Image)))
            .starts_with("root=live:/dev/nbd0 netroot=nbd:10.0.2.2:F42::ro ")
    );
    assert!(
        args(Wish::Exactly(Transport::Http))
            .starts_with("root=live:http://10.0.2.2/nb/images/liveos_F42.img ip=dhcp ")
    );
    assert!(
        args(Wish::Exactly(Transport::Nfs))
            .starts_with("root=live:nfs:10.0.2.2:/srv/netboot/images/liveos_F42.img ")
    );
    assert_eq!(args(Wish::Exactly(Transport::Own)), "root=live:CDLABEL=Fedora-42 rd.live.image quiet rhgb");
    let casper = |wish| forced(&casper::FAMILY, wish, &nfs()).unwrap();
    assert!(casper(Wish::Exactly(Transport::Http)).starts_with("boot=casper netboot=url "));
    assert!(casper(Wish::Exactly(Transport::Nfs)).starts_with("boot=casper netboot=nfs "));
    let arch = |wish| forced(&archiso::FAMILY, wish, &nfs()).unwrap();
    assert!(
        arch(Wish::Exactly(Transport::Nbd(Export::Iso))).starts_with("archisobasedir=arch archiso_nbd_srv=")
    );
    assert!(arch(Wish::Exactly(Transport::Http)).starts_with("archisobasedir=arch archiso_http_srv="));
    assert_eq!(forced(&alpine::FAMILY, Wish::Exactly(Transport::Own), &servers()).unwrap(), "quiet");
}

#[test]
fn a_wish_that_cannot_be_met_is_refused() {
    assert_eq!(forced(&casper::FAMILY, Wish::AnyNbd, &nfs()), Err(Refusal::OtherTransport));
    assert_eq!(
        forced(&archiso::FAMILY, Wish::Exactly(Transport::Nbd(Export::Image)), &nfs()),
        Err(Refusal::OtherTransport)
    );
    assert_eq!(forced(&alpine::FAMILY, Wish::Exactly(Transport::Http), &nfs()), Err(Refusal::OtherTransport));
    assert_eq!(forced(&casper::FAMILY, Wish::Exactly(Transport::Http), &servers()), Err(Refusal::NoHttp));
    assert_eq!(forced(&live_os::FAMILY, Wish::Exactly(Transport::Http), &servers()), Err(Refusal::NoHttp));
    assert_eq!(forced(&live_os::FAMILY, Wish::Exactly(Transport::Nfs), &http()), Err(Refusal::NoNfs));
}

fn by_netroot(family: &'static Family, args: &str, initrd: Option<&Features>, servers: &Servers) -> Boot {
    let label = Label::parse("F42").unwrap();
    let iso = Subject { netroot: true, ..subject(family, &label, initrd) };
    boot(&iso, args.into(), None, servers).unwrap()
}

#[test]
fn with_several_servers_netroot_init_is_told_all_of_them() {
    let several = |several: &[&str]| Servers {
        several: several.iter().map(|server| server.parse().unwrap()).collect(),
        ..servers()
    };
    let able = features(&[Feature::Dracut, Feature::DmsquashLive, Feature::DracutNbd, Feature::NbdClient]);
    let boot = |servers: &Servers| by_netroot(&live_os::FAMILY, "quiet", Some(&able), servers);
    let two = boot(&several(&["10.0.0.1:10809", "10.0.0.2:99"]));
    assert_eq!(two.transport, Transport::Netroot);
    let begin = "rdinit=/netrootfs/init netroot.nbd=/F42.iso netroot.servers=10.0.0.1,10.0.0.2:99 root=live:/dev/nbd0";
    assert!(two.args.to_string().starts_with(begin), "{}", two.args);
    assert_eq!(boot(&several(&["10.0.0.1:10809"])).transport, boot(&servers()).transport);
}

#[test]
fn a_server_with_a_name_and_no_address_is_none_for_netroot_init() {
    let label = Label::parse("F42").unwrap();
    let iso = |family| Subject { netroot: true, ..subject(family, &label, None) };
    let named = Servers::at("nas.example.org");
    let best = |family, servers: &Servers| boot(&iso(family), "quiet".into(), None, servers);
    assert_eq!(best(&debian_installer::FAMILY, &named), Err(Refusal::NamedServer));
    assert_eq!(best(&casper::FAMILY, &named), Err(Refusal::NamedServer), "and not for want of HTTP");
    // Another way is taken where there is one.
    let with_http = Servers { http: Some("http://nas.example.org/nb".into()), ..named.clone() };
    assert_eq!(best(&casper::FAMILY, &with_http).unwrap().transport, Transport::Http);
    let wish = Some(Wish::Exactly(Transport::Netroot));
    assert_eq!(boot(&iso(&casper::FAMILY), "".into(), wish, &with_http), Err(Refusal::NamedServer));
    let several = vec!["10.0.0.1:10809".parse().unwrap()];
    let addressed = Servers { several, ..named };
    assert_eq!(best(&casper::FAMILY, &addressed).unwrap().transport, Transport::Netroot);
}

#[test]
fn an_attached_iso_boots_with_its_own_arguments() {
    const INIT: &str = "rdinit=/netrootfs/init netroot.nbd=10.0.2.2/F42.iso";
    let stock = features(&[Feature::Dracut, Feature::DmsquashLive, Feature::Livenet]);
    for (family, own, want) in [
        (&live_os::FAMILY, OWN, "root=live:/dev/nbd0 rd.live.image quiet rhgb"),
        (&live_os::FAMILY, "root=live:CDLABEL=x liveimg ip=dhcp", "root=live:/dev/nbd0 liveimg"),
        (
            &live_boot::FAMILY,
            "boot=live components ip=frommedia quiet",
            "boot=live live-media=/dev/nbd0 components quiet",
        ),
        (
            &casper::FAMILY,
            "boot=casper quiet splash --- keyboard=x",
            "boot=casper live-media=/dev/nbd0 noprompt quiet splash --- keyboard=x",
        ),
        (&anaconda::FAMILY, "inst.stage2=hd:LABEL=x quiet", "inst.stage2=hd:/dev/nbd0 quiet"),
        (
            &archiso::FAMILY,
            "archisobasedir=arch archisosearchuuid=1 quiet",
            "archisobasedir=arch archisodevice=/dev/nbd0 copytoram=n quiet",
        ),
        (&alpine::FAMILY, "modules=loop,squashfs quiet", "modules=loop,squashfs quiet"),
        (&nixos::FAMILY, "root=LABEL=nixos init=/nix/x", "root=/dev/nbd0 init=/nix/x"),
        (
            &proxmox::FAMILY,
            "ro ramdisk_size=16777216 rw quiet",
            "root=/dev/nbd0 ro ramdisk_size=16777216 rw quiet",
        ),
        (&photon::FAMILY, "root=/dev/ram0 photon.media=cdrom", "photon.media=/dev/nbd0 root=/dev/ram0"),
        (&debian_installer::FAMILY, "vga=788 --- quiet", "vga=788 --- quiet"),
        (
            &gentoo::FAMILY,
            "root=/dev/ram0 cdroot looptype=squashfs",
            "root=/dev/ram0 cdroot looptype=squashfs",
        ),
        (&slax::FAMILY, "from=/slax vga=normal", "from=/slax vga=normal"),
        (&generic::FAMILY, "quiet", "quiet"),
    ] {
        // HTTP and NFS would do too, and are worse.
        let boot = by_netroot(family, own, Some(&stock), &nfs());
        assert_eq!((boot.args.to_string(), boot.transport), (format!("{INIT} {want}"), Transport::Netroot));
    }
}

#[test]
fn an_attached_kiwi_iso_is_found_by_its_label() {
    let kiwi = marked(&["kiwi-live"]);
    // With a persistent overlay it would partition the disc that it boots from.
    let own = "root=live:CDLABEL=x rd.live.overlay.persistent rd.live.overlay.cowfs=ext4";
    let boot = by_netroot(&live_os::FAMILY, own, Some(&kiwi), &servers());
    assert!(boot.args.to_string().contains(" root=live:CDLABEL=Fedora\\x2042 "), "{}", boot.args);
    assert!(!boot.args.has("rd.live.overlay.persistent"), "{}", boot.args);
}

#[test]
fn who_looks_for_a_disc_in_an_unknown_way_is_told_so() {
    for family in [&mx::FAMILY, &slax::FAMILY, &porteus::FAMILY, &puppy::FAMILY, &generic::FAMILY] {
        let boot = by_netroot(family, "quiet", None, &servers());
        assert_eq!(
            (boot.transport, boot.caveat),
            (Transport::Netroot, Some(Caveat::UnknownDisc)),
            "{family:?}"
        );
    }
}

#[test]
fn dracut_finds_a_whole_iso_by_its_uuid() {
    let legacy = dracut("059", Feature::NetworkLegacy);
    let boot = live(Some(Format::Squashfs), Some(&legacy), None);
    assert!(
        boot.args
            .to_string()
            .starts_with("root=live:UUID=2025-04-11-00-00-00-00 netroot=nbd:10.0.2.2:F42.iso::ro "),
        "{}",
        boot.args
    );
}

#[test]
fn another_port_is_said() {
    let boot = by_netroot(&alpine::FAMILY, "", None, &Servers { port: 10810, ..servers() });
    assert_eq!(boot.args.to_string(), "rdinit=/netrootfs/init netroot.nbd=10.0.2.2:10810/F42.iso");
}

#[test]
fn what_attaches_by_itself_needs_no_second_initramfs() {
    let manager = dracut("059", Feature::NetworkManager);
    let networkd = dracut("059", Feature::Networkd);
    let transport = |family, initrd: &Features, servers: &Servers| {
        by_netroot(family, "quiet", Some(initrd), servers).transport
    };
    assert_eq!(transport(&live_os::FAMILY, &manager, &nfs()), Transport::Nbd(Export::Image));
    assert_eq!(transport(&live_os::FAMILY, &networkd, &nfs()), Transport::Netroot);
    let hook = marked(&["archiso", "archiso_pxe_nbd"]);
    let other_port = Servers { port: 10810, ..servers() };
    assert_eq!(transport(&archiso::FAMILY, &hook, &nfs()), Transport::Nbd(Export::Iso));
    assert_eq!(transport(&archiso::FAMILY, &hook, &other_port), Transport::Netroot, "its port can't be told");
    let unknown = by_netroot(&live_os::FAMILY, OWN, None, &servers());
    assert_eq!(unknown.transport, Transport::Netroot);
}

#[test]
fn a_second_initramfs_can_be_chosen_by_hand() {
    let label = Label::parse("F42").unwrap();
    let manager = dracut("059", Feature::NetworkManager);
    let chosen = |wish, netroot, servers: &Servers| {
        let iso = Subject { netroot, ..subject(&live_os::FAMILY, &label, Some(&manager)) };
        boot(&iso, OWN.into(), Some(Wish::Exactly(wish)), servers).map(|boot| boot.transport)
    };
    assert_eq!(chosen(Transport::Netroot, true, &servers()), Ok(Transport::Netroot));
    assert_eq!(chosen(Transport::Netroot, false, &servers()), Err(Refusal::NoNetroot));
    assert_eq!(chosen(Transport::Http, true, &http()), Ok(Transport::Http));
}

#[test]
fn a_refusal_names_every_server_that_would_do() {
    let stock = features(&[Feature::Dracut, Feature::DmsquashLive, Feature::Livenet, Feature::Nfs]);
    assert_eq!(try_boot(&live_os::FAMILY, OWN, Some(&stock), &servers()), Err(Refusal::NoHttpOrNfs));
    let only_nfs = marked(&["archiso", "archiso_pxe_nfs"]);
    assert_eq!(try_boot(&archiso::FAMILY, "", Some(&only_nfs), &http()), Err(Refusal::NoNfs));
    let none = marked(&["archiso"]);
    assert_eq!(try_boot(&archiso::FAMILY, "", Some(&none), &nfs()), Err(Refusal::NoNetworkHook));
}

#[test]
fn reasons_have_codes_that_stay() {
    assert_eq!(Refusal::NoHttpOrNfs.code(), "no-http-or-nfs");
    assert_eq!(Caveat::Networkd.code(), "networkd");
}

#[test]
fn a_kernel_without_an_initrd_is_started_as_its_menu_says() {
    let label = Label::parse("F42").unwrap();
    let iso = Subject { has_initrd: false, netroot: true, ..subject(&casper::FAMILY, &label, None) };
    let boot = boot(&iso, "console=ttyS0".into(), None, &servers()).unwrap();
    assert_eq!(
        (boot.args.to_string().as_str(), boot.transport, boot.caveat),
        ("console=ttyS0", Transport::Own, None)
    );
}

#[test]
fn a_media_check_needs_the_whole_medium() {
    let label = Label::parse("F42").unwrap();
    let manager = dracut("059", Feature::NetworkManager);
    let iso = Subject { checks_media: true, ..subject(&live_os::FAMILY, &label, Some(&manager)) };
    let boot = |wish| boot(&iso, "rd.live.check quiet".into(), wish, &http());
    let whole = boot(None).unwrap();
    assert_eq!(whole.transport, Transport::Nbd(Export::Iso));
    assert!(whole.args.has("rd.live.check"), "{}", whole.args);
    assert_eq!(boot(Some(Wish::Exactly(Transport::Http))), Err(Refusal::NoWholeMedium));
}

#[test]
fn what_is_all_in_its_initrd_boots_by_itself() {
    let boot = by_netroot(&crate::boot::families::flatcar::FAMILY, "flatcar.autologin", None, &nfs());
    assert_eq!((boot.transport, boot.args.to_string().as_str()), (Transport::Own, "flatcar.autologin"));
}

#[test]
fn a_kickstart_on_the_disc_is_named_where_it_is() {
    let own = "inst.stage2=hd:LABEL=x inst.ks=cdrom:/ks.cfg quiet";
    let args = |servers: &Servers| try_boot(&anaconda::FAMILY, own, None, servers).unwrap();
    assert!(args(&http()).contains(" inst.ks=http://10.0.2.2/nb/trees/F42/ks.cfg "), "{}", args(&http()));
    assert!(
        args(&nfs()).contains(" inst.ks=nfs:10.0.2.2:/srv/netboot/trees/F42/ks.cfg "),
        "{}",
        args(&nfs())
    );
    let attached = by_netroot(&anaconda::FAMILY, own, None, &servers());
    assert!(attached.args.to_string().contains(" inst.ks=hd:/dev/nbd0:/ks.cfg "), "{}", attached.args);
}

#[test]
fn coreos_fetches_its_root_or_finds_its_disc() {
    let own = "coreos.liveiso=fcos-42 ignition.firstboot";
    let label = Label::parse("F42").unwrap();
    let found = "/images/pxeboot/rootfs.img";
    let iso = Subject { found, ..subject(&crate::boot::families::coreos::FAMILY, &label, None) };
    let boot = |netroot| {
        boot(&Subject { netroot, ..iso.clone() }, own.into(), None, &http()).unwrap().args.to_string()
    };
    assert_eq!(
        boot(false),
        "coreos.live.rootfs_url=http://10.0.2.2/nb/trees/F42/images/pxeboot/rootfs.img ip=dhcp rd.neednet=1 \
         ignition.firstboot"
    );
    assert!(boot(true).ends_with(" coreos.liveiso=fcos-42 ignition.firstboot"));
}
