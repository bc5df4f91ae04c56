//! The kernel's own offset mapping: byte ranges of an ISO as files that the kernel reads by itself.
//!
//! FUSE can hand the reads of an open file to another file inside the kernel, but knows no offset. An EROFS image can be
//! that offset: a few KiB of metadata whose one file points into the ISO ([`erofs`]), mounted where nobody sees it
//! ([`mount`]). The kernel only ever parses metadata that was written here.
//!
//! One mount a file, and not one an ISO: the files below `trees/` are known only when somebody opens them, and there may
//! be tens of thousands. It is made at the first open, and kept after the last close for as long as it is among the
//! last few that were opened: its pages go with it, and the next client would read from the disk what this one has read.
//!
//! The daemon does not see these reads, so it watches the ISO: when another image is written over it, or it is cut
//! short, what is mapped is revoked, and every read that needs the ISO again is an error.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::storage::source::ReadAt;
use crate::storage::unchanged::UnchangedSource;
use crate::storage::writers;

pub mod erofs;
pub mod mount;
mod watch;

use erofs::Metadata;
use mount::{Mounted, Ram};
use watch::Watch;

/// Files that stay mapped after the last close: kernel, initrd, root image or ISO of dozens of ISOs that are booted in
/// turn. Each costs two descriptors, of which there may be no more than 4096.
const KEPT: usize = 256;

/// What is read of a file before it is handed over, at either end.
const TASTE: u64 = 4096;

/// Who reads the ISOs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

/// Holds what is mapped where it outlives this process.
pub trait Keeper: Send + Sync {
    /// A mapping has been made; the number by which it goes.
    fn made(&self, mapping: &Mapping, file: &File, metadata: &File) -> u64;

    /// That mapping is no more.
    fn gone(&self, number: u64);

    /// The mappings of a file of that device and inode number that a process before this one has left, each once, with
    /// their numbers, what is mapped and the metadata.
    fn left(&self, device: u64, inode: u64) -> Vec<(u64, Mapping, File, File)>;
}

/// A mapping, for another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Device, inode, length and fingerprint ([`ReadAt::origin`]) of the ISO.
    pub iso: [u64; 4],
    /// What is mapped.
    pub ranges: Vec<Range<u64>>,
}

/// What maps files.
pub struct Mapper {
    keeper: Option<Arc<dyn Keeper>>,
    ram: Ram,
    watch: Watch,
    kept: Mutex<LruCache<Place, Arc<File>>>,
    next_iso: AtomicU64,
}

/// Number of an ISO, and ranges in it.
type Place = (u64, Vec<Range<u64>>);

impl Mapper {
    /// Tries whether this kernel can map anything at all.
    ///
    /// # Errors
    /// If not, with the reason.
    pub fn start() -> Result<Arc<Self>, Error> {
        Self::held_by(None)
    }

    /// [`Mapper::start`] for mappings that `keeper` holds.
    ///
    /// # Errors
    /// As for [`Mapper::start`].
    pub fn held_by(keeper: Option<Arc<dyn Keeper>>) -> Result<Arc<Self>, Error> {
        let ram = Ram::mount()?;
        let watch = Watch::start().map_err(mount::Error::from)?;
        let kept = LruCache::new(NonZeroUsize::new(KEPT).unwrap_or(NonZeroUsize::MIN));
        let mapper = Self { keeper, ram, watch, kept: Mutex::new(kept), next_iso: AtomicU64::new(0) };
        let bytes = vec![1; 2 * erofs::BLOCK as usize];
        let range = erofs::BLOCK..2 * erofs::BLOCK;
        let image = erofs::encode(std::slice::from_ref(&range), bytes.len() as u64)?;
        let iso = mapper.ram.file(&bytes).map_err(mount::Error::from)?;
        let mounted = mount::mount(&mapper.ram, &image, &iso)?;
        taste(&mounted.file, &bytes, &[range]).map_err(Error::Backing)?;
        Ok(Arc::new(mapper))
    }

    /// Keeps a file that is opened now, in the place of the one that was for the longest time not.
    fn keep(&self, iso: u64, ranges: &[Range<u64>], file: Arc<File>) {
        let gone = self.kept.lock().push((iso, ranges.to_vec()), file);
        // It may be the last one of a mount, which others need not wait for.
        drop(gone);
    }

    /// Keeps nothing more of an ISO.
    fn forget(&self, iso: u64) {
        let mut kept = self.kept.lock();
        let keys: Vec<_> = kept.iter().map(|(key, _)| key).filter(|key| key.0 == iso).cloned().collect();
        let gone: Vec<_> = keys.iter().filter_map(|key| kept.pop(key)).collect();
        drop(kept);
        drop(gone);
    }
}

/// An ISO whose files can be mapped.
pub struct MappedIso {
    mapper: Arc<Mapper>,
    number: u64,
    iso: Arc<File>,
    unchanged: Arc<UnchangedSource>,
    revoked: AtomicBool,
    maps: Mutex<Vec<Map>>,
}

struct Map {
    ranges: Vec<Range<u64>>,
    /// Whoever has it open keeps it.
    file: Weak<File>,
    image: Metadata,
    metadata: File,
    _held: Option<Held>,
}

/// A mapping that is held elsewhere too, for as long as it is one.
struct Held(Arc<dyn Keeper>, u64);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.gone(self.1);
    }
}

impl MappedIso {
    /// Nothing is mapped yet.
    pub fn new(mapper: &Arc<Mapper>, iso: Arc<File>, unchanged: Arc<UnchangedSource>) -> Arc<Self> {
        let number = mapper.next_iso.fetch_add(1, Ordering::Relaxed);
        let (revoked, maps) = (AtomicBool::new(false), Mutex::default());
        let mapped = Arc::new(Self { mapper: mapper.clone(), number, iso, unchanged, revoked, maps });
        mapped.adopt();
        mapped
    }

    /// Takes over what a process before this one has mapped. What is no longer the same image is revoked.
    fn adopt(self: &Arc<Self>) {
        let (Some(keeper), Some(mapping)) = (&self.mapper.keeper, self.describe(&[])) else { return };
        let [device, inode, ..] = mapping.iso;
        for (number, left, file, metadata) in keeper.left(device, inode) {
            let held = Held(keeper.clone(), number);
            let Ok(image) = erofs::encode(&left.ranges, left.iso[2]) else { continue };
            if left.iso != mapping.iso || self.mapper.watch.add(self).is_err() {
                let (at, bytes) = image.revocation();
                let revoked = metadata.write_all_at(&bytes, at);
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
                log::error!(
                    "{}: changed while nobody looked; what clients have open of it can't be read any more{}",
                    self.name(),
                    revoked.err().map(|error| format!(", or can: {error}")).unwrap_or_default()
                );
                continue;
            }
            let file = Arc::new(file);
            self.mapper.keep(self.number, &left.ranges, file.clone());
            let file = Arc::downgrade(&file);
            self.maps.lock().push(Map { ranges: left.ranges, file, image, metadata, _held: Some(held) });
        }
    }

    fn describe(&self, ranges: &[Range<u64>]) -> Option<Mapping> {
        let stat = self.iso.metadata().ok()?;
        let (_, fingerprint) = self.unchanged.origin()?;
        Some(Mapping {
            iso: [stat.dev(), stat.ino(), self.unchanged.len(), fingerprint],
            ranges: ranges.to_vec(),
        })
    }

    /// The file of those ranges, one after the other. It stays readable as long as somebody holds it, whatever becomes
    /// of the ISO's name.
    ///
    /// # Errors
    /// If they can't be mapped.
    pub fn file(self: &Arc<Self>, ranges: &[Range<u64>]) -> Result<Arc<File>, Error> {
        let mut maps = self.maps.lock();
        self.unchanged.check().map_err(Error::Changed)?;
        if self.revoked.load(Ordering::Relaxed) {
            return Err(Error::Changed(io::Error::other("it was cut short or overwritten")));
        }
        let known = maps.iter().find(|map| map.ranges == ranges).and_then(|map| map.file.upgrade());
        let file = match known {
            Some(file) => file,
            None => self.map(&mut maps, ranges)?,
        };
        drop(maps);
        self.mapper.keep(self.number, ranges, file.clone());
        Ok(file)
    }

    fn map(self: &Arc<Self>, maps: &mut Vec<Map>, ranges: &[Range<u64>]) -> Result<Arc<File>, Error> {
        let image = erofs::encode(ranges, self.unchanged.len())?;
        maps.retain(|map| map.file.strong_count() > 0);
        if maps.is_empty() {
            if writers::is_remote(&self.iso) {
                return Err(Error::Remote);
            }
            // From here on a write is noticed, and one from before by a look.
            self.mapper.watch.add(self).map_err(Error::Backing)?;
            self.unchanged.compare().map_err(Error::Changed)?;
        }
        self.check_length().map_err(Error::Changed)?;
        let Mounted { file, metadata } = mount::mount(&self.mapper.ram, &image, &self.iso)?;
        taste(&file, &*self.unchanged, ranges).map_err(Error::Backing)?;
        let held = self.mapper.keeper.as_ref().zip(self.describe(ranges));
        let held =
            held.map(|(keeper, mapping)| Held(keeper.clone(), keeper.made(&mapping, &file, &metadata)));
        let file = Arc::new(file);
        maps.push(Map { ranges: ranges.to_vec(), file: Arc::downgrade(&file), image, metadata, _held: held });
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
        let Err(reason) = self.check_length().and_then(|()| self.unchanged.compare()) else { return Ok(()) };
        self.revoked.store(true, Ordering::Relaxed);
        for map in &*self.maps.lock() {
            let (at, bytes) = map.image.revocation();
            if let Err(error) = map.metadata.write_all_at(&bytes, at) {
                log::error!("a mapping can't be revoked: {error}");
            }
        }
        self.mapper.forget(self.number);
        Err(Error::Changed(reason))
    }

    /// Drops the pages of what is mapped: those that were read after a change may be anything. The kernel keeps what
    /// somebody is just reading, and what a program has mapped.
    fn forget_pages(&self) {
        let files: Vec<_> = self.maps.lock().iter().filter_map(|map| map.file.upgrade()).collect();
        for file in files {
            let _ = rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    fn check_length(&self) -> io::Result<()> {
        let (now, then) = (self.iso.metadata()?.len(), self.unchanged.len());
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
}

impl Drop for MappedIso {
    fn drop(&mut self) {
        self.mapper.forget(self.number);
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
