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

use std::hash::{Hash, Hasher};
use std::io::Read;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::content::Content;
use crate::initrd::{Driver, Feature, Features, Presence};

pub mod cpio;
pub mod kernel;
pub mod program;

use kernel::Arch;
use program::Programs;

/// Whether an ISO can boot by a second initramfs.
#[derive(Clone, Default)]
pub enum Netroot {
    /// That is not known yet.
    #[default]
    Unknown,
    /// It can, with this archive.
    Ready(Arc<Content>),
    /// It can't, with the reason.
    Refused(Arc<str>),
}

/// What was found out of an ISO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// What its archive needs.
    Needs(Needs),
    /// Why there can be none.
    Refused(String),
}

/// What an archive needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Processor of the ISO's kernel.
    pub arch: Arch,
    /// Version of the ISO's kernel.
    pub kernel: String,
}

impl Finding {
    /// Finds out what the archive of an ISO needs: `kernel` is its kernel's image, `initrd` what its initrd can do.
    pub fn of(kernel: impl Read, initrd: &Features) -> Self {
        match needs(kernel, initrd) {
            Ok(needs) => Self::Needs(needs),
            Err(reason) => Self::Refused(reason),
        }
    }

    /// The archive, with this host's programs.
    pub fn archive(&self, programs: &Programs) -> Netroot {
        match self {
            Self::Refused(reason) => Netroot::Refused(reason.as_str().into()),
            Self::Needs(needs) => match programs.archive(needs.arch) {
                Err(reason) => Netroot::Refused(reason.into()),
                Ok(program) => Netroot::Ready(program.clone()),
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

fn needs(kernel: impl Read, initrd: &Features) -> Result<Needs, String> {
    let kernel = kernel::read(kernel).map_err(|error| error.to_string())?;
    let needs = Needs { arch: kernel.arch, kernel: kernel.version };
    let loads = |driver| match initrd.driver(driver) {
        Presence::Builtin => true,
        Presence::Module => initrd.has(Feature::Modprobe) && initrd.kernels.contains(&needs.kernel),
        Presence::Absent | Presence::Unknown => false,
    };
    if !loads(Driver::Nbd) {
        return Err("its initrd has no nbd.ko".into());
    }
    if !loads(Driver::Nic) {
        return Err("its initrd has no drivers of network cards".into());
    }
    Ok(needs)
}

/// The same number for the same value, now and after a restart.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish()
}
