//! squashfs, by the crate `backhand`.

use std::ffi::OsStr;
use std::io::{BufReader, Read};
use std::path::{Component, Path};
use std::sync::Arc;

use backhand::{FilesystemReader, InnerNode, Node, SquashfsFileReader};

use super::nested::Nested;
use super::{Error, Files, cached};
use crate::storage::source::ReadAt;
use crate::storage::source::cursor::Cursor;

/// Files and directories of an image; 136,000 take 53 MB of memory, and desktops with everything have twice as many.
const MOST_NODES: u32 = 500_000;

/// Bytes of a table of inodes or directories, unpacked: 136,000 files take 5 MB of each. backhand unpacks them as a whole.
const MOST_TABLE: u64 = 64 << 20;

/// Bytes that a block of a table unpacks to at most (Linux, fs/squashfs/squashfs_fs.h, `SQUASHFS_METADATA_SIZE`).
const TABLE_BLOCK: u64 = 8 << 10;

/// Read at a time.
const READ_SIZE: usize = 64 << 10;

/// An image whose directory has been read.
pub(super) struct Squashfs {
    image: Arc<dyn ReadAt>,
    reader: FilesystemReader<'static>,
}

impl Squashfs {
    pub(super) fn open(image: Arc<dyn ReadAt>) -> Result<Self, Error> {
        check_size(&image)?;
        let source = BufReader::with_capacity(READ_SIZE, Cursor::new(image.clone()));
        let reader = FilesystemReader::from_reader(source).map_err(Error::damaged)?;
        Ok(Self { image, reader })
    }

    fn node(&self, path: &str) -> Option<&Node<SquashfsFileReader>> {
        let wanted = Path::new("/").join(path);
        self.reader.files().find(|node| node.fullpath == wanted)
    }

    fn file(&self, path: &str) -> Option<&SquashfsFileReader> {
        match &self.node(path)?.inner {
            InnerNode::File(file) => Some(file),
            InnerNode::Symlink(link) => {
                let target = beside(path, &link.link)?;
                match &self.node(&target)?.inner {
                    InnerNode::File(file) => Some(file),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Refuses an image whose tables would take too much memory (Linux, fs/squashfs/squashfs_fs.h, `squashfs_super_block`).
fn check_size(image: &Arc<dyn ReadAt>) -> Result<(), Error> {
    const INODES: u64 = 4;
    const FRAGMENTS: u64 = 16;
    const BYTES_USED: u64 = 40;
    const TABLES: u64 = 64;
    let mut count = [0; 4];
    for place in [INODES, FRAGMENTS] {
        image.read_exact_at(&mut count, place).map_err(Error::damaged)?;
        if u32::from_le_bytes(count) > MOST_NODES {
            return Err(Error::Damaged(format!("it has more than {MOST_NODES} files")));
        }
    }
    let number = |place: u64| -> Result<u64, Error> {
        let mut bytes = [0; 8];
        image.read_exact_at(&mut bytes, place).map_err(Error::damaged)?;
        Ok(u64::from_le_bytes(bytes))
    };
    // Inodes, then directories, then what the next one says, which may be that it isn't there: each table ends where the
    // next begins, and the last one with the image.
    let (inodes, directories, next) = (number(TABLES)?, number(TABLES + 8)?, number(TABLES + 16)?);
    let end = number(BYTES_USED)?.min(image.len());
    check_table(image, inodes, directories.min(end))?;
    check_table(image, directories, next.min(end))
}

/// A table is a row of blocks, each behind two bytes with its packed size.
fn check_table(image: &Arc<dyn ReadAt>, start: u64, end: u64) -> Result<(), Error> {
    let (mut at, mut unpacked) = (start, 0);
    while at.saturating_add(2) <= end {
        let mut head = [0; 2];
        image.read_exact_at(&mut head, at).map_err(Error::damaged)?;
        at += 2 + u64::from(u16::from_le_bytes(head) & 0x7fff);
        unpacked += TABLE_BLOCK;
        if unpacked > MOST_TABLE {
            return Err(Error::Damaged(format!("its tables have more than {MOST_TABLE} bytes")));
        }
    }
    Ok(())
}

/// The target of a link that is one plain name.
fn beside(path: &str, target: &Path) -> Option<String> {
    let name = target.to_str().filter(|name| Path::new(name).file_name() == Some(OsStr::new(name)))?;
    Some(match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{name}"),
        None => name.to_owned(),
    })
}

impl Files for Squashfs {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(path) else { return Ok(None) };
        if file.file_len() as u64 > most {
            return Err(Error::TooLarge(path.to_owned(), most));
        }
        let mut bytes = Vec::new();
        let reader = self.reader.file(file).reader_checked().map_err(Error::damaged)?;
        reader.take(most).read_to_end(&mut bytes).map_err(Error::damaged)?;
        if bytes.len() != file.file_len() {
            return Err(Error::Damaged(format!("{path} ends too early")));
        }
        Ok(Some(bytes))
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        let directories = self.reader.files().filter(|node| matches!(node.inner, InnerNode::Dir(_)));
        let names = directories.filter_map(|node| {
            let mut parts = node.fullpath.components().filter(|part| *part != Component::RootDir);
            let name = parts.next()?.as_os_str().to_str()?;
            parts.next().is_none().then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    fn image(&self, path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        let Some(file) = self.file(path) else { return Ok(None) };
        let nested = Nested::new(self.image.clone(), &self.reader, file)?;
        let block = nested.block_size();
        Ok(Some(cached(Arc::new(nested), block)))
    }
}
