//! `check --verify`: whether the bytes of an ISO are those of its maker, by the sum implanted in it and by the lists of sums
//! beside it. It is read once for all of them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use md5::Md5;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::catalog::sums;
use crate::image::implanted::{self, BLANK, Implanted};
use crate::storage::source::ReadAt;

/// How the sum in the ISO is called.
const IMPLANTED: &str = "isomd5sum";

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// What became of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Each sum is that of its bytes.
    Ok,
    /// One isn't.
    Damaged,
    /// There is nothing to compare with.
    NoSum,
    /// It can't be read to its end, or a list can't.
    Unreadable,
}

/// An ISO compared with its sums.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The outcome.
    pub outcome: Outcome,
    /// `isomd5sum`, and names of lists: what it was compared with, or if it is damaged, what it differs from.
    pub sums: Vec<String>,
    /// What can't be read, and why.
    pub error: Option<String>,
}

impl Verified {
    /// Whether nothing speaks against the ISO.
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Ok | Outcome::NoSum)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums = self.sums.join(", ");
        match self.outcome {
            Outcome::Ok => write!(f, "verified: OK by {sums}"),
            Outcome::Damaged => write!(f, "verified: DAMAGED, its bytes are not those of {sums}"),
            Outcome::NoSum => f.write_str("verified: no sum for it, neither in it nor beside it"),
            Outcome::Unreadable => {
                write!(f, "verified: can't be told: {}", self.error.as_deref().unwrap_or_default())
            }
        }
    }
}

/// Compares the ISO at `path`, whose bytes are `iso`, with its sums. `progress` is told how many bytes have been read.
pub fn verify(path: &Path, iso: &(impl ReadAt + ?Sized), progress: &mut dyn FnMut(u64)) -> Verified {
    let mut compared = || -> Result<Verified, String> {
        let (implanted, lists) = (implanted::find(iso), lists(path)?);
        if implanted.is_none() && lists.is_empty() {
            return Ok(Verified { outcome: Outcome::NoSum, sums: Vec::new(), error: None });
        }
        let of_lists = !lists.is_empty();
        let found = read(iso, implanted.as_ref(), of_lists, progress).map_err(|error| error.to_string())?;
        let own = implanted.map(|implanted| (IMPLANTED.to_owned(), Some(implanted.md5) == found.md5));
        let listed = lists.into_iter().map(|(list, sum)| (list, Some(sum) == found.sha256));
        let all: Vec<(String, bool)> = own.into_iter().chain(listed).collect();
        let good = all.iter().all(|(_, same)| *same);
        let outcome = if good { Outcome::Ok } else { Outcome::Damaged };
        let mut sums: Vec<String> =
            all.into_iter().filter(|(_, same)| *same == good).map(|(name, _)| name).collect();
        sums.dedup();
        Ok(Verified { outcome, sums, error: None })
    };
    compared().unwrap_or_else(|error| Verified {
        outcome: Outcome::Unreadable,
        sums: Vec::new(),
        error: Some(error),
    })
}

/// Names of the lists beside an ISO that have a sum for it, with the sum.
fn lists(iso: &Path) -> Result<Vec<(String, String)>, String> {
    let directory = iso.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A name that isn't UTF-8 stands in no list.
    let Some(name) = iso.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // A pipe would be waited for.
    let is_list = |name: &String| sums::is_list(name) && directory.join(name).is_file();
    let mut names: Vec<String> = names.filter(is_list).collect();
    names.sort();
    let mut found = Vec::new();
    for list in names {
        let text = text(&directory.join(&list)).map_err(|error| format!("{list}: {error}"))?;
        found.extend(sums::of(name, &list, &text).into_iter().map(|sum| (list.clone(), sum)));
    }
    Ok(found)
}

fn text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(sums::LARGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The sums of an ISO's own bytes, in hexadecimal digits.
struct Found {
    md5: Option<String>,
    sha256: Option<String>,
}

fn read(
    iso: &(impl ReadAt + ?Sized),
    implanted: Option<&Implanted>,
    of_lists: bool,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Found> {
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    let own = implanted.map_or(0, |implanted| implanted.len);
    // An ISO that ends before its own sum does can't have it.
    let end = if of_lists { iso.len() } else { own.min(iso.len()) };
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < end {
        let len = (end - at).min(PIECE as u64);
        let piece = buffer.get_mut(..len as usize).unwrap_or_default();
        iso.read_exact_at(piece, at)?;
        if of_lists {
            sha256.update(&*piece);
        }
        if let Some(implanted) = implanted {
            fill(piece, at, &implanted.blank);
            let counts = own.saturating_sub(at).min(len) as usize;
            md5.update(piece.get(..counts).unwrap_or_default());
        }
        at += len;
        progress(at);
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(Found {
        md5: implanted.filter(|_| own <= iso.len()).map(|_| hex(&md5.finalize())),
        sha256: of_lists.then(|| hex(&sha256.finalize())),
    })
}

/// Blanks what lies in `blank` of a piece that begins at `at`.
fn fill(piece: &mut [u8], at: u64, blank: &Range<u64>) {
    let within = |offset: u64| (offset.saturating_sub(at) as usize).min(piece.len());
    let range = within(blank.start)..within(blank.end);
    piece.get_mut(range).unwrap_or_default().fill(BLANK);
}
