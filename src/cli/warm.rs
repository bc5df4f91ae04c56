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

use anyhow::{Context, Result};

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
/// stays.
///
/// # Errors
/// If there is no such ISO, or it can't be found out or kept.
pub fn save(mountpoint: &Path, named: &[String], state: &Path, say: Say) -> Result<()> {
    let state = kept::take(state)?;
    let mut kept = Kept::load(&state);
    let mut nothing = true;
    for label in labels(mountpoint, named)? {
        let mut len = 0;
        for path in images(&label) {
            let Some((file, inode)) = open(mountpoint, &path)? else { continue };
            let ranges = resident::ranges(&file, GAP).with_context(|| path.clone())?;
            if total(&ranges) >= LEAST {
                len += total(&ranges);
                kept.put(&path, inode, ranges);
            }
        }
        nothing &= len == 0;
        if len > 0 {
            say(format!("{label}: {} MiB are in memory, and remembered", mib(len)))?;
        } else if !named.is_empty() {
            say(format!("{label}: no boot has read it, and nothing new is remembered"))?;
        }
    }
    if nothing && named.is_empty() {
        say("no boot has read an ISO, and nothing new is remembered".into())?;
    }
    kept.save(&state).context("what is in memory can't be remembered")
}

/// Reads what is remembered of these ISOs, or of all, with their kernels and initramfs, and no more than `room` bytes. Whether
/// that is all that was asked for.
///
/// # Errors
/// If there is no such ISO, or one can't be read.
pub fn read(mountpoint: &Path, named: &[String], state: &Path, mut room: u64, say: Say) -> Result<bool> {
    // Another one may have it while this one reads.
    let kept = Kept::load(&kept::take(state)?);
    let (mut nothing, mut complete) = (true, true);
    for label in labels(mountpoint, named)? {
        let parts = parts(mountpoint, &label, &kept)?;
        let len = parts.iter().map(|part| total(&part.ranges)).sum();
        if parts.is_empty() && named.is_empty() {
            continue;
        }
        nothing = false;
        if parts.is_empty() {
            complete = false;
            say(format!("{label}: nothing is remembered; {ADVICE}"))?;
        } else if len > room {
            complete = false;
            let (len, room) = (mib(len), mib(room));
            say(format!(
                "{label}: left out, as it takes {len} MiB, and there are {room} MiB of memory for it"
            ))?;
        } else {
            room -= len;
            say(read_parts(&label, &parts)?)?;
        }
    }
    if nothing {
        say(format!("nothing is remembered; {ADVICE}"))?;
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
    let opened = File::open(mountpoint.join(path));
    let opened = opened
        .and_then(|file| Ok(Some((file.metadata()?.ino(), file))))
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) });
    Ok(opened.with_context(|| path.to_owned())?.map(|(inode, file)| (file, inode)))
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

/// Reads them, and says how that was.
fn read_parts(label: &Label, parts: &[Part]) -> Result<String> {
    let (start, progress) = (Instant::now(), Progress::start());
    let len: u64 = parts.iter().map(|part| total(&part.ranges)).sum();
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
    Ok(format!("{label}: {len} MiB in {seconds:.1} s, {before} MiB of them were in memory before"))
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
mod tests {
    use super::*;
    use crate::tree::render::status::{Iso, SCHEMA, Status, json};

    #[test]
    fn what_is_common_to_ranges_is_counted_once() {
        let one = [0..10, 20..30, 40..50];
        for (other, len) in [
            (vec![], 0),
            (vec![0..15, 15..100], 30),
            (vec![5..12, 12..25], 10),
            (vec![10..20, 30..40], 0),
            (vec![2..4, 6..22, 29..31, 49..60], 2 + 4 + 2 + 1 + 1),
        ] {
            assert_eq!((common(&one, &other), common(&other, &one)), (len, len), "{other:?}");
        }
    }

    /// What stands where a tree is mounted, with an ISO of these labels each; all in memory.
    fn tree(labels: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let isos = labels.iter().map(|label| Iso { label: (*label).to_owned(), ..Iso::default() }).collect();
        let status = Status { schema: SCHEMA, isos, ..Status::default() };
        std::fs::write(directory.path().join(names::STATUS), json(&status)).unwrap();
        for name in [names::IMAGES, names::TFTP] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        for label in labels {
            std::fs::write(directory.path().join(format!("images/{label}.iso")), vec![7; 3 << 20]).unwrap();
            std::fs::write(directory.path().join(format!("tftp/vmlinuz_{label}")), vec![7; 1 << 20]).unwrap();
        }
        directory
    }

    #[test]
    fn no_more_is_read_than_there_is_memory_for() {
        let (tree, state) = (tree(&["A", "B", "C"]), tempfile::tempdir().unwrap());
        save(tree.path(), &[], state.path(), &mut |_| Ok(())).unwrap();
        for (named, room, complete, said) in [
            (vec![], 12, true, vec!["A: 4 MiB in", "B: 4 MiB in", "C: 4 MiB in"]),
            (
                vec![],
                11,
                false,
                vec![
                    "A: 4 MiB in",
                    "B: 4 MiB in",
                    "C: left out, as it takes 4 MiB, and there are 3 MiB of memory for it",
                ],
            ),
            (vec!["C".to_owned(), "A".to_owned()], 7, false, vec!["C: 4 MiB in", "A: left out"]),
        ] {
            let mut lines = Vec::new();
            let mut say = |line| {
                lines.push(line);
                Ok(())
            };
            let done = read(tree.path(), &named, state.path(), room << 20, &mut say).unwrap();
            assert_eq!((done, lines.len()), (complete, said.len()), "{lines:?}");
            assert!(lines.iter().zip(said).all(|(line, said)| line.starts_with(said)), "{lines:?}");
        }
    }

    #[test]
    fn what_is_remembered_beyond_the_end_of_an_image_is_not_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(5000).unwrap();
        let read = |range| read_range(&file, range, &mut [0; 4096]).unwrap();
        assert_eq!((read(0..u64::MAX), read(4990..6000), read(6000..7000)), (5000, 10, 0));
    }

    #[test]
    fn memory_is_as_proc_meminfo_says() {
        let text = "MemTotal:       24683728 kB\nMemFree:  861000 kB\nMemAvailable:   23452 kB\n";
        assert_eq!(available_in(text), Some(23452 << 10));
        assert_eq!(available_in("MemTotal: 1 kB\n"), None);
        assert!(available().unwrap() > 0);
    }
}
