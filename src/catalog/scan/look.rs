//! Looks at files, beside the scan: what is under a name, whether it is whole, and what is in it.
//!
//! A look may hang, for as long as the file server does. It remembers what it has found in each file, as long as its bytes are
//! the same.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::boot::inspect::{self, Facts};
use crate::image::printable;
use crate::storage::descriptors;
use crate::storage::source::ReadAt;
use crate::storage::source::noted::{self, Noted};
use crate::storage::spare::Spare;
use crate::storage::writers::{self, Writers};

use super::suspects::{Suspects, TURN};
use super::{FileId, IsoFile, Opened, Opener, Plain, Reason, Skipped};

/// A variable with the volume id of an ISO that the process dies of. For tests, of builds for these.
const FAULT: &str = "NETROOTFS_SCAN_FAULT";

/// A limit of descriptors that ISOs may come to.
const FEW: usize = 4096;

/// The looks at files, beside the scan.
pub(super) struct Looker {
    pub(super) directory: PathBuf,
    pub(super) opener: Arc<dyn Opener>,
    pub(super) outcomes: Mutex<HashMap<FileId, Outcome>>,
    pub(super) writers: Writers,
    /// When files were written to that were served before, by device and inode: with that they are other files.
    pub(super) written: Mutex<HashMap<(u64, u64), i64>>,
    /// Files that were served before the start.
    pub(super) served: OnceLock<HashSet<FileId>>,
    pub(super) spare: Spare,
    /// Where descriptors are few, one file is opened after the other.
    pub(super) opening: Mutex<()>,
    pub(super) suspects: OnceLock<Suspects>,
    /// Descriptors that ISOs leave to all else.
    pub(super) left: AtomicUsize,
}

/// The names in the directory that are an ISO's, and whether changes there, or of one of them, go unnoticed.
pub(super) struct Listing {
    pub(super) names: Vec<OsString>,
    pub(super) remote: bool,
}

/// A find under a name.
pub(super) struct Look {
    pub(super) name: OsString,
    /// `None` is no file.
    pub(super) found: Result<Option<Candidate>, Skipped>,
    pub(super) remote: bool,
}

impl Look {
    /// Whether there is nothing under the name any more.
    pub(super) fn is_gone(&self) -> bool {
        self.found.as_ref().err().is_some_and(Skipped::is_gone)
    }
}

#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) name: OsString,
    pub(super) id: FileId,
    pub(super) mtime: SystemTime,
    pub(super) outcome: Outcome,
}

pub(super) type Outcome = Result<Arc<IsoFile>, Reason>;

impl Looker {
    pub(super) fn list(&self) -> io::Result<Listing> {
        // With no descriptor left, what is gone would never be noticed, and its descriptors never come back.
        self.spare.with(|| {
            let remote = writers::is_remote(&File::open(&self.directory)?) || has_links(&self.directory);
            let mut listing = Listing { names: Vec::new(), remote };
            for entry in std::fs::read_dir(&self.directory)? {
                let entry = entry?;
                if is_iso_name(&entry.file_name()) {
                    // What becomes of the file that a link leads to is seen by no watch on this directory.
                    listing.remote |= entry.file_type().is_ok_and(|kind| kind.is_symlink());
                    listing.names.push(entry.file_name());
                }
            }
            Ok(listing)
        })
    }

    pub(super) fn look(&self, name: OsString) -> Look {
        let mut remote = false;
        let found = self.find(&name, &mut remote);
        Look { name, found, remote }
    }

    /// Looks at one name: a candidate, or nothing (a directory), or a reason.
    fn find(&self, name: &OsStr, remote: &mut bool) -> Result<Option<Candidate>, Skipped> {
        let skip = |reason, pending| Skipped { name: display(name), reason, pending };
        let path = self.directory.join(name);
        // A file may vanish or be unreadable only for now, so such reasons are not remembered.
        let fault = |error: io::Error| {
            let pending = is_of_this_moment(&error);
            skip(explain(error, &path), pending)
        };
        let stat = std::fs::metadata(&path).map_err(fault)?;
        if !stat.is_file() {
            return Ok(None);
        }
        let id = self.id_of(&stat);
        let known = self.outcomes.lock().get(&id).cloned();
        if let Some(outcome) = known.filter(is_unchanged) {
            return Ok(Some(Candidate { name: name.to_owned(), id, mtime: modified(&stat), outcome }));
        }
        let before: Vec<Outcome> = {
            let outcomes = self.outcomes.lock();
            outcomes
                .iter()
                .filter(|(other, _)| id.is_of_same_file(other))
                .map(|(_, one)| one.clone())
                .collect()
        };
        if !before.iter().all(is_unchanged) {
            // Who writes in several goes gets the chance to.
            self.writers.expect_more(&stat);
            let when = nanoseconds(stat.ctime(), stat.ctime_nsec());
            self.written.lock().insert((id.device, id.inode), when);
        }
        // Each would find room for itself, and all together would take what is left to others. One that hangs isn't waited for.
        let _one = (descriptors::limit() <= FEW).then(|| self.opening.try_lock_for(TURN));
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).map_err(fault)?;
        let file = descriptors::higher(&file).map_or(file, File::from);
        self.leaves_descriptors(&file).map_err(fault)?;
        *remote = writers::is_remote(&file);
        // One that was served is whole, whoever has opened it since: its clients must find it after a start as before. Over a
        // network, opening a file is what brings its attributes up to date (nfs(5)).
        let served = self.was_served(&self.id_of(&file.metadata().map_err(fault)?));
        if !served && let Some(reason) = self.writers.check(&file).map_err(fault)? {
            return Err(skip(Reason::Unfinished(reason), true));
        }
        let stat = file.metadata().map_err(fault)?;
        let (id, mtime) = (self.id_of(&stat), modified(&stat));
        let look = || open_disc(id, mtime, file, self.opener.as_ref());
        let outcome = match self.suspects.get() {
            Some(suspects) => suspects.look(&id, look).unwrap_or(Err(Reason::Deadly)),
            None => look(),
        };
        match outcome {
            Err(reason) if !reason.lasts() => {
                let pending = reason.error().is_some_and(is_of_this_moment);
                Err(skip(reason, pending))
            }
            outcome => Ok(Some(Candidate { name: name.to_owned(), id, mtime, outcome })),
        }
    }

    /// Refuses a file if one of the last descriptors would be taken for it, which needs two. The lowest free number is taken
    /// (open(2)), so what is below is in use.
    fn leaves_descriptors(&self, file: &File) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        let second = file.try_clone()?;
        match (second.as_raw_fd() as usize).saturating_add(left) < descriptors::limit() {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        }
    }

    /// Whether it was served before the start, and nobody has written to it since.
    fn was_served(&self, id: &FileId) -> bool {
        self.served.get().is_some_and(|served| served.contains(id))
    }

    fn id_of(&self, stat: &Metadata) -> FileId {
        let id = FileId::of(stat);
        FileId { written: self.written.lock().get(&(id.device, id.inode)).copied().unwrap_or_default(), ..id }
    }
}

/// Looks into a single file, whatever its name.
///
/// # Errors
/// The reason why it can't be served.
pub fn open_file(path: &Path) -> Result<Arc<IsoFile>, Reason> {
    let fault = |error: io::Error| explain(error, path);
    let stat = std::fs::metadata(path).map_err(fault)?;
    if !stat.is_file() {
        return Err(Reason::NotAFile);
    }
    let file = File::open(path).map_err(fault)?;
    open_disc(FileId::of(&stat), modified(&stat), file, &Plain)
}

/// Looks into a file that is open, as before.
///
/// # Errors
/// The reason why it can't be served.
pub fn open_again(file: File, opener: &dyn Opener) -> Result<Arc<IsoFile>, Reason> {
    let stat = file.metadata()?;
    open_disc(FileId::of(&stat), modified(&stat), file, opener)
}

fn open_disc(id: FileId, mtime: SystemTime, file: File, opener: &dyn Opener) -> Outcome {
    let met = noted::Errno::default();
    let look = || -> Result<(Facts, Opened), Reason> {
        let opened = opener.open(Arc::new(file))?;
        let source: Arc<dyn ReadAt> = Arc::new(Noted::new(opened.plain.clone(), met.clone()));
        let facts = inspect::inspect(&source);
        fail_as_asked(&facts);
        // Menus and names that could not be read are passed over there, and would be missing for good.
        match met.get() {
            Some(number) => Err(io::Error::from_raw_os_error(*number).into()),
            None => Ok((facts?, opened)),
        }
    };
    // Whatever an ISO does to the readers of it, the others are served. Nothing that is shared is left half done.
    let (facts, Opened { served, plain }) =
        panic::catch_unwind(AssertUnwindSafe(look)).unwrap_or(Err(Reason::Panic))?;
    Ok(Arc::new(IsoFile { id, len: served.len(), source: served, plain, mtime, facts }))
}

fn fail_as_asked(facts: &Result<Facts, inspect::Error>) {
    let Some(fault) = std::env::var(FAULT).ok().filter(|_| cfg!(debug_assertions)) else { return };
    if facts.as_ref().is_ok_and(|facts| String::from_utf8_lossy(&facts.volume_id).trim_end() == fault) {
        std::process::abort();
    }
}

/// Whether a file of that name is taken for an ISO.
pub fn is_iso_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let extension = bytes.len().checked_sub(4).and_then(|start| bytes.get(start..));
    !bytes.starts_with(b".") && extension.is_some_and(|extension| extension.eq_ignore_ascii_case(b".iso"))
}

/// Whether the bytes that were looked into are still those of the file, as far as it is served.
fn is_unchanged(outcome: &Outcome) -> bool {
    outcome.as_ref().map_or(true, |disc| disc.source.check().is_ok())
}

/// Whether an error is of the moment, and none of the file: no descriptor is left, in this process or at all.
fn is_of_this_moment(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A link that is switched is seen by no watch on the directory that it leads to.
fn has_links(directory: &Path) -> bool {
    directory.canonicalize().is_ok_and(|real| real != directory)
}

fn modified(stat: &Metadata) -> SystemTime {
    stat.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(super) fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

fn explain(error: io::Error, path: &Path) -> Reason {
    let link = path.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    match error.kind() {
        io::ErrorKind::NotFound if link => Reason::DanglingLink,
        io::ErrorKind::PermissionDenied => Reason::Denied,
        _ => error.into(),
    }
}

/// A file name on one line, whatever bytes it is made of.
pub(super) fn display(name: &OsStr) -> String {
    printable::line(&name.to_string_lossy())
}
