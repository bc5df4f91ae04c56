//! EROFS, by the crate `erofs-rs`.
//!
//! Its plain reader wants the whole image in memory, or mapped, where a file that is cut short ends the process; the other
//! one asks for bytes at a place, and may wait for them. Here they are there at once, so it never waits.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use erofs_rs::r#async::{EroFS, File, WalkDirEntry};
use erofs_rs::backend::AsyncImage;

use super::{Error, Files, MOST_NAMES, MOST_TARGET, beside, cached};
use crate::storage::source::{ReadAt, check_range};

/// Read at a time when a file is read as a whole: what the largest clusters unpack to.
const READ_SIZE: usize = 1 << 20;

/// Bytes that are unpacked at once for a file that is read here and there. Fedora's clusters have 64 KiB, unpacked.
const CLUSTER: usize = 64 << 10;

/// An image that is open.
pub(super) struct Erofs(Arc<EroFS<Source>>);

struct Source(Arc<dyn ReadAt>);

impl AsyncImage for Source {
    async fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> erofs_rs::Result<()> {
        self.0.read_exact_at(buf, offset).map_err(|error| erofs_rs::Error::OutOfBounds(error.to_string()))
    }
}

impl Erofs {
    pub(super) fn open(image: Arc<dyn ReadAt>) -> Result<Self, Error> {
        at_once(EroFS::new(Source(image))).map(|files| Self(Arc::new(files))).map_err(Error::damaged)
    }

    /// The path of a regular file, or of one beside it that it is a link to; and the file.
    fn file(&self, path: &str) -> Result<Option<(String, File<'_, Source>)>, Error> {
        let mut path = path.to_owned();
        let mut found = at_once(self.0.open(&path));
        if let Err(erofs_rs::Error::NotAFile(_)) = found {
            let Some(beside) = self.link(&path)?.and_then(|target| beside(&path, &target)) else {
                return Ok(None);
            };
            found = at_once(self.0.open(&beside));
            path = beside;
        }
        Ok(there(found)?.map(|file| (path, file)))
    }

    /// The target of a link. The crate finds its inode only in the list of its directory.
    fn link(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(mut entries) = there(at_once(self.0.read_dir(format!("/{directory}"))))? else {
            return Ok(None);
        };
        while let Some(entry) = at_once(entries.next_entry()) {
            let WalkDirEntry { dir_entry, inode, .. } = entry.map_err(Error::damaged)?;
            if dir_entry.file_name() != name.as_bytes() {
                continue;
            }
            if !inode.is_symlink() {
                return Ok(None);
            }
            if inode.data_size() > MOST_TARGET {
                return Err(Error::Damaged(format!("{path} is a link of {} bytes", inode.data_size())));
            }
            let target = at_once(self.0.read_link_inode(inode)).map_err(Error::damaged)?;
            return Ok(Some(target.into_vec()));
        }
        Ok(None)
    }
}

/// `None` for a file that isn't there.
fn there<T>(found: erofs_rs::Result<T>) -> Result<Option<T>, Error> {
    use erofs_rs::Error::{NotADirectory, NotAFile, PathNotFound};
    match found {
        Ok(value) => Ok(Some(value)),
        Err(PathNotFound(_) | NotAFile(_) | NotADirectory(_)) => Ok(None),
        Err(error) => Err(Error::damaged(error)),
    }
}

impl Files for Erofs {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some((path, mut file)) = self.file(path)? else { return Ok(None) };
        if file.size() > most {
            return Err(Error::TooLarge(path, most));
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
        let mut names = Vec::new();
        let mut entries = at_once(self.0.read_dir("/")).map_err(Error::damaged)?;
        while names.len() < MOST_NAMES
            && let Some(entry) = at_once(entries.next_entry())
        {
            let entry = entry.map_err(Error::damaged)?;
            names.extend(std::str::from_utf8(entry.dir_entry.file_name()).map(str::to_owned).ok());
        }
        Ok(names)
    }

    fn image(&self, path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        let Some((path, file)) = self.file(path)? else { return Ok(None) };
        let len = file.size();
        let image = Image { files: self.0.clone(), path, len };
        Ok(Some(cached(Arc::new(image), CLUSTER)))
    }
}

/// A file that is read at any place. What is read is unpacked each time.
struct Image {
    files: Arc<EroFS<Source>>,
    path: String,
    len: u64,
}

impl ReadAt for Image {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.len)?;
        let file = at_once(self.files.open(&self.path)).map_err(io::Error::other)?;
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
        self.len
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
