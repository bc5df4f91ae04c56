//! `netrootfs check --against`: where the ISOs of two servers differ, which are to serve the same bytes under the same names.
//!
//! ISOs of one label are compared by their size and by samples: all that stands before the first file, the beginnings of
//! kernels, initrds and root image, the end, and pieces at even distances. What differs in a few bytes between samples is
//! not found. The other server is a directory, or a tree behind a web server, which is asked for the same samples. Each ISO
//! that is in one place only is a difference, and so is one that can't be served in one of them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Report;
use super::remote::RemoteTree;
use crate::catalog::scan::{Catalog, Iso, IsoFile, Plain, Scanner, Skipped};
use crate::cli::places;
use crate::image::label::Label;
use crate::storage::source::ReadAt;

/// System area, volume descriptors, path tables and the first directories (ECMA-119, 6.2).
const HEAD: u64 = 1 << 20;

/// Bytes of any other sample.
const SAMPLE: u64 = 64 << 10;

/// Samples at even distances.
const PIECES: u64 = 64;

/// Two catalogs, beside each other.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The other directory, or address.
    pub directory: String,
    /// Labels whose ISOs are the same, as far as samples tell.
    pub same: Vec<String>,
    /// All that isn't.
    pub differences: Vec<Difference>,
}

/// A label, or a file, that is not the same.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The label; of what isn't served, the name of the file.
    pub name: String,
    /// What differs: a sentence.
    pub reason: String,
    /// The same as a word that stays.
    pub code: String,
}

/// What the other server has.
struct Other {
    /// By label.
    isos: BTreeMap<String, OtherIso>,
    left_out: Vec<LeftOut>,
}

/// An ISO that it serves.
struct OtherIso {
    name: String,
    len: u64,
    bytes: Arc<dyn ReadAt>,
}

/// A file that it doesn't.
struct LeftOut {
    name: String,
    reason: String,
    code: String,
}

/// A report and a comparison, as one JSON object.
#[derive(Serialize)]
pub struct Both<'a> {
    /// What `check` says without `--against`.
    #[serde(flatten)]
    pub report: &'a Report,
    /// What it says with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<&'a Comparison>,
}

impl Comparison {
    /// Compares a catalog with the ISOs of a directory, which may be the `images` of a mounted tree, or of a tree that a web
    /// server shows (`http://…`).
    ///
    /// # Errors
    /// If directory or tree can't be read.
    pub fn new(here: &Catalog, place: &Path, pins: &HashMap<OsString, Label>) -> Result<Self> {
        let remote = place.to_str().and_then(RemoteTree::at);
        let there = remote.map_or_else(|| Other::in_directory(place, pins), |tree| Other::in_tree(&tree))?;
        Ok(Self::of(here, there, place.display().to_string()))
    }

    fn of(here: &Catalog, mut there: Other, directory: String) -> Self {
        let (mut same, mut differences) = (Vec::new(), Vec::new());
        let mut differs = |name: &str, code: &str, reason| {
            differences.push(Difference { name: name.to_owned(), reason, code: code.to_owned() });
        };
        for (label, iso) in by_label(here) {
            match there.isos.remove(label).map(|other| difference(&iso.disc, &other)) {
                Some(None) => same.push(label.to_owned()),
                Some(Some((code, reason))) => differs(label, code, reason),
                None => differs(label, "here-only", format!("is here only, as {}", iso.name)),
            }
        }
        for (label, iso) in there.isos {
            differs(&label, "there-only", format!("is there only, as {}", iso.name));
        }
        for file in there.left_out {
            // What can't be served here either is in the report already.
            let is_same = |own: &Skipped| own_name(own) == file.name && own.reason.code() == file.code;
            if !here.skipped.iter().any(is_same) {
                differs(&file.name, &file.code, format!("is not served there: {}", file.reason));
            }
        }
        Self { directory, same, differences }
    }

    /// Whether there is none.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }
}

/// The name of a file without the directory that it was given with on the command line.
fn own_name(skipped: &Skipped) -> &str {
    skipped.name.rsplit('/').next().unwrap_or(&skipped.name)
}

impl Other {
    fn in_directory(directory: &Path, pins: &HashMap<OsString, Label>) -> Result<Self> {
        let path = places::iso_directory(directory)?;
        // In a tree the ISOs have their labels for names, whatever decided about these.
        let pins = if path.join("nbd.conf").exists() { labels_of_tree(&path)? } else { pins.clone() };
        let found = Scanner::new(path, pins, Arc::new(Plain)).scan();
        let found = found.with_context(|| directory.display().to_string())?;
        let isos = found.isos.into_iter().map(|iso| {
            let (len, bytes) = (iso.disc.len, iso.disc.plain.clone());
            (iso.label.as_str().to_owned(), OtherIso { name: iso.name, len, bytes })
        });
        let left_out = found.skipped.into_iter().map(|file| LeftOut {
            name: file.name,
            reason: file.reason.to_string(),
            code: file.reason.code().to_owned(),
        });
        Ok(Self { isos: isos.collect(), left_out: left_out.collect() })
    }

    fn in_tree(tree: &RemoteTree) -> Result<Self> {
        let shown = tree.shown()?;
        let isos = shown.isos.into_iter().map(|iso| {
            let bytes = tree.iso(&iso.label, iso.size)?;
            Ok((iso.label, OtherIso { name: iso.file, len: iso.size, bytes }))
        });
        let left_out = shown.left_out.into_iter();
        let left_out = left_out.map(|it| LeftOut { name: it.file, reason: it.reason, code: it.code });
        Ok(Self { isos: isos.collect::<Result<_>>()?, left_out: left_out.collect() })
    }
}

fn labels_of_tree(images: &Path) -> io::Result<HashMap<OsString, Label>> {
    let label = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let label = Label::parse(name.to_str()?.strip_suffix(".iso")?).ok()?;
        Some((name, label))
    };
    Ok(std::fs::read_dir(images)?.flatten().filter_map(label).collect())
}

fn by_label(catalog: &Catalog) -> BTreeMap<&str, &Iso> {
    catalog.isos.iter().map(|iso| (iso.label.as_str(), iso)).collect()
}

fn difference(here: &IsoFile, there: &OtherIso) -> Option<(&'static str, String)> {
    if here.len != there.len {
        return Some(("size", format!("has {} bytes here and {} there", here.len, there.len)));
    }
    let fault = |error: io::Error| ("unreadable", format!("can't be compared: {error}"));
    samples(here).into_iter().find_map(|(start, len)| match differing(here, there, start, len) {
        Ok(None) => None,
        Ok(Some(at)) => Some(("bytes", format!("has other bytes there from byte {at} on"))),
        Err(error) => Some(fault(error)),
    })
}

/// Offsets and lengths, in order: what is cheap to read and most likely to differ comes first.
fn samples(disc: &IsoFile) -> Vec<(u64, u64)> {
    let facts = &disc.facts;
    let boot = facts.files.iter().flat_map(|files| std::iter::once(&files.kernel).chain(&files.initrds));
    let files = boot.chain(facts.root.as_ref().map(|root| &root.file));
    let files = files.filter_map(|file| file.extents.first().map(|extent| extent.offset));
    let pieces = (1..=PIECES).map(|piece| disc.len / PIECES * piece);
    let end = disc.len.saturating_sub(SAMPLE);
    let rest = files.chain(pieces).map(|start| (start.min(end), SAMPLE.min(disc.len)));
    std::iter::once((0, HEAD.min(disc.len))).chain(rest).collect()
}

/// Where the first byte is that differs.
fn differing(here: &IsoFile, there: &OtherIso, start: u64, len: u64) -> io::Result<Option<u64>> {
    let read = |disc: &dyn ReadAt| {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        disc.read_exact_at(&mut bytes, start)?;
        Ok::<_, io::Error>(bytes)
    };
    let (ours, theirs) = (read(&*here.plain)?, read(&*there.bytes)?);
    Ok(ours.iter().zip(&theirs).position(|(a, b)| a != b).map(|at| start + at as u64))
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |number: usize| if number == 1 { "1 ISO is".into() } else { format!("{number} ISOs are") };
        writeln!(f, "\nAgainst {}: {} the same", self.directory, count(self.same.len()))?;
        self.differences.iter().try_for_each(|one| writeln!(f, "  {} {}", one.name, one.reason))
    }
}
