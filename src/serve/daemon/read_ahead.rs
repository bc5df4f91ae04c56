//! How far the kernel reads ahead of clients on the mount, and so how large its requests are.
//!
//! It is a setting of the mount in sysfs that only root can change (Linux, Documentation/ABI/testing/sysfs-class-bdi), so
//! the broker does.
//! Where that fails the mount works all the same, with requests of 128 KiB and the block cache's own read-ahead.

use std::fs;
use std::io;
use std::path::Path;

use crate::serve::broker::Broker;
use crate::serve::mountpoint;

/// At least so many KiB: four requests of 1 MiB, the largest that FUSE makes. Each goes from the reader to an event loop,
/// to the disk and back, and others have to be under way meanwhile: one reader of a cold image got 0.6 of the plain file's
/// speed with 1 or 2 MiB, 0.9 with 4.
const LEAST: u64 = 4096;

/// Makes the kernel read ahead on the mount as far as on the file system of the ISOs, if it doesn't already.
pub(super) fn raise(broker: &Broker, mount: (u32, u32), isos: &Path) {
    let backing = mountpoint::device(isos).and_then(|device| read(&mountpoint::read_ahead(device)));
    let wanted = backing.unwrap_or(0).max(LEAST);
    let setting = mountpoint::read_ahead(mount);
    let raised = read(&setting).and_then(|now| match now < wanted {
        true => broker.read_ahead(mount, wanted),
        false => Ok(()),
    });
    if let Err(error) = raised {
        log::debug!("{}: can't be raised to {wanted}: {error}", setting.display());
    }
}

fn read(setting: &Path) -> io::Result<u64> {
    fs::read_to_string(setting)?.trim().parse().map_err(io::Error::other)
}
