//! An ISO 9660 image: its volume id, its directories, and where in the image a file's bytes lie.
//!
//! The reading is done by the `hadris-iso` crate; this module is the gate behind it. It follows symbolic links inside
//! the image, finds names in another case, and hands out only extents that lie within the backing file. It knows
//! nothing of boot loaders or trees, and never writes.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use hadris_fs::sync::FileSystem;
use hadris_fs::{DirCursor, FileType, MountOptions, Name, NodeId, Resolve};
use hadris_io::{Error as IsoError, ErrorType};
use hadris_iso::sync::IsoFs;
use hadris_iso::{CacheOptions, IsoId, Namespace, Platform};
use hadris_storage::sync::BlockDevice;
use hadris_storage::{BlockIndex, BlockSize};

use crate::storage::extent::{Extent, SECTOR};
use crate::storage::source::ReadAt;
use crate::storage::source::limited_reads::LimitedReads;

mod descriptors;
mod listing;
mod medium;
mod partitions;

use descriptors::Mended;

pub use listing::{DirectoryEntry, EntryId, EntryKind};
pub use medium::Medium;

/// The system area and one volume descriptor (ECMA-119, 6.2.1).
const SMALLEST: u64 = 17 * SECTOR;

/// Entries of one directory that are looked at. The largest package pools of installer DVDs hold some thousands.
const MAX_DIRECTORY: usize = 65_536;

/// Bytes of a directory whose names are looked at to find one by a pattern or in another case: some thousand records. An
/// entry costs about four reads. What lies in a larger one is found by its name as it is written.
const LARGEST_LISTED: u64 = 1 << 19;

/// Extents of one file: 1024 of 4 GiB are more than an ISO can hold.
const MAX_EXTENTS: usize = 1024;

/// Reads that an image may cost: each sector of a directory or continuation area is one, each time it is looked at. A
/// live ISO takes some hundreds; a DVD with 3000 directories of hard links, which are all gone through to tell which
/// name of a file is its first, ten thousand. The worst sectors found take 4 µs each, so an image is done with in half a
/// second.
pub const MAX_READS: u64 = 100_000;

/// Hard-linked files whose other names are remembered, two keys each; beyond them each look-up walks the whole image. An
/// installer DVD made from a hard-linked mirror has some thousands. They take 3 MiB at most, while the image is open.
const LINKS_REMEMBERED: usize = 65_536;

/// First bytes of a zisofs-compressed file: version 1 and 2 (libisofs, doc/zisofs_format.txt, doc/zisofs2_format.txt).
const ZISOFS_MAGIC: [[u8; 8]; 2] =
    [[0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07], [0xef, 0x22, 0x55, 0xa1, 0xbc, 0x1b, 0x95, 0xa0]];

/// Why an image, or a file in it, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No volume descriptor at sector 16.
    #[error("it is not an ISO 9660 image")]
    NotIso,
    /// The file ends before the volume does.
    #[error("it is incomplete: {actual} bytes of {declared}")]
    Incomplete {
        /// Length of the backing file in bytes.
        actual: u64,
        /// Length in bytes that its descriptor and its partition tables tell.
        declared: u64,
    },
    /// The logical block size isn't 2048 bytes.
    #[error("its logical block size is {0} bytes; only 2048 is supported")]
    BlockSize(u32),
    /// What is on the disc breaks ECMA-119 or Rock Ridge.
    #[error("{path}: damaged ISO 9660 structure ({reason})")]
    Damaged {
        /// Where in the image, as a path.
        path: String,
        /// What the reader says.
        reason: String,
    },
    /// A file whose bytes would lie beyond the end of the image.
    #[error("{0}: its extent lies outside the image")]
    OutsideImage(String),
    /// The path is there, but it is a directory or a device.
    #[error("{0}: not a regular file")]
    NotAFile(String),
    /// zisofs: the bytes in the image are not the file's bytes.
    #[error("{0}: compressed with zisofs, which can't be served in place")]
    Compressed(String),
    /// Its structures lead on and on.
    #[error("its directories are too large or too tangled: they take more than {MAX_READS} reads")]
    Endless,
    /// A file that is larger than what the caller wants to read.
    #[error("{0}: larger than {1} bytes")]
    TooLarge(String, u64),
    /// The backing file can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A regular file of the image: its bytes are those of its extents, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct File {
    /// Absolute path; in plain ISO 9660, where case tells nothing apart, as it was asked for.
    pub path: String,
    /// Size in bytes.
    pub len: u64,
    /// Where the bytes lie. All within the image; none is empty.
    pub extents: Vec<Extent>,
}

/// An opened image.
pub struct Image {
    fs: IsoFs<Device>,
    source: Source,
    /// Directories that have been listed, by their node.
    listed: HashMap<NodeId, Listed>,
    /// What has been asked for: each look-up goes through a directory from its beginning.
    resolved: HashMap<String, Option<NodeId>>,
}

type Source = Arc<LimitedReads<Arc<dyn ReadAt>>>;

/// Names in a directory.
#[derive(Clone, Default)]
struct Listed {
    all: Arc<[String]>,
    /// Those that may lead on: directories and symbolic links.
    directories: Arc<[String]>,
}

impl Image {
    /// Reads the volume descriptors (ECMA-119, 8) and chooses the richest tree: Rock Ridge, Joliet, plain.
    ///
    /// # Errors
    /// If it is no ISO, is cut short, or is damaged where it begins.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self, Error> {
        if source.len() < SMALLEST {
            return Err(Error::NotIso);
        }
        let source = Arc::new(LimitedReads::new(source, MAX_READS));
        let device = Device { source: Arc::new(Mended::new(source.clone())) };
        let fs = IsoFs::mount(device, MountOptions::new()).map_err(|fault| match fault.kind() {
            hadris_fs::ErrorKind::NotRecognized => Error::NotIso,
            _ => plain_reason(&source).unwrap_or_else(|| damaged("/", fault.into_error())),
        })?;
        // Without a cache of sectors, each one that is gone through is paid for out of the budget.
        let cache = CacheOptions::new().with_blocks(0).with_records(0).with_links(LINKS_REMEMBERED);
        let image =
            Self { fs: fs.with_cache(cache), source, listed: HashMap::new(), resolved: HashMap::new() };
        if u64::from(image.fs.info().block_size()) != SECTOR {
            return Err(Error::BlockSize(image.fs.info().block_size()));
        }
        let actual = image.source.len();
        let declared = image.declared_len().max(partitions::end(&image.source, image.declared_len()));
        if actual < declared {
            return Err(Error::Incomplete { actual, declared });
        }
        Ok(image)
    }

    /// The volume id of the primary volume descriptor, without the blanks or NULs that pad it (ECMA-119, 8.4.7).
    pub fn volume_id(&self) -> &[u8] {
        let id = self.fs.info().id(IsoId::Volume);
        let end = id.iter().rposition(|&byte| byte != 0 && byte != b' ').map_or(0, |last| last + 1);
        id.get(..end).unwrap_or_default()
    }

    /// Length of the volume in bytes, as its descriptor has it (ECMA-119, 8.4.8).
    pub fn declared_len(&self) -> u64 {
        u64::from(self.fs.info().volume_space_size()) * u64::from(self.fs.info().block_size())
    }

    /// Finds a regular file. Names that differ only in ASCII case are found too, as boot loaders find them.
    ///
    /// # Errors
    /// If something of that name is there that can't be served. A path that isn't there is `None`.
    pub fn file(&mut self, path: &str) -> Result<Option<File>, Error> {
        let Some((node, path)) = self.resolve(path)? else { return Ok(None) };
        self.regular(node, path).map(Some)
    }

    fn regular(&mut self, node: NodeId, path: String) -> Result<File, Error> {
        let stat = self.fs.stat(node).map_err(|fault| damaged(&path, fault))?;
        if stat.file_type() != FileType::File {
            return Err(Error::NotAFile(path));
        }
        let extents = self.extents(node, &path)?;
        let len = extents.iter().map(|extent| extent.len).sum();
        let file = File { path, len, extents };
        self.check_runs(node, &file)?;
        if ZISOFS_MAGIC.contains(&self.first_eight(&file)?) {
            return Err(Error::Compressed(file.path));
        }
        Ok(file)
    }

    /// Whether reads have been refused because there were too many: what wasn't found since then may be there.
    ///
    /// # Errors
    /// [`Error::Endless`] if so.
    pub fn check_budget(&self) -> Result<(), Error> {
        if self.source.exceeded() { Err(Error::Endless) } else { Ok(()) }
    }

    /// Whether there is anything of that name.
    pub fn exists(&mut self, path: &str) -> bool {
        matches!(self.resolve(path), Ok(Some(_)))
    }

    /// The bytes of a small file, such as a boot menu.
    ///
    /// # Errors
    /// As [`Image::file`], and if it is larger than `limit` bytes.
    pub fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        if file.len > limit {
            return Err(Error::TooLarge(file.path, limit));
        }
        let mut bytes = vec![0; usize::try_from(file.len).unwrap_or_default()];
        let mut rest = bytes.as_mut_slice();
        for extent in &file.extents {
            let Some((part, tail)) = rest.split_at_mut_checked(extent.len as usize) else { break };
            self.source.read_exact_at(part, extent.offset)?;
            rest = tail;
        }
        Ok(Some(bytes))
    }

    /// Set if it has neither Rock Ridge nor Joliet: its names are in capitals, and Linux shows them in lower case
    /// (iso9660, mount option `map=normal`).
    fn is_plain(&self) -> bool {
        self.fs.namespace() == Namespace::Primary
    }

    /// Names in a directory, in the order of the image; none for a path that isn't a directory, and for one of many thousand
    /// entries: that refuses itself, and not the image.
    ///
    /// # Errors
    /// If the directory is damaged.
    pub fn list(&mut self, path: &str) -> Result<Vec<String>, Error> {
        Ok(self.listed(path)?.all.to_vec())
    }

    /// Those of [`Image::list`] that are directories, or links that may lead to one.
    ///
    /// # Errors
    /// As [`Image::list`].
    pub fn list_directories(&mut self, path: &str) -> Result<Vec<String>, Error> {
        Ok(self.listed(path)?.directories.to_vec())
    }

    fn listed(&mut self, path: &str) -> Result<Listed, Error> {
        let Some((node, path)) = self.resolve(path)? else { return Ok(Listed::default()) };
        let stat = self.fs.stat(node).map_err(|fault| damaged(&path, fault))?;
        match stat.file_type() {
            FileType::Dir => self.names(node, &path),
            _ => Ok(Listed::default()),
        }
    }

    /// Where the boot images for UEFI begin, in bytes: those of the El Torito catalog, in its order, within the file. Their
    /// lengths are not told: what the catalog says is often 0 or too small.
    ///
    /// # Errors
    /// If the catalog is damaged. An image without one has none.
    pub fn efi_boot_images(&mut self) -> Result<Vec<u64>, Error> {
        let mut buffer = [0; SECTOR as usize];
        let catalog = self.fs.boot_catalog(&mut buffer).map_err(|fault| damaged("/", fault))?;
        let entries = catalog.iter().flat_map(|catalog| catalog.entries());
        let starts = entries
            .filter(|entry| entry.platform() == Platform::Efi)
            .map(|entry| u64::from(entry.load_block()) * SECTOR)
            .filter(|start| (1..self.source.len()).contains(start));
        Ok(starts.collect())
    }

    /// The image's own bytes.
    pub fn source(&self) -> Arc<dyn ReadAt> {
        self.source.clone()
    }

    fn names(&mut self, directory: NodeId, path: &str) -> Result<Listed, Error> {
        if let Some(listed) = self.listed.get(&directory) {
            return Ok(listed.clone());
        }
        let size: u64 = self.extents(directory, path)?.iter().map(|extent| extent.len).sum();
        if size > LARGEST_LISTED {
            return Ok(Listed::default());
        }
        let plain = self.is_plain();
        let (mut all, mut directories) = (Vec::new(), Vec::new());
        let mut cursor = DirCursor::START;
        for _ in 0..MAX_DIRECTORY {
            let entry = self.fs.readdir(directory, cursor).map_err(|fault| damaged(path, fault))?;
            let Some(entry) = entry else { break };
            cursor = entry.next_cursor();
            // A name that is no UTF-8 can't be asked for by a boot menu either.
            let Ok(name) = entry.name().to_str() else { continue };
            let name = if plain { name.to_ascii_lowercase() } else { name.to_owned() };
            if matches!(entry.file_type(), FileType::Dir | FileType::Symlink) {
                directories.push(name.clone());
            }
            if entry.file_type() != FileType::Symlink {
                let path = format!("{}/{name}", path.trim_end_matches('/'));
                self.resolved.entry(path).or_insert(Some(entry.node()));
            }
            all.push(name);
        }
        let listed = Listed { all: all.into(), directories: directories.into() };
        self.listed.insert(directory, listed.clone());
        Ok(listed)
    }

    /// The node of a path, with symbolic links followed, and the path in the case that the image has.
    fn resolve(&mut self, path: &str) -> Result<Option<(NodeId, String)>, Error> {
        let path = format!("/{}", path.trim_matches('/'));
        if let Some(node) = self.resolve_exact(&path)? {
            return Ok(Some((node, path)));
        }
        let Some(path) = self.fold_case(&path)? else { return Ok(None) };
        Ok(self.resolve_exact(&path)?.map(|node| (node, path)))
    }

    fn resolve_exact(&mut self, path: &str) -> Result<Option<NodeId>, Error> {
        if let Some(known) = self.resolved.get(path) {
            return Ok(*known);
        }
        let node = match path.rsplit_once('/') {
            Some((parent, name)) if !["", ".", ".."].contains(&name) => match self.resolve_exact(parent)? {
                Some(directory) => self.look_up(directory, name, path)?,
                None => None,
            },
            _ => self.follow(path)?,
        };
        self.resolved.insert(path.to_owned(), node);
        Ok(node)
    }

    fn look_up(&mut self, directory: NodeId, name: &str, path: &str) -> Result<Option<NodeId>, Error> {
        let found = self.fs.lookup(directory, Name::new(name.as_bytes()));
        let found = found.and_then(|node| Ok((node, self.fs.stat(node)?.file_type())));
        match found {
            Ok((_, FileType::Symlink)) => self.follow(path),
            found => self.or_none(path, found.map(|(node, _)| node)),
        }
    }

    fn follow(&mut self, path: &str) -> Result<Option<NodeId>, Error> {
        let found = self.fs.resolve(path.as_bytes(), Resolve::Follow);
        self.or_none(path, found)
    }

    fn or_none(
        &self,
        path: &str,
        found: Result<NodeId, IsoError<io::Error>>,
    ) -> Result<Option<NodeId>, Error> {
        match found {
            Ok(node) => Ok(Some(node)),
            Err(fault) => match fault.kind() {
                hadris_fs::ErrorKind::Io | hadris_fs::ErrorKind::Corrupt => Err(damaged(path, fault)),
                _ => Ok(None),
            },
        }
    }

    /// The path as the image writes it, if it differs in ASCII case only.
    fn fold_case(&mut self, path: &str) -> Result<Option<String>, Error> {
        let mut found = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let names = self.list(if found.is_empty() { "/" } else { &found })?;
            let Some(name) = names.into_iter().find(|name| name.eq_ignore_ascii_case(part)) else {
                return Ok(None);
            };
            found = format!("{found}/{name}");
        }
        Ok(Some(found).filter(|found| found != path && !found.is_empty()))
    }

    fn extents(&mut self, node: NodeId, path: &str) -> Result<Vec<Extent>, Error> {
        let mut found: Vec<Extent> = Vec::new();
        let mut from = 0;
        loop {
            let mut batch = [hadris_fs::Extent::new(0, 0); 16];
            let count = self.fs.extents(node, from, &mut batch).map_err(|fault| damaged(path, fault))?;
            for extent in batch.iter().take(count) {
                let end = extent.offset().checked_add(extent.len());
                if end.is_none_or(|end| end > self.source.len()) || extent.file_offset() != from {
                    return Err(Error::OutsideImage(path.to_owned()));
                }
                from += extent.len();
                found.push(Extent { offset: extent.offset(), len: extent.len() });
            }
            if count < batch.len() {
                return Ok(found);
            }
            if found.len() > MAX_EXTENTS {
                return Err(Error::Damaged { path: path.to_owned(), reason: "too many extents".into() });
            }
        }
    }

    /// Refuses a file with gaps between its blocks, or on another disc of a set (ECMA-119, 9.1.7 to 9.1.9): extents know
    /// of neither, a read does. One of the last byte looks at every record.
    fn check_runs(&mut self, node: NodeId, file: &File) -> Result<(), Error> {
        let Some(last) = file.len.checked_sub(1) else { return Ok(()) };
        match self.fs.read(node, last, &mut [0]) {
            Ok(_) => Ok(()),
            Err(fault) => Err(damaged(&file.path, fault)),
        }
    }

    fn first_eight(&self, file: &File) -> Result<[u8; 8], Error> {
        let mut head = [0; 8];
        match file.extents.first() {
            Some(extent) if extent.len >= 8 => self.source.read_exact_at(&mut head, extent.offset)?,
            _ => {}
        }
        Ok(head)
    }
}

/// What its descriptor says is the matter, where that is plain: of a download that has just begun, not even the root
/// directory is there yet.
fn plain_reason(source: &Source) -> Option<Error> {
    let mut descriptor = [0; SECTOR as usize];
    source.read_exact_at(&mut descriptor, 16 * SECTOR).ok()?;
    if !descriptor.starts_with(b"\x01CD001") {
        return None;
    }
    // Volume space size and logical block size (ECMA-119, 8.4.8 and 8.4.12).
    let blocks = u32::from_le_bytes(descriptor.get(80..84)?.try_into().ok()?);
    let size = u32::from(u16::from_le_bytes(descriptor.get(128..130)?.try_into().ok()?));
    let (actual, declared) = (source.len(), u64::from(blocks) * SECTOR);
    match u64::from(size) == SECTOR {
        false => Some(Error::BlockSize(size)),
        true => (actual < declared).then_some(Error::Incomplete { actual, declared }),
    }
}

fn damaged(path: &str, fault: IsoError<io::Error>) -> Error {
    let reason = match hadris_iso::Detail::of(&fault) {
        Some(detail) => detail.to_string(),
        None => fault.message().to_owned(),
    };
    match fault.into_device_error() {
        Some(error) => Error::Io(error),
        None => Error::Damaged { path: path.to_owned(), reason },
    }
}

/// An image as the block device that `hadris-iso` and its sisters read from.
pub(crate) struct Device {
    pub(crate) source: Arc<dyn ReadAt>,
}

impl Device {
    const BLOCK: BlockSize = match BlockSize::new(512) {
        Some(size) => size,
        None => panic!("512 is a block size"),
    };
}

impl ErrorType for Device {
    type Error = io::Error;
}

impl BlockDevice for Device {
    fn block_size(&self) -> BlockSize {
        Self::BLOCK
    }

    fn block_count(&self) -> u64 {
        self.source.len() / u64::from(Self::BLOCK.get())
    }

    fn read_blocks(&mut self, first: BlockIndex, buf: &mut [u8]) -> Result<(), IsoError<io::Error>> {
        let offset = first.get().checked_mul(u64::from(Self::BLOCK.get()));
        let offset = offset.ok_or(hadris_fs::ErrorKind::InvalidInput)?;
        self.source
            .read_exact_at(buf, offset)
            .map_err(|error| IsoError::device(error, "the image can't be read"))
    }
}
