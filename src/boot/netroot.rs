//! The second initramfs: an archive that lets an ISO boot over NBD whose own initramfs can't.
//!
//! A loader puts it behind the ISO's initrd, and the kernel unpacks both. `/netrootfs/init` in it, which the kernel starts
//! by `rdinit=`, attaches the whole ISO as `/dev/nbd0` and goes on with the ISO's own `/init`. What the archive must hold
//! beside that program is found out once for each ISO: nothing where the ISO's initrd has the drivers, else those of
//! exactly its kernel. This module finds out and puts together; it knows neither menus nor the tree.
//!
//! ```text
//! netrootfs/init            the program
//! netrootfs/modules/*.ko    drivers, unpacked
//! netrootfs/load            nbd and what it needs, in the order in which they are loaded
//! netrootfs/nic             drivers of network cards: alias, and what is loaded for it, in order
//! ```

use std::io::Read;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::initrd::{Driver, Feature, Features, Presence};
use crate::image::nics::NICS;
use crate::image::product;
use crate::storage::content::Content;
use crate::storage::identity::identity;
use crate::storage::source::ReadAt;

pub mod drivers;
pub mod kernel;
mod packed;
pub mod program;
pub mod root;
pub mod store;

use drivers::{Drivers, Wanted};
use kernel::{Arch, Kernel};
use program::Programs;
use root::udeb;
use store::Pack;

/// The second initramfs of an ISO, as far as there is one.
#[derive(Clone, Default)]
pub enum Netroot {
    /// That is not known yet.
    #[default]
    Unknown,
    /// It can.
    Ready(Arc<Archive>),
    /// It can't, with the reason.
    Refused(Arc<str>),
}

/// An archive.
pub struct Archive {
    /// Its bytes: the program, then the ISO's drivers if it needs any.
    pub parts: Vec<Arc<Content>>,
    /// Its content, in words.
    pub holds: String,
    /// Whether it must be unpacked before the ISO's own initrd; else it comes behind that.
    pub first: bool,
}

/// The outcome of a look into an ISO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Its archive's needs.
    Needs(Needs),
    /// Why there can be none.
    Refused(String),
}

/// An archive's needs beside the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Processor of the ISO's kernel.
    pub arch: Arch,
    /// Drivers of its kernel; `None` where its own initrd has them.
    pub pack: Option<Pack>,
    /// Whether its kernel doesn't get behind the end of its initrd.
    pub first: bool,
}

/// An image in an ISO that may be its root: its path, and its bytes.
pub type Root = (String, Arc<dyn ReadAt>);

impl Finding {
    /// Finds out what the archive of an ISO needs, and the packed drivers if it needs any: `kernel` is its kernel's image,
    /// `initrd` what its initrd can do, `roots` its root images, which are only asked for if there is need.
    pub fn of(
        kernel: impl Read,
        initrd: &Features,
        roots: impl FnOnce() -> Vec<Root>,
    ) -> (Self, Option<Vec<u8>>) {
        match needs(kernel, initrd, roots) {
            Ok((needs, pack)) => (Self::Needs(needs), pack),
            Err(reason) => (Self::Refused(reason), None),
        }
    }

    /// The packed drivers that it needs.
    pub fn pack(&self) -> Option<&Pack> {
        match self {
            Self::Needs(needs) => needs.pack.as_ref(),
            Self::Refused(_) => None,
        }
    }

    /// The archive, with this host's programs and the packed drivers.
    pub fn archive(&self, programs: &Programs, pack: Option<&Arc<Content>>) -> Netroot {
        match self {
            Self::Refused(reason) => Netroot::Refused(reason.as_str().into()),
            Self::Needs(needs) => match programs.archive(needs.arch) {
                Err(reason) => Netroot::Refused(reason.into()),
                Ok(program) => {
                    let parts = std::iter::once(program).chain(pack).cloned().collect();
                    Netroot::Ready(Arc::new(Archive { parts, holds: needs.to_string(), first: needs.first }))
                }
            },
        }
    }
}

impl Netroot {
    /// Whether there is an archive.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }
}

impl Archive {
    /// It as one file.
    pub fn content(&self) -> Content {
        Content::Parts(self.parts.clone())
    }
}

impl std::fmt::Display for Needs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(pack) = &self.pack else { return f.write_str("drivers are in its initrd") };
        let nbd = if pack.nbd { "nbd" } else { "" };
        let and = if pack.nbd && !pack.nics.is_empty() { " and " } else { "" };
        let nics = match pack.nics.len() {
            0 => String::new(),
            1 => "1 network driver".into(),
            count => format!("{count} network drivers"),
        };
        write!(f, "{nbd}{and}{nics} out of {}", pack.from)
    }
}

/// A rule of udev (udev(7)) by which Debian's installer takes the disk for a disc in a drive: it looks at no others. The
/// directory is the initrd's own, and no entry of ours, since it may lie behind a link.
const DISC_RULE: (&str, &str) =
    ("lib/udev/rules.d/61-netroot-cd.rules", "KERNEL==\"nbd0\", ENV{ID_CDROM}=\"1\"\n");

type Found = (Needs, Option<Vec<u8>>);

fn needs(kernel: impl Read, initrd: &Features, roots: impl FnOnce() -> Vec<Root>) -> Result<Found, String> {
    let kernel = kernel::read(kernel).map_err(|error| error.to_string())?;
    let loads = |presence| match presence {
        Presence::Builtin => true,
        Presence::Module => initrd.has(Feature::Modprobe) && initrd.kernels.contains(&kernel.version),
        Presence::Absent | Presence::Unknown => false,
    };
    let wanted = Wanted {
        nbd: !loads(initrd.driver(Driver::Nbd)),
        // A machine has the card that it has: one driver doesn't stand for the others.
        nics: NICS.iter().filter(|nic| !loads(initrd.nic(nic.name))).collect(),
        some_nic: !loads(initrd.driver(Driver::Nic)),
    };
    let needs = |pack| Needs { arch: kernel.arch, pack, first: stops_before(initrd, &kernel) };
    if wanted.is_nothing() {
        return Ok((needs(None), None));
    }
    let (from, drivers) = match out_of(roots(), &kernel, &wanted) {
        Ok(found) => found,
        Err(reason) if wanted.is_vital() => return Err(reason),
        Err(_) => return Ok((needs(None), None)),
    };
    if drivers.is_empty() {
        return Ok((needs(None), None));
    }
    let bytes = drivers.pack(initrd.has(Feature::DebianInstaller).then_some(DISC_RULE));
    let (len, sum, nbd) = (bytes.len() as u64, identity(&bytes), drivers.has_nbd());
    let pack = Pack { len, sum, from, nbd, nics: drivers.nics };
    Ok((needs(Some(pack)), Some(bytes)))
}

/// Whether a kernel doesn't unpack what follows the initrd: it stops at damage, such as bytes behind the last archive that
/// are none (init/initramfs.c, `unpack_to_rootfs`), and in the old lz4 format, before Linux 5.11, it takes even zeros for a
/// block (lib/decompress_unlz4.c).
fn stops_before(initrd: &Features, kernel: &Kernel) -> bool {
    const LZ4_ENDS: (u32, u32) = (5, 11);
    initrd.damage.is_some() || initrd.open_end && kernel.release().is_none_or(|release| release < LZ4_ENDS)
}

/// The drivers, out of the first root that has modules of the kernel.
fn out_of(roots: Vec<Root>, kernel: &Kernel, wanted: &Wanted) -> Result<(String, Drivers), String> {
    let version = &kernel.version;
    let mut fault = None;
    for source in sources(roots, version) {
        let read = root::guarded(|| {
            let files = source.open(version)?;
            Ok(drivers::take(files.as_ref(), version, wanted))
        });
        match read {
            Ok(Ok(Some(drivers))) => return Ok((source.path, drivers)),
            Ok(Ok(None)) => {}
            Ok(Err(reason)) => fault = fault.or(Some(reason)),
            Err(error) => fault = fault.or(Some(format!("{} can't be read: {error}", source.path))),
        }
    }
    Err(fault.unwrap_or_else(|| format!("no image in it has modules of its kernel, {version}")))
}

/// Where drivers may be, and its path.
struct Source {
    path: String,
    files: Kind,
}

enum Kind {
    /// An image of a root.
    Image(Arc<dyn ReadAt>),
    /// The packages of a kernel.
    Packages(Vec<Arc<dyn ReadAt>>),
}

impl Source {
    fn open(&self, version: &str) -> Result<Box<dyn root::Files>, root::Error> {
        match &self.files {
            Kind::Image(image) => root::open(image.clone()),
            Kind::Packages(packages) => Ok(Box::new(udeb::Udebs::open(packages, version)?)),
        }
    }
}

/// The name of the system in the first of these root images that has one.
pub fn product_of(roots: &[Root]) -> Option<String> {
    let of = |(_, image): &Root| {
        let text = root::guarded(|| {
            let files = root::open(image.clone())?;
            let read = |path: &&str| files.read(path, product::MAX_FILE).transpose();
            product::OS_RELEASE.iter().find_map(read).transpose()
        });
        product::from_os_release(&text.ok()??)
    };
    roots.iter().filter(|(path, _)| !udeb::is_package(path)).find_map(of)
}

/// The images one by one, then all packages of that kernel together.
fn sources(roots: Vec<Root>, version: &str) -> Vec<Source> {
    let (packages, images): (Vec<_>, Vec<_>) =
        roots.into_iter().partition(|(path, _)| udeb::is_package(path));
    let mut sources: Vec<_> =
        images.into_iter().map(|(path, image)| Source { path, files: Kind::Image(image) }).collect();
    let (paths, packages): (Vec<_>, Vec<_>) =
        packages.into_iter().filter(|(path, _)| udeb::is_of(path, version)).unzip();
    if let Some((directory, _)) = paths.first().and_then(|path| path.rsplit_once('/')) {
        sources.push(Source { path: format!("{directory}/"), files: Kind::Packages(packages) });
    }
    sources
}

#[cfg(test)]
mod tests;
