//! An ISO's own files as a part of the tree: names, modes, times and symbolic links as they are recorded.
//!
//! A [`Directory`] costs nothing until somebody looks into it. Then it is read whole, and what was read goes to the
//! [`DirectoryCache`]. Whatever the ISO says, the tree has an end (no directory is found below itself, and none below
//! `MAX_DEPTH` others), a name is one name, and a link leads to something in the same tree or to nothing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::catalog::scan::{Iso, IsoFile};
use crate::image::iso::{DirectoryEntry, EntryId, EntryKind, Error};
use crate::image::label::Label;
use crate::image::printable;
use crate::storage::content::{Content, Segments};
use crate::storage::identity::identity;
use crate::tree::arena::{Kind, Node};
use crate::tree::lazy::{self, Listed, Type, Unopened};

mod directories;
mod link;

pub use directories::{DirectoryCache, Listing};
pub use link::confine;

/// Directories above one another. Installer and live ISOs nest up to 8, as ECMA-119 has it; an unpacked root that is
/// exported by NFS up to 20 (`node_modules`). More would be beyond what paths are good for: 4096 bytes (PATH_MAX).
const MAX_DEPTH: usize = 64;

/// Longest name that the kernel takes (NAME_MAX).
const MAX_NAME: usize = 255;

/// A directory of an ISO.
pub struct Directory {
    shared: Arc<Shared>,
    parent: Option<Arc<Directory>>,
    /// Its name; that of the root is empty.
    name: Box<[u8]>,
    /// Where it is recorded; `None` is the root.
    id: Option<EntryId>,
    depth: usize,
    identity: u64,
}

/// The common ground of an ISO's directories.
struct Shared {
    directories: Arc<DirectoryCache>,
    disc: Arc<IsoFile>,
    label: Label,
}

impl Directory {
    /// The root directory of an ISO.
    pub fn root(directories: &Arc<DirectoryCache>, iso: &Iso) -> Self {
        let shared =
            Shared { directories: directories.clone(), disc: iso.disc.clone(), label: iso.label.clone() };
        let identity = directories::number(&iso.disc);
        Self { shared: Arc::new(shared), parent: None, name: Box::default(), id: None, depth: 0, identity }
    }

    /// A number that stands for the ISO's content and the path in it, the same after a restart.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    fn listing(&self) -> io::Result<Arc<Listing>> {
        let Shared { directories, disc, .. } = &*self.shared;
        if let Some(listing) = directories.listing(self.identity) {
            return Ok(listing);
        }
        let path = self.path();
        let (root, mut entries) = directories
            .with_image(disc, |image| {
                let root = image.root();
                Ok((root, image.entries(self.id.unwrap_or(root), &path)?))
            })
            .map_err(|error| self.fault(&error))?;
        entries.retain_mut(|entry| match self.admit(entry, root) {
            Ok(()) => true,
            Err(reason) => {
                let name = String::from_utf8_lossy(&entry.name);
                log::debug!("{}: {:?} in {path:?} is left out: {reason}", self.shared.label, name);
                false
            }
        });
        Ok(directories.keep(disc, self.identity, entries))
    }

    /// The gate: what doesn't pass has no name in the tree.
    fn admit(&self, entry: &mut DirectoryEntry, root: EntryId) -> Result<(), &'static str> {
        if entry.name.is_empty() || matches!(*entry.name, [b'.'] | [b'.', b'.']) {
            return Err("no name");
        }
        if entry.name.len() > MAX_NAME || entry.name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err("not a name that can be shown");
        }
        match &mut entry.kind {
            EntryKind::File { .. } => {}
            EntryKind::Directory if self.is_below(entry.id, root) => return Err("it contains itself"),
            EntryKind::Directory if self.depth + 1 >= MAX_DEPTH => return Err("too deep"),
            EntryKind::Directory => {}
            EntryKind::Link { target } => {
                *target = confine(target, self.depth).ok_or("it leads out of the tree")?.into();
            }
            EntryKind::Other(reason) => return Err(reason),
        }
        Ok(())
    }

    /// Whether this directory is that one or lies below it.
    fn is_below(&self, id: EntryId, root: EntryId) -> bool {
        self.id.unwrap_or(root) == id || self.parent.as_ref().is_some_and(|parent| parent.is_below(id, root))
    }

    fn child(self: &Arc<Self>, entry: &DirectoryEntry) -> Node {
        let identity = self.child_identity(&entry.name);
        let kind = match &entry.kind {
            EntryKind::File { len } => Kind::Unopened(Arc::new(File {
                directory: self.clone(),
                name: entry.name.clone(),
                id: entry.id,
                len: *len,
                mode: entry.mode,
            })),
            EntryKind::Link { target } => Kind::Link(OsStr::from_bytes(target).into()),
            _ => Kind::Lazy(Arc::new(Self {
                shared: self.shared.clone(),
                parent: Some(self.clone()),
                name: entry.name.clone(),
                id: Some(entry.id),
                depth: self.depth + 1,
                identity,
            })),
        };
        Node { ino: lazy::ino(identity), mtime: entry.mtime, kind }
    }

    fn child_identity(&self, name: &[u8]) -> u64 {
        identity(&(self.identity, name))
    }

    /// The path in the ISO, for messages.
    fn path(&self) -> String {
        match &self.parent {
            Some(parent) => parent.path_of(&self.name),
            None => "/".into(),
        }
    }

    fn path_of(&self, name: &[u8]) -> String {
        let above = if self.parent.is_some() { self.path() } else { String::new() };
        format!("{above}/{}", String::from_utf8_lossy(name))
    }

    fn fault(&self, error: &Error) -> io::Error {
        // One line, whatever the ISO has put into its names.
        io::Error::other(format!("{}: {}", self.shared.label, printable::line(&error.to_string())))
    }
}

impl lazy::Directory for Directory {
    fn lookup(self: Arc<Self>, name: &OsStr) -> io::Result<Option<Node>> {
        let listing = self.listing()?;
        Ok(listing.find(name.as_bytes()).map(|entry| self.child(entry)))
    }

    fn list(&self) -> io::Result<Vec<Listed>> {
        let listing = self.listing()?;
        let listed = listing.entries().iter().map(|entry| Listed {
            ino: lazy::ino(self.child_identity(&entry.name)),
            kind: match entry.kind {
                EntryKind::File { .. } => Type::File,
                EntryKind::Link { .. } => Type::Link,
                _ => Type::Directory,
            },
            name: OsStr::from_bytes(&entry.name).to_owned(),
        });
        Ok(listed.collect())
    }

    fn waits_for(&self) -> Option<u64> {
        let read = self.shared.directories.listing(self.identity).is_some();
        (!read).then(|| directories::number(&self.shared.disc))
    }
}

/// A regular file of an ISO.
struct File {
    directory: Arc<Directory>,
    name: Box<[u8]>,
    id: EntryId,
    len: u64,
    mode: u16,
}

impl Unopened for File {
    fn size(&self) -> u64 {
        self.len
    }

    fn execute(&self) -> u16 {
        self.mode & 0o111
    }

    fn open(&self) -> io::Result<Arc<Content>> {
        let Shared { directories, disc, .. } = &*self.directory.shared;
        let path = self.directory.path_of(&self.name);
        let file = directories.with_image(disc, |image| image.file_of(self.id, path));
        let file = file.map_err(|error| self.directory.fault(&error))?;
        let segments = Segments::new(disc.source.clone(), directories::number(disc)).extents(&file.extents);
        let content = Content::Segments(segments);
        if content.size() != self.len {
            // It was listed without the rest of what is recorded of it.
            let reason = format!("{} bytes, listed as {}", content.size(), self.len);
            return Err(self.directory.fault(&Error::Damaged { path: file.path, reason }));
        }
        Ok(Arc::new(content))
    }

    fn waits_for(&self) -> Option<u64> {
        Some(directories::number(&self.directory.shared.disc))
    }
}
