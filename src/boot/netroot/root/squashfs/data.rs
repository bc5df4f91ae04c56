//! A file in a squashfs that can be read at any place, by its list of blocks: also a disk image with a file system in it.
//!
//! A block is unpacked each time that one is asked for: where blocks are read in turn, a cache belongs before it.

use std::io;
use std::sync::Arc;

use super::super::Error;
use super::compression::Compression;
use super::tables::{File, Tables};
use crate::storage::source::{ReadAt, check_range};

/// Where the bytes of a block lie.
pub(super) struct Block {
    pub offset: u64,
    /// As it is stored; 0 is a hole.
    pub size: u32,
    pub packed: bool,
    /// Where in the unpacked block the file's bytes begin: a fragment holds the ends of several files.
    pub skip: usize,
}

impl Block {
    /// From the size as the tables have it (squashfs_fs.h, `SQUASHFS_COMPRESSED_BIT_BLOCK`).
    pub(super) fn new(offset: u64, size: u32, skip: usize) -> Self {
        const PLAIN: u32 = 1 << 24;
        Self { offset, size: size & (PLAIN - 1), packed: size & PLAIN == 0, skip }
    }
}

/// The file.
pub(super) struct Data {
    image: Arc<dyn ReadAt>,
    compression: Compression,
    block_size: usize,
    blocks: Vec<Block>,
    len: u64,
}

impl Data {
    pub(super) fn new(tables: &Tables, file: &File) -> Result<Self, Error> {
        let (image, compression) = (tables.image.clone(), tables.compression);
        Ok(Self {
            image,
            compression,
            block_size: tables.block_size,
            blocks: tables.blocks(file)?,
            len: file.len,
        })
    }

    /// Bytes of its blocks, unpacked.
    pub(super) fn block_size(&self) -> usize {
        self.block_size
    }

    fn unpack(&self, block: &Block) -> io::Result<Vec<u8>> {
        if block.size == 0 {
            return Ok(vec![0; self.block_size]);
        }
        if block.size as usize > self.block_size {
            return Err(io::Error::other("a block that is larger than a block"));
        }
        let mut packed = vec![0; block.size as usize];
        self.image.read_exact_at(&mut packed, block.offset)?;
        if block.packed { self.compression.unpack(&packed, self.block_size) } else { Ok(packed) }
    }
}

impl ReadAt for Data {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.len)?;
        let (mut buf, mut at) = (buf, usize::try_from(offset).map_err(io::Error::other)?);
        while !buf.is_empty() {
            let (number, within) = (at / self.block_size, at % self.block_size);
            let block = self.blocks.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
            let bytes = self.unpack(block)?;
            let skip = block.skip + within;
            let take = buf.len().min(self.block_size - within);
            let (now, rest) = buf.split_at_mut(take);
            let from = bytes.get(skip..skip + take).ok_or(io::ErrorKind::UnexpectedEof)?;
            now.copy_from_slice(from);
            (buf, at) = (rest, at + take);
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }
}
