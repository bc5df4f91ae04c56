//! One ISO looked into: its family, its kernel, initrd and root image, and the arguments of its own menu.
//!
//! This is where `iso`, `menu` and `families` meet. It reads a few sectors and some kilobytes of configuration; nothing is
//! unpacked, and nothing here depends on the other ISOs or on how the tree is laid out.

use std::sync::Arc;

use crate::boot::families::{self, FAMILIES, Family, generic};
use crate::boot::format::Format;
use crate::boot::netroot::root::udeb;
use crate::image::efi::{self, EfiLoader};
use crate::image::iso::{self, Image};
use crate::image::menu::{LeftOut, Reason};
use crate::image::product;
use crate::storage::source::ReadAt;
use crate::storage::source::recent::Recent;

mod entries;

pub use entries::{BootFiles, Entry};

use entries::Entries;

/// Images that are looked into for a root. Ubuntu's installers have ten layers.
const MAX_ROOTS: usize = 16;

/// Packages that are looked at by name: an installer's disc has some hundred, those of two kernels twice as many.
const MAX_LISTED: usize = 1024;

/// Packages that are looked into.
const MAX_PACKAGES: usize = 32;

/// All that an ISO has to boot from.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    /// Volume id, as it stands in the ISO.
    pub volume_id: Vec<u8>,
    /// The name of the product on it, for people.
    pub product: Option<String>,
    /// The names that it is found by as a disc.
    pub medium: iso::Medium,
    /// How it finds its root.
    pub family: &'static Family,
    /// Where the family's own files lie, such as `/arch/x86_64/airootfs.sfs`; empty for a generic ISO.
    pub found: String,
    /// Its kernels, each with its initrds; that of the first entry comes first.
    pub files: Vec<BootFiles>,
    /// Its entries: the one that boots by itself, then the others in the order of its menu.
    pub entries: Vec<Entry>,
    /// The rest of its menu.
    pub left_out: Vec<LeftOut>,
    /// Why there is no entry, if there is none.
    pub unbootable: Option<Unbootable>,
    /// The root image, if the family has one that can be exported by itself.
    pub root: Option<Root>,
    /// The loaders for UEFI that it carries.
    pub efi: Vec<EfiLoader>,
}

/// A root image.
#[derive(Debug, PartialEq, Eq)]
pub struct Root {
    /// Where it lies.
    pub file: iso::File,
    /// Its kind.
    pub format: Format,
}

/// Why an ISO is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image itself can't be used.
    #[error(transparent)]
    Iso(#[from] iso::Error),
    /// Nothing of it can be booted.
    #[error(transparent)]
    Unbootable(#[from] Unbootable),
}

/// Why an ISO has no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Unbootable {
    /// A kernel, root image or single initrd without a byte.
    #[error("{0}: is empty")]
    Empty(String),
    /// A menu's kernel or initrd that isn't there.
    #[error("its boot menu names {0}, which is not in it")]
    Missing(String),
    /// More kernels than are looked into.
    #[error("its boot menu has too many kernels")]
    TooMany,
    /// `bootmgr`, `sources/boot.wim`.
    #[error("it is Windows, which is no Linux")]
    Windows,
    /// `b.b00` and its like.
    #[error("it is VMware ESXi, which is no Linux")]
    Esxi,
    /// `boot/kernel/kernel`.
    #[error("it is FreeBSD or one of its relatives, which are no Linux")]
    FreeBsd,
    /// Multiboot only.
    #[error("its boot menu starts a hypervisor or kernel by Multiboot, such as Xen")]
    Multiboot,
    /// There is a menu, and nothing in it boots a kernel.
    #[error("no entry of its boot menu boots a Linux kernel: {0}")]
    NoEntry(Reason),
    /// Neither a known layout nor a menu.
    #[error("no kernel and initrd found: no boot menu names them, and the layout is not a known one")]
    NothingToBoot,
}

impl Unbootable {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        self.into()
    }
}

impl Error {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Iso(error) => match error {
                iso::Error::NotIso => "not-an-iso",
                iso::Error::Incomplete { .. } => "incomplete",
                iso::Error::BlockSize(_) => "block-size",
                iso::Error::Damaged { .. } => "damaged",
                iso::Error::OutsideImage(_) => "outside-image",
                iso::Error::NotAFile(_) => "not-a-file",
                iso::Error::Compressed(_) => "compressed",
                iso::Error::Endless => "endless",
                iso::Error::TooLarge(..) => "too-large",
                iso::Error::Io(_) => "unreadable",
            },
            Self::Unbootable(reason) => reason.code(),
        }
    }
}

/// Looks into an ISO.
///
/// # Errors
/// If it can't be served, with the reason.
pub fn inspect(source: &Arc<dyn ReadAt>) -> Result<Facts, Error> {
    let mut image = open(source)?;
    let facts = look_into(&mut image, source);
    image.check_budget()?;
    facts
}

/// Opens it for one look, which goes through its directories again and again.
fn open(source: &Arc<dyn ReadAt>) -> Result<Image, Error> {
    Ok(Image::open(Arc::new(Recent::new(source.clone())))?)
}

fn look_into(image: &mut Image, source: &Arc<dyn ReadAt>) -> Result<Facts, Error> {
    let recognised = Family::recognise(&FAMILIES, |pattern| find(image, pattern));
    let (family, found) = recognised.unwrap_or((&generic::FAMILY, String::new()));
    let Entries { files, entries, left_out, unbootable } = entries::find(image, family)?;
    let unbootable =
        entries.is_empty().then(|| instead(image).or(unbootable).unwrap_or_else(|| by_menu(&left_out)));
    let root = find_root(image, family, source)?;
    let (volume_id, medium, efi) = (image.volume_id().to_vec(), image.medium(), efi::find(image));
    let product = product(image);
    Ok(Facts { volume_id, product, medium, family, found, files, entries, left_out, unbootable, root, efi })
}

/// What it calls itself. A file that can't be read says nothing.
fn product(image: &mut Image) -> Option<String> {
    product::PLACES.iter().find_map(|place| {
        let bytes = image.read(place.path, product::MAX_FILE).ok().flatten()?;
        (place.parse)(&bytes)
    })
}

/// Another system than Linux, told by what lies in it.
fn instead(image: &mut Image) -> Option<Unbootable> {
    let known = [
        ("/sources/boot.wim", Unbootable::Windows),
        ("/bootmgr", Unbootable::Windows),
        ("/b.b00", Unbootable::Esxi),
        ("/boot/kernel/kernel", Unbootable::FreeBsd),
        ("/boot/kernel/kernel.gz", Unbootable::FreeBsd),
    ];
    known.into_iter().find_map(|(path, system)| image.exists(path).then_some(system))
}

/// The thing in a kernel's place in the menu.
fn by_menu(left_out: &[LeftOut]) -> Unbootable {
    let has = |reason: Reason| left_out.iter().any(|entry| entry.reason == reason);
    match left_out.first() {
        _ if has(Reason::Multiboot) => Unbootable::Multiboot,
        Some(first) => Unbootable::NoEntry(first.reason),
        None => Unbootable::NothingToBoot,
    }
}

impl Facts {
    /// The kernel and initrds of the entry that boots by itself.
    pub fn main_files(&self) -> Option<&BootFiles> {
        self.entries.first().and_then(|entry| self.files.get(entry.files))
    }
}

/// The first path that fits a pattern.
fn find(image: &mut Image, pattern: &str) -> Option<String> {
    find_some(image, pattern, 1).pop()
}

/// The first `most` paths that fit a pattern. Directories are only listed for a `*`: a name can be found in one whose
/// listing ends at a damaged record. A listed name that can't be a word of kernel arguments is passed over, since the path
/// gets into them, and into reports.
fn find_some(image: &mut Image, pattern: &str, most: usize) -> Vec<String> {
    fn descend(image: &mut Image, path: &str, rest: &str, most: usize, found: &mut Vec<String>) {
        let (part, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let directory = if path.is_empty() { "/" } else { path };
        let names = match (part.contains('*'), rest) {
            (true, "") => image.list(directory).unwrap_or_default(),
            (true, _) => image.list_directories(directory).unwrap_or_default(),
            (false, _) => vec![part.to_owned()],
        };
        let is_word = |name: &str| !name.chars().any(|c| c.is_control() || c.is_whitespace());
        for name in names.iter().filter(|name| families::fits(name, part) && is_word(name)) {
            if found.len() >= most {
                return;
            }
            let path = format!("{path}/{name}");
            match rest {
                "" => found.extend(image.exists(&path).then_some(path)),
                rest => descend(image, &path, rest, most, found),
            }
        }
    }
    let mut found = Vec::new();
    descend(image, "", pattern.trim_start_matches('/'), most, &mut found);
    found
}

/// The images of an ISO that may be its root, or a layer of it, in the order in which they are worth a look.
///
/// # Errors
/// If the ISO can't be read.
pub fn roots(source: &Arc<dyn ReadAt>) -> Result<Vec<iso::File>, Error> {
    let mut image = open(source)?;
    let mut found: Vec<iso::File> = Vec::new();
    for pattern in families::images() {
        for path in find_some(&mut image, pattern, MAX_ROOTS) {
            if found.len() < MAX_ROOTS
                && let Ok(Some(file)) = image.file(&path)
                // By their bytes: to look into one costs the same under each of its names.
                && !found.iter().any(|other| other.path == file.path || other.extents == file.extents)
                && Format::of(&head(source, &file)?) != Format::Unknown
            {
                found.push(file);
            }
        }
    }
    image.check_budget()?;
    Ok(found)
}

/// The packages of an ISO that may have drivers of its kernel in them.
///
/// # Errors
/// If the ISO can't be read.
pub fn packages(source: &Arc<dyn ReadAt>) -> Result<Vec<iso::File>, Error> {
    let mut image = open(source)?;
    let mut paths = Vec::new();
    for pattern in families::packages() {
        paths.extend(find_some(&mut image, pattern, MAX_LISTED));
    }
    paths.retain(|path| udeb::is_package(path));
    let found = paths.iter().take(MAX_PACKAGES).filter_map(|path| image.file(path).ok().flatten()).collect();
    image.check_budget()?;
    Ok(found)
}

fn find_root(image: &mut Image, family: &Family, source: &Arc<dyn ReadAt>) -> Result<Option<Root>, Error> {
    for path in family.roots {
        if let Some(file) = filled(image, path)? {
            let format = Format::of(&head(source, &file)?);
            return Ok(Some(Root { file, format }));
        }
    }
    Ok(None)
}

fn filled(image: &mut Image, path: &str) -> Result<Option<iso::File>, Error> {
    match image.file(path)? {
        Some(file) if file.len == 0 => Err(Unbootable::Empty(file.path).into()),
        file => Ok(file),
    }
}

fn head(source: &Arc<dyn ReadAt>, file: &iso::File) -> Result<Vec<u8>, Error> {
    let Some(first) = file.extents.first() else { return Ok(Vec::new()) };
    let mut head = vec![0; Format::HEAD.min(usize::try_from(first.len).unwrap_or(Format::HEAD))];
    source.read_exact_at(&mut head, first.offset).map_err(iso::Error::from)?;
    Ok(head)
}
