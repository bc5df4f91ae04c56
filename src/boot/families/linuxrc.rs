//! linuxrc, the installer of SUSE up to 15 (linuxrc_repo.md).

use super::{Boot, Family, FromServer, Subject};
use crate::boot::names;
use crate::boot::transport::Transport;
use crate::image::args::Args;

/// linuxrc.
pub static FAMILY: Family = Family {
    name: "linuxrc",
    markers: &[&["/boot/*/root", "/boot/*/loader/linux"]],
    kernels: &[("/boot/x86_64/loader/linux", "/boot/x86_64/loader/initrd")],
    http: Some(FromServer { able: |_| true, boot: http }),
    ..Family::UNKNOWN
};

fn http(iso: &Subject<'_>, own: Args, url: &str) -> Boot {
    let place = format!("install={url}/{}/", names::tree_path(iso.label));
    Boot::by(Transport::Http, own.without(&["install"]).prepend(Args::parse(&place)))
}
