//! The directory of ISOs and the mount point, as they are named on the command line: absolute, or a sentence that says
//! what to do; and the state directory, where it isn't named.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{Access, access};

use crate::catalog::scan;
use crate::cli::options;

/// The absolute path of the directory of ISOs. Links in it stay: they may lead to another directory later.
///
/// # Errors
/// If it is no directory, or this user can't read it.
pub fn iso_directory(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let absolute = path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => not_there(path),
        _ => anyhow!("directory of ISOs {shown}: {error}"),
    })?;
    if !absolute.is_dir() {
        bail!("directory of ISOs {shown}: it is not a directory");
    }
    if access(&absolute, Access::READ_OK | Access::EXEC_OK).is_err() {
        bail!("directory of ISOs {shown}: {} may not read it", this_user());
    }
    Ok(std::path::absolute(path)?)
}

fn not_there(path: &Path) -> anyhow::Error {
    let shown = path.display();
    // A word without a slash may be a mistyped command.
    match path.to_str().and_then(options::similar_command) {
        Some(command) => anyhow!("'{shown}' is neither a directory nor a command; did you mean '{command}'?"),
        None => anyhow!("directory of ISOs {shown}: there is no such directory"),
    }
}

/// The absolute path of a mount point, which may be a dead mount: only what lies above it can be asked.
///
/// # Errors
/// If nothing can be mounted there.
pub fn mountpoint(path: &Path, nonempty: bool) -> Result<PathBuf> {
    let shown = path.display();
    let absolute = match path.canonicalize() {
        Ok(absolute) => absolute,
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return above(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("mount point {shown}: there is no such directory; make it with 'mkdir -p {shown}'")
        }
        Err(error) => return Err(error).with_context(|| format!("mount point {shown}")),
    };
    let user = rustix::process::geteuid();
    let stat = match std::fs::metadata(&absolute) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return above(path),
        stat => stat.with_context(|| format!("mount point {shown}"))?,
    };
    // fusermount3 mounts for a user only where that user could write (util/fusermount.c, `check_perm`).
    if stat.is_dir() && !user.is_root() && access(&absolute, Access::WRITE_OK).is_err() {
        bail!(
            "mount point {shown}: {} may not write there, so it can't be mounted on; 'chown {} {shown}' as root \
             helps",
            this_user(),
            user.as_raw()
        );
    }
    if !nonempty && !is_mount(&absolute, &stat) {
        refuse_what_it_would_hide(path)?;
    }
    Ok(absolute)
}

/// The absolute path of a mount point that a netrootfs serves or will: nothing is asked of what is mounted there.
///
/// # Errors
/// If there is no such path.
pub fn served_mountpoint(path: &Path) -> Result<PathBuf> {
    path.canonicalize().or_else(|_| above(path))
}

/// The absolute path of a name that can't be asked itself.
fn above(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let name = absolute.file_name().context("the root directory is no mount point")?;
    Ok(absolute.parent().unwrap_or(Path::new("/")).canonicalize()?.join(name))
}

/// Whether something is mounted there already; the daemon says what to do about it.
fn is_mount(path: &Path, stat: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let above = path.parent().and_then(|parent| std::fs::metadata(parent).ok());
    above.is_some_and(|above| above.dev() != stat.dev())
}

fn refuse_what_it_would_hide(path: &Path) -> Result<()> {
    // What is no directory, or can't be listed, is refused with its own sentence when it is mounted on.
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    let shown = path.display();
    if names.iter().any(|name| scan::is_iso_name(name)) {
        bail!(
            "mount point {shown}: there are ISOs in it, which the mount would hide; the order is 'netrootfs ISO_DIR \
             MOUNTPOINT'"
        );
    }
    if !names.is_empty() {
        bail!(
            "mount point {shown}: it is not empty, and the mount would hide its files; --nonempty allows it"
        );
    }
    Ok(())
}

/// The state directory, where nobody names one; `None` for a user without a home.
pub fn default_state_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/cache/netrootfs".into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Some(cache?.join("netrootfs"))
}

/// The user that this program runs as, for sentences.
fn this_user() -> String {
    let id = rustix::process::geteuid().as_raw();
    match uzers::get_user_by_uid(id) {
        Some(user) => format!("user {}", user.name().display()),
        None => format!("the user with the number {id}"),
    }
}
