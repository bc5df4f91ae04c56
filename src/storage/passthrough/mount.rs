//! Mounting an [`Metadata`] over an ISO, where nobody sees it: no path, no mount table, gone with the last descriptor.
//!
//! EROFS mounts from plain files since Linux 6.12, if they have pages of their own to give (`read_folio`). A memfd has
//! not, so the metadata lies on a ramfs that is mounted just as invisibly. What is returned is the file in the image,
//! open: the kernel reads it without asking anybody here. The metadata is returned too, but nobody can write by that: it
//! is for who revokes.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::Mounter;
use super::erofs::{self, BLOCK, Metadata, NAME};

/// Pages that the kernel reads ahead of a sequential reader, in KiB, if those of the ISO's disk can't be found out.
const READ_AHEAD: u32 = 1024;

/// A file that can be opened, but only user space can read it: it has no `read_iter`, so that every read that the kernel
/// does for another file system is an error.
const UNREADABLE: &str = "/proc/self/cmdline";

/// Why nothing can be mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mounting is for root.
    #[error("mounting needs root")]
    NotRoot,
    /// The kernel has no such file system.
    #[error("this kernel has no {0}")]
    NoFileSystem(&'static str),
    /// EROFS wants a block device.
    #[error(
        "this kernel mounts EROFS from block devices only (Linux 6.12 and newer from files, with CONFIG_EROFS_FS_BACKED_BY_FILE)"
    )]
    NoFiles,
    /// The calls are not there, or something forbids them.
    #[error("mounting fails: {0}")]
    Mount(#[from] io::Error),
}

/// Mounts in this process; it holds a file system in memory for the metadata.
pub struct Local(OwnedFd);

/// A file of byte ranges, as the kernel reads it.
pub struct Mounted {
    /// Open for reading.
    pub file: File,
    /// Where the kernel finds the metadata whenever it needs it, open for reading.
    pub metadata: File,
}

impl Local {
    /// Mounts the file system in memory.
    ///
    /// # Errors
    /// If the kernel doesn't let us.
    pub fn start() -> Result<Self, Error> {
        let context = open_context("ramfs")?;
        fsconfig_create(&context).map_err(|error| explain(error, &context))?;
        Ok(Self(detached(&context)?))
    }

    /// A file without a name.
    fn file(&self, bytes: &[u8]) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, ".", flags, Mode::RUSR)?);
        file.write_all_at(bytes, 0)?;
        Ok(file)
    }
}

impl Mounter for Local {
    fn map(&self, iso: BorrowedFd<'_>, len: u64, ranges: &[Range<u64>]) -> io::Result<Mounted> {
        let image = erofs::encode(ranges, len).map_err(io::Error::other)?;
        mount(self, &image, iso).map_err(io::Error::other)
    }

    fn revoke(&self, metadata: &File, len: u64, ranges: &[Range<u64>]) -> io::Result<()> {
        let image = erofs::encode(ranges, len).map_err(io::Error::other)?;
        let revoked = image.revoked();
        let mut bytes = vec![0; revoked.len()];
        metadata.read_exact_at(&mut bytes, 0)?;
        if bytes == revoked {
            return Ok(());
        }
        // Whoever asks may have written it.
        if bytes != image.bytes || metadata.metadata()?.len() != bytes.len() as u64 {
            return Err(io::Error::other("it isn't the metadata of that mapping"));
        }
        File::options().write(true).open(own(metadata.as_fd()))?.write_all_at(&revoked, 0)
    }
}

/// A path to what this process has open.
fn own(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// Mounts the image, with the ISO as its device.
fn mount(local: &Local, image: &Metadata, iso: BorrowedFd<'_>) -> Result<Mounted, Error> {
    // Found by what appears, so one after the other.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();

    let written = local.file(&image.bytes)?;
    let metadata = File::open(own(written.as_fd()))?;
    let before = backing_devices();
    let context = open_context("erofs")?;
    let set = |key, value: &Path| fsconfig_set_string(&context, key, value);
    let create = || {
        set("source", &own(metadata.as_fd()))?;
        set("device", &own(iso))?;
        set("device", Path::new(UNREADABLE))?;
        if reads_past_the_page_cache(iso) {
            // Not known before Linux 6.13: then the ISO's pages are kept too.
            let _ = fsconfig_set_flag(&context, "directio");
        }
        fsconfig_create(&context)
    };
    create().map_err(|error| explain(error, &context))?;
    let mount = detached(&context)?;
    for device in backing_devices().iter().filter(|device| !before.contains(device)) {
        // What it is for doesn't depend on it.
        let _ = std::fs::write(
            Path::new(BACKING_DEVICES).join(device).join("read_ahead_kb"),
            read_ahead(iso).to_string(),
        );
    }
    let file =
        openat(&mount, NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)?;
    Ok(Mounted { file: file.into(), metadata })
}

fn open_context(name: &'static str) -> Result<OwnedFd, Error> {
    fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| match error {
        Errno::PERM => Error::NotRoot,
        Errno::NODEV => Error::NoFileSystem(if name == "erofs" { "EROFS" } else { "ramfs" }),
        error => Error::Mount(error.into()),
    })
}

fn detached(context: &OwnedFd) -> Result<OwnedFd, Error> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(io::Error::from)?)
}

fn explain(error: Errno, context: &OwnedFd) -> Error {
    if error == Errno::NOTBLK {
        return Error::NoFiles;
    }
    // What the file system has to say is read from its context, a message at a time; errors begin with `e`.
    let mut said = String::new();
    let mut message = [0; 1024];
    let mut log = context.try_clone().map(File::from);
    while let Ok(len) = log.as_mut().map_or(Ok(0), |log| log.read(&mut message))
        && len > 0
    {
        let text = String::from_utf8_lossy(message.get(..len).unwrap_or_default());
        if let Some(text) = text.strip_prefix("e ") {
            said = format!(" ({})", text.trim_end());
        }
    }
    Error::Mount(io::Error::new(io::Error::from(error).kind(), format!("{}{said}", io::Error::from(error))))
}

/// Whether the file can be read a block at a time past the page cache, so that its pages are there once and not twice.
fn reads_past_the_page_cache(iso: BorrowedFd<'_>) -> bool {
    let stat = statx(iso, "", rustix::fs::AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    // Zero stands for no. A disk of sectors of 4096 bytes can't give single blocks.
    stat.is_ok_and(|stat| (1..=BLOCK as u32).contains(&stat.stx_dio_offset_align))
}

const BACKING_DEVICES: &str = "/sys/class/bdi";

/// The kernel's names for mounted EROFS images (`super_setup_bdi`).
fn backing_devices() -> Vec<String> {
    let names = std::fs::read_dir(BACKING_DEVICES).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("erofs-")).collect()
}

/// How much is read ahead of the ISO's own readers, in KiB.
fn read_ahead(iso: BorrowedFd<'_>) -> u32 {
    let own = || {
        let device = fstat(iso).ok()?.st_dev;
        let device = format!("{}:{}", libc::major(device), libc::minor(device));
        let text =
            std::fs::read_to_string(Path::new(BACKING_DEVICES).join(device).join("read_ahead_kb")).ok()?;
        text.trim().parse().ok()
    };
    own().unwrap_or(0).max(READ_AHEAD)
}
