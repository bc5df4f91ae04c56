//! The compressions that an initrd may use, each as a reader that stops where its member ends.
//!
//! A format is known by its first two bytes, as in the kernel (lib/decompress.c). The decoders come from crates; only
//! the framing of the old lz4 format is written here. Each has a bound on its memory that no input can raise.

use super::stream::Stream;
use super::{Error, Place};
use liblzma::stream::Stream as Lzma;
use std::io::{self, Read};

/// Largest zstd window, as a power of two: what the kernel takes (`ZSTD_WINDOWSIZE_MAX`, lib/decompress_unzstd.c), 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Memory for an xz or lzma decoder in bytes: the dictionary of `xz -9` is 64 MiB, and it needs 1 MiB beside it.
const LZMA_MEMORY: u64 = 96 << 20;

/// Uncompressed size of a block in the old lz4 format (`LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE`, lib/decompress_unlz4.c).
const LZ4_BLOCK: usize = 8 << 20;

/// A block of random bytes grows by this much at most (`LZ4_compressBound`); a larger number is no block size.
const LZ4_PACKED_BLOCK: usize = LZ4_BLOCK + LZ4_BLOCK / 255 + 16;

const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// A compression of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Lz4,
    Zstd,
}

impl Format {
    /// The format that begins with these bytes at `place`.
    pub(super) fn of(magic: &[u8], place: Place) -> Result<Self, Error> {
        match magic {
            [0x1f, 0x8b | 0x9e, ..] => Ok(Format::Gzip),
            [0x42, 0x5a, ..] => Ok(Format::Bzip2),
            [0x5d, 0x00, ..] => Ok(Format::Lzma),
            [0xfd, 0x37, ..] => Ok(Format::Xz),
            [0x02, 0x21, ..] => Ok(Format::Lz4),
            [0x28, 0xb5, ..] => Ok(Format::Zstd),
            [0x89, 0x4c, ..] => Err(Error::Unsupported { place, what: "lzo" }),
            _ => Err(Error::Junk { place }),
        }
    }

    /// What the member that `source` stands at unpacks to. At its end `source` stands at the first byte behind it.
    pub(super) fn open<'s, R: Read>(self, source: &'s mut Stream<'_, R>) -> io::Result<Box<dyn Read + 's>> {
        Ok(match self {
            Format::Gzip => Box::new(flate2::bufread::GzDecoder::new(source)),
            Format::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(source)),
            Format::Lzma => lzma(source, Lzma::new_lzma_decoder(LZMA_MEMORY)?),
            Format::Xz => lzma(source, Lzma::new_stream_decoder(LZMA_MEMORY, 0)?),
            Format::Lz4 => {
                Box::new(OldLz4 { source, packed: Vec::new(), block: Vec::new(), start: 0, end: 0 })
            }
            Format::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

fn lzma<'s, R: Read>(source: &'s mut Stream<'_, R>, decoder: Lzma) -> Box<dyn Read + 's> {
    Box::new(liblzma::bufread::XzDecoder::new_stream(source, decoder))
}

/// The format of `lz4 -l`: a magic number, then blocks, each behind its packed size.
///
/// It has no mark for its end. The kernel ends at a size of zero (padding) and at the end of the initrd; the `lz4`
/// program ends at a number that can't be a size. Both are done here; the magic number again means "go on".
struct OldLz4<'s, 'b, R> {
    source: &'s mut Stream<'b, R>,
    packed: Vec<u8>,
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> OldLz4<'_, '_, R> {
    fn next_block(&mut self) -> io::Result<()> {
        (self.start, self.end) = (0, 0);
        let Some(size) = self.next_size()? else {
            return Ok(());
        };
        self.packed.resize(size, 0);
        io::Read::read_exact(&mut self.source, &mut self.packed)?;
        self.block.resize(LZ4_BLOCK, 0);
        self.end =
            lz4_flex::block::decompress_into(&self.packed, &mut self.block).map_err(io::Error::other)?;
        if self.end == 0 {
            return Err(io::Error::other("an empty lz4 block"));
        }
        Ok(())
    }

    fn next_size(&mut self) -> io::Result<Option<usize>> {
        loop {
            let peeked = self.source.peek(4).map(|bytes| <[u8; 4]>::try_from(bytes).ok());
            let Some(word) = peeked.map_err(|error| self.source.keep_failure(error))? else {
                return Ok(None);
            };
            if word == LZ4_MAGIC {
                io::BufRead::consume(&mut self.source, word.len());
                continue;
            }
            let size = u32::from_le_bytes(word) as usize;
            if size == 0 || size > LZ4_PACKED_BLOCK {
                return Ok(None);
            }
            io::BufRead::consume(&mut self.source, word.len());
            return Ok(Some(size));
        }
    }
}

impl<R: Read> Read for OldLz4<'_, '_, R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            self.next_block()?;
        }
        let ready = self.block.get(self.start..self.end).unwrap_or_default();
        let count = ready.len().min(target.len());
        target.get_mut(..count).unwrap_or_default().copy_from_slice(ready.get(..count).unwrap_or_default());
        self.start += count;
        Ok(count)
    }
}
