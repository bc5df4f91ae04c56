//! The compressions of squashfs blocks, each with a bound on what a block unpacks to and on the memory for it.

use std::io::{self, Read};

/// Memory for a decoder of xz: a dictionary is as large as a block, 1 MiB at most.
const XZ_MEMORY: u64 = 16 << 20;

/// A compression, by its number in the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Xz,
    Lz4,
    Zstd,
}

impl Compression {
    /// The one with that number.
    pub(super) fn of(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Gzip),
            4 => Some(Self::Xz),
            5 => Some(Self::Lz4),
            6 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Unpacks a block.
    ///
    /// # Errors
    /// If it is damaged, or has more than `most` bytes.
    pub(super) fn unpack(self, packed: &[u8], most: usize) -> io::Result<Vec<u8>> {
        let bytes = match self {
            Self::Gzip => up_to(flate2::read::ZlibDecoder::new(packed), most)?,
            Self::Xz => {
                let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
                up_to(liblzma::read::XzDecoder::new_stream(packed, decoder), most)?
            }
            Self::Lz4 => {
                let mut bytes = vec![0; most];
                let len = lz4_flex::block::decompress_into(packed, &mut bytes).map_err(io::Error::other)?;
                bytes.truncate(len);
                bytes
            }
            Self::Zstd => {
                // It keeps what it unpacks into, and no more, whatever window is asked for.
                zstd::bulk::decompress(packed, most)?
            }
        };
        match bytes.len() {
            len if len > most => Err(io::Error::other("a block that unpacks to more than a block")),
            _ => Ok(bytes),
        }
    }
}

fn up_to(decoder: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(most);
    decoder.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_block_that_unpacks_without_end_is_an_error() {
        let zeros = vec![0; 8 << 20];
        let gzip = {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&zeros).unwrap();
            encoder.finish().unwrap()
        };
        let xz = {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
            encoder.write_all(&zeros).unwrap();
            encoder.finish().unwrap()
        };
        let lz4 = lz4_flex::block::compress(&zeros);
        let zstd = zstd::encode_all(zeros.as_slice(), 19).unwrap();
        let packed = [(1, gzip), (4, xz), (5, lz4), (6, zstd)];
        for (number, packed) in packed {
            let compression = Compression::of(number).unwrap();
            assert!(compression.unpack(&packed, 8 << 10).is_err(), "{compression:?}");
        }
    }
}
