//! The loaders for UEFI that an ISO carries: shim, GRUB, MOK manager, with where their bytes lie in the ISO.
//!
//! They are found in the ISO's own `EFI/BOOT`, else in the FAT of its El Torito image for UEFI, whose files are byte
//! ranges of the ISO too. What a program is, its PE headers say, not its name. Nothing is verified: a signature is
//! there or not, and whose it is, is the firmware's business. Nothing is kept in memory.

mod fat;
mod grub;
mod pe;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use crate::image::iso::{self, Image};
use crate::storage::content::{Content, Segments};
use crate::storage::source::ReadAt;

pub use grub::Modules;

/// The directory where firmware looks on removable media (UEFI 2.10, 3.5.1.1).
const DIRECTORY: &str = "/EFI/BOOT";

/// Programs of one directory that are looked at: four for each of three processors, and what else people put there.
const MAX_FILES: usize = 32;

/// Longest program in bytes. Signed GRUBs have 1 to 4 MB, those with a whole memdisk in them up to 10.
const MAX_LEN: u64 = 16 << 20;

/// Longest file name: it becomes part of a TFTP path.
const MAX_NAME: usize = 64;

/// El Torito images of one ISO that are looked into. Real ones have one; hybrids for Macs have two.
const MAX_BOOT_IMAGES: usize = 4;

/// A processor that UEFI machines have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64.
    X64,
    /// 64-bit ARM.
    Aa64,
    /// 32-bit x86.
    Ia32,
}

/// Roles of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Signed by Microsoft; starts a GRUB that the distribution has signed.
    Shim,
    /// GRUB.
    Grub,
    /// shim's keeper of keys.
    MokManager,
    /// shim's maker of boot entries on an installed disk.
    Fallback,
}

/// A loader in an ISO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EfiLoader {
    /// File name as the ISO has it; letters, digits, `.`, `_` and `-` only.
    pub name: String,
    /// The processor that it is for.
    pub arch: Arch,
    /// Its role.
    pub role: Role,
    /// Whether it carries a signature.
    pub signed: bool,
    /// Where it lies.
    pub file: iso::File,
    modules: OnceLock<Modules>,
}

/// The loaders of one processor that start one another.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// What the firmware loads: a shim, or GRUB itself.
    pub boot: &'a EfiLoader,
    /// GRUB.
    pub grub: &'a EfiLoader,
}

/// Finds the loaders of an ISO. What is damaged is not there.
pub fn find(image: &mut Image) -> Vec<EfiLoader> {
    let source = image.source().clone();
    let in_tree = loaders(&source, files_in_tree(image));
    if in_tree.iter().any(|loader| loader.role == Role::Grub) {
        return in_tree;
    }
    let starts = image.efi_boot_images().unwrap_or_default();
    for start in starts.into_iter().take(MAX_BOOT_IMAGES) {
        let files = fat::files(&source, start, DIRECTORY, is_program).unwrap_or_default();
        let found = loaders(&source, files);
        if !found.is_empty() {
            return found;
        }
    }
    in_tree
}

/// The loaders that start one another on a processor, if GRUB is among them.
pub fn chain(loaders: &[EfiLoader], arch: Arch) -> Option<Chain<'_>> {
    let named = |name: String| {
        let mut ours = loaders.iter().filter(|loader| loader.arch == arch);
        ours.find(|loader| loader.name.eq_ignore_ascii_case(&name))
    };
    let boot = named(format!("boot{}.efi", arch.suffix()))?;
    let grub = match boot.role {
        Role::Grub => boot,
        // What shims ask for: most distributions', openSUSE's.
        Role::Shim => named(format!("grub{}.efi", arch.suffix())).or_else(|| named("grub.efi".into()))?,
        _ => return None,
    };
    (grub.role == Role::Grub).then_some(Chain { boot, grub })
}

impl Arch {
    /// All of them, the most common first.
    pub const ALL: [Self; 3] = [Self::X64, Self::Aa64, Self::Ia32];

    /// What UEFI's file names have for it (UEFI 2.10, 3.5.1.1), in lower case.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Aa64 => "aa64",
            Self::Ia32 => "ia32",
        }
    }
}

impl EfiLoader {
    /// The modules in a GRUB. The first call reads the program, some MB; `source` is the ISO.
    pub fn modules(&self, source: &Arc<dyn ReadAt>) -> &Modules {
        self.modules.get_or_init(|| {
            let content = content(source, &self.file);
            pe::section(&content, grub::SECTION).map(|section| Modules::parse(&section)).unwrap_or_default()
        })
    }
}

impl Chain<'_> {
    /// Whether a machine with Secure Boot may take it.
    pub fn signed(&self) -> bool {
        self.boot.role == Role::Shim && self.boot.signed && self.grub.signed
    }

    /// Whether its GRUB can load a kernel by TFTP. `source` is the ISO.
    pub fn has_network(&self, source: &Arc<dyn ReadAt>) -> bool {
        self.grub.modules(source).network
    }
}

fn files_in_tree(image: &mut Image) -> Vec<iso::File> {
    let names = image.list(DIRECTORY).unwrap_or_default();
    let names = names.into_iter().filter(|name| is_program(name)).take(MAX_FILES);
    names.filter_map(|name| image.file(&format!("{DIRECTORY}/{name}")).ok().flatten()).collect()
}

/// Whether a name is one that gets into the tree.
fn is_program(name: &str) -> bool {
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let stem = name.len().checked_sub(4).and_then(|at| name.split_at_checked(at));
    stem.is_some_and(|(stem, extension)| !stem.is_empty() && extension.eq_ignore_ascii_case(".efi"))
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && name.bytes().all(clean)
}

fn loaders(source: &Arc<dyn ReadAt>, files: Vec<iso::File>) -> Vec<EfiLoader> {
    let mut found: Vec<EfiLoader> = Vec::new();
    for loader in files.into_iter().filter_map(|file| loader(source, file)) {
        // Names that differ in case only would be one in the tree.
        if !found.iter().any(|other| other.name.eq_ignore_ascii_case(&loader.name)) {
            found.push(loader);
        }
    }
    found
}

fn loader(source: &Arc<dyn ReadAt>, file: iso::File) -> Option<EfiLoader> {
    if file.len > MAX_LEN {
        return None;
    }
    let headers = pe::headers(&content(source, &file))?;
    let name = file.path.rsplit('/').next()?.to_owned();
    let role = role(&name, &headers.sections)?;
    let (arch, signed) = (headers.arch, headers.signed);
    Some(EfiLoader { name, arch, role, signed, file, modules: OnceLock::new() })
}

/// GRUB and shim have sections that no other program has; shim's two companions have names.
fn role(name: &str, sections: &[String]) -> Option<Role> {
    let has = |wanted: &str| sections.iter().any(|section| section == wanted);
    let name = name.to_ascii_lowercase();
    if has(grub::SECTION) {
        Some(Role::Grub)
    } else if has(".vendor_cert") {
        Some(Role::Shim)
    } else if name.starts_with("mm") || name.starts_with("mokmanager") {
        Some(Role::MokManager)
    } else if name.starts_with("fb") || name.starts_with("fallback") {
        Some(Role::Fallback)
    } else {
        None
    }
}

fn content(source: &Arc<dyn ReadAt>, file: &iso::File) -> Content {
    // The identity is for inode numbers, and this content is never a file of the tree.
    Content::Segments(Segments::new(source.clone(), 0).extents(&file.extents))
}
