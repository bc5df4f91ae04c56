//! The NBD handshake (fixed newstyle, `NBD_OPT_GO`) and reads, on anything that reads and writes.
//!
//! It opens no socket and has no clock: the caller's stream ends what takes too long. Numbers and shapes are those of the
//! NBD project's `doc/proto.md`; they are big-endian. No structured replies are asked for, as Linux's nbd knows none.

use std::io::{self, Read, Write};

const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const OLDSTYLE_MAGIC: &[u8; 8] = &0x0000_4202_8186_1253u64.to_be_bytes();
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// `\0netroot`.
const FIRST_COOKIE: u64 = 0x006e_6574_726f_6f74;

const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// Linux has the same number in its attribute `SERVER_FLAGS`.
pub const FLAG_READ_ONLY: u16 = 1 << 1;
/// Several connections see the same disk.
pub const FLAG_CAN_MULTI_CONN: u16 = 1 << 8;

/// `doc/proto.md`: a string has at most 4096 bytes.
const LONGEST_NAME: usize = 4096;
/// No honest option reply is longer; its text has 4096 bytes at most.
const LONGEST_REPLY: usize = 64 * 1024;
/// An honest server sends one reply for each kind of information, then the end.
const MOST_REPLIES: usize = 64;
/// Linux's nbd takes logical blocks up to a page.
const LARGEST_BLOCK: u32 = 4096;
const SMALLEST_BLOCK: u32 = 512;

/// A server's description of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// The smallest unit of a request, in bytes: a power of two between 512 and 4096.
    pub block: u32,
    /// The longest request, in bytes, if the server named one.
    pub longest: Option<u32>,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection; in words that need no source beside them.
    #[error("{}", words(.0))]
    Io(io::Error),
    /// Something else listens on that port.
    #[error("what listens there is no NBD server")]
    NotNbd,
    /// A server of another time.
    #[error("the server is too old: {0}")]
    Old(&'static str),
    /// A structured error, with the server's own words.
    #[error("the server refuses the export '{name}': {reason}{said}")]
    Refused { name: String, reason: &'static str, said: String },
    /// An answer outside the protocol.
    #[error("the server breaks the protocol: {0}")]
    Broken(&'static str),
    /// The server's error for a read.
    #[error("the server can't read the disk (NBD error {0})")]
    Read(u32),
    /// An export that can't be a disk.
    #[error("{0}")]
    Unfit(String),
}

impl Error {
    /// Whether nothing has come in time.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Io(error) if is_late(error))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the server closed the connection in the middle of the talk".to_owned()
        }
        _ if is_late(error) => "the server doesn't answer in time".to_owned(),
        _ => format!("the connection failed: {error}"),
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Asks for an export. Afterwards the stream is in the transmission phase.
///
/// # Errors
/// As [`Error`] says.
pub fn open(stream: &mut (impl Read + Write), name: &str) -> Result<Export, Error> {
    if name.len() > LONGEST_NAME {
        return Err(Error::Unfit("the name of the export is too long".to_owned()));
    }
    greet(stream)?;
    ask(stream, name)?;
    let mut export = None;
    let mut blocks = (SMALLEST_BLOCK, None);
    for _ in 0..MOST_REPLIES {
        match reply(stream)? {
            (REP_ACK, _) => {
                let (size, flags) = export.ok_or(Error::Broken("it names no size"))?;
                return fit(Export { size, flags, block: blocks.0, longest: blocks.1 });
            }
            (REP_INFO, data) => match parse_info(&data) {
                Some(Info::Export { size, flags }) => export = Some((size, flags)),
                Some(Info::Blocks { smallest, longest }) => blocks = (smallest, longest),
                None => {}
            },
            (kind, data) => return Err(refusal(kind, &data, name)),
        }
    }
    Err(Error::Broken("it never comes to an end"))
}

fn greet(stream: &mut (impl Read + Write)) -> Result<(), Error> {
    if &take(stream)? != b"NBDMAGIC" {
        return Err(Error::NotNbd);
    }
    match &take::<8>(stream)? {
        OPTION_MAGIC => {}
        OLDSTYLE_MAGIC => return Err(Error::Old("it knows no names of exports")),
        _ => return Err(Error::NotNbd),
    }
    let offered = u16::from_be_bytes(take(stream)?);
    if offered & FIXED_NEWSTYLE == 0 {
        return Err(Error::Old("it doesn't know the fixed newstyle"));
    }
    stream.write_all(&u32::from(offered & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes())?;
    Ok(())
}

fn ask(stream: &mut impl Write, name: &str) -> Result<(), Error> {
    // The name's length and the name, then the kinds of information wanted.
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let wanted = [INFO_BLOCK_SIZE];
    let mut request = Vec::from(*OPTION_MAGIC);
    request.extend(OPT_GO.to_be_bytes());
    request.extend((length + 4 + 2 + 2).to_be_bytes());
    request.extend(length.to_be_bytes());
    request.extend(name.bytes());
    request.extend(1u16.to_be_bytes());
    request.extend(wanted.iter().flat_map(|kind| kind.to_be_bytes()));
    stream.write_all(&request)?;
    Ok(())
}

fn reply(stream: &mut impl Read) -> Result<(u32, Vec<u8>), Error> {
    if u64::from_be_bytes(take(stream)?) != OPTION_REPLY_MAGIC {
        return Err(Error::Broken("an answer without its magic number"));
    }
    if u32::from_be_bytes(take(stream)?) != OPT_GO {
        return Err(Error::Broken("an answer to another question"));
    }
    let kind = u32::from_be_bytes(take(stream)?);
    let length = usize::try_from(u32::from_be_bytes(take(stream)?)).unwrap_or(usize::MAX);
    if length > LONGEST_REPLY {
        return Err(Error::Broken("an answer of more than 64 KiB"));
    }
    let mut data = vec![0; length];
    stream.read_exact(&mut data)?;
    Ok((kind, data))
}

enum Info {
    Export { size: u64, flags: u16 },
    Blocks { smallest: u32, longest: Option<u32> },
}

/// The content of one `NBD_REP_INFO`, if it is of use.
fn parse_info(data: &[u8]) -> Option<Info> {
    let (kind, data) = data.split_first_chunk()?;
    match u16::from_be_bytes(*kind) {
        INFO_EXPORT => {
            let (size, data) = data.split_first_chunk()?;
            let flags = data.first_chunk()?;
            Some(Info::Export { size: u64::from_be_bytes(*size), flags: u16::from_be_bytes(*flags) })
        }
        INFO_BLOCK_SIZE => {
            let (smallest, data) = data.split_first_chunk()?;
            let (_preferred, data) = data.split_first_chunk::<4>()?;
            let longest = u32::from_be_bytes(*data.first_chunk()?);
            let longest = (longest != 0 && longest != u32::MAX).then_some(longest);
            Some(Info::Blocks { smallest: u32::from_be_bytes(*smallest).max(SMALLEST_BLOCK), longest })
        }
        _ => None,
    }
}

/// Whether Linux can make a disk of it.
fn fit(mut export: Export) -> Result<Export, Error> {
    if export.block > LARGEST_BLOCK || !export.block.is_power_of_two() {
        let block = export.block;
        return Err(Error::Unfit(format!(
            "the server only reads in units of {block} bytes, too large for a disk"
        )));
    }
    if export.longest.is_some_and(|longest| longest < export.block) {
        return Err(Error::Broken("its longest request is shorter than its shortest"));
    }
    export.size -= export.size % u64::from(export.block);
    if export.size == 0 {
        return Err(Error::Unfit("the export is empty".to_owned()));
    }
    Ok(export)
}

fn refusal(kind: u32, data: &[u8], name: &str) -> Error {
    let reason = match kind.wrapping_sub(REP_ERROR) {
        1 => return Error::Old("it doesn't know NBD_OPT_GO"),
        2 => "it is not for this machine, or its file can't be opened (policy)",
        3 => "it doesn't understand the request",
        4 => "it doesn't do that on its platform",
        5 => "it wants TLS, which there is none of here",
        6 => "there is no export of that name",
        7 => "it is being shut down",
        8 => "it wants its block size kept",
        9 => "the request is too long",
        10 => "it wants extended headers",
        _ if kind & REP_ERROR == 0 => return Error::Broken("an answer of an unknown kind"),
        _ => "with an error that has no name",
    };
    let said = String::from_utf8_lossy(data);
    let said = if data.is_empty() { String::new() } else { format!(" (\"{}\")", said.trim_end()) };
    Error::Refused { name: name.to_owned(), reason, said }
}

/// Reads from the disk, in the transmission phase and before the kernel has the socket.
///
/// # Errors
/// As [`Error`] says.
pub fn read(stream: &mut (impl Read + Write), offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
    read_all(stream, [(offset, buffer)])
}

/// Reads several pieces, all of which are asked for at once: a server far away, or busy, makes one wait for it once.
///
/// # Errors
/// As [`Error`] says.
pub fn read_all<'a>(
    stream: &mut (impl Read + Write),
    pieces: impl IntoIterator<Item = (u64, &'a mut [u8])>,
) -> Result<(), Error> {
    let mut waiting = Vec::new();
    let mut requests = Vec::new();
    for ((offset, buffer), cookie) in pieces.into_iter().zip(FIRST_COOKIE..) {
        requests.extend(REQUEST_MAGIC.to_be_bytes());
        requests.extend([0; 4]); // no flags, NBD_CMD_READ
        requests.extend(cookie.to_be_bytes());
        requests.extend(offset.to_be_bytes());
        requests.extend(u32::try_from(buffer.len()).unwrap_or(u32::MAX).to_be_bytes());
        waiting.push(Some(buffer));
    }
    stream.write_all(&requests)?;
    for _ in 0..waiting.len() {
        if u32::from_be_bytes(take(stream)?) != REPLY_MAGIC {
            return Err(Error::Broken("a read is answered without its magic number"));
        }
        let error = u32::from_be_bytes(take(stream)?);
        let cookie = u64::from_be_bytes(take(stream)?);
        let index = usize::try_from(cookie.wrapping_sub(FIRST_COOKIE)).unwrap_or(usize::MAX);
        let buffer = waiting.get_mut(index).and_then(Option::take);
        let buffer = buffer.ok_or(Error::Broken("another read is answered"))?;
        match error {
            0 => stream.read_exact(buffer)?,
            error => return Err(Error::Read(error)),
        }
    }
    Ok(())
}

fn take<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

// By its path, as this module is one of the fuzz targets too, under another name.
#[cfg(test)]
#[path = "nbd/tests.rs"]
mod tests;
