//! What the kernel asks `CAP_SYS_ADMIN` for where it reads ISOs by itself: mounts of mappings, and numbers of backing files.
//!
//! Whoever has taken over the daemon may ask for all of it with any descriptor, and gets nothing by it that they didn't
//! have: a file must be open for reading already, the metadata that the kernel parses is written here, what is revoked was
//! written here, and what is given to a mount lies on EROFS, which nobody can write to.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fstatfs, major, minor};

use crate::storage::passthrough::Mounter;
use crate::storage::passthrough::mount::{Local, Mounted};

/// `struct fuse_backing_map` (Linux, include/uapi/linux/fuse.h).
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// FUSE_DEV_IOC_BACKING_OPEN, `_IOW(229, 1, struct fuse_backing_map)`.
const BACKING_OPEN: libc::Ioctl = 0x4010_e501_u32 as libc::Ioctl;

/// FUSE_DEV_IOC_BACKING_CLOSE, `_IOW(229, 2, u32)`.
const BACKING_CLOSE: libc::Ioctl = 0x4004_e502_u32 as libc::Ioctl;

/// `/dev/fuse` (Linux, Documentation/admin-guide/devices.txt).
const FUSE: (u32, u32) = (10, 229);

/// EROFS_SUPER_MAGIC_V1.
const EROFS: u64 = 0xe0f5_e1e2;

/// Does it; what it takes to mount is made when something is mounted for the first time.
#[derive(Default)]
pub struct Kernel(OnceLock<Local>);

impl Kernel {
    /// See [`Mounter::map`].
    pub fn map(&self, iso: BorrowedFd<'_>, len: u64, ranges: &[Range<u64>]) -> io::Result<Mounted> {
        readable(iso)?;
        self.mounter()?.map(iso, len, ranges)
    }

    /// See [`Mounter::revoke`].
    pub fn revoke(&self, metadata: BorrowedFd<'_>, len: u64, ranges: &[Range<u64>]) -> io::Result<()> {
        readable(metadata)?;
        let metadata = File::from(metadata.try_clone_to_owned()?);
        self.mounter()?.revoke(&metadata, len, ranges)
    }

    fn mounter(&self) -> io::Result<&Local> {
        if self.0.get().is_none() {
            // Another thread may have been first.
            let _ = self.0.set(Local::start().map_err(io::Error::other)?);
        }
        self.0.get().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Gives the kernel a file, by a device of a mount; the number by which it goes there.
pub fn give(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<u32> {
    is_fuse(device)?;
    readable(file)?;
    // It would be opened with the rights of this process, and for writing too where the mount can be written.
    if fstatfs(file)?.f_type as u64 != EROFS {
        return Err(refused("it is no mapping"));
    }
    let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: the call reads one structure of this layout.
    let id = unsafe { libc::ioctl(device.as_raw_fd(), BACKING_OPEN, &raw const map) };
    u32::try_from(id).map_err(|_| io::Error::last_os_error())
}

/// Takes it back. One that isn't there is none.
pub fn take_back(device: BorrowedFd<'_>, id: u32) -> io::Result<()> {
    is_fuse(device)?;
    // SAFETY: the call reads one u32.
    match unsafe { libc::ioctl(device.as_raw_fd(), BACKING_CLOSE, &raw const id) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).or_else(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(()),
            _ => Err(error),
        }),
    }
}

/// Refuses what who asks can't read themselves: what has a path only would be opened anew with the rights of this process.
fn readable(file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    let regular = FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::RegularFile;
    match regular && !flags.intersects(OFlags::PATH | OFlags::WRONLY) {
        true => Ok(()),
        false => Err(refused("it isn't a file that is open for reading")),
    }
}

fn is_fuse(device: BorrowedFd<'_>) -> io::Result<()> {
    let stat = fstat(device)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    match is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == FUSE {
        true => Ok(()),
        false => Err(refused("it isn't a mount's device")),
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::FileExt;

    use rustix::fs::{Mode, open};

    fn why<T>(done: io::Result<T>) -> String {
        done.err().expect("a refusal").to_string()
    }

    fn path_only(file: &File) -> OwnedFd {
        open(format!("/proc/self/fd/{}", file.as_raw_fd()), OFlags::PATH, Mode::empty()).unwrap()
    }

    #[test]
    fn only_what_who_asks_can_read_is_mapped() {
        let kernel = Kernel::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&[1; 4096], 0).unwrap();
        let map = |fd: BorrowedFd<'_>| kernel.map(fd, 4096, std::slice::from_ref(&(0..4096)));
        let write = File::options().write(true).open(file.path()).unwrap();
        let directory = File::open("/").unwrap();
        for fd in [write.as_fd(), path_only(file.as_file()).as_fd(), directory.as_fd()] {
            assert_eq!(why(map(fd)), "it isn't a file that is open for reading");
        }
        let mut bytes = vec![0; 4096];
        map(file.as_file().as_fd()).unwrap().file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [1; 4096]);
    }

    #[test]
    fn what_is_revoked_was_written_here() {
        let kernel = Kernel::default();
        let iso = tempfile::tempfile().unwrap();
        iso.write_all_at(&[1; 8192], 0).unwrap();
        let pieces = vec![2048..4096, 6144..8192];
        let mounted = kernel.map(iso.as_fd(), 8192, &pieces).unwrap();
        let metadata = mounted.metadata.as_fd();
        assert!(mounted.metadata.write_all_at(&[0], 0).is_err(), "it is for reading only");
        let other = "it isn't the metadata of that mapping";
        assert_eq!(why(kernel.revoke(iso.as_fd(), 8192, &pieces)), other);
        assert_eq!(why(kernel.revoke(metadata, 8192, &pieces[..1])), other);
        assert_eq!(
            why(kernel.revoke(path_only(&mounted.metadata).as_fd(), 8192, &pieces)),
            "it isn't a file that is open for reading"
        );
        let read = |at| mounted.file.read_exact_at(&mut [0; 16], at);
        read(0).unwrap();
        for _ in 0..2 {
            kernel.revoke(metadata, 8192, &pieces).unwrap();
        }
        rustix::fs::fadvise(&mounted.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert_eq!(read(0).unwrap_err().raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn a_mount_is_given_mappings_only() {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        assert_eq!(why(give(device.as_fd(), file.as_fd())), "it is no mapping");
        let mapped = Kernel::default().map(file.as_fd(), 4096, std::slice::from_ref(&(0..4096))).unwrap();
        let null = File::open("/dev/null").unwrap();
        for other in [null.as_fd(), file.as_fd()] {
            assert_eq!(why(give(other, mapped.file.as_fd())), "it isn't a mount's device");
            assert_eq!(why(take_back(other, 1)), "it isn't a mount's device");
        }
        let path = path_only(&mapped.file);
        assert_eq!(why(give(device.as_fd(), path.as_fd())), "it isn't a file that is open for reading");
        // A device without a mount, which the kernel refuses.
        assert!(give(device.as_fd(), mapped.file.as_fd()).unwrap_err().raw_os_error().is_some());
    }
}
