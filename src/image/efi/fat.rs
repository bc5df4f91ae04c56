//! Files of a FAT that lies in an ISO, as byte ranges of the ISO.
//!
//! The reading is done by the `hadris-fat` crate; this module is the gate behind it: it bounds the volume, the number of
//! files and their extents.

use std::io;
use std::sync::Arc;

use hadris_fat::CacheOptions;
use hadris_fat::sync::FatFs;
use hadris_fs::{DirCursor, FileType, MountOptions, NodeId, Resolve};

use super::{MAX_FILES, MAX_LEN};
use crate::image::iso::{self, Device};
use crate::storage::extent::Extent;
use crate::storage::source::{ReadAt, Window};

/// Entries of a directory that are looked at.
const MAX_ENTRIES: usize = 512;

/// Extents of a file. A program of 16 MB in clusters of 512 bytes could have 32,768; real ones have one.
const MAX_EXTENTS: usize = 1024;

/// The files in `directory` of the FAT that begins at `start` of the ISO, whose names are `wanted`. Of a file that can't
/// be had whole, nothing is.
///
/// # Errors
/// If there is no FAT, or it is damaged up to that directory.
pub fn files(
    iso: &Arc<dyn ReadAt>,
    start: u64,
    directory: &str,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<iso::File>> {
    let window = Window::new(iso.clone(), start, volume_len(iso, start)?)?;
    let device = Device { source: Arc::new(window) };
    let fs = FatFs::mount(device, MountOptions::new().read_only()).map_err(|fault| damaged(fault.kind()))?;
    let mut fs = fs.with_cache(CacheOptions::new());
    let node = fs.resolve(directory.as_bytes(), Resolve::Follow).map_err(|fault| damaged(fault.kind()))?;
    let mut found = Vec::new();
    let mut cursor = DirCursor::START;
    for _ in 0..MAX_ENTRIES {
        let entry = fs.readdir(node, cursor).map_err(|fault| damaged(fault.kind()))?;
        let Some(entry) = entry.filter(|_| found.len() < MAX_FILES) else { break };
        cursor = entry.next_cursor();
        let Some(name) = entry.name().to_str().ok().filter(|name| wanted(name)) else { continue };
        let path = format!("{directory}/{name}");
        if let Ok(node) = fs.resolve(path.as_bytes(), Resolve::Follow)
            && let Some((len, extents)) = extents(&mut fs, node, start)
        {
            found.push(iso::File { path, len, extents });
        }
    }
    Ok(found)
}

/// Length of the volume as its own BIOS parameter block has it (Microsoft, "FAT: General Overview of On-Disk Format",
/// BPB): the boot catalog's count of sectors ends at 32 MB, and is often 1 or 0.
fn volume_len(iso: &Arc<dyn ReadAt>, start: u64) -> io::Result<u64> {
    let mut block = [0; 36];
    iso.read_exact_at(&mut block, start)?;
    let byte = |at: usize| u64::from(block.get(at).copied().unwrap_or_default());
    let sector = byte(11) | byte(12) << 8;
    let small = byte(19) | byte(20) << 8;
    let large = byte(32) | byte(33) << 8 | byte(34) << 16 | byte(35) << 24;
    Ok(sector * if small == 0 { large } else { small })
}

/// Size and extents of a regular file, where the extents hold all of it.
fn extents(fs: &mut FatFs<Device>, node: NodeId, start: u64) -> Option<(u64, Vec<Extent>)> {
    let stat = fs.stat(node).ok()?;
    if stat.file_type() != FileType::File || stat.len() > MAX_LEN {
        return None;
    }
    let mut found = Vec::new();
    let mut from = 0;
    while from < stat.len() && found.len() < MAX_EXTENTS {
        let mut batch = [hadris_fs::Extent::new(0, 0); 64];
        let count = fs.extents(node, from, &mut batch).ok()?;
        for extent in batch.iter().take(count).filter(|extent| !extent.is_empty()) {
            if extent.file_offset() != from {
                return None;
            }
            from += extent.len();
            found.push(Extent { offset: start.checked_add(extent.offset())?, len: extent.len() });
        }
        if count == 0 {
            break;
        }
    }
    (from == stat.len()).then_some((from, found))
}

fn damaged(kind: hadris_fs::ErrorKind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its FAT can't be read: {kind:?}"))
}
