//! EROFS metadata that makes byte ranges of a device one file: the whole format that is needed, and nothing is opened.
//!
//! The image has one directory with one file in it, [`NAME`], whose chunks point into a device beside the metadata
//! (Linux, fs/erofs/erofs_fs.h, is the source of every layout here; numbers are little-endian). Blocks have 2048 bytes,
//! as the sectors of an ISO have, so the extents of its files can be pointed at wherever they lie.
//!
//! [`encode`] is total: what can't be said in this format is an error, and never a file that shows other bytes.

use std::ops::Range;

use crate::storage::extent::SECTOR;

#[cfg(test)]
mod tests;

/// The name of the file.
pub const NAME: &str = "file";

/// Bytes in a block (`blkszbits`).
pub const BLOCK: u64 = SECTOR;

/// Most bits of blocks in a chunk. 1 GiB is more than any readahead asks for at once, and a table of it needs no memory.
const MAX_CHUNK_BITS: u32 = 19;

/// Most chunks, of eight bytes each: 8 MiB, for the file of many extents that would need chunks of a block each. What is
/// in one piece needs one chunk a GiB.
const MAX_CHUNKS: u64 = 1 << 20;

/// The device that the file lies on, and one that can't be read.
const DEVICE: u16 = 1;
const UNREADABLE: u16 = 2;
const DEVICES: u16 = 2;

// Where things lie in the image, in bytes; the directory is the next block, and the inodes begin the one behind it.
const SUPER: u64 = 1024; // EROFS_SUPER_OFFSET
const SLOTS: u64 = SUPER + 128;
const DIRECTORY_BLOCK: u32 = 1;
const INODES_BLOCK: u32 = 2;

// Inode numbers count slots of 32 bytes. The table lies behind the file's inode.
const ROOT: u64 = 2;
const FILE: u64 = 4;

const MAGIC: u32 = 0xe0f5_e1e2; // EROFS_SUPER_MAGIC_V1
const CHUNKED_FILE: u32 = 4; // EROFS_FEATURE_INCOMPAT_CHUNKED_FILE
const DEVICE_TABLE: u32 = 8; // EROFS_FEATURE_INCOMPAT_DEVICE_TABLE
const FLAT_PLAIN: u16 = 0; // EROFS_INODE_FLAT_PLAIN
const CHUNK_BASED: u16 = 4; // EROFS_INODE_CHUNK_BASED
const INDEXES: u32 = 0x20; // EROFS_CHUNK_FORMAT_INDEXES
const TYPE_FILE: u8 = 1; // FT_REG_FILE, include/linux/fs_types.h
const TYPE_DIRECTORY: u8 = 2;

/// Why ranges can't be one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing to point at.
    #[error("it is empty")]
    Empty,
    /// A range begins inside a block.
    #[error("a piece of it lies at byte {0}, which is no multiple of 2048")]
    Unaligned(u64),
    /// A range that others follow ends inside a block.
    #[error("a piece of it ends {0} bytes into a block of 2048, and it goes on elsewhere")]
    Ragged(u64),
    /// A range ends behind the device.
    #[error("a piece of it ends at byte {end} of {device}")]
    PastTheEnd {
        /// Where the range ends.
        end: u64,
        /// Where the device ends.
        device: u64,
    },
    /// The last block is not whole on the device: the kernel doesn't read it (tried with Linux 6.18: EIO).
    #[error("a piece of it ends at byte {0}, in a last block that is not whole")]
    HalfABlock(u64),
    /// A block has a number that doesn't fit.
    #[error("a piece of it lies at byte {0}, beyond 8 TiB")]
    TooFar(u64),
    /// The table would be too long.
    #[error("it is in so many pieces that they take {0} chunks, more than {MAX_CHUNKS}")]
    TooManyChunks(u64),
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Length of the file.
    pub len: u64,
    /// Where its table of chunks lies in the image.
    table: Range<u64>,
}

impl Metadata {
    /// The image with the whole file on the unreadable device: once the kernel finds that in place of the other, each read
    /// that it has no page for becomes EIO. It looks up the chunk for each (`erofs_map_blocks`).
    pub fn revoked(&self) -> Vec<u8> {
        let (start, end) = (self.table.start as usize, self.table.end as usize);
        let (before, after) = (self.bytes.iter().take(start), self.bytes.iter().skip(end));
        let table = index(UNREADABLE, 0).repeat((end - start) / 8);
        before.chain(&table).chain(after).copied().collect()
    }
}

/// The image whose file is those ranges of a device of `device` bytes, one after the other. A second device, which can't be
/// read, has to be named behind it when the image is mounted.
///
/// # Errors
/// If that can't be said. Ranges of no bytes don't count.
pub fn encode(ranges: &[Range<u64>], device: u64) -> Result<Metadata, Error> {
    encode_with(BLOCK, ranges, device)
}

/// [`encode`] with blocks of another size, which the tools of EROFS that tests use want.
fn encode_with(block: u64, ranges: &[Range<u64>], device: u64) -> Result<Metadata, Error> {
    let pieces = join(ranges);
    let Some((last, inner)) = pieces.split_last() else { return Err(Error::Empty) };
    for piece in &pieces {
        check(block, piece, device)?;
    }
    let mut len = 0;
    let mut borders = 0;
    for piece in inner {
        let size = piece.end - piece.start;
        if size % block != 0 {
            return Err(Error::Ragged(size % block));
        }
        len += size;
        // Its lowest bit is the largest power of two that all borders are a multiple of.
        borders |= len;
    }
    len += last.end - last.start;
    let bits = (borders / block).trailing_zeros().min(MAX_CHUNK_BITS);
    let chunk = block << bits;
    let chunks = len.div_ceil(chunk);
    if chunks > MAX_CHUNKS {
        return Err(Error::TooManyChunks(chunks));
    }
    let starts = pieces.iter().flat_map(|piece| (piece.start..piece.end).step_by(chunk as usize));
    let table: Vec<u8> = starts.flat_map(|start| index(DEVICE, (start / block) as u32)).collect();
    Ok(lay_out(block, len, bits, &table, device))
}

/// The ranges without those that are empty, and with those in one that follow each other on the device too.
fn join(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        match pieces.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => pieces.push(range.clone()),
        }
    }
    pieces
}

fn check(block: u64, piece: &Range<u64>, device: u64) -> Result<(), Error> {
    if !piece.start.is_multiple_of(block) {
        return Err(Error::Unaligned(piece.start));
    }
    if piece.end > device {
        return Err(Error::PastTheEnd { end: piece.end, device });
    }
    if piece.end.checked_next_multiple_of(block).is_none_or(|end| end > device) {
        return Err(Error::HalfABlock(piece.end));
    }
    // The highest number stands for a hole (EROFS_NULL_ADDR).
    if piece.end / block >= u64::from(u32::MAX) {
        return Err(Error::TooFar(piece.end));
    }
    Ok(())
}

fn lay_out(block: u64, len: u64, chunk_bits: u32, table: &[u8], device: u64) -> Metadata {
    let inodes = block * u64::from(INODES_BLOCK);
    let file = inodes + 32 * FILE;
    let start = file + 64;
    let end = start + table.len() as u64;
    let size = end.next_multiple_of(block);
    let directory = directory();
    let mut image = Vec::with_capacity(size as usize);
    let mut put = |at: u64, bytes: &[u8]| {
        image.resize(at as usize, 0);
        image.extend_from_slice(bytes);
    };
    put(SUPER, &superblock(block, (size / block) as u32));
    put(SLOTS, &slot(device.div_ceil(block)));
    put(SLOTS + 128, &slot(0));
    put(block * u64::from(DIRECTORY_BLOCK), &directory);
    let root = inode(0o040_500, directory.len() as u64, FLAT_PLAIN, DIRECTORY_BLOCK, 1, 2);
    put(inodes + 32 * ROOT, &root);
    put(file, &inode(0o100_400, len, CHUNK_BASED, chunk_bits | INDEXES, 2, 1));
    put(start, table);
    put(size, &[]);
    Metadata { bytes: image, len, table: start..end }
}

/// `struct erofs_super_block`.
fn superblock(block: u64, blocks: u32) -> [u8; 128] {
    record(&[
        &MAGIC.to_le_bytes(),
        &[0; 4], // checksum
        &[0; 4], // feature_compat: no checksum
        &[block.trailing_zeros() as u8, 0],
        &(ROOT as u16).to_le_bytes(),
        &2u64.to_le_bytes(), // inos
        &[0; 12],            // build_time, build_time_nsec
        &blocks.to_le_bytes(),
        &INODES_BLOCK.to_le_bytes(), // meta_blkaddr
        &[0; 4],                     // xattr_blkaddr
        &[0; 16],                    // uuid
        b"netrootfs\0\0\0\0\0\0\0",  // volume_name
        &(CHUNKED_FILE | DEVICE_TABLE).to_le_bytes(),
        &[0; 2], // available_compr_algs
        &DEVICES.to_le_bytes(),
        &((SLOTS / 128) as u16).to_le_bytes(), // devt_slotoff
    ])
}

/// `struct erofs_deviceslot`: a tag, the length in blocks, and where it is mapped: nowhere.
fn slot(blocks: u64) -> [u8; 128] {
    record(&[&[0; 64], &u32::try_from(blocks).unwrap_or(u32::MAX).to_le_bytes()])
}

/// `struct erofs_inode_extended`.
fn inode(mode: u16, size: u64, layout: u16, u: u32, number: u32, links: u32) -> [u8; 64] {
    record(&[
        &(1 | layout << 1).to_le_bytes(), // EROFS_INODE_LAYOUT_EXTENDED
        &[0; 2],                          // i_xattr_icount
        &mode.to_le_bytes(),
        &[0; 2],
        &size.to_le_bytes(),
        &u.to_le_bytes(),
        &number.to_le_bytes(),
        &[0; 20], // i_uid, i_gid, i_mtime, i_mtime_nsec
        &links.to_le_bytes(),
    ])
}

/// `struct erofs_inode_chunk_index`.
fn index(device: u16, block: u32) -> [u8; 8] {
    record(&[&[0; 2], &device.to_le_bytes(), &block.to_le_bytes()])
}

/// `struct erofs_dirent` of each entry, and their names behind.
fn directory() -> Vec<u8> {
    let entries = [(".", ROOT, TYPE_DIRECTORY), ("..", ROOT, TYPE_DIRECTORY), (NAME, FILE, TYPE_FILE)];
    let mut heads: Vec<u8> = Vec::new();
    let mut names: Vec<u8> = Vec::new();
    for (name, number, kind) in entries {
        let at = 12 * entries.len() + names.len();
        heads.extend(number.to_le_bytes());
        heads.extend((at as u16).to_le_bytes());
        heads.extend([kind, 0]);
        names.extend(name.as_bytes());
    }
    [heads, names].concat()
}

/// The fields one after the other, and zeros up to the end.
fn record<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut bytes = fields.concat().into_iter();
    std::array::from_fn(|_| bytes.next().unwrap_or(0))
}
