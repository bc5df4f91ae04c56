//! What was open in a process before this one, taken over: handles keep their numbers and their bytes, nodes below `trees/`
//! are found again by the names that led to them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::serve::handover::ledger::{Left, Name};
use crate::storage::backing::Backing;
use crate::storage::content::Content;
use crate::tree::arena::{Kind, Node};

use super::{Error, Handle, Known, Operations};

/// Handles of one process are below the numbers of the next: a request to close one that comes again must not meet
/// another.
const HANDLES: u32 = 40;

/// Names in a path.
const DEEPEST: usize = 2048;

/// What there is of another process. Empty where there was none.
#[derive(Default)]
pub(super) struct Adopted(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    any: bool,
    /// Inode and handle by the request that opened it: its answer may not have been heard.
    requests: HashMap<u64, (u64, u64)>,
    /// Names by inode.
    names: HashMap<u64, Name>,
    /// Time of the last change, and what it consists of, of files that may be open though their names are gone.
    open: HashMap<u64, (SystemTime, Weak<Content>)>,
}

impl Adopted {
    fn with<T>(&self, call: impl FnOnce(&mut Inner) -> T) -> T {
        call(&mut self.0.lock())
    }
}

impl Operations {
    /// Takes over what was open. `find` gives the sources of files by identity. Returns how many files could not be.
    pub fn adopt(&self, left: &Left, generation: u64, find: &mut dyn FnMut(u64) -> Option<Backing>) -> usize {
        self.next_handle.store((generation << HANDLES) + 1, Ordering::Relaxed);
        self.adopted.with(|adopted| {
            adopted.any = true;
            adopted.names = left.names.clone();
            let files = left.files.iter().map(|file| (file.request, (file.ino, file.handle)));
            let directories = left.directories.iter().filter_map(|directory| {
                let ino = left.listings.get(&directory.listing)?.entries.first()?.ino;
                Some((directory.request, (ino, directory.handle)))
            });
            adopted.requests = files.chain(directories).collect();
        });
        let mut handles = self.handles.write();
        for listing in left.listings.values() {
            self.listings.adopt(listing);
        }
        for directory in &left.directories {
            if let Some(listing) = left.listings.get(&directory.listing) {
                handles.insert(directory.handle, Arc::new(Handle::Directory(listing.clone())));
            }
        }
        let mut contents: HashMap<u64, Option<Arc<Content>>> = HashMap::new();
        let mut lost = 0;
        for file in &left.files {
            let content = contents.entry(file.ino).or_insert_with(|| self.content(file.ino, left, find));
            match content {
                Some(content) => {
                    let path = self.tree().path(file.ino).unwrap_or_default();
                    let reading = self.usage.opened(path, content.size());
                    reading.enter(file.handle);
                    if left.backings.contains_key(&file.ino) {
                        reading.by_kernel();
                    }
                    handles.insert(file.handle, Arc::new(Handle::File(content.clone(), reading)));
                }
                None => lost += 1,
            }
        }
        lost
    }

    /// What an inode consists of: the same as before.
    fn content(
        &self,
        ino: u64,
        left: &Left,
        find: &mut dyn FnMut(u64) -> Option<Backing>,
    ) -> Option<Arc<Content>> {
        let tree = self.tree();
        let (content, mtime) = match tree.by_ino(ino).map(|node| (&node.kind, node.mtime)) {
            // In a tree, the same number is the same content; the next tree may be without it.
            Some((Kind::File(content), mtime)) => (content.clone(), mtime),
            _ => {
                let (mtime, recipe) = left.recipes.get(&ino)?;
                let content = Arc::new(Content::of_recipe(recipe, find)?);
                (content, UNIX_EPOCH + Duration::from_secs(*mtime))
            }
        };
        self.adopted.with(|adopted| adopted.open.insert(ino, (mtime, Arc::downgrade(&content))));
        Some(content)
    }

    /// The handle that a request has been given by the process before this one, which may have died before it said so.
    pub fn opened_before(&self, request: u64, ino: u64) -> Option<u64> {
        let found = self.adopted.with(|adopted| adopted.requests.get(&request).copied());
        let (_, handle) = found.filter(|(of, _)| *of == ino)?;
        self.handle(handle).is_ok().then_some(handle)
    }

    /// Finds a node again that was known to the process before this one.
    pub(super) fn revive(&self, ino: u64) -> Option<(Arc<Node>, u64)> {
        let (node, top) = self.by_name(ino).or_else(|| self.by_handle(ino))?;
        let known = || Known { node: node.clone(), lookups: self.adopted_lookups(ino), top };
        self.known.lock().entry(ino).or_insert_with(known);
        Some((node, top))
    }

    /// The look-ups of an inode that the process before this one has answered. From then on they are counted here.
    pub(super) fn adopted_lookups(&self, ino: u64) -> u64 {
        self.adopted
            .with(|adopted| adopted.names.get_mut(&ino).map_or(0, |name| std::mem::take(&mut name.lookups)))
    }

    /// The kernel forgets look-ups of an inode that only the process before this one knew; how many are left.
    pub(super) fn forget_adopted(&self, ino: u64, count: u64) -> u64 {
        self.adopted.with(|adopted| {
            let Some(name) = adopted.names.get_mut(&ino) else { return 0 };
            name.lookups = name.lookups.saturating_sub(count);
            name.lookups
        })
    }

    /// Below `trees/`, by the names that led to it.
    fn by_name(&self, ino: u64) -> Option<(Arc<Node>, u64)> {
        let Name { parent, name, .. } = self.adopted.with(|adopted| adopted.names.get(&ino).cloned())?;
        let tree = self.tree();
        let found = tree.by_ino(parent).map(|node| (node.clone(), parent));
        let known = || self.known.lock().get(&parent).map(|known| (known.node.clone(), known.top));
        let (directory, top) = found.or_else(known).or_else(|| self.revive(parent))?;
        // The same number is the same content; another one is another ISO's.
        let node = tree.enter(&directory, &name).ok()?.filter(|node| node.ino == ino)?;
        let top = if let Kind::Lazy(_) = directory.kind { top } else { ino };
        Some((node, top))
    }

    /// The directory of an ISO that an inode was found below by the process before this one.
    pub(super) fn adopted_below(&self, mut ino: u64) -> Option<Arc<Node>> {
        self.adopted.with(|adopted| {
            // No path is longer than that (PATH_MAX).
            for _ in 0..DEEPEST {
                ino = adopted.names.get(&ino)?.parent;
                if let Some(node) = self.present(ino) {
                    return Some(node);
                }
            }
            None
        })
    }

    /// Whether somebody who may ask for its size has it open.
    pub(super) fn is_held_open(&self, ino: u64) -> bool {
        self.adopted
            .with(|adopted| adopted.open.get(&ino).is_some_and(|(_, content)| content.strong_count() > 0))
    }

    /// By who has it open and may ask for its size.
    fn by_handle(&self, ino: u64) -> Option<(Arc<Node>, u64)> {
        let (mtime, content) = self.adopted.with(|adopted| adopted.open.get(&ino).cloned())?;
        let kind = Kind::File(content.upgrade()?);
        Some((Arc::new(Node { ino, mtime, kind }), ino))
    }

    /// What to say of an inode that nobody knows.
    pub(super) fn unknown(&self) -> Error {
        if self.adopted.with(|adopted| adopted.any) { Error::Stale } else { Error::NotFound }
    }
}
