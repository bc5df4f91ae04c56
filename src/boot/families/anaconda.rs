//! Anaconda, the installer of Fedora and EL (anaconda, docs/boot-options.rst).

use super::{Boot, Family, FromServer, Subject};
use crate::boot::names;
use crate::boot::transport::Transport;
use crate::image::args::{Arg, Args};
use crate::image::initrd::Mark;
use crate::image::iso::Medium;
use crate::image::label::udev_encode;

/// Anaconda.
pub static FAMILY: Family = Family {
    name: "Anaconda",
    markers: &[
        &["/BaseOS/repodata/repomd.xml", "/images/install.img"],
        &["/repodata/repomd.xml", "/images/install.img"],
        &["/images/install.img"],
        &["/.treeinfo", "/LiveOS/squashfs.img"],
    ],
    kernels: &[
        ("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
        ("/isolinux/vmlinuz", "/isolinux/initrd.img"),
    ],
    images: &["/LiveOS/squashfs.img", "/LiveOS/rootfs.img", "/images/install.img"],
    marks: &[Mark::new("lib/anaconda-lib.sh", "anaconda")],
    nfs: Some(FromServer { able: |_| true, boot: nfs }),
    http: Some(FromServer { able: |_| true, boot: http }),
    attached,
    ..Family::UNKNOWN
};

/// Arguments that say where the second stage is, and are said anew. Any `root=` would make it ignore `inst.*`.
const PLACES: [&str; 7] = ["inst.stage2", "inst.repo", "stage2", "repo", "method", "root", "ip"];

fn nfs(iso: &Subject<'_>, own: Args, place: &str) -> Boot {
    let own = with_kickstart(iso, own, &format!("nfs:{place}/{}", names::tree_path(iso.label)));
    let file = names::image_path(&names::whole_iso(iso.label));
    let place = format!("inst.repo=nfs:{place}/{file} ip=dhcp");
    Boot::by(Transport::Nfs, own.without(&PLACES).prepend(Args::parse(&place)))
}

/// A DVD has its packages with it; what boots only has the second stage, and takes packages from the Internet.
fn http(iso: &Subject<'_>, own: Args, url: &str) -> Boot {
    let has_packages = iso.found == "/.treeinfo" || iso.found.ends_with("/repomd.xml");
    let key = if has_packages { "inst.repo" } else { "inst.stage2" };
    let tree = format!("{url}/{}", names::tree_path(iso.label));
    let own = with_kickstart(iso, own, &tree);
    let place = format!("{key}={tree}/ ip=dhcp");
    Boot::by(Transport::Http, own.without(&PLACES).prepend(Args::parse(&place)))
}

fn attached(iso: &Subject<'_>, own: Args) -> Args {
    let own = with_kickstart(iso, own, "hd:/dev/nbd0:");
    own.without(&PLACES).prepend([Arg::new("inst.stage2=hd:/dev/nbd0")])
}

/// A kickstart that lies on the disc is at `place` now; it would be waited for for ever.
fn with_kickstart(iso: &Subject<'_>, own: Args, place: &str) -> Args {
    let moved = |arg: Arg| match (arg.key(), arg.value()) {
        (key @ ("inst.ks" | "ks"), Some(value)) => match on_disc(value, iso.medium) {
            Some(path) => Arg::new(format!("{key}={place}/{}", path.trim_start_matches('/'))),
            None => arg,
        },
        _ => arg,
    };
    own.into_iter().map(moved).collect()
}

/// The path of a file that is named as one of this disc, or of whatever lies in the drive.
fn on_disc<'a>(value: &'a str, medium: &Medium) -> Option<&'a str> {
    let (device, path) = match value.strip_prefix("cdrom") {
        Some(rest) => return Some(rest.rsplit_once(':').map_or("ks.cfg", |(_, path)| path)),
        None => value.strip_prefix("hd:")?.split_once(':')?,
    };
    let label = device.strip_prefix("LABEL=").or(device.strip_prefix("CDLABEL="));
    let uuid = device.strip_prefix("UUID=");
    let this = label.is_some_and(|label| label == udev_encode(&medium.label))
        || uuid.is_some_and(|uuid| medium.uuid.as_deref() == Some(uuid));
    this.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kickstart_on_the_disc_has_a_path() {
        let medium = Medium { label: b"EL 9".to_vec(), uuid: Some("2024-01-01-00-00-00-00".into()) };
        for (value, path) in [
            ("cdrom:/ks.cfg", Some("/ks.cfg")),
            ("cdrom:/dev/sr0:/a/ks.cfg", Some("/a/ks.cfg")),
            ("cdrom", Some("ks.cfg")),
            ("hd:LABEL=EL\\x209:/ks.cfg", Some("/ks.cfg")),
            ("hd:UUID=2024-01-01-00-00-00-00:/ks.cfg", Some("/ks.cfg")),
            ("hd:LABEL=OEMDRV:/ks.cfg", None),
            ("hd:sda1:/ks.cfg", None),
            ("http://server/ks.cfg", None),
        ] {
            assert_eq!(on_disc(value, &medium), path, "{value}");
        }
    }
}
