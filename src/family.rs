//! The families of live ISOs: how one is recognised, where its files lie, and which kernel arguments boot it.
//!
//! One table and one function of plain values. What an initrd can do decides more than the family; until that is known,
//! the arguments are those that work either way.

use crate::args::Args;
use crate::initrd::{Feature, Features};
use crate::label::{Label, udev_encode};
use crate::render::nbd::DEFAULT_PORT;

/// How an ISO finds its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A root image in `LiveOS/`: Fedora, EL, openSUSE and others with dracut's dmsquash-live or kiwi's live module.
    LiveOs,
    /// Anything else whose own boot menu names a kernel and an initrd.
    Generic,
}

/// One row of the table.
pub struct Layout {
    /// The family that it belongs to.
    pub family: Family,
    /// Paths that show it; one is enough.
    pub markers: &'static [&'static str],
    /// Kernel and initrd, as the family has kept them over the years; the first pair that is there.
    pub kernels: &'static [(&'static str, &'static str)],
    /// The root image.
    pub roots: &'static [&'static str],
    /// Arguments where the ISO has no menu that can be read.
    pub args: &'static str,
}

/// In the order in which they are tried.
const LAYOUTS: [Layout; 1] = [Layout {
    family: Family::LiveOs,
    markers: &["/LiveOS/squashfs.img", "/LiveOS/rootfs.img"],
    kernels: &[
        ("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
        ("/isolinux/vmlinuz", "/isolinux/initrd.img"),
        ("/isolinux/vmlinuz0", "/isolinux/initrd0.img"),
        ("/syslinux/vmlinuz0", "/syslinux/initrd0.img"),
        ("/boot/x86_64/loader/linux", "/boot/x86_64/loader/initrd"),
        ("/boot/aarch64/loader/linux", "/boot/aarch64/loader/initrd"),
        ("/boot/vmlinuz", "/boot/initrd"),
    ],
    roots: &["/LiveOS/squashfs.img", "/LiveOS/rootfs.img"],
    args: "rd.live.image quiet",
}];

/// What a root image is, by its magic number: names don't tell, Fedora 42 calls an EROFS `squashfs.img`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `hsqs` at 0 (Linux, fs/squashfs/squashfs_fs.h).
    Squashfs,
    /// 0xE0F5E1E2 at 1024 (Linux, fs/erofs/erofs_fs.h).
    Erofs,
    /// 0xEF53 at 1080: ext2, ext3 and ext4 (Linux, fs/ext4/ext4.h).
    Ext4,
    /// None of them.
    Unknown,
}

/// Which export a client attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// The root image, `[LABEL]`.
    Image,
    /// The whole ISO, `[LABEL.iso]`.
    Iso,
}

/// Where clients find the NBD server, and what the administrator wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address or name of the host.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The export to use wherever there is a choice.
    pub prefer: Option<Export>,
}

/// What is known of an ISO when its arguments are made.
pub struct Subject<'a> {
    /// Its family.
    pub family: Family,
    /// Its label, for export names.
    pub label: &'a Label,
    /// Its volume id, for what looks for `/dev/disk/by-label`.
    pub volume_id: &'a [u8],
    /// The arguments of its own menu.
    pub args: &'a str,
    /// Its root image.
    pub root: Option<Format>,
    /// What its initrd can do, once that is known.
    pub initrd: Option<&'a Features>,
}

/// How an ISO boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Kernel arguments.
    pub args: Args,
    /// The export that its initrd attaches, if it attaches one.
    pub export: Option<Export>,
    /// What stands in the way, for `check` and the log.
    pub caveat: Option<&'static str>,
}

/// Arguments of a menu that make no sense over a network: media checks, and where a loop-mounted ISO file lies.
const LOCAL_ONLY: [&str; 11] = [
    "BOOT_IMAGE",
    "BOOTIF",
    "checksum",
    "cms_verify",
    "findiso",
    "inst.mediacheck",
    "iso-scan/filename",
    "mediacheck",
    "rd.live.check",
    "rd.md5check",
    "verify",
];

impl Family {
    /// Name of the family in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::LiveOs => "LiveOS",
            Self::Generic => "generic",
        }
    }
}

impl Layout {
    /// The first row one of whose markers is there.
    pub fn recognise(mut exists: impl FnMut(&str) -> bool) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.markers.iter().any(|marker| exists(marker)))
    }
}

impl Format {
    /// Bytes of an image that tell what it is.
    pub const HEAD: usize = 1082;

    /// Recognises a root image by its first [`Format::HEAD`] bytes.
    pub fn of(head: &[u8]) -> Self {
        let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
        if at(0, b"hsqs") {
            Self::Squashfs
        } else if at(1024, &0xe0f5_e1e2_u32.to_le_bytes()) {
            Self::Erofs
        } else if at(1080, &0xef53_u16.to_le_bytes()) {
            Self::Ext4
        } else {
            Self::Unknown
        }
    }

    /// Name of the file system in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Ext4 => "ext4",
            Self::Unknown => "unknown",
        }
    }
}

/// The arguments that boot an ISO over NBD.
pub fn boot(iso: &Subject<'_>, server: &Server) -> Boot {
    let own = Args::parse(iso.args).without(&LOCAL_ONLY);
    match iso.family {
        Family::LiveOs => boot_live_os(iso, own, server),
        Family::Generic => {
            Boot { args: own, export: None, caveat: Some("its way to boot over a network is not known") }
        }
    }
}

/// dracut: `netroot=nbd:` attaches the export as /dev/nbd0, `root=live:` says where on it the root image is
/// (dracut.cmdline(7)).
fn boot_live_os(iso: &Subject<'_>, own: Args, server: &Server) -> Boot {
    let export = match (server.prefer, iso.root) {
        (Some(Export::Image), Some(_)) => Export::Image,
        (None, Some(root)) if takes_bare_image(root, iso.initrd) => Export::Image,
        _ => Export::Iso,
    };
    let (name, root) = match export {
        Export::Image => (format!("{}::ro", iso.label), "/dev/nbd0".to_owned()),
        Export::Iso if iso.volume_id.is_empty() => (format!("{}.iso", iso.label), "/dev/nbd0".to_owned()),
        Export::Iso => (format!("{}.iso", iso.label), format!("CDLABEL={}", udev_encode(iso.volume_id))),
    };
    let host = &server.host;
    let network = format!("root=live:{root} netroot=nbd:{host}:{name} ip=dhcp rd.neednet=1");
    let own = own.without(&["root", "netroot", "ip", "rd.neednet"]);
    // `liveimg` is what `rd.live.image` was called before dracut 024.
    let live = if own.has("rd.live.image") || own.has("liveimg") { "" } else { "rd.live.image" };
    let args = own.prepend(live).prepend(&network);
    Boot { args, export: Some(export), caveat: live_os_caveat(iso, server) }
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

fn live_os_caveat(iso: &Subject<'_>, server: &Server) -> Option<&'static str> {
    let initrd = iso.initrd?;
    if !initrd.native_nbd() {
        return Some("its initrd has no NBD client: make the image with nbd and dracut-network in it");
    }
    if initrd.has(Feature::Networkd) && !initrd.has(Feature::NetworkManager) {
        return Some("its initrd uses systemd-networkd, with which dracut doesn't attach an NBD root");
    }
    if server.port != DEFAULT_PORT {
        return Some("dracut can name an export only on port 10809, and the server has another");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "root=live:CDLABEL=Fedora-42 rd.live.image rd.live.check quiet rhgb";

    fn server(prefer: Option<Export>) -> Server {
        Server { host: "10.0.2.2".into(), port: 10809, prefer }
    }

    fn dracut(version: &str, network: Feature) -> Features {
        Features {
            found: [Feature::Dracut, Feature::DracutNbd, Feature::NbdClient, Feature::DmsquashLive, network]
                .into(),
            dracut_version: Some(version.into()),
            ..Features::default()
        }
    }

    fn boot_with(root: Option<Format>, initrd: Option<&Features>, prefer: Option<Export>) -> Boot {
        let label = Label::parse("F42").unwrap();
        let volume_id = b"Fedora 42";
        boot(
            &Subject { family: Family::LiveOs, label: &label, volume_id, args: OWN, root, initrd },
            &server(prefer),
        )
    }

    #[test]
    fn until_the_initrd_is_known_the_whole_iso_is_attached() {
        let boot = boot_with(Some(Format::Squashfs), None, None);
        assert_eq!(
            boot.args.to_string(),
            "root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso ip=dhcp rd.neednet=1 rd.live.image quiet rhgb"
        );
        assert_eq!(boot.export, Some(Export::Iso));
    }

    #[test]
    fn an_initrd_with_networkmanager_takes_the_bare_root_image() {
        let initrd = dracut("059-22.fc39", Feature::NetworkManager);
        let boot = boot_with(Some(Format::Squashfs), Some(&initrd), None);
        assert_eq!(
            boot.args.to_string(),
            "root=live:/dev/nbd0 netroot=nbd:10.0.2.2:F42::ro ip=dhcp rd.neednet=1 rd.live.image quiet rhgb"
        );
        assert_eq!((boot.export, boot.caveat), (Some(Export::Image), None));
    }

    #[test]
    fn others_take_the_whole_iso() {
        let legacy = dracut("059", Feature::NetworkLegacy);
        let old = dracut("049", Feature::NetworkManager);
        let new = dracut("103", Feature::NetworkManager);
        let export = |root, initrd: &Features| boot_with(Some(root), Some(initrd), None).export.unwrap();
        assert_eq!(export(Format::Squashfs, &legacy), Export::Iso);
        assert_eq!(export(Format::Squashfs, &old), Export::Iso);
        assert_eq!(export(Format::Ext4, &new), Export::Iso);
        assert_eq!(export(Format::Erofs, &dracut("059", Feature::NetworkManager)), Export::Iso);
        assert_eq!(export(Format::Erofs, &new), Export::Image);
    }

    #[test]
    fn an_administrator_can_prefer_an_export() {
        let legacy = dracut("059", Feature::NetworkLegacy);
        let manager = dracut("059", Feature::NetworkManager);
        let export =
            |initrd, prefer| boot_with(Some(Format::Squashfs), Some(initrd), Some(prefer)).export.unwrap();
        assert_eq!(export(&legacy, Export::Image), Export::Image);
        assert_eq!(export(&manager, Export::Iso), Export::Iso);
        assert_eq!(boot_with(None, None, Some(Export::Image)).export, Some(Export::Iso));
    }

    #[test]
    fn an_initrd_without_nbd_is_said_so() {
        let stock =
            Features { found: [Feature::Dracut, Feature::DmsquashLive].into(), ..Features::default() };
        assert!(boot_with(None, Some(&stock), None).caveat.unwrap().contains("no NBD client"));
    }

    #[test]
    fn another_iso_keeps_its_own_arguments() {
        let label = Label::parse("X").unwrap();
        let args = "boot=live components findiso=/x.iso BOOT_IMAGE=/vmlinuz quiet";
        let subject = Subject {
            family: Family::Generic,
            label: &label,
            volume_id: b"X",
            args,
            root: None,
            initrd: None,
        };
        let boot = boot(&subject, &server(None));
        assert_eq!(boot.args.to_string(), "boot=live components quiet");
        assert_eq!(boot.export, None);
    }

    #[test]
    fn a_root_image_is_known_by_its_magic() {
        let image = |offset: usize, magic: &[u8]| {
            let mut head = vec![0; Format::HEAD];
            head[offset..offset + magic.len()].copy_from_slice(magic);
            Format::of(&head)
        };
        assert_eq!(image(0, b"hsqs"), Format::Squashfs);
        assert_eq!(image(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), Format::Erofs);
        assert_eq!(image(1080, &[0x53, 0xef]), Format::Ext4);
        assert_eq!(image(0, b"sqsh"), Format::Unknown);
        assert_eq!(Format::of(b""), Format::Unknown);
    }

    #[test]
    fn a_family_is_recognised_by_what_is_there() {
        let family = |path: &str| Layout::recognise(|marker| marker == path).map(|layout| layout.family);
        assert_eq!(family("/LiveOS/rootfs.img"), Some(Family::LiveOs));
        assert_eq!(family("/casper/filesystem.squashfs"), None);
    }
}
