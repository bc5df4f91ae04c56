//! `netrootfs check --against`: where the ISOs of two servers differ, which are to serve the same bytes under the same names.
//!
//! ISOs of one label are compared by their size and by samples: all that stands before the first file, the beginnings of
//! kernels, initrds and root image, the end, and pieces at even distances. What differs in a few bytes between samples is
//! not found. Each ISO that is in one place only is a difference, and so is one that can't be served in one of them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Report;
use crate::catalog::scan::{Catalog, Iso, IsoFile, Plain, Scanner};
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
    /// The other directory.
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
    pub code: &'static str,
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
    /// Compares a catalog with the ISOs of a directory, which may be the `images` of a mounted tree.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub fn new(here: &Catalog, directory: &Path, pins: &HashMap<OsString, Label>) -> Result<Self> {
        let there = other(directory, pins)?;
        let (ours, mut theirs) = (by_label(here), by_label(&there));
        let (mut same, mut differences) = (Vec::new(), Vec::new());
        for (label, iso) in ours {
            match theirs.remove(label).map(|other| difference(&iso.disc, &other.disc)) {
                Some(None) => same.push(label.to_owned()),
                Some(Some((code, reason))) => {
                    differences.push(Difference { name: label.to_owned(), reason, code })
                }
                None => differences.push(Difference {
                    name: label.to_owned(),
                    reason: format!("is here only, as {}", iso.name),
                    code: "here-only",
                }),
            }
        }
        differences.extend(theirs.into_iter().map(|(label, iso)| Difference {
            name: label.to_owned(),
            reason: format!("is there only, as {}", iso.name),
            code: "there-only",
        }));
        // What can't be served here either is in the report already.
        let refused = there.skipped.iter().filter(|skipped| {
            let is_same =
                |own: &&_| own_name(own) == skipped.name && own.reason.code() == skipped.reason.code();
            here.skipped.iter().find(is_same).is_none()
        });
        differences.extend(refused.map(|skipped| Difference {
            name: skipped.name.clone(),
            reason: format!("is not served there: {}", skipped.reason),
            code: skipped.reason.code(),
        }));
        Ok(Self { directory: directory.display().to_string(), same, differences })
    }

    /// Whether there is none.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }
}

/// The name of a file without the directory that it was given with on the command line.
fn own_name(skipped: &crate::catalog::scan::Skipped) -> &str {
    skipped.name.rsplit('/').next().unwrap_or(&skipped.name)
}

fn other(directory: &Path, pins: &HashMap<OsString, Label>) -> Result<Catalog> {
    let path = places::iso_directory(directory)?;
    // In a tree the ISOs have their labels for names, whatever decided about these.
    let pins = if path.join("nbd.conf").exists() { labels_of_tree(&path)? } else { pins.clone() };
    let found = Scanner::new(path, pins, Arc::new(Plain)).scan();
    found.with_context(|| directory.display().to_string())
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

fn difference(here: &IsoFile, there: &IsoFile) -> Option<(&'static str, String)> {
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
fn differing(here: &IsoFile, there: &IsoFile, start: u64, len: u64) -> io::Result<Option<u64>> {
    let read = |disc: &IsoFile| {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        disc.plain.read_exact_at(&mut bytes, start)?;
        Ok::<_, io::Error>(bytes)
    };
    let (ours, theirs) = (read(here)?, read(there)?);
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
