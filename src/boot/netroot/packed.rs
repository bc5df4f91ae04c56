//! The compressions of modules and packages, told by the endings of their names.

use std::io::{self, Read};

/// Memory for a decoder of xz: the dictionary of `xz -9` is 64 MiB.
const XZ_MEMORY: u64 = 96 << 20;

/// Largest zstd window, as a power of two: 128 MiB, which is what the kernel takes.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The unpacked bytes of a file of this name.
///
/// # Errors
/// If its head is damaged, or a decoder can't be set up.
pub(super) fn unpacked<'a>(name: &str, file: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match name.rsplit('.').next() {
        Some("xz") => {
            let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, decoder))
        }
        Some("zst") => {
            let mut decoder = zstd::stream::read::Decoder::new(file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    })
}
