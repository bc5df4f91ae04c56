//! A file in a squashfs that can be read at any place, by its list of blocks: a disk image with a file system in it.
//!
//! backhand reads a file from its beginning on; gigabytes would be unpacked to see a few. So the blocks are found here, and
//! unpacked by backhand, each time that one is asked for: a cache belongs before it.

use std::io;
use std::sync::Arc;

use backhand::compression::{CompressionAction, Compressor, DefaultCompressor};
use backhand::{FilesystemReader, SquashfsFileReader};

use super::Error;
use crate::storage::source::{ReadAt, check_range};

/// The fragment of a file that has none (Linux, fs/squashfs/squashfs_fs.h, `SQUASHFS_INVALID_FRAG`).
const NO_FRAGMENT: usize = 0xffff_ffff;

/// Where the bytes of a block lie.
struct Block {
    offset: u64,
    /// As it is stored; 0 is a hole.
    size: u32,
    packed: bool,
    /// Where in the unpacked block the file's bytes begin: a fragment holds the ends of several files.
    skip: usize,
}

/// The file.
pub(super) struct Nested {
    image: Arc<dyn ReadAt>,
    compressor: Option<Compressor>,
    block_size: usize,
    blocks: Vec<Block>,
    len: u64,
}

impl Nested {
    pub(super) fn new(
        image: Arc<dyn ReadAt>,
        reader: &FilesystemReader<'_>,
        file: &SquashfsFileReader,
    ) -> Result<Self, Error> {
        let mut offset = file.blocks_start();
        let mut blocks = Vec::with_capacity(file.block_sizes().len());
        for size in file.block_sizes() {
            blocks.push(Block { offset, size: size.size(), packed: !size.uncompressed(), skip: 0 });
            offset = offset.saturating_add(size.size().into());
        }
        if file.frag_index() != NO_FRAGMENT {
            let fragments = reader.fragments.as_deref().unwrap_or_default();
            let fragment = fragments.get(file.frag_index());
            let fragment = fragment.ok_or_else(|| Error::Damaged("a fragment that isn't there".into()))?;
            let skip = file.block_offset() as usize;
            let (size, packed) = (fragment.size.size(), !fragment.size.uncompressed());
            blocks.push(Block { offset: fragment.start, size, packed, skip });
        }
        let compressor = reader.compressor.map(Compressor::from);
        let (block_size, len) = (reader.block_size as usize, file.file_len() as u64);
        if len.div_ceil(block_size as u64) != blocks.len() as u64 {
            return Err(Error::Damaged("a file whose blocks are not as many as its bytes need".into()));
        }
        Ok(Self { image, compressor, block_size, blocks, len })
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
        if !block.packed {
            return Ok(packed);
        }
        let compressor = self.compressor.ok_or_else(|| io::Error::other("no compression is named"))?;
        let mut bytes = Vec::with_capacity(self.block_size);
        DefaultCompressor.decompress(&packed, &mut bytes, compressor).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

impl ReadAt for Nested {
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
