//! The program that the archive carries: where it lies on this host, and whether it is what it must be.
//!
//! It runs on clients, not here: as the first process of a machine that has nothing but it, so it has to be static and
//! of the processor of the ISO's kernel.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

use super::kernel::Arch;
use crate::image::cpio;
use crate::storage::content::{Content, Lazy};
use crate::storage::identity::identity;

/// A program of this kind has about a megabyte.
const LARGEST: u64 = 32 << 20;

/// Zeros in front of the program: an initrd in the old lz4 format has no mark for its end, and its unpacker takes what follows
/// for the size of a block, which zeros are not. More than the four that it reads, and a multiple of four for all others.
const GAP: usize = 512;

/// Names in the archive.
pub(super) const DIRECTORY: &str = "netrootfs";
const INIT: &str = "netrootfs/init";

/// The programs of this host, one a processor, or why there is none.
pub struct Programs([Result<Arc<Content>, String>; 2]);

impl Programs {
    /// Looks for them in `directory`, or else beside this program and in `../lib/netrootfs` from there.
    pub fn find(directory: Option<&Path>) -> Self {
        let places = directory.map_or_else(usual_places, |directory| vec![directory.to_owned()]);
        Self(Arch::ALL.map(|arch| find(arch, &places)))
    }

    /// The archive with the program in it, packed when somebody first asks for it, and shared by all ISOs.
    ///
    /// # Errors
    /// If it isn't installed, or can't be used.
    pub fn archive(&self, arch: Arch) -> Result<&Arc<Content>, &str> {
        let found = Arch::ALL.iter().zip(&self.0).find(|(other, _)| **other == arch);
        match found {
            Some((_, Ok(content))) => Ok(content),
            Some((_, Err(reason))) => Err(reason),
            None => Err("there is no program for its processor"),
        }
    }
}

fn usual_places() -> Vec<PathBuf> {
    // It may have been removed since, the directory is there.
    let program = std::env::current_exe().ok();
    let Some(directory) = program.and_then(|path| path.parent()?.canonicalize().ok()) else {
        return Vec::new();
    };
    let library = directory.join("../lib/netrootfs");
    vec![directory, library]
}

fn find(arch: Arch, places: &[PathBuf]) -> Result<Arc<Content>, String> {
    let name = format!("netroot-init-{}", arch.name());
    for place in places {
        let path = place.join(&name);
        match read(&path) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                check(&bytes, arch).map_err(|reason| format!("{}: {reason}", path.display()))?;
                return Ok(Arc::new(pack(bytes)));
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Err(format!("{name} is not installed: put it beside netrootfs, or into ../lib/netrootfs from there"))
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Ok(stat) if stat.is_file() && stat.len() <= LARGEST => std::fs::read(path).map(Some),
        Ok(_) => Err(std::io::Error::other("is no file of the size of a program")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A static program of that processor (elf(5)).
fn check(bytes: &[u8], arch: Arch) -> Result<(), &'static str> {
    const NO_ELF: &str = "is no 64-bit ELF program";
    let header = elf::FileHeader64::<Endianness>::parse(bytes).map_err(|_| NO_ELF)?;
    let endian = header.endian().map_err(|_| NO_ELF)?;
    let machine = match arch {
        Arch::X86_64 => elf::EM_X86_64,
        Arch::Aarch64 => elf::EM_AARCH64,
    };
    if header.e_machine(endian) != machine {
        return Err("is for another processor");
    }
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) {
        return Err("is no program");
    }
    let segments = header.program_headers(endian, bytes).map_err(|_| NO_ELF)?;
    if segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP) {
        return Err("is not static: it would need libraries that an initramfs may not have");
    }
    if !segments.iter().any(|segment| segment.p_type(endian) == elf::PT_LOAD) {
        return Err("is no program");
    }
    Ok(())
}

fn pack(program: Vec<u8>) -> Content {
    // Another version of netrootfs may pack it in another way.
    let identity = identity(&(env!("CARGO_PKG_VERSION"), &program));
    Content::Lazy(Lazy::new(identity, move || {
        let mut writer = cpio::Writer::default();
        writer.directory(DIRECTORY);
        writer.file(INIT, 0o755, &program);
        [vec![0; GAP], cpio::gzip(&writer.finish())].concat()
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest that passes: a head and one segment.
    pub(crate) fn static_program(machine: u16, segment: u32) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        elf[16..18].copy_from_slice(&2_u16.to_le_bytes());
        elf[18..20].copy_from_slice(&machine.to_le_bytes());
        elf[20..24].copy_from_slice(&1_u32.to_le_bytes());
        elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
        elf[52..54].copy_from_slice(&64_u16.to_le_bytes());
        elf[54..56].copy_from_slice(&56_u16.to_le_bytes());
        elf[56..58].copy_from_slice(&1_u16.to_le_bytes());
        elf[64..68].copy_from_slice(&segment.to_le_bytes());
        elf
    }

    #[test]
    fn only_a_static_program_of_the_processor_will_do() {
        let good = static_program(62, 1);
        assert_eq!(check(&good, Arch::X86_64), Ok(()));
        assert_eq!(check(&good, Arch::Aarch64), Err("is for another processor"));
        assert_eq!(check(&static_program(183, 1), Arch::Aarch64), Ok(()));
        assert!(check(&static_program(62, 3), Arch::X86_64).unwrap_err().starts_with("is not static"));
        assert_eq!(check(b"#!/bin/sh\n", Arch::X86_64), Err("is no 64-bit ELF program"));
        for len in 0..good.len() {
            assert!(check(&good[..len], Arch::X86_64).is_err(), "{len}");
        }
    }

    #[test]
    fn programs_are_found_in_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let none = Programs::find(Some(directory.path()));
        assert!(
            none.archive(Arch::X86_64).err().unwrap().starts_with("netroot-init-x86_64 is not installed: ")
        );
        let path = directory.path().join("netroot-init-x86_64");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let bad = Programs::find(Some(directory.path()));
        let reason = bad.archive(Arch::X86_64).err().unwrap();
        assert_eq!(reason, format!("{}: is no 64-bit ELF program", path.display()));
        std::fs::write(&path, static_program(62, 1)).unwrap();
        let found = Programs::find(Some(directory.path()));
        let archive = found.archive(Arch::X86_64).unwrap();
        assert_eq!(archive.size(), archive.read_at(0, usize::MAX).unwrap().len() as u64);
        assert!(found.archive(Arch::Aarch64).is_err());
    }
}
