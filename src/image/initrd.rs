//! The abilities of an initrd, found out by walking its cpio archives.
//!
//! An initrd is a sequence of cpio archives, each raw or compressed, with zeros between them. [`probe`] reads it from
//! front to back in one pass, as the kernel does (init/initramfs.c), looks at the names of the entries, and keeps
//! nothing but its [`Features`]. It opens no files, unpacks nothing into memory, and ends within its [`Limits`]
//! whatever it is given. It does not look into images inside the archives.

mod cpio;
mod decompress;
mod features;
mod stream;
mod table;

pub use features::{Features, Presence};
pub use table::{Driver, Feature, Mark};

use super::cpio::TRAILER;
use decompress::Format;
use std::fmt;
use std::io::{self, Read};
use stream::{Budget, Stream};

/// Bytes read and unpacked, together: the largest initrds unpack to 500 MB.
const MOST_BYTES: u64 = 2 << 30;

/// Entries in all archives: an initrd with every module of a kernel and its firmware has under 20,000.
const MOST_ENTRIES: u64 = 1 << 18;

/// Compressed archives, each of which sets up a decoder: two to four are usual.
const MOST_ARCHIVES: u64 = 256;

/// Length of a name in bytes. The kernel takes 4096; what tells anything is far shorter.
const LONGEST_NAME: usize = 512;

/// Size of a list of built-in drivers: 10 to 60 KiB are usual. A longer one is passed over.
const LONGEST_LIST: u64 = 1 << 20;

/// Bytes unpacked for one that is read: three to five are usual. All compressions can make thousands of one, of zeros.
const MOST_RATIO: u64 = 32;

/// Bytes that may be unpacked in any case: a file of zeros, say. The slowest decoder needs a few tenths of a second for them.
const FREE_BYTES: u64 = 32 << 20;

/// Bounds on the work for one initrd. The defaults fit what is on live and installer ISOs several times over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes, counting what is read and what it unpacks to.
    pub bytes: u64,
    /// Most entries in all archives.
    pub entries: u64,
    /// Most compressed archives.
    pub archives: u64,
    /// Longest name in bytes. An entry with a longer one is passed over, as the kernel does from 4096 on.
    pub name: usize,
    /// Most bytes unpacked for each that is read, beyond the first [`Limits::free`].
    pub ratio: u64,
    /// Bytes that may be unpacked however few are read.
    pub free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: MOST_BYTES,
            entries: MOST_ENTRIES,
            archives: MOST_ARCHIVES,
            name: LONGEST_NAME,
            ratio: MOST_RATIO,
            free: FREE_BYTES,
        }
    }
}

/// Reads `initrd` to its end and says what it can do.
///
/// If a menu entry names several initrds, chain them, each padded with zeros to a multiple of four, as loaders do.
///
/// Where the kernel meets damage it warns and goes on with what it has unpacked. So does this: if the archive that
/// holds `/init` was read whole, damage behind it only goes into [`Features::damage`]. Before that it is an error.
///
/// # Errors
/// See [`Error`]. Limits and failures of `initrd` itself are errors wherever they are met.
pub fn probe(initrd: impl Read, limits: Limits) -> Result<Features, Error> {
    probe_for(initrd, limits, &[])
}

/// Reads `initrd` as [`probe`] does, and looks for these marks too.
///
/// # Errors
/// As [`probe`].
pub fn probe_for(initrd: impl Read, limits: Limits, marks: &[Mark]) -> Result<Features, Error> {
    let budget = Budget::new(&limits);
    let features = Features::default();
    let mut walk = Walk { limits, marks, features, entries: 0, archives: 0, init: Init::Unseen };
    match walk.initrd(&mut Stream::outer(initrd, &budget)) {
        Ok(()) if walk.entries == 0 => return Err(Error::Empty),
        Ok(()) => {}
        Err(error) if error.is_damage() && walk.init == Init::Whole => {
            walk.features.damage = Some(error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(walk.features)
}

/// Why an initrd could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message says what each field is")]
pub enum Error {
    /// The reader that was passed in failed.
    #[error("cannot read the initrd at {place}")]
    Read { place: Place, source: io::Error },
    /// The initrd ends inside an entry or a compressed archive.
    #[error("it ends too early, at {place}")]
    Truncated { place: Place },
    /// A decompressor refused its input, or needs more memory than it is given.
    #[error("the compressed archive is damaged at {place}")]
    Damaged { place: Place, source: io::Error },
    /// Neither zeros nor an archive.
    #[error("no archive and no known compression at {place}")]
    Junk { place: Place },
    /// A raw archive must begin at a multiple of four bytes.
    #[error("the archive at {place} is not aligned to four bytes")]
    Unaligned { place: Place },
    /// Something that begins with `0` as cpio does, in a format that the kernel doesn't unpack either.
    #[error("no cpio archive of the newc format at {place}")]
    NotNewc { place: Place },
    /// A number of a cpio header is not hexadecimal.
    #[error("the {field} of the entry at {place} is not a number")]
    Header { place: Place, field: &'static str },
    /// A compression that the kernel knows and this doesn't.
    #[error("{what} at {place} is not supported")]
    Unsupported { place: Place, what: &'static str },
    /// More than [`Limits`] allow.
    #[error("more than {most} {limit}, reached at {place}")]
    Limit { limit: Limit, most: u64, place: Place },
    /// There is nothing but zeros in it.
    #[error("it has no archive in it")]
    Empty,
}

impl Error {
    fn is_damage(&self) -> bool {
        !matches!(self, Error::Read { .. } | Error::Limit { .. })
    }
}

/// Which of the [`Limits`] was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `Limits`")]
pub enum Limit {
    Bytes,
    Entries,
    Archives,
    Ratio,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Bytes => "bytes read and unpacked",
            Limit::Entries => "entries",
            Limit::Archives => "compressed archives",
            Limit::Ratio => "bytes unpacked for each that is read",
        })
    }
}

/// A place in an initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offset in the initrd; inside a compressed archive, where that archive begins.
    pub initrd: u64,
    /// Offset in what the archive unpacks to.
    pub unpacked: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unpacked {
            None => write!(f, "byte {}", self.initrd),
            Some(unpacked) => {
                write!(f, "byte {unpacked} of what the archive at byte {} unpacks to", self.initrd)
            }
        }
    }
}

/// How much of the archive with `/init` was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Unseen,
    Seen,
    Whole,
}

struct Walk<'a> {
    limits: Limits,
    marks: &'a [Mark],
    features: Features,
    entries: u64,
    archives: u64,
    init: Init,
}

impl Walk<'_> {
    fn initrd<R: Read>(&mut self, stream: &mut Stream<R>) -> Result<(), Error> {
        loop {
            self.raw(stream)?;
            let magic = stream.peek(2)?;
            if magic.is_empty() {
                return Ok(());
            }
            let magic = [magic.first().copied().unwrap_or(0), magic.get(1).copied().unwrap_or(0)];
            let format = Format::of(&magic, stream.place())?;
            self.archives += 1;
            if self.archives > self.limits.archives {
                let place = stream.place();
                return Err(Error::Limit { limit: Limit::Archives, most: self.limits.archives, place });
            }
            self.compressed(format, stream)?;
            self.features.open_end = format == Format::Lz4;
        }
    }

    /// Walks what a compressed archive holds, and leaves `stream` behind it.
    fn compressed<R: Read>(&mut self, format: Format, stream: &mut Stream<R>) -> Result<(), Error> {
        let place = stream.place();
        let budget = stream.budget();
        let walked = match format.open(stream) {
            Err(source) => Err(Error::Damaged { place, source }),
            Ok(decoder) => self.inside(&mut Stream::unpacked(decoder, place.initrd, budget)),
        };
        // A decompressor can't tell a damaged archive from an initrd that could not be read: the latter goes first.
        match stream.take_failure() {
            Some(beneath) => Err(beneath),
            None => walked,
        }
    }

    fn inside<R: Read>(&mut self, unpacked: &mut Stream<R>) -> Result<(), Error> {
        self.raw(unpacked)?;
        if !unpacked.peek(1)?.is_empty() {
            return Err(Error::Junk { place: unpacked.place() });
        }
        self.end_archive();
        Ok(())
    }

    /// Walks raw archives and zeros up to the end or to what is neither.
    fn raw<R: Read>(&mut self, stream: &mut Stream<R>) -> Result<(), Error> {
        loop {
            stream.skip_zeros()?;
            if stream.peek(1)? != b"0" {
                return Ok(());
            }
            self.entry(stream)?;
        }
    }

    fn entry<R: Read>(&mut self, stream: &mut Stream<R>) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let place = stream.place();
            return Err(Error::Limit { limit: Limit::Entries, most: self.limits.entries, place });
        }
        let entry = cpio::read_entry(stream, &self.limits)?;
        self.features.open_end = false;
        let mut left = entry.body;
        if features::is_builtin_list(&entry.name) && left <= LONGEST_LIST {
            let mut list = vec![0; usize::try_from(left).unwrap_or(0)];
            stream.read_exact(&mut list)?;
            left = 0;
            self.features.note_builtin(&list);
        }
        cpio::finish_entry(stream, left)?;

        if entry.name == TRAILER.as_bytes() {
            self.end_archive();
        } else {
            self.features.note_path(&entry.name, self.marks);
            if self.init == Init::Unseen && features::is_init(&entry.name) {
                self.init = Init::Seen;
            }
        }
        Ok(())
    }

    fn end_archive(&mut self) {
        if self.init == Init::Seen {
            self.init = Init::Whole;
        }
    }
}

#[cfg(test)]
mod tests;
