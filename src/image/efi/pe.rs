//! Headers of EFI programs (Microsoft, "PE Format"), read by the `object` crate, a few hundred bytes at a time.

use std::io::{Read, Seek};

use object::pe::{IMAGE_DIRECTORY_ENTRY_SECURITY, ImageNtHeaders32, ImageNtHeaders64};
use object::pe::{IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64, IMAGE_FILE_MACHINE_I386};
use object::read::pe::{ImageNtHeaders, PeFile};
use object::{FileKind, LittleEndian, Object as _, ObjectSection as _, ReadCache, ReadRef as _};

use super::Arch;
use crate::storage::content::Content;

/// Sections whose names are read. Programs have 5 to 15.
const MAX_SECTIONS: usize = 64;

/// wCertificateType of a PKCS #7 signature (Microsoft, "PE Format", attribute certificate table).
const PKCS_SIGNED_DATA: u16 = 2;

/// Fields of the headers.
#[derive(Debug, PartialEq, Eq)]
pub struct Headers {
    /// Processor.
    pub arch: Arch,
    /// Whether there is a signature.
    pub signed: bool,
    /// Names of its sections.
    pub sections: Vec<String>,
}

/// Reads the headers; `None` for what is no program, or one for another processor.
pub fn headers(content: &Content) -> Option<Headers> {
    let cache = ReadCache::new(content.reader());
    match FileKind::parse(&cache).ok()? {
        FileKind::Pe64 => read::<ImageNtHeaders64, _>(&cache),
        FileKind::Pe32 => read::<ImageNtHeaders32, _>(&cache),
        _ => None,
    }
}

/// The bytes of a section.
pub fn section(content: &Content, name: &str) -> Option<Vec<u8>> {
    let cache = ReadCache::new(content.reader());
    match FileKind::parse(&cache).ok()? {
        FileKind::Pe64 => read_section::<ImageNtHeaders64, _>(&cache, name),
        FileKind::Pe32 => read_section::<ImageNtHeaders32, _>(&cache, name),
        _ => None,
    }
}

fn read<Pe: ImageNtHeaders, R: Read + Seek>(cache: &ReadCache<R>) -> Option<Headers> {
    let file = PeFile::<Pe, _>::parse(cache).ok()?;
    let arch = match file.nt_headers().file_header().machine.get(LittleEndian) {
        IMAGE_FILE_MACHINE_AMD64 => Arch::X64,
        IMAGE_FILE_MACHINE_ARM64 => Arch::Aa64,
        IMAGE_FILE_MACHINE_I386 => Arch::Ia32,
        _ => return None,
    };
    let sections = file.sections().take(MAX_SECTIONS);
    let sections = sections.filter_map(|section| section.name().ok().map(str::to_owned)).collect();
    Some(Headers { arch, signed: is_signed(&file, cache), sections })
}

/// Whether there is a certificate table, and a signature in it.
fn is_signed<'a, Pe: ImageNtHeaders, R: Read + Seek>(
    file: &PeFile<'a, Pe, &'a ReadCache<R>>,
    cache: &'a ReadCache<R>,
) -> bool {
    let Some(table) = file.data_directory(IMAGE_DIRECTORY_ENTRY_SECURITY) else { return false };
    // In this one directory, the address is an offset in the file.
    let (offset, size) = table.address_range();
    let end = u64::from(offset) + u64::from(size);
    let inside = size > 8 && cache.len().is_ok_and(|len| end <= len);
    let head = inside.then(|| cache.read_bytes_at(u64::from(offset), 8).ok()).flatten();
    matches!(head, Some([.., low, high]) if u16::from_le_bytes([*low, *high]) == PKCS_SIGNED_DATA)
}

fn read_section<Pe: ImageNtHeaders, R: Read + Seek>(cache: &ReadCache<R>, name: &str) -> Option<Vec<u8>> {
    let file = PeFile::<Pe, _>::parse(cache).ok()?;
    let mut sections = file.sections().take(MAX_SECTIONS);
    let section = sections.find(|section| section.name() == Ok(name))?;
    section.data().ok().map(<[u8]>::to_vec)
}
