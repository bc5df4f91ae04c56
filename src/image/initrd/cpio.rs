//! One entry of a cpio archive in a stream.
//!
//! The format is [`crate::image::cpio`]'s; where its document leaves something open, it is read as init/initramfs.c does. The
//! body stays in the stream: whoever wants it reads it.

use super::stream::Stream;
use super::{Error, Limits};
use crate::image::cpio::{ALIGN, Fault, HEADER, Header};
use std::io::Read;

/// An entry whose body begins where the stream stands.
pub(super) struct Entry {
    /// As stored, up to the first NUL; empty if the kernel would pass over the entry.
    pub name: Vec<u8>,
    /// Length of the body in bytes.
    pub body: u64,
}

/// Reads the header and the name of the entry that the stream stands at.
pub(super) fn read_entry<R: Read>(stream: &mut Stream<R>, limits: &Limits) -> Result<Entry, Error> {
    let place = stream.place();
    if !stream.at().is_multiple_of(ALIGN as u64) {
        return Err(Error::Unaligned { place });
    }
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let header = Header::parse(&header).map_err(|fault| match fault {
        Fault::Magic => Error::NotNewc { place },
        Fault::Number(field) => Error::Header { place, field },
    })?;
    let mut name = Vec::new();
    match usize::try_from(header.name) {
        Ok(size) if header.is_unpacked() && size <= limits.name => {
            name.resize(size, 0);
            stream.read_exact(&mut name)?;
            name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(size));
        }
        _ => stream.skip(u64::from(header.name))?,
    }
    skip_padding(stream)?;
    Ok(Entry { name, body: u64::from(header.body) })
}

/// Passes over what is left of an entry of which `left` bytes of the body have not been read.
pub(super) fn finish_entry<R: Read>(stream: &mut Stream<R>, left: u64) -> Result<(), Error> {
    stream.skip(left)?;
    skip_padding(stream)
}

/// To the next multiple of four; an archive that ends before it is whole all the same.
fn skip_padding<R: Read>(stream: &mut Stream<R>) -> Result<(), Error> {
    let padding = stream.at().next_multiple_of(ALIGN as u64) - stream.at();
    let available = stream.peek(padding as usize)?.len();
    stream.skip(available as u64)
}
