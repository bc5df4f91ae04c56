//! The kernel's own offset mapping: byte ranges of an ISO as files that the kernel reads by itself.
//!
//! FUSE can hand the reads of an open file to another file inside the kernel, but knows no offset. An EROFS image can be
//! that offset: a few KiB of metadata whose one file points into the ISO ([`erofs`]), mounted where nobody sees it
//! ([`mount`]). The kernel only ever parses metadata that was written here.
//!
//! One mount a file, and not one an ISO: the files below `trees/` are known only when somebody opens them, and there may
//! be tens of thousands. It is made at the first open, and kept after the last close for as long as it is among the
//! last few of its ISO: its pages go with it, and the next client would read from the disk what this one has read.
//!
//! The daemon does not see these reads, so it watches the ISO: when another image is written over it, or it is cut
//! short, what is mapped is revoked, and every read that needs the ISO again is an error.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use clap::ValueEnum;
use lru::LruCache;

use crate::settled;
use crate::source::ReadAt;
use crate::steady::SteadySource;

pub mod erofs;
pub mod mount;
mod watch;

use erofs::Image;
use mount::{Mounted, Ram};
use watch::Watch;

/// Files of an ISO that stay mapped after the last close: root image, kernel, initrd and the ISO itself, with their
/// loaders and some of what is below `trees/`. Each costs two descriptors.
const KEPT: usize = 16;

/// What is read of a file before it is handed over, at either end.
const TASTE: u64 = 4096;

/// Who reads the ISOs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DataPath {
    /// The kernel where it can, else the block cache
    Auto,
    /// The kernel, or it doesn't start
    Kernel,
    /// The block cache
    Cache,
}

/// Why a file is not mapped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its place in the ISO can't be pointed at.
    #[error("{0}")]
    Place(#[from] erofs::Error),
    /// The ISO lies where others can change it unseen.
    #[error("it lies on a file system whose changes this kernel doesn't see")]
    Remote,
    /// The kernel doesn't mount it.
    #[error("{0}")]
    Mount(#[from] mount::Error),
    /// The kernel shows other bytes than the ISO has, or none.
    #[error("its file system can't back a mapping: {0}")]
    Backing(io::Error),
    /// It is no longer the image that was opened.
    #[error("{0}")]
    Changed(io::Error),
}

impl Error {
    /// Whether no file of this ISO can be mapped.
    pub fn is_of_the_iso(&self) -> bool {
        !matches!(self, Self::Place(_))
    }
}

/// What maps files.
pub struct Mapper {
    ram: Ram,
    watch: Watch,
}

impl Mapper {
    /// Tries whether this kernel can map anything at all.
    ///
    /// # Errors
    /// If not, with the reason.
    pub fn start() -> Result<Arc<Self>, Error> {
        let mapper = Self { ram: Ram::mount()?, watch: Watch::start().map_err(mount::Error::from)? };
        let bytes = vec![1; 2 * erofs::BLOCK as usize];
        let range = erofs::BLOCK..2 * erofs::BLOCK;
        let image = erofs::encode(std::slice::from_ref(&range), bytes.len() as u64)?;
        let iso = mapper.ram.file(&bytes).map_err(mount::Error::from)?;
        let mounted = mount::mount(&mapper.ram, &image, &iso)?;
        taste(&mounted.file, &bytes, &[range]).map_err(Error::Backing)?;
        Ok(Arc::new(mapper))
    }
}

/// An ISO whose files can be mapped.
pub struct MappedIso {
    mapper: Arc<Mapper>,
    iso: Arc<File>,
    steady: Arc<SteadySource>,
    revoked: AtomicBool,
    maps: Mutex<Maps>,
}

struct Maps {
    all: Vec<Map>,
    kept: LruCache<Vec<Range<u64>>, Arc<File>>,
}

struct Map {
    ranges: Vec<Range<u64>>,
    /// Whoever has it open keeps it.
    file: Weak<File>,
    image: Image,
    metadata: File,
}

impl MappedIso {
    /// Nothing is mapped yet.
    pub fn new(mapper: &Arc<Mapper>, iso: Arc<File>, steady: Arc<SteadySource>) -> Arc<Self> {
        let kept = LruCache::new(std::num::NonZeroUsize::new(KEPT).unwrap_or(std::num::NonZeroUsize::MIN));
        let maps = Mutex::new(Maps { all: Vec::new(), kept });
        Arc::new(Self { mapper: mapper.clone(), iso, steady, revoked: AtomicBool::new(false), maps })
    }

    /// The file of those ranges, one after the other. It stays readable as long as somebody holds it, whatever becomes
    /// of the ISO's name.
    ///
    /// # Errors
    /// If they can't be mapped.
    pub fn file(self: &Arc<Self>, ranges: &[Range<u64>]) -> Result<Arc<File>, Error> {
        let mut maps = self.maps();
        self.steady.check().map_err(Error::Changed)?;
        if self.revoked.load(Ordering::Relaxed) {
            return Err(Error::Changed(io::Error::other("it was cut short or overwritten")));
        }
        let known = maps.all.iter().find(|map| map.ranges == ranges).and_then(|map| map.file.upgrade());
        let file = match known {
            Some(file) => file,
            None => self.map(&mut maps, ranges)?,
        };
        maps.kept.put(ranges.to_vec(), file.clone());
        Ok(file)
    }

    fn map(self: &Arc<Self>, maps: &mut Maps, ranges: &[Range<u64>]) -> Result<Arc<File>, Error> {
        let image = erofs::encode(ranges, self.steady.len())?;
        maps.all.retain(|map| map.file.strong_count() > 0);
        if maps.all.is_empty() {
            if settled::is_remote(&self.iso) {
                return Err(Error::Remote);
            }
            // From here on a change is noticed; what was before, the check of the length below.
            self.mapper.watch.add(self).map_err(Error::Backing)?;
        }
        self.check_length().map_err(Error::Changed)?;
        let Mounted { file, metadata } = mount::mount(&self.mapper.ram, &image, &self.iso)?;
        taste(&file, &*self.steady, ranges).map_err(Error::Backing)?;
        let file = Arc::new(file);
        maps.all.push(Map { ranges: ranges.to_vec(), file: Arc::downgrade(&file), image, metadata });
        Ok(file)
    }

    /// Looks whether it is still the same image, and revokes what is mapped if not.
    ///
    /// # Errors
    /// Why it was revoked, once.
    fn look(&self) -> Result<(), Error> {
        if self.revoked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Err(reason) = self.check_length().and_then(|()| self.steady.compare()) else { return Ok(()) };
        self.revoked.store(true, Ordering::Relaxed);
        let mut maps = self.maps();
        for map in &maps.all {
            let (at, bytes) = map.image.revocation();
            map.metadata.write_all_at(&bytes, at).map_err(Error::Changed)?;
        }
        maps.kept.clear();
        Err(Error::Changed(reason))
    }

    /// Drops the pages of what is mapped: those that were read after a change may be anything. The kernel keeps what
    /// somebody is just reading, and what a program has mapped.
    fn forget_pages(&self) {
        for file in self.maps().all.iter().filter_map(|map| map.file.upgrade()) {
            let _ = rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    fn check_length(&self) -> io::Result<()> {
        let (now, then) = (self.iso.metadata()?.len(), self.steady.len());
        if now < then {
            Err(io::Error::other(format!("it was cut short, to {now} bytes of {then}")))
        } else {
            Ok(())
        }
    }

    /// Where the ISO lies now, for people.
    pub fn name(&self) -> String {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", self.iso.as_raw_fd()));
        path.map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares the first and the last bytes of a mapped file with those that should be there.
fn taste(file: &File, iso: &(impl ReadAt + ?Sized), ranges: &[Range<u64>]) -> io::Result<()> {
    let len: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let compare = |at: u64, range: Range<u64>| {
        let mut mapped = vec![0; (range.end - range.start) as usize];
        let mut wanted = mapped.clone();
        file.read_exact_at(&mut mapped, at)?;
        iso.read_exact_at(&mut wanted, range.start)?;
        if mapped == wanted { Ok(()) } else { Err(io::Error::other("it shows other bytes")) }
    };
    let pieces = || ranges.iter().filter(|range| !range.is_empty());
    if let (Some(first), Some(last)) = (pieces().next(), pieces().next_back()) {
        compare(0, first.start..first.end.min(first.start + TASTE))?;
        let tail = last.end.saturating_sub(TASTE).max(last.start)..last.end;
        compare(len - (tail.end - tail.start), tail)?;
    }
    Ok(())
}
