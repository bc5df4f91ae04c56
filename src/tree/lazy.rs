//! What a tree asks of a directory that is not in its arena.
//!
//! Such a directory is read when somebody looks into it; the tree knows neither where nor how, and keeps nothing of it.
//! What is below it never changes; other entries are another directory, of another identity.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

use super::arena::{Kind, LAZY, Node};
use crate::storage::content::Content;

/// A directory that is read where it lies.
pub trait Directory: Send + Sync {
    /// The node of that name, with a number of [`ino`].
    ///
    /// # Errors
    /// If the directory can't be read.
    fn lookup(self: Arc<Self>, name: &OsStr) -> io::Result<Option<Node>>;

    /// The names of a listing, each once.
    ///
    /// # Errors
    /// If the directory can't be read.
    fn list(&self) -> io::Result<Vec<Listed>>;

    /// What a call would have to wait for, as a number; `None` if it answers from memory.
    fn waits_for(&self) -> Option<u64>;
}

/// A file of which no more is known than what a listing tells.
pub trait Unopened: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Who may execute it: a subset of 0111.
    fn execute(&self) -> u16;

    /// Its bytes, as many as [`Unopened::size`] says.
    ///
    /// # Errors
    /// If it can't be served.
    fn open(&self) -> io::Result<Arc<Content>>;

    /// What opening it would have to wait for, as a number; `None` if it is done at once.
    fn waits_for(&self) -> Option<u64>;
}

/// Type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// One name in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Inode number.
    pub ino: u64,
    /// Its kind.
    pub kind: Type,
    /// The name.
    pub name: OsString,
}

impl Listed {
    /// That of a node.
    pub fn of(name: &str, node: &Node) -> Self {
        Self { ino: node.ino, kind: node.file_type(), name: name.into() }
    }
}

/// The inode number for what has this identity. It is no number of a node in an arena. With a million files known to
/// the kernel at once, two of them share a number once in ten million times.
pub fn ino(identity: u64) -> u64 {
    identity & (LAZY - 1) | LAZY
}

/// Whether it is the inode number of a node that is not in an arena.
pub fn is_lazy(ino: u64) -> bool {
    ino & LAZY != 0
}

/// What is left of a lazy node when its tree is gone: the same to look at, with nothing behind it that would keep the
/// ISO open. The kernel may remember it for long.
pub fn stale(node: &Node) -> Option<Node> {
    let kind = match &node.kind {
        Kind::Lazy(_) => Kind::Directory(BTreeMap::new()),
        Kind::Unopened(file) => {
            Kind::Unopened(Arc::new(Stale { size: file.size(), execute: file.execute() }))
        }
        _ => return None,
    };
    Some(Node { ino: node.ino, mtime: node.mtime, kind })
}

struct Stale {
    size: u64,
    execute: u16,
}

impl Unopened for Stale {
    fn size(&self) -> u64 {
        self.size
    }

    fn execute(&self) -> u16 {
        self.execute
    }

    fn open(&self) -> io::Result<Arc<Content>> {
        Err(io::Error::new(io::ErrorKind::NotFound, "its ISO has been removed"))
    }

    fn waits_for(&self) -> Option<u64> {
        None
    }
}
