//! The ways to read a file that programs have.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::pipe::{SpliceFlags, pipe, splice};

/// Reads so many bytes at an offset.
pub type Reader = fn(&File, u64, usize) -> io::Result<Vec<u8>>;

/// All of them, for a file that was opened as usual.
pub const READERS: [(&str, Reader); 4] =
    [("pread", pread), ("mmap", mapped), ("sendfile", sent), ("splice", spliced)];

fn pread(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn mapped(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let skip = (offset % 4096) as usize;
    let size = skip + len;
    // SAFETY: a new private mapping; nobody truncates the file while it is looked at.
    let map = unsafe {
        mmap(std::ptr::null_mut(), size, ProtFlags::READ, MapFlags::PRIVATE, file, offset - skip as u64)?
    };
    // SAFETY: the mapping is `size` bytes long and readable.
    let bytes = unsafe { std::slice::from_raw_parts(map.cast::<u8>(), size) }[skip..].to_vec();
    // SAFETY: what was in it has been copied.
    unsafe { munmap(map, size)? };
    Ok(bytes)
}

fn sent(file: &File, mut offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let to = File::from(memfd_create("sent", MemfdFlags::CLOEXEC)?);
    let mut done = 0;
    while done < len {
        match sendfile(&to, file, Some(&mut offset), len - done)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => done += more,
        }
    }
    pread(&to, 0, len)
}

fn spliced(file: &File, mut offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let (from, to) = pipe()?;
    let mut from = File::from(from);
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let more = splice(file, Some(&mut offset), &to, None, len - bytes.len(), SpliceFlags::empty())?;
        if more == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (&mut from).take(more as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Opens a file to read it past the page cache.
pub fn open_direct(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Whole blocks of 4096 bytes of a file opened so.
pub fn read_direct(file: &File, block: u64, blocks: usize) -> io::Result<Vec<u8>> {
    let mut room = vec![0; (blocks + 1) * 4096];
    let start = room.as_ptr().align_offset(4096);
    let place = &mut room[start..start + blocks * 4096];
    let mut done = 0;
    while done < place.len() {
        match file.read_at(&mut place[done..], block * 4096 + done as u64)? {
            0 => break,
            more => done += more,
        }
    }
    Ok(place[..done].to_vec())
}
