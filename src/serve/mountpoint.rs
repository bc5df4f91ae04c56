//! The place of the mount: whether it can be used, what to say if not, and how to get rid of what is mounted there.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, AtFlags, CWD, StatxFlags, access, statx};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// The name in mount tables.
pub const NAME: &str = "netrootfs";

/// A failure, with advice.
pub fn explain(error: &io::Error, mountpoint: &Path) -> anyhow::Error {
    let text = error.to_string();
    let hint = if !Path::new("/dev/fuse").exists() {
        "; there is no /dev/fuse: try 'modprobe fuse'"
    } else if access("/dev/fuse", Access::READ_OK | Access::WRITE_OK).is_err() {
        "; this user may not open /dev/fuse: it should have mode 0666, or run as root"
    } else if text.contains("user_allow_other") {
        "; servers run as other users: put user_allow_other into /etc/fuse.conf, or run as root"
    } else if error.kind() == io::ErrorKind::NotFound {
        "; is fusermount3 installed (package fuse3)?"
    } else {
        ""
    };
    anyhow::anyhow!("{}: can't mount: {}{hint}", mountpoint.display(), text.trim_end())
}

/// Checks that the mount point is a directory and that no netrootfs serves it, and takes away a mount whose daemon was
/// killed ("Transport endpoint is not connected").
///
/// # Errors
/// If it can't be used, with the reason.
pub fn check(mountpoint: &Path) -> Result<()> {
    match std::fs::metadata(mountpoint) {
        // A second one over it would hide the first, and whoever ends one of them would unmount the other.
        Ok(stat) if is_ours(stat.dev()) => {
            bail!("{}: a netrootfs is mounted there already", mountpoint.display())
        }
        Ok(stat) if stat.is_dir() => return Ok(()),
        Ok(_) => bail!("{}: the mount point is not a directory", mountpoint.display()),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {}
        Err(error) => return Err(error).with_context(|| format!("mount point {}", mountpoint.display())),
    }
    log::warn!("{}: cleaning up after a daemon that was killed", mountpoint.display());
    detach(mountpoint)
        .with_context(|| format!("{}: the dead mount can't be removed", mountpoint.display()))?;
    check(mountpoint)
}

/// Whether the file system of that device number is a netrootfs (proc(5), mountinfo: the third field is the device; file
/// system type and source follow a lonely dash).
fn is_ours(device: u64) -> bool {
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| {
        let source = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1));
        line.split(' ').nth(2) == Some(&device) && source == Some(NAME)
    })
}

/// The device number of what is mounted there, without asking who serves it.
///
/// # Errors
/// If there is nothing.
pub fn device(mountpoint: &Path) -> io::Result<(u32, u32)> {
    let stat = statx(CWD, mountpoint, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

/// Mounts without fusermount3, as root may, and returns the device. The library would call the type plain `fuse`, by which
/// updatedb(8), findmnt(8) and their like can't tell it from others.
///
/// # Errors
/// If it can't.
pub fn mount(mountpoint: &Path) -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw()
    );
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    let options = CString::new(options)?;
    rustix::mount::mount(NAME, mountpoint, format!("fuse.{NAME}"), flags, Some(options.as_c_str()))?;
    Ok(device.into())
}

/// The setting of how far the kernel reads ahead on a file system of that device number, in KiB.
pub fn read_ahead((major, minor): (u32, u32)) -> PathBuf {
    format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb").into()
}

/// Whether a netrootfs is what is mounted on top there; nothing is asked of who serves it.
pub fn is_ours_there(mountpoint: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let there =
        |line: &&str| line.split(' ').nth(4).is_some_and(|path| Path::new(&unescape(path)) == mountpoint);
    let source = |line: &str| line.split_once(" - ")?.1.split(' ').nth(1).map(str::to_owned);
    mounts.lines().rfind(there).and_then(source).as_deref() == Some(NAME)
}

/// Where netrootfs is mounted, each place once; nothing is asked of who serves it.
pub fn all() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let ours =
        |line: &&str| line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(NAME);
    let path = |line: &str| Some(PathBuf::from(unescape(line.split(' ').nth(4)?)));
    let mut paths: Vec<PathBuf> = mounts.lines().filter(ours).filter_map(path).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// A path as mountinfo writes it: space, tab, newline and backslash are octal (proc(5)).
fn unescape(path: &str) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.get(..3).and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match octal.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Unmounts; what is in use, lazily: files that are open stay with their readers for as long as they are served.
///
/// # Errors
/// If it can't.
pub fn unmount(mountpoint: &Path) -> io::Result<()> {
    match rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::empty()) {
        Ok(()) => Ok(()),
        Err(_) => detach(mountpoint),
    }
}

/// Unmounts lazily, as root or with the help of fusermount3.
///
/// # Errors
/// If it can't.
pub fn detach(mountpoint: &Path) -> io::Result<()> {
    use rustix::mount::{UnmountFlags, unmount};
    match unmount(mountpoint, UnmountFlags::DETACH) {
        Err(Errno::PERM) => {}
        result => return Ok(result?),
    }
    let status =
        std::process::Command::new("fusermount3").args(["-u", "-z", "--"]).arg(mountpoint).status()?;
    if status.success() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_mountinfo_are_read_as_they_are() {
        assert_eq!(unescape(r"/srv/a\040b\134c"), OsString::from(r"/srv/a b\c"));
        assert_eq!(unescape(r"/srv/\9"), OsString::from(r"/srv/\9"));
    }
}
