//! The superblock and the tables of a squashfs: inodes, directories, fragments.
//!
//! A table is a row of blocks of 8 KiB, unpacked when they are asked for; the last ones are kept. Every number is foreign:
//! what is followed ends with a budget of blocks.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::super::{Error, MOST_DIRECTORY, MOST_TARGET};
use super::compression::Compression;
use super::data::Block;
use crate::storage::source::ReadAt;

/// Bytes of the superblock.
const SUPERBLOCK: usize = 96;

/// Bytes that a block of a table unpacks to at most (`SQUASHFS_METADATA_SIZE`).
const METADATA: usize = 8 << 10;

/// Blocks of tables that are kept: 4 MiB, the largest directory and as much again.
const KEPT: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// Blocks of tables that are looked at, kept or not. A kernel with all drivers takes some thousand.
const MOST_BLOCKS: u32 = 1 << 16;

/// Blocks of a file: 128 GiB in the usual ones, and 24 MiB of memory.
const MOST_DATA_BLOCKS: u64 = 1 << 20;

/// The fragment of a file that has none (`SQUASHFS_INVALID_FRAG`).
const NO_FRAGMENT: u32 = u32::MAX;

/// A block, and where the next one lies.
type Unpacked = (Arc<Vec<u8>>, u64);

/// The tables.
pub(super) struct Tables {
    pub image: Arc<dyn ReadAt>,
    pub compression: Compression,
    pub block_size: usize,
    root: u64,
    inodes: u64,
    directories: u64,
    fragments: u64,
    fragment_count: u32,
    kept: RefCell<LruCache<u64, Unpacked>>,
    left: Cell<u32>,
}

/// An inode, as far as it is of use here.
pub(super) enum Inode {
    Directory(Directory),
    File(File),
    Link(Vec<u8>),
    Other,
}

/// A directory's place in its table.
pub(super) struct Directory {
    block: u32,
    offset: u16,
    len: u32,
}

/// A regular file.
pub(super) struct File {
    pub len: u64,
    start: u64,
    fragment: u32,
    /// Where its bytes begin in the fragment.
    skip: u32,
    /// Where the sizes of its blocks stand in the table.
    sizes: Place,
}

/// An entry of a directory.
pub(super) struct Entry {
    pub inode: u64,
    pub is_directory: bool,
}

/// A place in a table: where its block lies, and where in that.
#[derive(Clone, Copy)]
struct Place {
    block: u64,
    at: usize,
}

impl Tables {
    /// Reads the superblock.
    pub(super) fn open(image: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let mut bytes = [0; SUPERBLOCK];
        image.read_exact_at(&mut bytes, 0).map_err(Error::damaged)?;
        let mut fields = Fields(&bytes);
        let [_magic, _inodes, _time, block_size, fragment_count] = fields.words::<5>()?;
        let [compression, _log, _flags, _ids, version, _minor] = fields.halves::<6>()?;
        let [root, _used, _ids, _xattrs, inodes, directories, fragments, _export] = fields.longs::<8>()?;
        if version != 4 {
            return Err(Error::Damaged(format!("it is a squashfs of version {version}")));
        }
        if !block_size.is_power_of_two() || !(4 << 10..=1 << 20).contains(&block_size) {
            return Err(Error::Damaged(format!("blocks of {block_size} bytes")));
        }
        let compression = Compression::of(compression).ok_or_else(|| {
            Error::Damaged(format!("its compression, number {compression}, is not supported"))
        })?;
        Ok(Self {
            image,
            compression,
            block_size: block_size as usize,
            root,
            inodes,
            directories,
            fragments,
            fragment_count,
            kept: RefCell::new(LruCache::new(KEPT)),
            left: Cell::new(MOST_BLOCKS),
        })
    }

    /// The root directory.
    pub(super) fn root(&self) -> Result<Inode, Error> {
        self.inode(self.root)
    }

    /// The inode with that reference: block and place in it.
    pub(super) fn inode(&self, reference: u64) -> Result<Inode, Error> {
        let mut cursor = self.cursor(self.inodes, reference >> 16, (reference & 0xffff) as usize)?;
        let [kind, _mode, _uid, _gid] = Fields(&cursor.take::<8>()?).halves::<4>()?;
        cursor.take::<8>()?;
        Ok(match kind {
            1 => {
                let bytes = cursor.take::<16>()?;
                let mut fields = Fields(&bytes);
                let [block, _links] = fields.words::<2>()?;
                let [len, offset] = fields.halves::<2>()?;
                Inode::Directory(Directory { block, offset, len: len.into() })
            }
            8 => {
                let bytes = cursor.take::<24>()?;
                let mut fields = Fields(&bytes);
                let [_links, len, block, _parent] = fields.words::<4>()?;
                let [_indexes, offset] = fields.halves::<2>()?;
                Inode::Directory(Directory { block, offset, len })
            }
            2 => {
                let [start, fragment, skip, len] = Fields(&cursor.take::<16>()?).words::<4>()?;
                let (len, start) = (len.into(), start.into());
                Inode::File(File { len, start, fragment, skip, sizes: cursor.place() })
            }
            9 => {
                let bytes = cursor.take::<40>()?;
                let mut fields = Fields(&bytes);
                let [start, len, _sparse] = fields.longs::<3>()?;
                let [_links, fragment, skip, _xattr] = fields.words::<4>()?;
                Inode::File(File { len, start, fragment, skip, sizes: cursor.place() })
            }
            3 | 10 => {
                let [_links, len] = Fields(&cursor.take::<8>()?).words::<2>()?;
                if u64::from(len) > MOST_TARGET {
                    return Err(Error::Damaged(format!("a link of {len} bytes")));
                }
                let mut target = vec![0; len as usize];
                cursor.fill(&mut target)?;
                Inode::Link(target)
            }
            _ => Inode::Other,
        })
    }

    /// The entry of that name.
    pub(super) fn find(&self, directory: &Directory, wanted: &[u8]) -> Result<Option<u64>, Error> {
        let mut found = None;
        self.list(directory, |name, entry| {
            found = (name == wanted).then_some(entry.inode);
            found.is_none()
        })?;
        Ok(found)
    }

    /// Calls `each` with the entries of a directory until it returns `false`.
    pub(super) fn list(
        &self,
        directory: &Directory,
        mut each: impl FnMut(&[u8], Entry) -> bool,
    ) -> Result<(), Error> {
        // The length has two entries in it, for `.` and `..`, that are not there.
        let mut left = directory.len.saturating_sub(3);
        if u64::from(left) > MOST_DIRECTORY {
            return Err(Error::Damaged(format!("a directory of more than {MOST_DIRECTORY} bytes")));
        }
        if left == 0 {
            return Ok(());
        }
        let mut cursor = self.cursor(self.directories, directory.block.into(), directory.offset.into())?;
        let mut name = [0; 256];
        while left > 0 {
            let [count, block, _number] = Fields(&cursor.take::<12>()?).words::<3>()?;
            if count >= 256 {
                return Err(Error::Damaged("a directory with a head of too many entries".into()));
            }
            left = left.saturating_sub(12);
            for _ in 0..=count {
                let [offset, _number, kind, len] = Fields(&cursor.take::<8>()?).halves::<4>()?;
                let name = name.get_mut(..=usize::from(len));
                let name = name.ok_or_else(|| Error::Damaged("a name that is too long".into()))?;
                cursor.fill(name)?;
                left = left.saturating_sub(9 + u32::from(len));
                let inode = u64::from(block) << 16 | u64::from(offset);
                if !each(name, Entry { inode, is_directory: kind == 1 }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The blocks of a file, and the fragment with its end.
    pub(super) fn blocks(&self, file: &File) -> Result<Vec<Block>, Error> {
        let size = self.block_size as u64;
        let whole = if file.fragment == NO_FRAGMENT { file.len.div_ceil(size) } else { file.len / size };
        if whole > MOST_DATA_BLOCKS {
            return Err(Error::Damaged(format!("a file of more than {MOST_DATA_BLOCKS} blocks")));
        }
        let mut cursor = Cursor::at(self, file.sizes)?;
        let (mut blocks, mut offset) = (Vec::new(), file.start);
        for _ in 0..whole {
            let block = Block::new(offset, u32::from_le_bytes(cursor.take()?), 0);
            offset = offset.saturating_add(block.size.into());
            blocks.push(block);
        }
        if file.fragment != NO_FRAGMENT && !file.len.is_multiple_of(size) {
            blocks.push(self.fragment(file.fragment, file.skip as usize)?);
        }
        Ok(blocks)
    }

    /// A fragment: the table is behind a list of where its blocks lie.
    fn fragment(&self, number: u32, skip: usize) -> Result<Block, Error> {
        const LEN: usize = 16;
        const IN_A_BLOCK: u32 = (METADATA / LEN) as u32;
        if number >= self.fragment_count {
            return Err(Error::Damaged("a fragment that isn't there".into()));
        }
        let mut block = [0; 8];
        let place = self.fragments.checked_add(u64::from(number / IN_A_BLOCK) * 8);
        let place = place.ok_or_else(|| Error::Damaged("fragments beyond the end".into()))?;
        self.image.read_exact_at(&mut block, place).map_err(Error::damaged)?;
        let at = (number % IN_A_BLOCK) as usize * LEN;
        let bytes = self.cursor(0, u64::from_le_bytes(block), at)?.take::<LEN>()?;
        let mut fields = Fields(&bytes);
        let [offset] = fields.longs::<1>()?;
        let [size, _unused] = fields.words::<2>()?;
        Ok(Block::new(offset, size, skip))
    }

    fn cursor(&self, table: u64, block: u64, at: usize) -> Result<Cursor<'_>, Error> {
        let block =
            table.checked_add(block).ok_or_else(|| Error::Damaged("a place beyond the end".into()))?;
        Cursor::at(self, Place { block, at })
    }

    /// The block of a table that lies there, and where the next one does.
    fn block(&self, at: u64) -> Result<Unpacked, Error> {
        const PLAIN: u16 = 1 << 15;
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(Error::Damaged(format!("it takes more than {MOST_BLOCKS} blocks of its tables")));
        };
        self.left.set(left);
        if let Some(kept) = self.kept.borrow_mut().get(&at) {
            return Ok(kept.clone());
        }
        let mut head = [0; 2];
        self.image.read_exact_at(&mut head, at).map_err(Error::damaged)?;
        let head = u16::from_le_bytes(head);
        let len = usize::from(head & !PLAIN);
        if len == 0 || len > METADATA {
            return Err(Error::Damaged(format!("a block of a table with {len} bytes")));
        }
        let mut bytes = vec![0; len];
        self.image.read_exact_at(&mut bytes, at.saturating_add(2)).map_err(Error::damaged)?;
        if head & PLAIN == 0 {
            bytes = self.compression.unpack(&bytes, METADATA).map_err(Error::damaged)?;
        }
        if bytes.is_empty() {
            return Err(Error::Damaged("an empty block of a table".into()));
        }
        let found = (Arc::new(bytes), at.saturating_add(2 + len as u64));
        self.kept.borrow_mut().put(at, found.clone());
        Ok(found)
    }
}

/// Reads on in a table, from one block to the next.
struct Cursor<'a> {
    tables: &'a Tables,
    place: Place,
    bytes: Arc<Vec<u8>>,
    next: u64,
}

impl<'a> Cursor<'a> {
    fn at(tables: &'a Tables, place: Place) -> Result<Self, Error> {
        let (bytes, next) = tables.block(place.block)?;
        Ok(Self { tables, place, bytes, next })
    }

    fn place(&self) -> Place {
        self.place
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, mut target: &mut [u8]) -> Result<(), Error> {
        while !target.is_empty() {
            let left = self.bytes.get(self.place.at..).unwrap_or_default();
            if left.is_empty() {
                // A place may lie just behind a block's end, where the next one begins.
                let at = self.place.at.checked_sub(self.bytes.as_slice().len());
                let at =
                    at.filter(|at| *at == 0).ok_or_else(|| Error::Damaged("a place in no block".into()))?;
                *self = Self::at(self.tables, Place { block: self.next, at })?;
                continue;
            }
            let count = left.len().min(target.len());
            let (now, rest) = target.split_at_mut(count);
            now.copy_from_slice(left.get(..count).unwrap_or_default());
            self.place.at += count;
            target = rest;
        }
        Ok(())
    }
}

/// Numbers in a row, the low byte first.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Error::Damaged("too few bytes for its fields".into()))?;
        self.0 = rest;
        Ok(*first)
    }

    fn halves<const COUNT: usize>(&mut self) -> Result<[u16; COUNT], Error> {
        let mut numbers = [0; COUNT];
        for number in &mut numbers {
            *number = u16::from_le_bytes(self.next()?);
        }
        Ok(numbers)
    }

    fn words<const COUNT: usize>(&mut self) -> Result<[u32; COUNT], Error> {
        let mut numbers = [0; COUNT];
        for number in &mut numbers {
            *number = u32::from_le_bytes(self.next()?);
        }
        Ok(numbers)
    }

    fn longs<const COUNT: usize>(&mut self) -> Result<[u64; COUNT], Error> {
        let mut numbers = [0; COUNT];
        for number in &mut numbers {
            *number = u64::from_le_bytes(self.next()?);
        }
        Ok(numbers)
    }
}
