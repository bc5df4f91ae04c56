//! The directory tree that is served: nodes in an arena, found by integer id.
//!
//! A [`Tree`] is built once, from directories and files with their [`Content`], and never changes. It has no notion of
//! what its names mean. Inode numbers come from path and content, so they are the same after a rescan or a restart as
//! long as the bytes are, and new when the bytes are new: block and TFTP servers share descriptors by inode number.
//!
//! A directory can be [lazy](super::lazy): then what is below it is not in the arena but asked for when somebody looks.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use crate::storage::content::Content;
use crate::storage::identity::identity;

use super::lazy::{Directory, Listed, Type, Unopened};
use super::live::Live;

/// The inode number of the root directory, as FUSE has it (FUSE_ROOT_ID).
pub const ROOT_INO: u64 = 1;

/// Set in the inode number of each node that is not in the arena, and in no other.
pub(super) const LAZY: u64 = 1 << 62;

/// Index of a node in its tree.
pub type NodeId = usize;

/// One directory, file or symbolic link.
pub struct Node {
    /// Inode number.
    pub ino: u64,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Its kind.
    pub kind: Kind,
}

/// Kinds of nodes.
pub enum Kind {
    /// A directory with its entries by name.
    Directory(BTreeMap<String, Dentry>),
    /// A regular file.
    File(Arc<Content>),
    /// A directory whose entries are not in the arena.
    Lazy(Arc<dyn Directory>),
    /// A file below such a directory; what it consists of is seen when it is opened.
    Unopened(Arc<dyn Unopened>),
    /// A symbolic link below such a directory, with its target.
    Link(Box<OsStr>),
    /// A file that has other bytes each time that its name is looked up.
    Live(Arc<dyn Live>),
    /// One look-up's bytes of such a file. Its name may stand for others in the next moment.
    Moment(Arc<Content>),
}

impl Node {
    /// Its type.
    pub fn file_type(&self) -> Type {
        match &self.kind {
            Kind::Directory(_) | Kind::Lazy(_) => Type::Directory,
            Kind::File(_) | Kind::Unopened(_) | Kind::Live(_) | Kind::Moment(_) => Type::File,
            Kind::Link(_) => Type::Link,
        }
    }

    /// Its bytes; `None` if it isn't a file, or has them only when it is opened.
    pub fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) | Kind::Moment(content) => Some(content),
            _ => None,
        }
    }

    /// Whether it is a file of text that is on no disk.
    pub fn is_rendered(&self) -> bool {
        matches!(&self.kind, Kind::File(content) if content.is_rendered())
    }

    /// What has to be read to look into it, as a number; `None` if nothing.
    pub fn waits_for(&self) -> Option<u64> {
        match &self.kind {
            Kind::Lazy(directory) => directory.waits_for(),
            Kind::Unopened(file) => file.waits_for(),
            _ => None,
        }
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Dentry {
    /// The node of that name.
    pub node: NodeId,
    /// Whether a listing shows it. One that isn't listed is found by who knows its name.
    pub listed: bool,
}

/// An immutable tree. Node 0 is the root.
pub struct Tree {
    nodes: Vec<Arc<Node>>,
    by_ino: HashMap<u64, NodeId>,
    /// Where directories, by inode number, find the names that they don't have themselves.
    bases: HashMap<u64, NodeId>,
    /// The directory and the first name of each node but the root, by its id less one.
    places: Vec<(NodeId, Box<str>)>,
}

impl Tree {
    /// The root directory.
    pub const ROOT: NodeId = 0;

    /// The node with that id.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    /// The node with that inode number.
    pub fn by_ino(&self, ino: u64) -> Option<&Arc<Node>> {
        self.nodes.get(*self.by_ino.get(&ino)?)
    }

    /// The path of an inode of the arena by its first name, such as `tftp/vmlinuz_F42`.
    pub fn path(&self, ino: u64) -> Option<String> {
        let mut id = *self.by_ino.get(&ino)?;
        let mut names = Vec::new();
        while let Some((parent, name)) = id.checked_sub(1).and_then(|place| self.places.get(place)) {
            names.push(name.as_ref());
            id = *parent;
        }
        names.reverse();
        Some(names.join("/"))
    }

    /// Gives each rendered file another time: `date` makes it of path, identity of the content and the time that it has.
    pub fn date_rendered(&mut self, mut date: impl FnMut(String, u64, SystemTime) -> SystemTime) {
        for id in 0..self.nodes.len() {
            let Some(node) = self.nodes.get(id) else { continue };
            let (ino, mtime) = (node.ino, node.mtime);
            let identity = match &node.kind {
                Kind::File(content) if content.is_rendered() => content.identity(),
                _ => continue,
            };
            let path = self.path(ino).unwrap_or_default();
            // Nobody else has a node of a tree that is not shown yet.
            if let Some(node) = self.nodes.get_mut(id).and_then(Arc::get_mut) {
                node.mtime = date(path, identity, mtime);
            }
        }
    }

    /// The node of that name in a directory of the arena.
    pub fn lookup(&self, directory: &Node, name: &str) -> Option<&Arc<Node>> {
        match &directory.kind {
            Kind::Directory(entries) => {
                let dentry = entries.get(name).or_else(|| self.file_of_base(directory, name));
                self.nodes.get(dentry?.node)
            }
            _ => None,
        }
    }

    /// A file that a directory has from its base. A directory has one name only: the kernel would move it from its old
    /// place (Linux, fs/dcache.c, `d_splice_alias`).
    fn file_of_base(&self, directory: &Node, name: &str) -> Option<&Dentry> {
        self.base_of(directory)?.get(name).filter(|dentry| self.is_file(dentry))
    }

    fn is_file(&self, dentry: &Dentry) -> bool {
        self.nodes.get(dentry.node).is_some_and(|node| matches!(node.kind, Kind::File(_)))
    }

    /// The entries that a directory has besides its own.
    fn base_of(&self, directory: &Node) -> Option<&BTreeMap<String, Dentry>> {
        match &self.nodes.get(*self.bases.get(&directory.ino)?)?.kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    /// The node of that name in a directory of either kind.
    ///
    /// # Errors
    /// If a lazy directory can't be read.
    pub fn enter(&self, directory: &Node, name: &OsStr) -> io::Result<Option<Arc<Node>>> {
        match &directory.kind {
            Kind::Lazy(lazy) => Ok(lazy.clone().lookup(name)?.map(Arc::new)),
            _ => Ok(name.to_str().and_then(|name| self.lookup(directory, name)).cloned()),
        }
    }

    /// The node at a path that may lead into lazy directories; links are not followed.
    ///
    /// # Errors
    /// If a lazy directory can't be read.
    pub fn find(&self, path: &str) -> io::Result<Option<Arc<Node>>> {
        let mut found = self.nodes.get(Self::ROOT).cloned();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(directory) = found else { return Ok(None) };
            found = self.enter(&directory, OsStr::new(name))?;
        }
        Ok(found)
    }

    /// The node at a path of names separated by `/`.
    pub fn resolve(&self, path: &str) -> Option<&Arc<Node>> {
        let root = self.nodes.get(Self::ROOT)?;
        path.split('/').filter(|name| !name.is_empty()).try_fold(root, |node, name| self.lookup(node, name))
    }

    /// What a listing of a directory of either kind shows.
    ///
    /// # Errors
    /// If a lazy directory can't be read.
    pub fn read(&self, directory: &Node) -> io::Result<Vec<Listed>> {
        match &directory.kind {
            Kind::Lazy(lazy) => lazy.list(),
            _ => Ok(self.list(directory).map(|(name, node)| Listed::of(name, node)).collect()),
        }
    }

    /// The entries of a directory of the arena that a listing shows, by name.
    pub fn list<'a>(&'a self, directory: &'a Node) -> impl Iterator<Item = (&'a str, &'a Arc<Node>)> {
        let entries = match &directory.kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        };
        let own = move |name: &str| entries.is_some_and(|entries| entries.contains_key(name));
        let base = self.base_of(directory).into_iter().flatten();
        let base = base.filter(move |(name, dentry)| !own(name) && self.is_file(dentry));
        let listed = entries.into_iter().flatten().chain(base).filter(|(_, dentry)| dentry.listed);
        listed.filter_map(|(name, dentry)| Some((name.as_str(), self.nodes.get(dentry.node)?)))
    }

    /// Names that `self` has and `newer` has not, or has as another inode: (inode number of the directory, name).
    pub fn changed_names<'a>(&'a self, newer: &Tree) -> Vec<(u64, &'a str)> {
        let mut changed = Vec::new();
        for node in &self.nodes {
            let Kind::Directory(entries) = &node.kind else { continue };
            let other = newer.by_ino(node.ino);
            for (name, dentry) in entries {
                let ino = self.nodes.get(dentry.node).map(|node| node.ino);
                let new = other.and_then(|other| newer.lookup(other, name)).map(|node| node.ino);
                if ino != new {
                    changed.push((node.ino, name.as_str()));
                }
            }
        }
        changed
    }

    /// The tree as text, a line a node: path, size, and what it is made of. Not listed names stand in parentheses.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        if let Some(root) = self.nodes.get(Self::ROOT) {
            self.dump_into(&mut out, root, "");
        }
        out
    }

    fn dump_into(&self, out: &mut String, directory: &Node, path: &str) {
        let Kind::Directory(entries) = &directory.kind else { return };
        for (name, dentry) in entries {
            let Some(node) = self.nodes.get(dentry.node) else { continue };
            let shown = if dentry.listed { format!("{path}{name}") } else { format!("({path}{name})") };
            // Writing to a String can't fail.
            let _ = match &node.kind {
                Kind::Directory(_) => writeln!(out, "{shown}/"),
                Kind::File(content) => writeln!(out, "{shown} {} {}", content.size(), content.describe()),
                Kind::Lazy(_) => writeln!(out, "{shown}/ …"),
                Kind::Live(_) => writeln!(out, "{shown} live"),
                Kind::Unopened(_) | Kind::Link(_) | Kind::Moment(_) => writeln!(out, "{shown}"),
            };
            self.dump_into(out, node, &format!("{path}{name}/"));
        }
    }
}

/// Builds a [`Tree`].
pub struct Builder {
    nodes: Vec<Node>,
    by_ino: HashMap<u64, NodeId>,
    bases: HashMap<u64, NodeId>,
    places: Vec<(NodeId, Box<str>)>,
}

impl Builder {
    /// A tree with nothing but its root.
    pub fn new(mtime: SystemTime) -> Self {
        let root = Node { ino: ROOT_INO, mtime, kind: Kind::Directory(BTreeMap::new()) };
        let by_ino = HashMap::from([(ROOT_INO, Tree::ROOT)]);
        Self { nodes: vec![root], by_ino, bases: HashMap::new(), places: Vec::new() }
    }

    /// Adds a directory.
    pub fn directory(&mut self, parent: NodeId, name: &str, mtime: SystemTime) -> NodeId {
        let wanted = hash(&(self.ino(parent), name, "directory"));
        self.add(parent, name, wanted, Node { ino: 0, mtime, kind: Kind::Directory(BTreeMap::new()) }, true)
    }

    /// Adds a file.
    pub fn file(&mut self, parent: NodeId, name: &str, content: Content, mtime: SystemTime) -> NodeId {
        let wanted = hash(&(self.ino(parent), name, content.identity()));
        self.add(parent, name, wanted, Node { ino: 0, mtime, kind: Kind::File(Arc::new(content)) }, true)
    }

    /// Adds a file that no listing shows.
    pub fn hidden_file(&mut self, parent: NodeId, name: &str, content: Content, mtime: SystemTime) -> NodeId {
        let wanted = hash(&(self.ino(parent), name, content.identity()));
        self.add(parent, name, wanted, Node { ino: 0, mtime, kind: Kind::File(Arc::new(content)) }, false)
    }

    /// Adds a directory that has the files of `base` besides its own; of the same name, its own. No listing shows it, but
    /// for that of another such directory. `identity` stands for all that is in it, `base` included: it is another inode
    /// when any of it is, so that the kernel forgets the old one with a single name.
    pub fn overlay(&mut self, parent: NodeId, name: &str, base: NodeId, identity: u64) -> NodeId {
        let wanted = hash(&(self.ino(parent), name, "overlay", identity));
        let mtime = self.nodes.get(base).map_or(SystemTime::UNIX_EPOCH, |node| node.mtime);
        let node = Node { ino: 0, mtime, kind: Kind::Directory(BTreeMap::new()) };
        let listed = self.bases.contains_key(&self.ino(parent));
        let id = self.add(parent, name, wanted, node, listed);
        self.bases.insert(self.ino(id), base);
        id
    }

    /// Lets a directory have the files of another one besides its own, unlisted ones above all.
    pub fn fall_back(&mut self, directory: NodeId, base: NodeId) {
        self.bases.insert(self.ino(directory), base);
    }

    /// Gives a node another name, shown as one of the directory's own.
    pub fn link(&mut self, parent: NodeId, name: &str, node: NodeId) {
        self.enter(parent, name, Dentry { node, listed: true });
    }

    /// The directories in a directory that a listing shows.
    pub fn directories(&self, id: NodeId) -> Vec<(String, NodeId)> {
        let directory = |id| matches!(self.nodes.get(id), Some(Node { kind: Kind::Directory(_), .. }));
        let listed = self.entries(id).filter(|(_, dentry)| dentry.listed && directory(dentry.node));
        listed.map(|(name, dentry)| (name.clone(), dentry.node)).collect()
    }

    /// A number that stands for all that is below a directory.
    pub fn digest(&self, id: NodeId) -> u64 {
        let below = |dentry: &Dentry| match self.nodes.get(dentry.node).map(|node| &node.kind) {
            Some(Kind::Directory(_)) => self.digest(dentry.node),
            _ => self.ino(dentry.node),
        };
        let entries: Vec<_> = self.entries(id).map(|(name, dentry)| (name, below(dentry))).collect();
        hash(&entries)
    }

    fn entries(&self, id: NodeId) -> impl Iterator<Item = (&String, &Dentry)> {
        let entries = match self.nodes.get(id).map(|node| &node.kind) {
            Some(Kind::Directory(entries)) => Some(entries),
            _ => None,
        };
        entries.into_iter().flatten()
    }

    /// The node at a path below a directory.
    pub fn find(&self, directory: NodeId, path: &str) -> Option<NodeId> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(directory, |id, name| {
            match &self.nodes.get(id)?.kind {
                Kind::Directory(entries) => Some(entries.get(name)?.node),
                _ => None,
            }
        })
    }

    /// Adds a directory whose entries are read elsewhere. `identity` stands for all that is below it.
    pub fn lazy(
        &mut self,
        parent: NodeId,
        name: &str,
        directory: Arc<dyn Directory>,
        identity: u64,
        mtime: SystemTime,
    ) -> NodeId {
        let wanted = hash(&(self.ino(parent), name, identity));
        self.add(parent, name, wanted, Node { ino: 0, mtime, kind: Kind::Lazy(directory) }, true)
    }

    /// Adds a file whose bytes are made when somebody looks it up.
    pub fn live(&mut self, parent: NodeId, name: &str, live: Arc<dyn Live>, mtime: SystemTime) -> NodeId {
        let wanted = hash(&(self.ino(parent), name, "live"));
        self.add(parent, name, wanted, Node { ino: 0, mtime, kind: Kind::Live(live) }, true)
    }

    /// Gives a node a second name that no listing shows.
    pub fn alias(&mut self, parent: NodeId, name: &str, node: NodeId) {
        self.enter(parent, name, Dentry { node, listed: false });
    }

    /// The files of a directory, by name.
    pub fn files(&self, directory: NodeId) -> Vec<(String, NodeId)> {
        let Some(Node { kind: Kind::Directory(entries), .. }) = self.nodes.get(directory) else {
            return Vec::new();
        };
        let is_file = |id: NodeId| self.nodes.get(id).is_some_and(|node| matches!(node.kind, Kind::File(_)));
        let files = entries.iter().filter(|(_, dentry)| is_file(dentry.node));
        files.map(|(name, dentry)| (name.clone(), dentry.node)).collect()
    }

    /// The finished tree.
    pub fn build(self) -> Tree {
        let nodes = self.nodes.into_iter().map(Arc::new).collect();
        Tree { nodes, by_ino: self.by_ino, bases: self.bases, places: self.places }
    }

    fn ino(&self, id: NodeId) -> u64 {
        self.nodes.get(id).map_or(0, |node| node.ino)
    }

    fn add(&mut self, parent: NodeId, name: &str, wanted: u64, mut node: Node, listed: bool) -> NodeId {
        // 0 means "no inode" to readdir(3); numbers that are taken are passed over.
        let mut ino = wanted.max(ROOT_INO + 1);
        while self.by_ino.contains_key(&ino) {
            ino += 1;
        }
        node.ino = ino;
        let id = self.nodes.len();
        self.nodes.push(node);
        self.places.push((parent, name.into()));
        self.by_ino.insert(ino, id);
        self.enter(parent, name, Dentry { node: id, listed });
        id
    }

    fn enter(&mut self, parent: NodeId, name: &str, dentry: Dentry) {
        if let Some(Node { kind: Kind::Directory(entries), .. }) = self.nodes.get_mut(parent) {
            let before = entries.insert(name.to_owned(), dentry);
            debug_assert!(before.is_none(), "two nodes named {name}");
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    // Some programs keep an inode number in a signed variable: 62 bits, and `LAZY` above them.
    identity(value) & (LAZY - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::lazy;

    fn tree(text: &str) -> Tree {
        let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
        let images = builder.directory(Tree::ROOT, "images", SystemTime::UNIX_EPOCH);
        builder.file(images, "nbd.conf", Content::text(text.into()), SystemTime::UNIX_EPOCH);
        let root = builder.file(images, "liveos_F.img", Content::text("x".into()), SystemTime::UNIX_EPOCH);
        builder.alias(images, "F", root);
        builder.build()
    }

    #[test]
    fn dump_is_a_line_a_node() {
        assert_eq!(
            tree("abc").dump(),
            "images/\n(images/F) 1 rendered\nimages/liveos_F.img 1 rendered\nimages/nbd.conf 3 rendered\n"
        );
    }

    #[test]
    fn a_path_is_that_of_the_first_name() {
        let tree = tree("abc");
        let path = |path: &str| tree.path(tree.resolve(path).unwrap().ino).unwrap();
        assert_eq!(path("images/F"), "images/liveos_F.img");
        assert_eq!((path("images").as_str(), path("").as_str(), tree.path(7)), ("images", "", None));
    }

    #[test]
    fn an_alias_is_found_and_not_listed() {
        let tree = tree("abc");
        let images = tree.resolve("images").unwrap();
        assert_eq!(tree.lookup(images, "F").unwrap().ino, tree.lookup(images, "liveos_F.img").unwrap().ino);
        let names: Vec<&str> = tree.list(images).map(|(name, _)| name).collect();
        assert_eq!(names, ["liveos_F.img", "nbd.conf"]);
    }

    /// `tftp/` with files a and b, and an overlay of it with its own b.
    fn overlaid(a: &str, b: &str) -> Tree {
        let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
        let base = builder.directory(Tree::ROOT, "tftp", SystemTime::UNIX_EPOCH);
        builder.file(base, "a", Content::text(a.into()), SystemTime::UNIX_EPOCH);
        builder.file(base, "b", Content::text("general".into()), SystemTime::UNIX_EPOCH);
        let own = builder.hidden_file(base, "b-own", Content::text(b.into()), SystemTime::UNIX_EPOCH);
        let identity = hash(&(builder.digest(base), b));
        let overlay = builder.overlay(base, "own", base, identity);
        builder.link(overlay, "b", own);
        builder.build()
    }

    #[test]
    fn an_overlay_answers_like_its_base_but_for_its_own_names() {
        let tree = overlaid("x", "y");
        let ino = |path: &str| tree.resolve(path).map(|node| node.ino);
        assert_eq!(ino("tftp/own/a"), ino("tftp/a"));
        assert_eq!(ino("tftp/own/b"), ino("tftp/b-own"));
        assert_eq!(ino("tftp/own/c"), None);
        let list = |path: &str| {
            let mut names: Vec<_> = tree.list(tree.resolve(path).unwrap()).map(|(name, _)| name).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(list("tftp"), ["a", "b"]);
        assert_eq!(list("tftp/own"), ["a", "b"]);
        assert_eq!(ino("tftp/own/own"), None, "no directory has two names");
    }

    #[test]
    fn an_overlay_is_another_inode_when_anything_in_it_is() {
        let ino = |a, b| overlaid(a, b).resolve("tftp/own").unwrap().ino;
        assert_eq!(ino("x", "y"), ino("x", "y"));
        assert_ne!(ino("x", "y"), ino("z", "y"));
        assert_ne!(ino("x", "y"), ino("x", "z"));
        let (one, other) = (overlaid("x", "y"), overlaid("z", "y"));
        let names: Vec<_> = one.changed_names(&other).into_iter().map(|(_, name)| name).collect();
        assert!(names.contains(&"own") && !names.contains(&"b-own"), "{names:?}");
    }

    #[test]
    fn inode_numbers_follow_path_and_content() {
        let (one, same, other) = (tree("abc"), tree("abc"), tree("abd"));
        let ino = |tree: &Tree, path| tree.resolve(path).unwrap().ino;
        assert_eq!(ino(&one, "images/nbd.conf"), ino(&same, "images/nbd.conf"));
        assert_ne!(ino(&one, "images/nbd.conf"), ino(&other, "images/nbd.conf"));
        assert_eq!(ino(&one, "images"), ino(&other, "images"));
        assert_eq!(ino(&one, "/"), ROOT_INO);
    }

    #[test]
    fn changed_names_are_those_to_forget() {
        let (one, other) = (tree("abc"), tree("abd"));
        let images = one.resolve("images").unwrap().ino;
        assert_eq!(one.changed_names(&other), [(images, "nbd.conf")]);
        assert!(one.changed_names(&tree("abc")).is_empty());
        let empty = Builder::new(SystemTime::UNIX_EPOCH).build();
        assert_eq!(one.changed_names(&empty).len(), 4);
    }

    /// A directory in which every name is a directory like it, and a listing fails.
    struct Endless;

    impl Directory for Endless {
        fn lookup(self: Arc<Self>, _name: &OsStr) -> io::Result<Option<Node>> {
            let ino = lazy::ino(7);
            Ok(Some(Node { ino, mtime: SystemTime::UNIX_EPOCH, kind: Kind::Lazy(self) }))
        }

        fn list(&self) -> io::Result<Vec<Listed>> {
            Err(io::ErrorKind::InvalidData.into())
        }

        fn waits_for(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_lazy_directory_is_entered_and_never_walked() {
        let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
        let trees = builder.directory(Tree::ROOT, "trees", SystemTime::UNIX_EPOCH);
        builder.lazy(trees, "F", Arc::new(Endless), 1, SystemTime::UNIX_EPOCH);
        let tree = builder.build();
        assert_eq!(tree.dump(), "trees/\ntrees/F/ …\n");
        let below = tree.find("trees/F/any/where").unwrap().unwrap();
        assert_eq!(below.file_type(), Type::Directory);
        assert!(below.ino >= LAZY && tree.nodes.iter().all(|node| node.ino < LAZY));
        assert!(tree.read(&below).is_err());
        assert!(tree.find("trees/G/any").unwrap().is_none());
    }

    #[test]
    fn a_lazy_directory_with_other_entries_is_another_inode() {
        let ino = |identity| {
            let mut builder = Builder::new(SystemTime::UNIX_EPOCH);
            builder.lazy(Tree::ROOT, "F", Arc::new(Endless), identity, SystemTime::UNIX_EPOCH);
            builder.build().resolve("F").unwrap().ino
        };
        assert_eq!(ino(1), ino(1));
        assert_ne!(ino(1), ino(2));
    }
}
