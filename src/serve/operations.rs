//! The file system's operations on a snapshot of the tree: look up, list, open, read.
//!
//! A [`Operations`] holds the current [`Tree`] and replaces it as a whole. Open handles own what they have opened, so a file
//! outlives its name; nodes of an older tree stay known while the kernel remembers them. Nothing here knows the FUSE
//! library, and nothing here logs: an [`Error`] carries its errno and how loudly to say it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use crate::image::label::Label;
use crate::image::printable;
use crate::serve::handover::ledger::{Ledger, Listing, OpenFile};
use crate::serve::usage::{Failure, Reading, Usage, seconds};
use crate::storage::closing::Closing;
use crate::storage::content::Content;
use crate::storage::source::path_of;
use crate::tree::arena::{Kind, Node, ROOT_INO, Tree};
use crate::tree::lazy::{self, Listed, Type};
use crate::tree::live;

mod adopted;
mod expected;
mod listings;

use adopted::Adopted;
use expected::{Expected, Isos, Lack};
use listings::Listings;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such name or inode.
    #[error("no such file or directory")]
    NotFound,
    /// A directory was asked for.
    #[error("not a directory")]
    NotADirectory,
    /// A file was asked for.
    #[error("is a directory")]
    IsADirectory,
    /// Something else than a symbolic link was asked for, or a link where there can be none.
    #[error("a symbolic link, or not one")]
    Link,
    /// An inode that only a process before this one knew: the kernel looks for its name once more.
    #[error("no such inode any more")]
    Stale,
    /// A handle that isn't open.
    #[error("no such handle")]
    BadHandle,
    /// A directory or file of an ISO that can't be served.
    #[error("{0}")]
    Lazy(io::Error),
    /// The backing file can't be read.
    #[error("the backing file can't be read: {0}")]
    Backing(#[from] io::Error),
}

impl Error {
    /// The errno for the caller (errno(3)).
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::Stale => libc::ESTALE,
            Self::NotADirectory => libc::ENOTDIR,
            Self::IsADirectory => libc::EISDIR,
            Self::Link => libc::EINVAL,
            Self::BadHandle => libc::EBADF,
            // Whatever happened to the ISO, to a client it is a bad sector.
            Self::Backing(_) | Self::Lazy(_) => libc::EIO,
        }
    }

    /// As it is counted.
    pub fn kind(&self) -> Failure {
        match self {
            Self::NotFound => Failure::NotFound,
            Self::Stale => Failure::Stale,
            Self::NotADirectory | Self::IsADirectory | Self::Link => Failure::WrongType,
            Self::BadHandle => Failure::BadHandle,
            Self::Lazy(_) => Failure::IsoUnreadable,
            Self::Backing(_) => Failure::ReadFailed,
        }
    }

    /// How loudly to log it. Loaders ask for many files that need not be there.
    pub fn level(&self) -> log::Level {
        match self {
            Self::NotFound | Self::Stale => log::Level::Debug,
            Self::Backing(_) => log::Level::Error,
            _ => log::Level::Warn,
        }
    }
}

/// The object of an open handle.
enum Handle {
    File(Arc<Content>, Arc<Reading>),
    Directory(Arc<Listing>),
}

impl Handle {
    fn content(&self) -> Option<&Content> {
        match self {
            Self::File(content, _) => Some(content),
            Self::Directory(_) => None,
        }
    }
}

/// A node that the kernel remembers, and how often it was told of it.
struct Known {
    node: Arc<Node>,
    lookups: u64,
    /// What must be in the tree for its names to be there: the lazy directory of the arena above it, or itself.
    top: u64,
}

/// The mounted tree with its open handles.
pub struct Operations {
    tree: RwLock<Arc<Tree>>,
    known: Mutex<HashMap<u64, Known>>,
    handles: RwLock<HashMap<u64, Arc<Handle>>>,
    next_handle: AtomicU64,
    listings: Listings,
    /// Where it is written down what is open, if anybody comes after this process.
    ledger: Option<Arc<Ledger>>,
    /// What it has from a process before it.
    adopted: Adopted,
    /// What that one served and this one has to wait for.
    expected: Expected,
    usage: Arc<Usage>,
    /// What closes the files of ISOs that are gone.
    closing: Closing,
    /// Held by who lets go of a file.
    letting_go: Mutex<()>,
}

impl Operations {
    /// A file system that shows this tree.
    pub fn new(tree: Tree) -> Self {
        Self::with(tree, None)
    }

    /// A file system that shows this tree, and writes down what is open.
    pub fn with(tree: Tree, ledger: Option<Arc<Ledger>>) -> Self {
        Self {
            tree: RwLock::new(Arc::new(tree)),
            known: Mutex::default(),
            handles: RwLock::default(),
            next_handle: AtomicU64::new(1),
            listings: Listings::default(),
            ledger,
            adopted: Adopted::default(),
            expected: Expected::default(),
            usage: Arc::default(),
            closing: Closing::new(),
            letting_go: Mutex::default(),
        }
    }

    /// What has been opened and read.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// How an open file is being read.
    pub fn reading(&self, handle: u64) -> Option<Arc<Reading>> {
        match self.handle(handle).ok()?.as_ref() {
            Handle::File(_, reading) => Some(reading.clone()),
            Handle::Directory(_) => None,
        }
    }

    /// How each of the open files is being read.
    pub fn readings(&self) -> Vec<Arc<Reading>> {
        let handles = self.handles.read();
        let file = |handle: &Arc<Handle>| match handle.as_ref() {
            Handle::File(_, reading) => Some(reading.clone()),
            Handle::Directory(_) => None,
        };
        handles.values().filter_map(file).collect()
    }

    /// The path of an inode of the tree, such as `tftp/vmlinuz_F42`; of one below `trees/`, that of its ISO's.
    pub fn path(&self, ino: u64) -> Option<String> {
        let tree = self.tree();
        tree.path(ino).or_else(|| {
            let top = self.known.lock().get(&ino)?.top;
            tree.path(top)
        })
    }

    /// Shows another tree from now on, and returns the one before.
    pub fn replace(&self, tree: Tree) -> Arc<Tree> {
        let tree = Arc::new(tree);
        let mut current = self.tree.write();
        let before = std::mem::replace(&mut *current, tree.clone());
        drop(current);
        for known in self.known.lock().values_mut().filter(|known| tree.by_ino(known.top).is_none()) {
            if let Some(stale) = lazy::stale(&known.node) {
                known.node = Arc::new(stale);
            }
        }
        self.usage.keep_only(|path| tree.resolve(path).is_some());
        before
    }

    /// The tree that is shown now.
    pub fn tree(&self) -> Arc<Tree> {
        self.tree.read().clone()
    }

    /// Finds a name in a directory. Each success is to be matched by a [`Operations::forget`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::Lazy`].
    pub fn lookup(&self, parent: u64, name: impl AsRef<OsStr>) -> Result<Arc<Node>, Error> {
        self.lookup_for(0, parent, name)
    }

    /// The same for a process.
    ///
    /// # Errors
    /// As for [`Operations::lookup`].
    pub fn lookup_for(&self, asker: u32, parent: u64, name: impl AsRef<OsStr>) -> Result<Arc<Node>, Error> {
        self.expected.wait(|isos| self.lookup_lacks(isos, parent, name.as_ref()));
        loop {
            let tree = self.tree();
            let (directory, top) = self.directory(&tree, parent)?;
            let node = tree.enter(&directory, name.as_ref()).map_err(Error::Lazy)?;
            let mut node = node.ok_or(Error::NotFound)?;
            if let Kind::Live(live) = &node.kind {
                node = Arc::new(live::node(live.as_ref(), node.ino, asker).map_err(Error::Lazy)?);
            }
            let top = if let Kind::Lazy(_) = directory.kind { top } else { node.ino };
            let mut known = self.known.lock();
            if matches!(node.kind, Kind::Lazy(_) | Kind::Unopened(_)) && self.tree().by_ino(top).is_none() {
                // It went meanwhile; what is entered now would not be cleared away any more.
                continue;
            }
            let entry = known.entry(node.ino).or_insert_with(|| Known {
                node: node.clone(),
                lookups: self.adopted_lookups(node.ino),
                top,
            });
            // What is known may be what was left of it when its ISO went, and the ISO is back.
            let old = std::mem::replace(&mut entry.node, node.clone());
            entry.lookups += 1;
            if lazy::is_lazy(node.ino)
                && let Some(ledger) = &self.ledger
            {
                ledger.named(node.ino, parent, name.as_ref(), entry.lookups);
            }
            drop(known);
            self.let_go(old, Node::content);
            return Ok(node);
        }
    }

    /// What an operation on an inode would have to wait for, as a number; `None` if it is done at once.
    pub fn waits_for(&self, ino: u64) -> Option<u64> {
        self.present(ino).map_or_else(|| self.finding_waits_for(ino), |node| node.waits_for())
    }

    /// What it has to wait for to find an inode.
    pub fn finding_waits_for(&self, ino: u64) -> Option<u64> {
        if self.present(ino).is_some() {
            return None;
        }
        let lack = self.expected.lack(|_| self.finding_lacks(ino));
        lack.map(Lack::number).or_else(|| self.adopted_below(ino)?.waits_for())
    }

    /// What a look-up has to wait for.
    pub fn lookup_waits_for(&self, parent: u64, name: &OsStr) -> Option<u64> {
        let lack = self.expected.lack(|isos| self.lookup_lacks(isos, parent, name));
        lack.map(Lack::number).or_else(|| self.waits_for(parent))
    }

    /// What the opening of a directory has to wait for.
    pub fn listing_waits_for(&self, ino: u64) -> Option<u64> {
        self.expected.lack(|_| self.listing_lacks(ino)).map(Lack::number).or_else(|| self.waits_for(ino))
    }

    /// Begins with ISOs of these labels being away, as they may be until then.
    pub fn expect(&self, labels: HashSet<Label>, until: Instant) {
        self.expected.begin(labels, until);
    }

    /// Of the ISOs that were away, only these still are; whether there are any.
    pub fn still_expects(&self, labels: &HashSet<Label>) -> bool {
        self.expected.keep_only(labels);
        self.expected.any()
    }

    fn lookup_lacks(&self, isos: &Isos, parent: u64, name: &OsStr) -> Option<Lack> {
        let tree = self.tree();
        let Some(directory) = tree.by_ino(parent) else { return self.finding_lacks(parent) };
        match (&directory.kind, name.to_str()) {
            (Kind::Directory(_), Some(name)) => match tree.lookup(directory, name) {
                Some(node) => node.is_rendered().then_some(Lack::Any),
                None => isos.of_name(name),
            },
            _ => None,
        }
    }

    fn listing_lacks(&self, ino: u64) -> Option<Lack> {
        match self.tree().by_ino(ino) {
            // The root is the same whatever there is.
            Some(node) => (ino != ROOT_INO && matches!(node.kind, Kind::Directory(_))).then_some(Lack::Any),
            None => self.finding_lacks(ino),
        }
    }

    fn finding_lacks(&self, ino: u64) -> Option<Lack> {
        let found =
            self.present(ino).is_some() || self.is_held_open(ino) || self.adopted_below(ino).is_some();
        (!found).then_some(Lack::Any)
    }

    /// A node of the tree, or one that this process has told the kernel of.
    fn present(&self, ino: u64) -> Option<Arc<Node>> {
        let in_tree = self.tree().by_ino(ino).cloned();
        in_tree.or_else(|| self.known.lock().get(&ino).map(|known| known.node.clone()))
    }

    /// What a read of an open file may have to wait for, as a number; `None` if its bytes are in memory.
    pub fn reads_from(&self, handle: u64) -> Option<u64> {
        match self.handle(handle).ok()?.as_ref() {
            Handle::File(content, _) => content.waits_for(),
            Handle::Directory(_) => None,
        }
    }

    /// The path of the file that an open file is read from, as it is now, for people.
    pub fn backing_path(&self, handle: u64) -> Option<String> {
        let handle = self.handle(handle).ok()?;
        let Handle::File(content, _) = handle.as_ref() else { return None };
        let path = path_of(content.backing_file()?.as_ref()).ok()?;
        Some(printable::line(&path.to_string_lossy()))
    }

    /// What handing a file over to the kernel may have to wait for.
    pub fn hand_over_waits_for(&self, ino: u64) -> Option<u64> {
        match &self.node(ino).ok()?.kind {
            Kind::File(content) => content.waits_for(),
            _ => None,
        }
    }

    /// A directory whose names are there, and what is above it.
    fn directory(&self, tree: &Tree, ino: u64) -> Result<(Arc<Node>, u64), Error> {
        let found = tree.by_ino(ino).map(|node| (node.clone(), ino));
        let known = || self.known.lock().get(&ino).map(|known| (known.node.clone(), known.top));
        let found = found.or_else(known).or_else(|| self.revive(ino));
        let (node, top) = found.ok_or_else(|| self.unknown())?;
        // Whoever works in a directory that has been removed finds nothing there.
        tree.by_ino(top).ok_or(Error::NotFound)?;
        if node.file_type() == Type::Directory { Ok((node, top)) } else { Err(Error::NotADirectory) }
    }

    /// The kernel forgets `count` look-ups of an inode.
    pub fn forget(&self, ino: u64, count: u64) {
        let mut known = self.known.lock();
        let left = match known.get_mut(&ino) {
            Some(entry) => {
                entry.lookups = entry.lookups.saturating_sub(count);
                entry.lookups
            }
            // Nobody has asked this process for it.
            None => self.forget_adopted(ino, count),
        };
        if left > 0 {
            return;
        }
        let gone = known.remove(&ino);
        if lazy::is_lazy(ino)
            && let Some(ledger) = &self.ledger
        {
            ledger.forgotten(ino);
        }
        drop(known);
        if let Some(Known { node, .. }) = gone {
            self.let_go(node, Node::content);
        }
    }

    /// Drops what was known or open, elsewhere if the file of an ISO that is gone goes with its content. Directories of such an
    /// ISO are [stale](lazy::stale) and have none.
    fn let_go<T: Send + Sync + 'static>(&self, held: Arc<T>, content: fn(&T) -> Option<&Content>) {
        // One at a time: else of the last two each might see the other, and one of them close the file here.
        let letting_go = self.letting_go.lock();
        match content(&held).map(Content::has_last) {
            Some(true) => {
                drop(letting_go);
                self.closing.close(held);
            }
            Some(false) => drop(held),
            None => {}
        }
    }

    /// The node of an inode number: of the tree that is shown, or of an older one that the kernel still knows.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn node(&self, ino: u64) -> Result<Arc<Node>, Error> {
        self.expected.wait(|_| self.finding_lacks(ino));
        self.present(ino).or_else(|| Some(self.revive(ino)?.0)).ok_or_else(|| self.unknown())
    }

    /// Opens a file. The handle keeps its bytes readable, whatever becomes of its name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::Link`], [`Error::Lazy`].
    pub fn open(&self, ino: u64) -> Result<u64, Error> {
        self.open_for(0, ino)
    }

    /// Opens a file for a request of that number, which is then known by it if it comes again: see
    /// [`Operations::opened_before`].
    ///
    /// # Errors
    /// As for [`Operations::open`].
    pub fn open_for(&self, request: u64, ino: u64) -> Result<u64, Error> {
        let node = self.node(ino)?;
        let content = match &node.kind {
            Kind::File(content) | Kind::Moment(content) => content.clone(),
            Kind::Unopened(file) => file.open().map_err(Error::Lazy)?,
            // The kernel knows only what a look-up made of it.
            Kind::Live(_) => return Err(Error::NotFound),
            Kind::Link(_) => return Err(Error::Link),
            Kind::Directory(_) | Kind::Lazy(_) => return Err(Error::IsADirectory),
        };
        let path = self.path(ino).unwrap_or_default();
        let reading = self.usage.opened(path, content.size());
        let handle = self.enter(Handle::File(content.clone(), reading.clone()));
        reading.enter(handle);
        if let Some(ledger) = &self.ledger {
            ledger.opened(&OpenFile { handle, ino, request }, seconds(node.mtime), &content);
        }
        Ok(handle)
    }

    /// What the kernel can read in the place of an open file, if there is anything.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn file(&self, handle: u64) -> Result<Option<Arc<File>>, Error> {
        match self.handle(handle)?.as_ref() {
            Handle::File(content, _) => Ok(content.file()),
            Handle::Directory(_) => Ok(None),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Link`].
    pub fn target(&self, ino: u64) -> Result<OsString, Error> {
        match &self.node(ino)?.kind {
            Kind::Link(target) => Ok(target.clone().into_os_string()),
            _ => Err(Error::Link),
        }
    }

    /// Reads from an open file into `buf`, and returns how many bytes; fewer than it holds only at the end of the file.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::Backing`].
    pub fn read(&self, handle: u64, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        match self.handle(handle)?.as_ref() {
            Handle::File(content, reading) => {
                let len = content.read_into(buf, offset)?;
                reading.has_read(len);
                Ok(len)
            }
            Handle::Directory(_) => Err(Error::IsADirectory),
        }
    }

    /// Opens a directory: its listing is taken now, so that a reader sees each name once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::Lazy`].
    pub fn open_directory(&self, ino: u64) -> Result<u64, Error> {
        self.open_directory_for(0, ino)
    }

    /// Opens a directory for a request of that number.
    ///
    /// # Errors
    /// As for [`Operations::open_directory`].
    pub fn open_directory_for(&self, request: u64, ino: u64) -> Result<u64, Error> {
        self.expected.wait(|_| self.listing_lacks(ino));
        let tree = self.tree();
        let (node, _) = self.directory(&tree, ino)?;
        // What is in a lazy one never changes.
        let listing = match self.listings.of(ino).filter(|_| lazy::is_lazy(ino)) {
            Some(listing) => listing,
            None => {
                // The kernel answers `..` itself; readdir only wants some number for it.
                let dots = [(ino, "."), (ROOT_INO, "..")];
                let dots = dots.map(|(ino, name)| Listed { ino, kind: Type::Directory, name: name.into() });
                let entries = tree.read(&node).map_err(Error::Lazy)?;
                self.listings.share(ino, dots.into_iter().chain(entries).collect())
            }
        };
        let handle = self.enter(Handle::Directory(listing.clone()));
        if let Some(ledger) = &self.ledger {
            ledger.opened_directory(handle, request, &listing);
        }
        Ok(handle)
    }

    /// Calls `each` with the entries of an open directory from position `from` on, until it returns `false`.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::NotADirectory`].
    pub fn read_directory(
        &self,
        handle: u64,
        from: u64,
        mut each: impl FnMut(u64, &Listed) -> bool,
    ) -> Result<(), Error> {
        let handle = self.handle(handle)?;
        let Handle::Directory(listing) = handle.as_ref() else { return Err(Error::NotADirectory) };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (position, entry) in listing.entries.iter().enumerate().skip(from) {
            if !each(position as u64 + 1, entry) {
                break;
            }
        }
        Ok(())
    }

    /// Closes a handle of either kind; whether it was open.
    pub fn release(&self, handle: u64) -> bool {
        let Some(closed) = self.handles.write().remove(&handle) else { return false };
        if let Some(ledger) = &self.ledger {
            ledger.closed(handle);
        }
        if let Handle::File(_, reading) = closed.as_ref() {
            reading.close();
        }
        self.let_go(closed, Handle::content);
        true
    }

    fn enter(&self, handle: Handle) -> u64 {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let mut handles = self.handles.write();
        handles.insert(number, Arc::new(handle));
        number
    }

    fn handle(&self, number: u64) -> Result<Arc<Handle>, Error> {
        let handles = self.handles.read();
        handles.get(&number).cloned().ok_or(Error::BadHandle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::content::Segments;
    use crate::storage::extent::Extent;
    use crate::storage::source::ReadAt;
    use crate::tree::arena::Builder;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{ThreadId, current};
    use std::time::{Duration, SystemTime};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
        for (name, text) in files {
            builder.file(Tree::ROOT, name, Content::text((*text).into()), SystemTime::UNIX_EPOCH);
        }
        builder.build()
    }

    fn read(operations: &Operations, handle: u64, offset: u64, size: usize) -> Result<Vec<u8>, Error> {
        let mut buf = vec![0; size];
        let len = operations.read(handle, offset, &mut buf)?;
        buf.truncate(len);
        Ok(buf)
    }

    #[test]
    fn an_open_file_outlives_its_name() {
        let operations = Operations::new(tree(&[("a", "old bytes")]));
        let node = operations.lookup(ROOT_INO, "a").unwrap();
        let handle = operations.open(node.ino).unwrap();
        operations.replace(tree(&[("a", "new")]));
        assert_eq!(read(&operations, handle, 4, 100).unwrap(), b"bytes");
        assert_ne!(operations.lookup(ROOT_INO, "a").unwrap().ino, node.ino);
        assert!(operations.node(node.ino).is_ok(), "fstat of the open file still works");
        operations.forget(node.ino, 1);
        assert!(matches!(operations.node(node.ino), Err(Error::NotFound)));
        assert_eq!(read(&operations, handle, 0, 3).unwrap(), b"old");
        operations.release(handle);
        assert!(matches!(read(&operations, handle, 0, 3), Err(Error::BadHandle)));
    }

    #[test]
    fn those_who_list_the_same_have_it_once() {
        let operations = Operations::new(tree(&[("a", "x")]));
        let listing = |handle: u64| match operations.handle(handle).unwrap().as_ref() {
            Handle::Directory(listing) => listing.clone(),
            Handle::File(..) => panic!("a file"),
        };
        let open = || operations.open_directory(ROOT_INO).unwrap();
        let (first, second) = (open(), open());
        assert!(Arc::ptr_eq(&listing(first), &listing(second)));
        operations.replace(tree(&[("a", "x"), ("b", "y")]));
        let third = open();
        assert_eq!([first, second, third].map(|handle| listing(handle).entries.len()), [3, 3, 4]);
        for handle in [first, second, third] {
            assert!(operations.release(handle));
        }
        assert!(operations.listings.of(ROOT_INO).is_none());
    }

    #[test]
    fn a_listing_is_the_one_of_its_opening() {
        let operations = Operations::new(tree(&[("a", ""), ("b", "")]));
        let handle = operations.open_directory(ROOT_INO).unwrap();
        let mut names = Vec::new();
        operations
            .read_directory(handle, 0, |_, entry| {
                names.push(entry.name.clone());
                names.len() < 3
            })
            .unwrap();
        operations.replace(tree(&[("0", ""), ("a", ""), ("c", "")]));
        operations
            .read_directory(handle, 3, |_, entry| {
                names.push(entry.name.clone());
                true
            })
            .unwrap();
        assert_eq!(names, [".", "..", "a", "b"]);
    }

    /// A lazy directory with one file `f` in it.
    struct Disc;

    impl lazy::Directory for Disc {
        fn lookup(self: Arc<Self>, name: &OsStr) -> io::Result<Option<Node>> {
            let kind = Kind::Unopened(self);
            let node = Node { ino: lazy::ino(9), mtime: SystemTime::UNIX_EPOCH, kind };
            Ok((name == "f").then_some(node))
        }

        fn list(&self) -> io::Result<Vec<Listed>> {
            Ok(vec![Listed { ino: lazy::ino(9), kind: Type::File, name: "f".into() }])
        }

        fn waits_for(&self) -> Option<u64> {
            Some(5)
        }
    }

    impl lazy::Unopened for Disc {
        fn size(&self) -> u64 {
            1
        }

        fn execute(&self) -> u16 {
            0
        }

        fn open(&self) -> io::Result<Arc<Content>> {
            Ok(Arc::new(Content::text("x".into())))
        }

        fn waits_for(&self) -> Option<u64> {
            Some(5)
        }
    }

    fn lazy_tree(disc: &Arc<Disc>) -> Tree {
        let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
        builder.lazy(Tree::ROOT, "L", disc.clone(), 1, SystemTime::UNIX_EPOCH);
        builder.build()
    }

    #[test]
    fn look_ups_of_the_process_before_count_when_the_kernel_forgets() {
        use crate::serve::handover::ledger::{Left, Name};
        let operations = Operations::new(lazy_tree(&Arc::new(Disc)));
        let top = operations.lookup(ROOT_INO, "L").unwrap().ino;
        let ino = lazy::ino(9);
        let mut left = Left::default();
        left.names.insert(ino, Name { parent: top, name: "f".into(), lookups: 4 });
        operations.adopt(&left, 1, &mut |_| None);
        // The kernel asks for the name anew before its word arrives that it has forgotten it.
        assert_eq!(operations.lookup(top, "f").unwrap().ino, ino);
        operations.forget(ino, 4);
        assert_eq!(operations.known.lock().get(&ino).map(|known| known.lookups), Some(1));
        operations.forget(ino, 1);
        assert!(operations.known.lock().get(&ino).is_none());
        // And where this process has not been asked for it at all.
        operations.adopt(&left, 2, &mut |_| None);
        operations.forget(ino, 3);
        operations.lookup(top, "f").unwrap();
        assert_eq!(operations.known.lock().get(&ino).map(|known| known.lookups), Some(2));
    }

    #[test]
    fn while_an_iso_is_expected_only_answers_that_may_lack_it_have_to_wait() {
        use crate::serve::handover::ledger::{Left, Name};
        let operations = Operations::new(lazy_tree(&Arc::new(Disc)));
        let mut left = Left::default();
        let top = operations.tree().resolve("L").unwrap().ino;
        let name = |parent, name: &str| Name { parent, name: name.into(), lookups: 1 };
        left.names.insert(lazy::ino(9), name(top, "f"));
        left.names.insert(lazy::ino(8), name(lazy::ino(7), "of another ISO"));
        operations.adopt(&left, 1, &mut |_| None);
        let menu = |builder: &mut Builder| {
            builder.file(Tree::ROOT, "menu", Content::text("text".into()), SystemTime::UNIX_EPOCH);
        };
        let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
        menu(&mut builder);
        builder.lazy(Tree::ROOT, "L", Arc::new(Disc), 1, SystemTime::UNIX_EPOCH);
        operations.replace(builder.build());
        let lookup = |name: &str| operations.lookup_waits_for(ROOT_INO, OsStr::new(name));
        let of_iso = Some(5);
        assert_eq!(
            (lookup("menu"), lookup("M"), operations.listing_waits_for(lazy::ino(8))),
            (None, None, None)
        );
        operations
            .expect(HashSet::from([Label::parse("M").unwrap()]), Instant::now() + Duration::from_secs(600));
        let any = Some(Lack::Any.number());
        assert_eq!((lookup("menu"), lookup("L"), lookup("nothing")), (any, None, None));
        assert!(lookup("vmlinuz_M").is_some_and(|number| Some(number) != any));
        let waits = |ino| (operations.waits_for(ino), operations.finding_waits_for(ino));
        assert_eq!(waits(top), (of_iso, None));
        assert_eq!(waits(lazy::ino(9)), (of_iso, of_iso), "it is found by its name");
        assert_eq!(waits(lazy::ino(8)), (any, any), "it may be the ISO's");
        assert_eq!(operations.listing_waits_for(ROOT_INO), None);
        assert!(!operations.still_expects(&HashSet::new()));
        assert_eq!((lookup("menu"), lookup("vmlinuz_M"), waits(lazy::ino(8))), (None, None, (None, None)));
        assert!(matches!(operations.node(lazy::ino(8)), Err(Error::Stale)));
    }

    /// Tells which thread drops it.
    struct Image(Sender<ThreadId>);

    impl ReadAt for Image {
        fn read_exact_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
            buf.fill(0);
            Ok(())
        }

        fn len(&self) -> u64 {
            9
        }
    }

    impl Drop for Image {
        fn drop(&mut self) {
            self.0.send(current().id()).unwrap();
        }
    }

    #[test]
    fn the_file_of_an_iso_that_is_gone_is_closed_where_nobody_waits() {
        let (sender, dropped) = channel();
        let with_iso = || {
            let extents = [Extent { offset: 0, len: 9 }];
            let segments = Segments::new(Arc::new(Image(sender.clone())), 1).extents(&extents);
            let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
            builder.file(Tree::ROOT, "iso", Content::Segments(segments), SystemTime::UNIX_EPOCH);
            builder.build()
        };
        let elsewhere = || assert_ne!(dropped.recv().unwrap(), current().id());
        let operations = Operations::new(with_iso());
        let ino = operations.lookup(ROOT_INO, "iso").unwrap().ino;
        drop(operations.replace(tree(&[])));
        // It is back, in a file that was opened anew.
        operations.replace(with_iso());
        assert_eq!(operations.lookup(ROOT_INO, "iso").unwrap().ino, ino);
        elsewhere();
        drop(operations.replace(tree(&[])));
        operations.forget(ino, 2);
        elsewhere();
        operations.replace(with_iso());
        let handle = operations.open(ino).unwrap();
        drop(operations.replace(tree(&[])));
        assert!(operations.release(handle));
        elsewhere();
    }

    #[test]
    fn of_two_who_let_go_of_a_file_one_has_dropped_it_before_the_other_is_asked() {
        /// Notes that somebody lets go of it, until it is dropped.
        struct Held(Content, Arc<AtomicBool>);

        impl Held {
            fn content(&self) -> Option<&Content> {
                assert!(!self.1.swap(true, Ordering::Relaxed));
                std::thread::yield_now();
                Some(&self.0)
            }
        }

        impl Drop for Held {
            fn drop(&mut self) {
                std::thread::yield_now();
                self.1.store(false, Ordering::Relaxed);
            }
        }

        let operations = Operations::new(tree(&[]));
        let letting_go = Arc::<AtomicBool>::default();
        std::thread::scope(|scope| {
            let let_go = || {
                for _ in 0..1000 {
                    let held = Held(Content::text("text".into()), letting_go.clone());
                    operations.let_go(Arc::new(held), Held::content);
                }
            };
            scope.spawn(let_go);
            scope.spawn(let_go);
        });
    }

    #[test]
    fn a_lazy_tree_that_is_gone_has_no_names_and_keeps_nothing() {
        let disc = Arc::new(Disc);
        let operations = Operations::new(lazy_tree(&disc));
        let top = operations.lookup(ROOT_INO, "L").unwrap().ino;
        let file = operations.lookup(top, "f").unwrap().ino;
        let handle = operations.open(file).unwrap();
        assert_eq!(
            (operations.waits_for(top), operations.waits_for(file), operations.waits_for(ROOT_INO)),
            (Some(5), Some(5), None)
        );
        drop(operations.replace(tree(&[])));
        assert_eq!(Arc::strong_count(&disc), 1, "the ISO is still held");
        assert_eq!(read(&operations, handle, 0, 9).unwrap(), b"x");
        assert_eq!(operations.node(file).unwrap().file_type(), Type::File);
        assert!(matches!(operations.lookup(top, "f"), Err(Error::NotFound)));
        assert!(matches!(operations.open_directory(top), Err(Error::NotFound)));
        assert!(operations.open(file).is_err());
        // The same ISO again, while the kernel still remembers it.
        operations.replace(lazy_tree(&disc));
        assert_eq!(operations.lookup(ROOT_INO, "L").unwrap().ino, top);
        assert_eq!(operations.lookup(top, "f").unwrap().ino, file);
        assert!(operations.open(file).is_ok());
    }

    #[test]
    fn errors_have_the_errno_that_a_server_expects() {
        let operations = Operations::new(tree(&[("a", "")]));
        let file = operations.lookup(ROOT_INO, "a").unwrap().ino;
        assert_eq!(operations.lookup(ROOT_INO, "b").err().unwrap().errno(), libc::ENOENT);
        assert_eq!(operations.lookup(file, "b").err().unwrap().errno(), libc::ENOTDIR);
        assert_eq!(operations.open(ROOT_INO).unwrap_err().errno(), libc::EISDIR);
        assert_eq!(operations.open_directory(file).unwrap_err().errno(), libc::ENOTDIR);
        assert_eq!(Error::from(io::Error::from(io::ErrorKind::UnexpectedEof)).errno(), libc::EIO);
    }
}
