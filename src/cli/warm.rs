//! `netrootfs warm`: what a boot reads is known after the first one, and is in memory before many machines boot.
//!
//! What boots have read of an image is what is in memory of it afterwards: servers read the files of the tree, whose pages
//! the kernel keeps on both data paths. So nobody has to look on while a machine boots. Kernel and initramfs are read whole.
//!
//! Nothing but the mount and the state directory is asked. One reader reads in ascending order, as a disk likes it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::boot::names;
use crate::cli::progress::Progress;
use crate::cli::status;
use crate::image::label::Label;
use crate::storage::resident;

mod kept;

use kept::Kept;

/// What lies between two ranges is read with them, if it is less: of the boot in netrootfs-many(7) that makes 68 ranges of 87,
/// and takes 4 % more memory.
const GAP: u64 = 128 << 10;

/// An image of which less is in memory has not been booted from: so much is read of it by whoever only opens it.
const LEAST: u64 = 1 << 20;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Says a line.
type Say<'a> = &'a mut dyn FnMut(String) -> Result<()>;

/// Remembers what is in memory of the images of these ISOs, or of all. What was remembered of one that no boot has read
/// stays. Whether all of them could be looked at.
///
/// # Errors
/// If there is no such ISO, or it can't be kept.
pub fn save(mountpoint: &Path, named: &[String], state: &Path, say: Say) -> Result<bool> {
    let state = kept::take(state)?;
    let mut kept = Kept::load(&state);
    let nothing = "no boot has read an ISO, and nothing new is remembered";
    let complete = each(&labels(mountpoint, named)?, nothing, say, |label| {
        Ok(match remember(mountpoint, label, &mut kept)? {
            0 if named.is_empty() => None,
            0 => Some("no boot has read it, and nothing new is remembered".into()),
            len => Some(format!("{} MiB are in memory, and remembered", mib(len))),
        })
    })?;
    kept.save(&state).context("what is in memory can't be remembered")?;
    Ok(complete)
}

/// How many bytes of an ISO are in memory, and remembered now.
fn remember(mountpoint: &Path, label: &Label, kept: &mut Kept) -> Result<u64> {
    let mut len = 0;
    for path in images(label) {
        let Some((file, inode)) = open(mountpoint, &path)? else { continue };
        let ranges = resident::ranges(&file, GAP).with_context(|| path.clone())?;
        if total(&ranges) >= LEAST {
            len += total(&ranges);
            kept.put(&path, inode, ranges);
        }
    }
    Ok(len)
}

/// Reads what is remembered of these ISOs, or of all, with their kernels and initramfs, and no more than `room` bytes. Whether
/// that is all that was asked for.
///
/// # Errors
/// If there is no such ISO, or nobody can know what is remembered.
pub fn read(mountpoint: &Path, named: &[String], state: &Path, mut room: u64, say: Say) -> Result<bool> {
    // Another one may have it while this one reads.
    let kept = Kept::load(&kept::take(state)?);
    let nothing = format!("nothing is remembered; {ADVICE}");
    each(&labels(mountpoint, named)?, &nothing, say, |label| {
        match parts(mountpoint, label, &kept)?.as_slice() {
            [] if named.is_empty() => Ok(None),
            [] => bail!("{nothing}"),
            parts => read_parts(label, parts, &mut room).map(Some),
        }
    })
}

/// Says for each ISO what was done, or why that can't be, and where there was none for which anything was to do, `nothing`.
/// Whether all could be done.
fn each(
    labels: &[Label],
    nothing: &str,
    say: Say,
    mut work: impl FnMut(&Label) -> Result<Option<String>>,
) -> Result<bool> {
    let (mut any, mut complete) = (false, true);
    for label in labels {
        let done = work(label);
        complete &= done.is_ok();
        if let Some(line) = done.unwrap_or_else(|error| Some(format!("{error:#}"))) {
            any = true;
            say(format!("{label}: {line}"))?;
        }
    }
    if !any {
        say(nothing.to_owned())?;
    }
    Ok(complete)
}

const ADVICE: &str = "boot a machine, then say 'netrootfs warm --save'";

/// How much memory there is for it, in bytes (proc_meminfo(5)): what nobody uses, and what the kernel would give up.
///
/// # Errors
/// If the kernel doesn't say.
pub fn available() -> Result<u64> {
    const FILE: &str = "/proc/meminfo";
    let text = std::fs::read_to_string(FILE).context(FILE)?;
    available_in(&text).with_context(|| format!("{FILE} has no MemAvailable"))
}

fn available_in(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The ISOs that are meant.
fn labels(mountpoint: &Path, named: &[String]) -> Result<Vec<Label>> {
    let isos = status::read(mountpoint)?.isos.into_iter().map(|iso| iso.label);
    let served: Vec<Label> = isos.filter_map(|label| Label::parse(&label).ok()).collect();
    if named.is_empty() {
        return Ok(served);
    }
    let find = |name: &String| served.iter().find(|label| label.as_str() == name).cloned();
    named.iter().map(|name| find(name).with_context(|| format!("there is no ISO '{name}'"))).collect()
}

/// The paths of what a machine may have its root from.
fn images(label: &Label) -> [String; 2] {
    [names::root_image(label), names::whole_iso(label)].map(|file| names::image_path(&file))
}

/// A file of the tree, if it is there, and its inode number.
fn open(mountpoint: &Path, path: &str) -> Result<Option<(File, u64)>> {
    let file = match File::open(mountpoint.join(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| path.to_owned())?,
    };
    let inode = file.metadata().with_context(|| path.to_owned())?.ino();
    Ok(Some((file, inode)))
}

/// A file, and what is to be read of it.
struct Part {
    path: String,
    file: File,
    ranges: Vec<Range<u64>>,
}

/// What is remembered of an ISO, and what each machine loads before; none if nothing is remembered.
fn parts(mountpoint: &Path, label: &Label, kept: &Kept) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for path in images(label) {
        if let Some((file, inode)) = open(mountpoint, &path)?
            && let Some(ranges) = kept.of(&path, inode)
        {
            parts.push(Part { path, file, ranges: ranges.to_vec() });
        }
    }
    if parts.is_empty() {
        return Ok(parts);
    }
    for name in [names::kernel(label, None), names::initrd(label, None), names::netroot(label, None)] {
        let path = format!("{}/{name}", names::TFTP);
        if let Some((file, _)) = open(mountpoint, &path)? {
            let whole = 0..file.metadata().with_context(|| path.clone())?.len();
            parts.push(Part { path, file, ranges: Vec::from([whole]) });
        }
    }
    Ok(parts)
}

/// Reads them, if there is room for them, and says how that was.
fn read_parts(label: &Label, parts: &[Part], room: &mut u64) -> Result<String> {
    let len: u64 = parts.iter().map(|part| total(&part.ranges)).sum();
    let Some(rest) = room.checked_sub(len) else {
        let (len, room) = (mib(len), mib(*room));
        bail!("left out, as it takes {len} MiB, and there are {room} MiB of memory for it")
    };
    *room = rest;
    let (start, progress) = (Instant::now(), Progress::start());
    let (mut done, mut before) = (0, 0);
    let mut piece = vec![0; PIECE];
    for Part { path, file, ranges } in parts {
        before += common(&resident::ranges(file, 0).with_context(|| path.clone())?, ranges);
        for range in ranges {
            progress.say(format!("reading {label}: {} of {} MiB", mib(done), mib(len)));
            done += read_range(file, range.clone(), &mut piece).with_context(|| path.clone())?;
        }
    }
    let (len, before, seconds) = (mib(done), mib(before), start.elapsed().as_secs_f64());
    Ok(format!("{len} MiB in {seconds:.1} s, {before} MiB of them were in memory before"))
}

/// Reads a range, as far as the file has it; how many bytes that is.
fn read_range(file: &File, range: Range<u64>, piece: &mut [u8]) -> io::Result<u64> {
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end - at).map_or(piece.len(), |left| left.min(piece.len()));
        let read = piece.get_mut(..len).map_or(Ok(0), |part| file.read_at(part, at))?;
        if read == 0 {
            break;
        }
        at += read as u64;
    }
    Ok(at - range.start)
}

/// Bytes that are in both, where each has its ranges in ascending order.
fn common(one: &[Range<u64>], other: &[Range<u64>]) -> u64 {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut len = 0;
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        len += a.end.min(b.end).saturating_sub(a.start.max(b.start));
        if a.end < b.end {
            one.next()
        } else {
            other.next()
        };
    }
    len
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end.saturating_sub(range.start)).fold(0, u64::saturating_add)
}

/// Whole MiB, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests;
