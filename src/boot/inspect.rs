//! One ISO looked into: its family, its kernel, initrd and root image, and the arguments of its own menu.
//!
//! This is where `iso`, `menu` and `families` meet. It reads a few sectors and some kilobytes of configuration; nothing is
//! unpacked, and nothing here depends on the other ISOs or on how the tree is laid out.

use std::cell::RefCell;
use std::sync::Arc;

use crate::boot::families::{self, FAMILIES, Family, generic};
use crate::boot::format::Format;
use crate::boot::netroot::root::udeb;
use crate::image::args::Args;
use crate::image::efi::{self, EfiLoader};
use crate::image::iso::{self, Image};
use crate::image::menu::{self, Menu, MenuEntry};
use crate::storage::source::ReadAt;

/// Other entries of a menu that are kept. Language menus have hundreds.
const MAX_VARIANTS: usize = 16;

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
    /// What it is found by as a disc.
    pub medium: iso::Medium,
    /// How it finds its root.
    pub family: &'static Family,
    /// Where the family's own files lie, such as `/arch/x86_64/airootfs.sfs`; empty for a generic ISO.
    pub found: String,
    /// The kernel.
    pub kernel: iso::File,
    /// The initrds, in the order in which they are loaded; at least one.
    pub initrds: Vec<iso::File>,
    /// The root image, if the family has one that can be exported by itself.
    pub root: Option<Root>,
    /// The loaders for UEFI that it carries.
    pub efi: Vec<EfiLoader>,
    /// Title of the ISO's own menu entry: one line.
    pub title: String,
    /// Arguments of that entry: one line.
    pub args: Args,
    /// Title and arguments of the menu's other entries for the same kernel and initrds.
    pub more: Vec<(String, Args)>,
}

/// A root image.
#[derive(Debug, PartialEq, Eq)]
pub struct Root {
    /// Where it lies.
    pub file: iso::File,
    /// What it is.
    pub format: Format,
}

/// Why an ISO is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image itself can't be used.
    #[error(transparent)]
    Iso(#[from] iso::Error),
    /// A kernel, root image or single initrd without a byte.
    #[error("{0}: is empty")]
    Empty(String),
    /// A menu's kernel or initrd that isn't there.
    #[error("its boot menu names {0}, which is not in it")]
    Missing(String),
    /// Neither a known layout nor a menu.
    #[error("no kernel and initrd found: no boot menu names them, and the layout is not a known one")]
    NothingToBoot,
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
            Self::Empty(_) => "empty",
            Self::Missing(_) => "missing",
            Self::NothingToBoot => "nothing-to-boot",
        }
    }
}

/// Looks into an ISO.
///
/// # Errors
/// If it can't be served, with the reason.
pub fn inspect(source: &Arc<dyn ReadAt>) -> Result<Facts, Error> {
    let mut image = Image::open(source.clone())?;
    let facts = look_into(&mut image, source);
    image.check_budget()?;
    facts
}

fn look_into(image: &mut Image, source: &Arc<dyn ReadAt>) -> Result<Facts, Error> {
    let recognised = Family::recognise(&FAMILIES, |pattern| find(image, pattern));
    let (family, found) = recognised.unwrap_or((&generic::FAMILY, String::new()));
    let (kernel, initrds, entry) = find_kernel(image, family)?;
    let root = find_root(image, family, source)?;
    let volume_id = image.volume_id().to_vec();
    let (title, args, more) = match entry {
        Some((entry, more)) => (entry.title, entry.args, more),
        None => (String::new(), Args::parse(family.args), Vec::new()),
    };
    let efi = efi::find(image);
    let medium = image.medium();
    Ok(Facts { volume_id, medium, family, found, kernel, initrds, root, efi, title, args, more })
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
        let names = match part.contains('*') {
            true => image.list(if path.is_empty() { "/" } else { path }).unwrap_or_default(),
            false => vec![part.to_owned()],
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
    let mut image = Image::open(source.clone())?;
    let mut found: Vec<iso::File> = Vec::new();
    for pattern in families::images() {
        for path in find_some(&mut image, pattern, MAX_ROOTS) {
            if found.len() < MAX_ROOTS
                && let Ok(Some(file)) = image.file(&path)
                && !found.iter().any(|other| other.path == file.path)
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
    let mut image = Image::open(source.clone())?;
    let mut paths = Vec::new();
    for pattern in families::packages() {
        paths.extend(find_some(&mut image, pattern, MAX_LISTED));
    }
    paths.retain(|path| udeb::is_package(path));
    let found = paths.iter().take(MAX_PACKAGES).filter_map(|path| image.file(path).ok().flatten()).collect();
    image.check_budget()?;
    Ok(found)
}

type Found = (iso::File, Vec<iso::File>, Option<(MenuEntry, Vec<(String, Args)>)>);

/// Kernel and initrds: what the ISO's own menu boots, else where its family has always kept them. An entry whose files
/// are damaged or not there doesn't stand in the way of the next.
fn find_kernel(image: &mut Image, family: &Family) -> Result<Found, Error> {
    let mut faults = Vec::new();
    for (entry, more) in menu_entries(image) {
        match files(image, &entry.kernel, &entry.initrds) {
            Ok((kernel, initrds)) => return Ok((kernel, initrds, Some((entry, more)))),
            Err(error) => faults.push(error),
        }
    }
    for (kernel, initrd) in family.kernels {
        match files(image, kernel, &[*initrd]) {
            Ok((kernel, initrds)) => return Ok((kernel, initrds, None)),
            // No ISO has all that its family ever had.
            Err(Error::Missing(_)) => {}
            Err(error) => faults.push(error),
        }
    }
    // What is there and can't be used says more than what isn't there.
    let first = faults.iter().position(|error| !matches!(error, Error::Missing(_))).unwrap_or(0);
    Err(if faults.is_empty() { Error::NothingToBoot } else { faults.swap_remove(first) })
}

/// A kernel and its initrds.
fn files(
    image: &mut Image,
    kernel: &str,
    initrds: &[impl AsRef<str>],
) -> Result<(iso::File, Vec<iso::File>), Error> {
    let missing = |path: &str| Error::Missing(path.to_owned());
    let kernel = filled(image, kernel)?.ok_or_else(|| missing(kernel))?;
    let mut found = Vec::new();
    for path in initrds {
        found.push(image.file(path.as_ref())?.ok_or_else(|| missing(path.as_ref()))?);
    }
    match found.first() {
        None => Err(Error::NothingToBoot),
        Some(first) if found.iter().all(|file| file.len == 0) => Err(Error::Empty(first.path.clone())),
        Some(_) => Ok((kernel, found)),
    }
}

fn filled(image: &mut Image, path: &str) -> Result<Option<iso::File>, Error> {
    match image.file(path)? {
        Some(file) if file.len == 0 => Err(Error::Empty(file.path)),
        file => Ok(file),
    }
}

/// The entry that each of the ISO's menus boots by itself, the most useful menu first, each with the others of its menu
/// that boot the same kernel.
fn menu_entries(image: &mut Image) -> Vec<(MenuEntry, Vec<(String, Args)>)> {
    let label = String::from_utf8_lossy(image.volume_id()).into_owned();
    let environment =
        menu::Environment { label: Some(label), fs_uuid: image.uuid(), ..menu::Environment::default() };
    let files = MenuFiles(RefCell::new(image));
    let menus = menu::read(&files, &environment);
    menus.iter().filter_map(|menu| Some((menu.boot_entry()?.clone(), variants(menu)))).collect()
}

fn variants(menu: &Menu) -> Vec<(String, Args)> {
    let Some(main) = menu.boot_entry() else { return Vec::new() };
    let others = menu.entries.iter().filter(|entry| {
        entry.kernel == main.kernel
            && entry.initrds == main.initrds
            && entry.args != main.args
            && !entry.checks_media()
    });
    others.take(MAX_VARIANTS).map(|entry| (entry.title.clone(), entry.args.clone())).collect()
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

fn head(source: &Arc<dyn ReadAt>, file: &iso::File) -> Result<Vec<u8>, Error> {
    let Some(first) = file.extents.first() else { return Ok(Vec::new()) };
    let mut head = vec![0; Format::HEAD.min(usize::try_from(first.len).unwrap_or(Format::HEAD))];
    source.read_exact_at(&mut head, first.offset).map_err(iso::Error::from)?;
    Ok(head)
}

/// The image as the menu readers see it. What can't be read is not there.
struct MenuFiles<'a>(RefCell<&'a mut Image>);

impl menu::Files for MenuFiles<'_> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.borrow_mut().read(path, menu::MAX_FILE as u64).ok().flatten()
    }

    fn exists(&self, path: &str) -> bool {
        self.0.borrow_mut().exists(path)
    }

    fn list(&self, directory: &str) -> Vec<String> {
        self.0.borrow_mut().list(directory).unwrap_or_default()
    }
}
