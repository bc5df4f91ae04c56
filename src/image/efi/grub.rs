//! What a GRUB program has been built with: its section `mods` (GRUB, include/grub/kernel.h).
//!
//! A head, then objects one after the other: modules, each an ELF file, the directory that it takes for its own, an
//! early configuration and others. Signed GRUBs can't load more modules, so what isn't in there can't be done.

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};
use object::{Endianness, FileKind, Object as _, ObjectSection as _};

/// The section's name.
pub const SECTION: &str = "mods";

/// GRUB_MODULE_MAGIC.
const MAGIC: u32 = 0x676d_696d;

/// Objects that are looked at; signed GRUBs hold some 100 to 200.
const MAX_OBJECTS: usize = 1024;

/// Sections of a module that are looked at; real ones have some 15.
const MAX_SECTIONS: usize = 64;

/// Longest path that is taken from a GRUB.
const MAX_PREFIX: usize = 64;

/// The modules in a GRUB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// Whether it can load files by TFTP.
    pub network: bool,
    /// The directory where it looks for `grub.cfg` and for further modules, such as `/grub` or `/EFI/fedora`; empty if
    /// there is none, or none that is plain text.
    pub prefix: String,
}

impl Modules {
    /// Reads the section. What is damaged is not there.
    pub fn parse(section: &[u8]) -> Self {
        let mut found = Self::default();
        let mut network = [("tftp", false), ("efinet", false)];
        for (kind, payload) in objects(section).unwrap_or_default() {
            match kind {
                0 => {
                    let name = module_name(payload);
                    network
                        .iter_mut()
                        .filter(|(wanted, _)| name == Some(wanted))
                        .for_each(|need| need.1 = true);
                }
                3 => found.prefix = text(payload).unwrap_or_default(),
                _ => {}
            }
        }
        found.network = network.iter().all(|(_, there)| *there);
        found
    }
}

/// The objects as type and bytes.
fn objects(section: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    // Numbers of the head are as wide as the processor's: a 64-bit one has padding behind the magic number.
    let (mut at, end) = match (word(section, 0)?, word(section, 4)?) {
        (MAGIC, 0) => (word(section, 8)?, word(section, 16)?),
        (MAGIC, offset) => (offset, word(section, 8)?),
        _ => return None,
    };
    let mut found = Vec::new();
    while at < end && found.len() < MAX_OBJECTS {
        let (Some(kind), Some(len)) = (word(section, at), word(section, at.checked_add(4)?)) else { break };
        // The length counts the 8 bytes of type and length too.
        let (Some(from), Some(next)) = (at.checked_add(8), at.checked_add(len)) else { break };
        let Some(payload) = section.get(from as usize..next as usize) else { break };
        found.push((kind, payload));
        at = next;
    }
    Some(found)
}

/// The name in a module's section `.modname`.
fn module_name(module: &[u8]) -> Option<&str> {
    match FileKind::parse(module).ok()? {
        FileKind::Elf64 => name_in::<FileHeader64<Endianness>>(module),
        FileKind::Elf32 => name_in::<FileHeader32<Endianness>>(module),
        _ => None,
    }
}

fn name_in<Elf: FileHeader<Endian = Endianness>>(module: &[u8]) -> Option<&str> {
    let file = ElfFile::<Elf>::parse(module).ok()?;
    let mut sections = file.sections().take(MAX_SECTIONS);
    let section = sections.find(|section| section.name() == Ok(".modname"))?;
    let name = section.data().ok()?.split(|&byte| byte == 0).next()?;
    std::str::from_utf8(name).ok()
}

fn text(payload: &[u8]) -> Option<String> {
    let text = payload.split(|&byte| byte == 0).next()?;
    let printable = text.len() <= MAX_PREFIX && text.iter().all(u8::is_ascii_graphic);
    printable.then(|| String::from_utf8_lossy(text).into_owned())
}

fn word(bytes: &[u8], at: u32) -> Option<u32> {
    let at = at as usize;
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
