//! One entry of a cpio archive in the "newc" format, the only one that the kernel unpacks.
//!
//! Header, name and body as in Documentation/driver-api/early-userspace/buffer-format.rst; where the document leaves
//! something open, as in init/initramfs.c. The body stays in the stream: whoever wants it reads it.

use super::stream::Stream;
use super::{Error, Limits};
use std::io::Read;

/// An entry whose body begins where the stream stands.
pub(super) struct Entry {
    /// As stored, up to the first NUL; empty if the kernel would pass over the entry.
    pub name: Vec<u8>,
    /// Length of the body in bytes.
    pub body: u64,
}

/// The name of the entry that ends an archive.
pub(super) const TRAILER: &[u8] = b"TRAILER!!!";

const MAGIC: &[u8] = b"070701";
const MAGIC_CHECKSUM: &[u8] = b"070702";
const HEADER: usize = 110;
const FIELD: usize = 8;
const MODE: usize = 1;
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;

const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Reads the header and the name of the entry that the stream stands at.
pub(super) fn read_entry<R: Read>(stream: &mut Stream<R>, limits: &Limits) -> Result<Entry, Error> {
    let place = stream.place();
    if !stream.at().is_multiple_of(4) {
        return Err(Error::Unaligned { place });
    }
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let magic = header.get(..MAGIC.len()).unwrap_or_default();
    if magic != MAGIC && magic != MAGIC_CHECKSUM {
        return Err(Error::NotNewc { place });
    }
    let mode = field(&header, MODE).ok_or(Error::Header { place, field: "mode" })?;
    let body = field(&header, FILE_SIZE).ok_or(Error::Header { place, field: "file size" })?;
    let name_size = field(&header, NAME_SIZE).ok_or(Error::Header { place, field: "name size" })?;

    let file_type = mode & FILE_TYPE;
    let unpackable = file_type == REGULAR || file_type == SYMLINK || body == 0;
    let mut name = Vec::new();
    match usize::try_from(name_size) {
        Ok(size) if unpackable && size <= limits.name => {
            name.resize(size, 0);
            stream.read_exact(&mut name)?;
            name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(size));
        }
        _ => stream.skip(u64::from(name_size))?,
    }
    skip_padding(stream)?;
    Ok(Entry { name, body: u64::from(body) })
}

/// Passes over what is left of an entry of which `left` bytes of the body have not been read.
pub(super) fn finish_entry<R: Read>(stream: &mut Stream<R>, left: u64) -> Result<(), Error> {
    stream.skip(left)?;
    skip_padding(stream)
}

/// To the next multiple of four; an archive that ends before it is whole all the same.
fn skip_padding<R: Read>(stream: &mut Stream<R>) -> Result<(), Error> {
    let padding = stream.at().wrapping_neg() & 3;
    let available = stream.peek(padding as usize)?.len();
    stream.skip(available as u64)
}

fn field(header: &[u8; HEADER], index: usize) -> Option<u32> {
    let start = MAGIC.len() + index * FIELD;
    let digits = header.get(start..start + FIELD)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
