//! EROFS, by the crate `erofs-rs`.
//!
//! Its plain reader wants the whole image in memory, or mapped, where a file that is cut short ends the process; the other
//! one asks for bytes at a place, and may wait for them. Here they are there at once, so it never waits.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use erofs_rs::r#async::{EroFS, WalkDirEntry};
use erofs_rs::backend::AsyncImage;
use erofs_rs::types::{Inode, Layout};

use super::{Error, Files, MOST_DIRECTORY, MOST_TARGET, beside, cached};
use crate::storage::source::{ReadAt, check_range};

/// Read at a time when a file is read as a whole: what the largest clusters unpack to.
const READ_SIZE: usize = 1 << 20;

/// Bytes that are unpacked at once for a file that is read here and there. Fedora's clusters have 64 KiB, unpacked.
const CLUSTER: usize = 64 << 10;

/// Names of all directories that are looked at: of some of the largest, an Arch Linux `/usr/lib` has some thousand. To read
/// one and its inode costs a microsecond, and an ISO may have sixteen images for each of its kernels.
const MOST_LISTED: usize = 16_384;

/// An image that is open.
pub(super) struct Erofs {
    files: Arc<EroFS<Source>>,
    /// Its directories that were looked at, by the numbers of their inodes.
    directories: RefCell<HashMap<u64, Rc<Directory>>>,
    /// Names that may still be listed.
    room: Cell<usize>,
}

/// What a directory has, by its name.
type Directory = BTreeMap<Vec<u8>, Inode>;

struct Source(Arc<dyn ReadAt>);

impl AsyncImage for Source {
    async fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> erofs_rs::Result<()> {
        self.0.read_exact_at(buf, offset).map_err(|error| erofs_rs::Error::OutOfBounds(error.to_string()))
    }
}

impl Erofs {
    pub(super) fn open(image: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let files = at_once(EroFS::new(Source(image))).map_err(Error::damaged)?;
        Ok(Self { files: Arc::new(files), directories: RefCell::default(), room: Cell::new(MOST_LISTED) })
    }

    /// The regular file that a path leads to, or one beside it that it is a link to.
    fn file(&self, path: &str) -> Result<Option<Inode>, Error> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(directory) = self.directory(directory)? else { return Ok(None) };
        let inode = match directory.get(name.as_bytes()) {
            Some(link) if link.is_symlink() => self.target(path, link)?.and_then(|name| directory.get(&name)),
            found => found,
        };
        Ok(inode.filter(|inode| inode.is_file()).copied())
    }

    /// The name beside it that a link leads to.
    fn target(&self, path: &str, link: &Inode) -> Result<Option<Vec<u8>>, Error> {
        if link.data_size() > MOST_TARGET {
            return Err(Error::Damaged(format!("{path} is a link of {} bytes", link.data_size())));
        }
        let target = at_once(self.files.read_link_inode(*link)).map_err(Error::damaged)?;
        Ok(beside("", &target.into_vec()).map(String::into_bytes))
    }

    /// What the directory of that path has. Links are not followed.
    fn directory(&self, path: &str) -> Result<Option<Rc<Directory>>, Error> {
        let mut directory = self.listed("", &self.root()?)?;
        let mut end = 0;
        for name in path.split('/').filter(|_| !path.is_empty()) {
            end += name.len();
            let found = directory.get(name.as_bytes());
            let Some(inode) = found.filter(|inode| inode.is_dir()) else { return Ok(None) };
            directory = self.listed(path.get(..end).unwrap_or(path), inode)?;
            end += 1;
        }
        Ok(Some(directory))
    }

    fn root(&self) -> Result<Inode, Error> {
        at_once(self.files.get_inode(self.files.super_block().root_inode_id())).map_err(Error::damaged)
    }

    /// A directory's names, read once: the crate looks through all of its blocks for each name, however many there are.
    fn listed(&self, path: &str, inode: &Inode) -> Result<Rc<Directory>, Error> {
        if let Some(known) = self.directories.borrow().get(&inode.id()) {
            return Ok(known.clone());
        }
        let directory = Rc::new(self.list(path, inode)?);
        self.directories.borrow_mut().insert(inode.id(), directory.clone());
        Ok(directory)
    }

    fn list(&self, path: &str, inode: &Inode) -> Result<Directory, Error> {
        // Nobody packs one (erofs-utils, lib/inode.c, `erofs_write_dir_file`); few bytes may be many blocks of it.
        if !matches!(inode.layout(), Some(Layout::FlatPlain | Layout::FlatInline)) {
            return Err(Error::Damaged(format!("/{path} is a directory that is packed or in chunks")));
        }
        if inode.data_size() > MOST_DIRECTORY {
            return Err(Error::Damaged(format!("/{path} is a directory of {} bytes", inode.data_size())));
        }
        let mut directory = Directory::new();
        if inode.data_size() == 0 {
            return Ok(directory);
        }
        let mut entries = at_once(self.files.read_dir(format!("/{path}"))).map_err(Error::damaged)?;
        while let Some(entry) = at_once(entries.next_entry()) {
            let WalkDirEntry { dir_entry, inode, .. } = entry.map_err(Error::damaged)?;
            let room = self.room.get().checked_sub(1);
            let full = || Error::Damaged(format!("more than {MOST_LISTED} names in its directories"));
            self.room.set(room.ok_or_else(full)?);
            directory.entry(dir_entry.file_name().to_owned()).or_insert(inode);
        }
        Ok(directory)
    }
}

impl Files for Erofs {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(inode) = self.file(path)? else { return Ok(None) };
        let mut file = self.files.open_inode_file(inode).map_err(Error::damaged)?;
        if file.size() > most {
            return Err(Error::TooLarge(path.to_owned(), most));
        }
        let mut bytes = Vec::new();
        let mut buf = vec![0; READ_SIZE];
        loop {
            match at_once(file.read(&mut buf)).map_err(Error::damaged)? {
                0 => break,
                read => bytes.extend_from_slice(buf.get(..read).unwrap_or_default()),
            }
        }
        if bytes.len() as u64 != file.size() {
            return Err(Error::Damaged(format!("{path} ends too early")));
        }
        Ok(Some(bytes))
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        let root = self.listed("", &self.root()?)?;
        let directories = root.iter().filter(|(_, inode)| inode.is_dir());
        Ok(directories.filter_map(|(name, _)| std::str::from_utf8(name).ok().map(str::to_owned)).collect())
    }

    fn image(&self, path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        let Some(inode) = self.file(path)? else { return Ok(None) };
        Ok(Some(cached(Arc::new(Image { files: self.files.clone(), inode }), CLUSTER)))
    }
}

/// A file that is read at any place. What is read is unpacked each time.
struct Image {
    files: Arc<EroFS<Source>>,
    inode: Inode,
}

impl ReadAt for Image {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.len())?;
        let file = self.files.open_inode_file(self.inode).map_err(io::Error::other)?;
        let (mut buf, mut offset) = (buf, offset);
        while !buf.is_empty() {
            let read = at_once(file.read_at(buf, offset)).map_err(io::Error::other)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf = buf.get_mut(read..).unwrap_or_default();
            offset += read as u64;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inode.data_size()
    }
}

/// The outcome of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
