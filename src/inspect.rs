//! One ISO looked into: its family, its kernel, initrd and root image, and the arguments of its own menu.
//!
//! This is where `iso`, `menu` and `family` meet. It reads a few sectors and some kilobytes of configuration; nothing is
//! unpacked, and nothing here depends on the other ISOs or on how the tree is laid out.

use std::cell::RefCell;
use std::sync::Arc;

use crate::family::{Family, Format, Layout};
use crate::iso::{self, Image};
use crate::menu::{self, Entry};
use crate::source::ReadAt;

/// What an ISO has to boot from.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    /// Volume id, as it stands in the ISO.
    pub volume_id: Vec<u8>,
    /// How it finds its root.
    pub family: Family,
    /// The kernel.
    pub kernel: iso::File,
    /// The initrds, in the order in which they are loaded; at least one.
    pub initrds: Vec<iso::File>,
    /// The root image, if the family has one that can be exported by itself.
    pub root: Option<Root>,
    /// Title of the ISO's own menu entry: one line.
    pub title: String,
    /// Arguments of that entry: one line.
    pub args: String,
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
    /// Neither a known layout nor a menu.
    #[error("no kernel and initrd found: no boot menu names them, and the layout is not a known one")]
    NothingToBoot,
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
    let layout = Layout::recognise(|path| image.exists(path));
    let (kernel, initrds, entry) = find_kernel(image, layout)?;
    let root = find_root(image, layout, source)?;
    let volume_id = image.volume_id().to_vec();
    let family = layout.map_or(Family::Generic, |layout| layout.family);
    let (title, args) = match entry {
        Some(entry) => (entry.title, entry.args),
        None => (String::new(), layout.map_or("", |layout| layout.args).to_owned()),
    };
    Ok(Facts { volume_id, family, kernel, initrds, root, title, args })
}

type Found = (iso::File, Vec<iso::File>, Option<Entry>);

/// Kernel and initrds: what the ISO's own menu boots, else where its family has always kept them. An entry whose files
/// are damaged doesn't stand in the way of the next.
fn find_kernel(image: &mut Image, layout: Option<&Layout>) -> Result<Found, Error> {
    let mut fault = None;
    for entry in menu_entries(image) {
        let initrds: Vec<&str> = entry.initrds.iter().map(String::as_str).collect();
        match files(image, &entry.kernel, &initrds) {
            Ok(Some((kernel, initrds))) => return Ok((kernel, initrds, Some(entry))),
            Ok(None) => {}
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    for (kernel, initrd) in layout.into_iter().flat_map(|layout| layout.kernels) {
        match files(image, kernel, &[initrd]) {
            Ok(Some((kernel, initrds))) => return Ok((kernel, initrds, None)),
            Ok(None) => {}
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    Err(fault.unwrap_or(Error::NothingToBoot))
}

/// A kernel and its initrds, if they are all there.
fn files(
    image: &mut Image,
    kernel: &str,
    initrds: &[&str],
) -> Result<Option<(iso::File, Vec<iso::File>)>, Error> {
    let Some(kernel) = filled(image, kernel)? else { return Ok(None) };
    let mut found = Vec::new();
    for path in initrds {
        match image.file(path)? {
            Some(file) => found.push(file),
            None => return Ok(None),
        }
    }
    match found.first() {
        Some(first) if found.iter().all(|file| file.len == 0) => Err(Error::Empty(first.path.clone())),
        first => Ok(first.is_some().then_some((kernel, found))),
    }
}

fn filled(image: &mut Image, path: &str) -> Result<Option<iso::File>, Error> {
    match image.file(path)? {
        Some(file) if file.len == 0 => Err(Error::Empty(file.path)),
        file => Ok(file),
    }
}

/// The entry that each of the ISO's menus boots by itself, the most useful menu first.
fn menu_entries(image: &mut Image) -> Vec<Entry> {
    let label = String::from_utf8_lossy(image.volume_id()).into_owned();
    let environment = menu::Environment { label: Some(label), ..menu::Environment::default() };
    let files = MenuFiles(RefCell::new(image));
    let menus = menu::read(&files, &environment);
    menus.iter().filter_map(|menu| menu.boot_entry().cloned()).collect()
}

fn find_root(
    image: &mut Image,
    layout: Option<&Layout>,
    source: &Arc<dyn ReadAt>,
) -> Result<Option<Root>, Error> {
    for path in layout.into_iter().flat_map(|layout| layout.roots) {
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
