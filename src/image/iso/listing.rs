//! Whole directories of an image, for whoever shows its files as they are.
//!
//! A directory is read in one pass: names as they are recorded, types, sizes, modes, times and link targets. Nothing is
//! followed: an [`EntryId`] leads to the next directory or to a file's extents. What an entry can't be served for is
//! said beside its name, so that the others of its directory are.

use std::time::{Duration, SystemTime};

use hadris_fs::sync::FileSystem;
use hadris_fs::{DateTime, DirCursor, DirEntry, FileType, NodeId};

use super::{Error, File, Image, MAX_DIRECTORY, MAX_READS, damaged};

/// Longest target of a symbolic link: PATH_MAX with its NUL (Linux, include/uapi/linux/limits.h).
const MAX_TARGET: usize = 4095;

/// Names and link targets of one directory. A full one with names of 100 bytes has a half of it; without a limit, long
/// links would make that 300 MB.
const MAX_TEXT: usize = 16 << 20;

/// Reads that one directory may cost, counted as for [`MAX_READS`]: fifteen for each of the most entries that it can have.
/// An entry takes two to six, and once for an image its hard links are looked for in all directories.
const MAX_LISTING_READS: u64 = 15 * MAX_DIRECTORY as u64;

/// Where an entry is recorded. It stays the same for the same bytes of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId(NodeId);

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name: any bytes but `/` and NUL; in lower case where the image has capitals only.
    pub name: Box<[u8]>,
    /// Where it is recorded.
    pub id: EntryId,
    /// Its kind.
    pub kind: EntryKind,
    /// Permission bits, as far as Rock Ridge has them.
    pub mode: u16,
    /// Last change.
    pub mtime: SystemTime,
}

/// Kinds of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Size in bytes.
        len: u64,
    },
    /// A symbolic link.
    Link {
        /// Where it points: any bytes.
        target: Box<[u8]>,
    },
    /// Something that can't be shown, and why.
    Other(&'static str),
}

impl Image {
    /// The root directory.
    pub fn root(&self) -> EntryId {
        EntryId(self.fs.root())
    }

    /// The entries of a directory in the order of the image; `path` is for messages.
    ///
    /// # Errors
    /// If the directory is damaged, or larger than any that is known.
    pub fn entries(&mut self, directory: EntryId, path: &str) -> Result<Vec<DirectoryEntry>, Error> {
        self.source.renew(MAX_LISTING_READS);
        self.check_start(directory, path)?;
        let (mut entries, mut text) = (Vec::new(), 0);
        let mut cursor = DirCursor::START;
        loop {
            let entry = self.fs.readdir(directory.0, cursor).map_err(|fault| damaged(path, fault))?;
            let Some(entry) = entry else { return Ok(entries) };
            cursor = entry.next_cursor();
            let entry = self.entry(&entry);
            text += entry.text();
            entries.push(entry);
            if entries.len() > MAX_DIRECTORY || text > MAX_TEXT {
                return Err(Error::Damaged { path: path.to_owned(), reason: "too many entries".into() });
            }
        }
    }

    /// A regular file by its entry; `path` is for messages.
    ///
    /// # Errors
    /// If it can't be served.
    pub fn file_of(&mut self, entry: EntryId, path: String) -> Result<File, Error> {
        self.source.renew(MAX_READS);
        self.regular(entry.0, path)
    }

    /// A directory is read from where its `.` record says. One that says something else than the record which leads to
    /// it would hide a circle from whoever compares ids.
    fn check_start(&mut self, directory: EntryId, path: &str) -> Result<(), Error> {
        let extents = self.extents(directory.0, path)?;
        if extents.first().is_none_or(|extent| extent.offset == directory.0.get()) {
            return Ok(());
        }
        Err(Error::Damaged { path: path.to_owned(), reason: "it begins in another directory".into() })
    }

    fn entry(&mut self, entry: &DirEntry) -> DirectoryEntry {
        let stat = entry.metadata();
        let kind = match entry.file_type() {
            FileType::Dir => EntryKind::Directory,
            FileType::File => EntryKind::File { len: stat.len() },
            FileType::Symlink => self.link(entry.node()),
            _ => EntryKind::Other("a device, pipe or socket"),
        };
        let name = match self.is_plain() {
            true => entry.name().as_bytes().to_ascii_lowercase().into(),
            false => entry.name().as_bytes().into(),
        };
        DirectoryEntry {
            name,
            id: EntryId(entry.node()),
            kind,
            mode: u16::try_from(stat.permissions().bits()).unwrap_or_default(),
            mtime: stat.modified().map_or(SystemTime::UNIX_EPOCH, system_time),
        }
    }

    fn link(&mut self, node: NodeId) -> EntryKind {
        let mut buf = [0; MAX_TARGET];
        match self.fs.readlink(node, &mut buf) {
            Ok(target) => EntryKind::Link { target: target.into() },
            Err(_) => EntryKind::Other("a symbolic link that is damaged or too long"),
        }
    }
}

impl DirectoryEntry {
    /// Bytes of its name and target.
    pub fn text(&self) -> usize {
        let target = match &self.kind {
            EntryKind::Link { target } => target.len(),
            _ => 0,
        };
        self.name.len() + target
    }
}

#[cfg(test)]
impl DirectoryEntry {
    /// A directory that is in no image.
    pub fn sample(name: &[u8], mode: u16) -> Self {
        let id = EntryId(NodeId::new(2).unwrap());
        Self { name: name.into(), id, kind: EntryKind::Directory, mode, mtime: SystemTime::UNIX_EPOCH }
    }
}

fn system_time(time: DateTime) -> SystemTime {
    let seconds = Duration::from_secs(time.unix_seconds().unsigned_abs());
    let nanoseconds = Duration::from_nanos(time.nanoseconds().into());
    let time = match time.unix_seconds() {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    time.and_then(|time| time.checked_add(nanoseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
