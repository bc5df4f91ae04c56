//! The families of live and installer ISOs, a file each, and the table of them.
//!
//! A family is plain values and a few functions: how it is recognised, where its files lie, what of its initrd counts, its
//! arguments by each way of booting. Which way is taken, [`plan`](crate::boot::plan) decides. A new family is a new file
//! and its row in [`FAMILIES`].

use std::fmt;

use crate::boot::format::Format;
use crate::boot::reasons::{Caveat, Refusal};
use crate::boot::servers::Servers;
use crate::boot::transport::Transport;
use crate::image::args::Args;
use crate::image::initrd::{Feature, Features, Mark};
use crate::image::iso::Medium;
use crate::image::label::Label;

pub mod alpine;
pub mod anaconda;
pub mod archiso;
pub mod casper;
pub mod coreos;
pub mod debian_installer;
pub mod flatcar;
pub mod generic;
pub mod gentoo;
pub mod linuxrc;
pub mod live_boot;
pub mod live_os;
pub mod miso;
pub mod mx;
pub mod nixos;
pub mod photon;
pub mod porteus;
pub mod proxmox;
pub mod puppy;
pub mod slax;
pub mod talos;

/// In the order in which they are tried: what looks for its own directory before what shares `LiveOS/` or `boot/`.
pub static FAMILIES: [&Family; 20] = [
    &archiso::FAMILY,
    &miso::FAMILY,
    &casper::FAMILY,
    &live_boot::FAMILY,
    &anaconda::FAMILY,
    &live_os::FAMILY,
    &nixos::FAMILY,
    &alpine::FAMILY,
    &proxmox::FAMILY,
    &gentoo::FAMILY,
    &linuxrc::FAMILY,
    &mx::FAMILY,
    &slax::FAMILY,
    &porteus::FAMILY,
    &puppy::FAMILY,
    &photon::FAMILY,
    &coreos::FAMILY,
    &flatcar::FAMILY,
    &talos::FAMILY,
    &debian_installer::FAMILY,
];

/// How the ISOs of one make boot. In a path a `*` stands for any part of a name.
pub struct Family {
    /// Its name in tables.
    pub name: &'static str,
    /// Paths that show it: all of one list. The first path of the list is where the family's own files lie.
    pub markers: &'static [&'static [&'static str]],
    /// Kernel and initrd, as the family has kept them over the years, for ISOs without a menu that can be read.
    pub kernels: &'static [(&'static str, &'static str)],
    /// Arguments for those.
    pub args: &'static str,
    /// Root images that can be exported by themselves.
    pub roots: &'static [&'static str],
    /// Images that hold its root or the modules of its kernel, for who reads them on this host; the likeliest first.
    pub images: &'static [&'static str],
    /// Packages that hold the modules of its kernel, where they lie in no image.
    pub packages: &'static [&'static str],
    /// Marks to look for in its initrd.
    pub marks: &'static [Mark],
    /// By NBD, with what its initrd has.
    pub nbd: Option<Nbd>,
    /// File by file, from an NFS server.
    pub nfs: Option<FromServer>,
    /// Copied, from an HTTP server.
    pub http: Option<FromServer>,
    /// Its own arguments for a system that finds the whole ISO attached as `/dev/nbd0`, as if it were a disc. They say
    /// nothing of the network: the card has its address, and what would configure it anew takes the root away.
    pub attached: fn(&Subject<'_>, Args) -> Args,
    /// A caveat of that.
    pub attached_caveat: Option<Caveat>,
    /// What is left where it can do none of these by itself.
    pub otherwise: Otherwise,
}

/// Booting from an NBD server by what an initrd has.
pub struct Nbd {
    /// Whether it can.
    pub able: fn(&Subject<'_>, &Servers) -> Ability,
    /// With which arguments.
    pub boot: fn(&Subject<'_>, Args, &Servers) -> Boot,
}

/// Booting from a server that shows the tree at a place: a URL, or `HOST:/PATH`.
pub struct FromServer {
    /// Whether it can, as far as its initrd tells.
    pub able: fn(&Subject<'_>) -> bool,
    /// With which arguments.
    pub boot: fn(&Subject<'_>, Args, &str) -> Boot,
}

/// An answer to whether something can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// It can.
    Yes,
    /// That is not known, or something may stand in the way.
    Perhaps,
    /// It can't.
    No,
}

/// How an ISO boots that can't be booted over a network by itself.
pub enum Otherwise {
    /// Not at all.
    Not(Refusal),
    /// As its own menu says, and what may stand in the way.
    AsItIs(Option<Caveat>),
    /// As its own menu says, whatever else there is: all of it is in its initrd.
    ByItself,
}

/// An ISO as its arguments are made for.
#[derive(Clone)]
pub struct Subject<'a> {
    /// Its family.
    pub family: &'static Family,
    /// Where the family's own files lie in it, such as `/arch/x86_64/airootfs.sfs`.
    pub found: &'a str,
    /// Its label, for export names and URLs.
    pub label: &'a Label,
    /// The names that it is found by as a disc.
    pub medium: &'a Medium,
    /// Its size in bytes.
    pub len: u64,
    /// Its root image.
    pub root: Option<Format>,
    /// Abilities of its initrd, once they are known.
    pub initrd: Option<&'a Features>,
    /// Set if there is a second initramfs for it.
    pub netroot: bool,
    /// Set if the kernel has an initrd, and not its initramfs inside.
    pub has_initrd: bool,
    /// Set for an entry that reads the whole medium.
    pub checks_media: bool,
}

/// How an ISO boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Kernel arguments.
    pub args: Args,
    /// How its root comes to the client.
    pub transport: Transport,
    /// Caveats.
    pub caveat: Option<Caveat>,
}

impl Family {
    /// A family of which nothing is known. Files of families say what is different.
    pub const UNKNOWN: Self = Self {
        name: "",
        markers: &[],
        kernels: &[],
        args: "",
        roots: &[],
        images: &[],
        packages: &[],
        marks: &[],
        nbd: None,
        nfs: None,
        http: None,
        attached: |_, own| own,
        attached_caveat: None,
        otherwise: Otherwise::Not(Refusal::NoNetwork),
    };

    /// The first of these that fits, with the path that its first marker stands for. `find` gives the path for a pattern.
    pub fn recognise(
        families: &[&'static Self],
        mut find: impl FnMut(&str) -> Option<String>,
    ) -> Option<(&'static Self, String)> {
        families.iter().find_map(|family| {
            let found = family.markers.iter().find_map(|all| {
                let paths: Option<Vec<String>> = all.iter().map(|marker| find(marker)).collect();
                paths?.into_iter().next()
            });
            Some((*family, found?))
        })
    }
}

/// There is one family of a name.
impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Family {}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Boot {
    /// With nothing in the way that is known.
    pub fn by(transport: Transport, args: Args) -> Self {
        Self { args, transport, caveat: None }
    }

    /// With something that may stand in the way.
    pub fn but(self, caveat: impl Into<Option<Caveat>>) -> Self {
        Self { caveat: caveat.into(), ..self }
    }
}

/// The family that an initrd of an ISO boots by: Debian's installer lies on live ISOs too, and looks for its disc itself.
pub fn of_initrd(family: &'static Family, initrd: Option<&Features>) -> &'static Family {
    let installer = initrd.is_some_and(|initrd| initrd.has(Feature::DebianInstaller));
    if installer { &debian_installer::FAMILY } else { family }
}

/// The marks to look for in initrds, for all families.
pub fn marks() -> Vec<Mark> {
    FAMILIES.iter().flat_map(|family| family.marks).copied().collect()
}

/// Patterns of images that hold a root or the modules of a kernel, for all families: an ISO may mix them. A name comes
/// before what many files may fit.
pub fn images() -> impl Iterator<Item = &'static str> {
    let all = || FAMILIES.iter().flat_map(|family| family.images).copied();
    let named = all().filter(|pattern| !pattern.contains('*'));
    named.chain(all().filter(|pattern| pattern.contains('*')))
}

/// Patterns of packages that hold the modules of a kernel, for all families.
pub fn packages() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.packages).copied()
}

/// Whether a file name fits a pattern with at most one `*`, in any case.
pub fn fits(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    match pattern.split_once('*') {
        None => name == pattern,
        Some((head, tail)) => {
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(paths: &[&str]) -> Option<(&'static Family, String)> {
        recognise_among(&FAMILIES, paths)
    }

    fn recognise_among(families: &[&'static Family], paths: &[&str]) -> Option<(&'static Family, String)> {
        let find = |pattern: &str| {
            let fits_all = |path: &&&str| {
                let (names, patterns) = (path.split('/'), pattern.split('/'));
                names.clone().count() == patterns.clone().count()
                    && names.zip(patterns).all(|(name, pattern)| fits(name, pattern))
            };
            paths.iter().find(fits_all).map(|path| (*path).to_owned())
        };
        Family::recognise(families, find)
    }

    #[test]
    fn a_family_is_recognised_by_what_is_there() {
        let family = |paths: &[&str]| recognise(paths).unwrap().0;
        assert_eq!(family(&["/LiveOS/rootfs.img"]), &live_os::FAMILY);
        assert_eq!(family(&["/casper/minimal.standard.squashfs"]), &casper::FAMILY);
        assert_eq!(family(&["/live/filesystem.squashfs"]), &live_boot::FAMILY);
        assert_eq!(family(&["/LiveOS/squashfs.img", "/.treeinfo"]), &anaconda::FAMILY);
        assert_eq!(family(&["/LiveOS/squashfs.img", "/images/install.img"]), &anaconda::FAMILY);
        assert_eq!(family(&["/boot/x86_64/root", "/boot/x86_64/loader/linux"]), &linuxrc::FAMILY);
        assert_eq!(family(&["/antiX/linuxfs"]), &mx::FAMILY);
        assert_eq!(family(&["/slax/01-core.sb"]), &slax::FAMILY);
        assert_eq!(family(&["/porteus/base/000-kernel.xzm"]), &porteus::FAMILY);
        assert_eq!(family(&["/puppy_bookwormpup64_10.0.sfs"]), &puppy::FAMILY);
        assert_eq!(family(&["/sample_ks.cfg", "/RPMS"]), &photon::FAMILY);
        assert_eq!(family(&["/images/pxeboot/rootfs.img", "/coreos"]), &coreos::FAMILY);
        assert_eq!(family(&["/flatcar/cpio.gz"]), &flatcar::FAMILY);
        assert_eq!(family(&["/boot/initramfs.xz", "/boot/vmlinuz"]), &talos::FAMILY);
        let installer = ["/install.amd/initrd.gz", "/.disk/info", "/dists/bookworm/Release"];
        assert_eq!(family(&installer), &debian_installer::FAMILY);
        assert_eq!(recognise(&["/install/initrd.gz", "/.disk/info"]), None);
        assert_eq!(recognise(&["/boot/grub/root"]), None);
    }

    #[test]
    fn the_marker_tells_where_the_files_lie() {
        let found = recognise(&["/sysresccd/x86_64/airootfs.sfs"]).unwrap();
        assert_eq!(found, (&archiso::FAMILY, "/sysresccd/x86_64/airootfs.sfs".into()));
        assert_eq!(recognise(&["/manjaro/x86_64/rootfs.sfs"]).unwrap().0, &miso::FAMILY);
    }

    #[test]
    fn every_family_has_a_name_of_its_own() {
        let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        names.push(generic::FAMILY.name);
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), names.contains(&"")), (all, false));
    }

    #[test]
    fn a_family_needs_nothing_beside_its_own_values() {
        static MADE_UP: Family = Family {
            name: "made-up",
            markers: &[&["/made-up/*.root"]],
            marks: &[Mark::new("hooks/made-up", "made-up")],
            nbd: Some(Nbd {
                able: |iso, _| match iso.initrd {
                    None => Ability::Perhaps,
                    Some(initrd) if initrd.has_mark("made-up") => Ability::Yes,
                    Some(_) => Ability::No,
                },
                boot: |iso, own, servers| {
                    let server = crate::image::args::Arg::new("made-up=").server(servers.host.as_deref());
                    let place = server.text(format!("/{}.iso", iso.label));
                    Boot::by(Transport::Nbd(crate::boot::transport::Export::Iso), own.prepend([place]))
                },
            }),
            attached: |_, own| own.prepend(Args::parse("made-up=/dev/nbd0")),
            ..Family::UNKNOWN
        };
        let (family, found) = recognise_among(&[&MADE_UP], &["/made-up/x.root"]).unwrap();
        let probe = |name: &str| {
            let mut archive = crate::image::cpio::Writer::default();
            archive.file(name, 0o644, b"");
            crate::image::initrd::probe_for(archive.finish().as_slice(), Default::default(), MADE_UP.marks)
                .unwrap()
        };
        let servers = Servers::at("10.0.0.1");
        let label = Label::parse("M").unwrap();
        let boot = |initrd: Option<&Features>, netroot| {
            let (medium, len, root) = (&Medium::default(), 1, None);
            let iso = Subject {
                family,
                found: &found,
                label: &label,
                medium,
                len,
                root,
                initrd,
                netroot,
                has_initrd: true,
                checks_media: false,
            };
            crate::boot::plan::boot(&iso, "quiet".into(), None, &servers).map(|boot| boot.args.to_string())
        };
        let (able, unable) = (probe("hooks/made-up"), probe("hooks/another"));
        assert_eq!(boot(None, false).unwrap(), "made-up=10.0.0.1/M.iso quiet");
        assert_eq!(boot(Some(&able), true).unwrap(), "made-up=10.0.0.1/M.iso quiet");
        assert_eq!(
            boot(Some(&unable), true).unwrap(),
            "rdinit=/netrootfs/init netroot.nbd=10.0.0.1/M.iso made-up=/dev/nbd0 quiet"
        );
        assert_eq!(boot(Some(&unable), false), Err(Refusal::NoNetwork));
    }

    #[test]
    fn patterns_fit_in_any_case() {
        assert!(fits("airootfs.sfs", "airootfs.*") && fits("FILESYSTEM.SQUASHFS", "*.squashfs"));
        assert!(
            !fits("airootfs", "airootfs.*") && !fits("a", "aa*") && fits("aa", "a*a") && !fits("a", "a*a")
        );
    }
}
