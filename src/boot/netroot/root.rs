//! An ISO's root image, read on this host: files by their paths, out of squashfs, EROFS and ext4, also one in another; or
//! packages of modules in its place.
//!
//! Each format is a crate's; here is what they have in common, and the limits. An image is told by its magic number. A
//! link of a directory is not followed: who looks for `/lib` looks for `/usr/lib` too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::boot::format::Format;
use crate::storage::cache::{BlockCache, Tuning};
use crate::storage::source::ReadAt;
use crate::storage::source::bounded::Bounded;

mod erofs;
mod ext4;
mod squashfs;
pub mod udeb;

/// Bytes of an image that are read: tables, lists of modules and some dozens of modules. Blocks of 1 MiB for each of
/// them are 200 MB at most.
const MOST_BYTES: u64 = 1 << 30;

/// Time for an image: a second from a disc, far more from a file server at the end of a slow line.
const LONGEST: Duration = Duration::from_secs(120);

/// Bytes of an image in an image that are kept while it is read: 16 of the largest blocks.
const MOST_KEPT: u64 = 16 << 20;

/// Images in images that the root of a live system lies in (dracut's dmsquash-live; archiso until 2020; void).
const INNER: [&str; 3] = ["LiveOS/rootfs.img", "LiveOS/ext3fs.img", "airootfs.img"];

/// Bytes of a directory: of some ten thousand names. In a squashfs or ext4 it is read for each name that is looked for.
const MOST_DIRECTORY: u64 = 2 << 20;

/// Names of the top directory that are told.
const MOST_NAMES: usize = 100_000;

/// Bytes of a link's target (PATH_MAX).
const MOST_TARGET: u64 = 4096;

/// Why an image can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its magic number is none that is known.
    #[error("no squashfs, EROFS or ext4")]
    Unknown,
    /// It is damaged, or has something that its reader can't do.
    #[error("{0}")]
    Damaged(String),
    /// A file that is larger than what the caller wants.
    #[error("{0} is larger than {1} bytes")]
    TooLarge(String, u64),
}

impl Error {
    pub(super) fn damaged(error: impl std::fmt::Display) -> Self {
        // Whatever a reader says gets into a log and a table.
        Self::Damaged(error.to_string().chars().filter(|symbol| !symbol.is_control()).take(200).collect())
    }
}

/// A file system that is read.
pub trait Files {
    /// The bytes of a regular file, or that of a link to one in the same directory; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be read or has more than `most` bytes.
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error>;

    /// Names of the directories that the top directory has.
    ///
    /// # Errors
    /// If it can't be read.
    fn top(&self) -> Result<Vec<String>, Error>;

    /// A file as an image of its own.
    ///
    /// # Errors
    /// If it can't be read.
    fn image(&self, path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error>;
}

/// Opens a root image, and the one in it if it is only the shell of that.
///
/// # Errors
/// If it can't be read.
pub fn open(image: Arc<dyn ReadAt>) -> Result<Box<dyn Files>, Error> {
    guarded(|| {
        let files = open_plain(Arc::new(Bounded::new(image, MOST_BYTES, LONGEST)))?;
        for path in INNER {
            if let Some(inner) = files.image(path)? {
                return open_plain(inner);
            }
        }
        Ok(files)
    })
}

fn open_plain(image: Arc<dyn ReadAt>) -> Result<Box<dyn Files>, Error> {
    let len = usize::try_from(image.len()).unwrap_or(usize::MAX).min(Format::HEAD);
    let mut head = vec![0; len];
    image.read_exact_at(&mut head, 0).map_err(Error::damaged)?;
    Ok(match Format::of(&head) {
        Format::Squashfs => Box::new(squashfs::Squashfs::open(image)?),
        Format::Erofs => Box::new(erofs::Erofs::open(image)?),
        Format::Ext4 => Box::new(ext4::Ext4Files::open(image)?),
        Format::Unknown => return Err(Error::Unknown),
    })
}

/// A file of an image, whose blocks are unpacked once as long as there is room: directories, inodes and what lies between
/// them are read in turn.
fn cached(file: Arc<dyn ReadAt>, block: usize) -> Arc<dyn ReadAt> {
    let tuning = Tuning { block, window: 0, ..Tuning::default() };
    Arc::new(BlockCache::with_tuning(MOST_KEPT, tuning).attach(file))
}

/// The target of a link that is one plain name.
fn beside(path: &str, target: &[u8]) -> Option<String> {
    let target = Path::new(OsStr::from_bytes(target));
    let name = target.to_str().filter(|name| Path::new(name).file_name() == Some(OsStr::new(name)))?;
    Some(match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{name}"),
        None => name.to_owned(),
    })
}

/// Whatever an image does to the crate that reads it, it ends here.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::Damaged("reading it ended in a panic".into())))
}

#[cfg(test)]
mod tests;
