//! EROFS, by the crate `erofs-rs`.
//!
//! Its plain reader wants the whole image in memory, or mapped, where a file that is cut short ends the process; the other
//! one asks for bytes at a place, and may wait for them. Here they are there at once, so it never waits.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use erofs_rs::r#async::{EroFS, File};
use erofs_rs::backend::AsyncImage;

use super::{Error, Files, cached};
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

    fn file(&self, path: &str) -> Result<Option<File<'_, Source>>, Error> {
        match at_once(self.0.open(path)) {
            Ok(file) => Ok(Some(file)),
            Err(erofs_rs::Error::PathNotFound(_) | erofs_rs::Error::NotAFile(_)) => Ok(None),
            Err(erofs_rs::Error::NotADirectory(_)) => Ok(None),
            Err(error) => Err(Error::damaged(error)),
        }
    }
}

impl Files for Erofs {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut file) = self.file(path)? else { return Ok(None) };
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
        let mut names = Vec::new();
        let mut entries = at_once(self.0.read_dir("/")).map_err(Error::damaged)?;
        while let Some(entry) = at_once(entries.next_entry()) {
            let entry = entry.map_err(Error::damaged)?;
            names.extend(std::str::from_utf8(entry.dir_entry.file_name()).map(str::to_owned).ok());
        }
        Ok(names)
    }

    fn image(&self, path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let len = file.size();
        let image = Image { files: self.0.clone(), path: path.to_owned(), len };
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
