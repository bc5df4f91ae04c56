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
//! Mounting may be another process's right ([`Mounter`]).
//!
//! The daemon does not see these reads, so it is told when the ISO has changed: what is mapped is revoked then, and every
//! read that needs the ISO again is an error.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;

use crate::storage::descriptors;
use crate::storage::source::ReadAt;
use crate::storage::unchanged::{Unchanged, UnchangedSource};

pub mod erofs;
pub mod mount;

use mount::{Local, Mounted};

/// Files that stay mapped after the last close: kernel, initrd, root image or ISO of dozens of ISOs that are booted in
/// turn. Each costs two descriptors; of these they have at most a quarter.
const KEPT: usize = 256;

/// Smaller files are read through the cache: to mount and unmount one takes 0.6 ms, as long as it takes to read one of
/// this size from memory that way, and there may be tens of thousands below `trees/`.
const SMALLEST: u64 = 1 << 20;

/// What is read of a file before it is handed over, at either end.
const TASTE: u64 = 4096;

/// When pages are dropped again after a revocation, for those that were being read or came in late.
const AGAIN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(200)];

/// When they are for the last time, unless what is to be revoked still isn't.
const LATER: Duration = Duration::from_secs(2);

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
    /// The ISO lies where it can be changed unseen.
    #[error("it lies on a file system whose changes this kernel doesn't see, or isn't watched")]
    Unwatched,
    /// It isn't mounted.
    #[error("{0}")]
    Mount(io::Error),
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

/// Makes what takes the right to mount.
pub trait Mounter: Send + Sync {
    /// The file of those ranges of an ISO of `len` bytes, one after the other.
    ///
    /// # Errors
    /// If it can't be mounted, with the reason.
    fn map(&self, iso: BorrowedFd<'_>, len: u64, ranges: &[Range<u64>]) -> io::Result<Mounted>;

    /// Has each read be an error from now on that the kernel has no page for, of a file that was made with these ranges.
    /// One that is revoked stays so.
    ///
    /// # Errors
    /// If it can't be done, or the metadata is that of another file.
    fn revoke(&self, metadata: &File, len: u64, ranges: &[Range<u64>]) -> io::Result<()>;
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
    /// The mapped ranges.
    pub ranges: Vec<Range<u64>>,
}

/// The maker of mappings.
pub struct Mapper {
    mounter: Arc<dyn Mounter>,
    keeper: Option<Arc<dyn Keeper>>,
    kept: Mutex<LruCache<Place, Arc<File>>>,
    next_iso: AtomicU64,
}

/// Number of an ISO, and ranges in it.
type Place = (u64, Vec<Range<u64>>);

impl Mapper {
    /// Mounts in this process, and tries whether this kernel can map anything at all.
    ///
    /// # Errors
    /// If not, with the reason.
    pub fn start() -> Result<Arc<Self>, Error> {
        let local = Local::start().map_err(|error| Error::Mount(io::Error::other(error)))?;
        Self::with(Arc::new(local), None)
    }

    /// [`Mapper::start`] for mappings that `mounter` makes and `keeper` holds.
    ///
    /// # Errors
    /// As for [`Mapper::start`].
    pub fn with(mounter: Arc<dyn Mounter>, keeper: Option<Arc<dyn Keeper>>) -> Result<Arc<Self>, Error> {
        let bytes = vec![1; 2 * erofs::BLOCK as usize];
        let range = erofs::BLOCK..2 * erofs::BLOCK;
        let iso = memfd_create("netrootfs-trial", MemfdFlags::CLOEXEC).map(File::from);
        let iso = iso.map_err(io::Error::from).and_then(|iso| iso.write_all_at(&bytes, 0).map(|()| iso));
        let mounted =
            iso.and_then(|iso| mounter.map(iso.as_fd(), bytes.len() as u64, std::slice::from_ref(&range)));
        taste(&mounted.map_err(Error::Mount)?.file, &bytes, &[range]).map_err(Error::Backing)?;
        let most = KEPT.min(descriptors::limit() / 8);
        let kept = LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN));
        Ok(Arc::new(Self { mounter, keeper, kept: Mutex::new(kept), next_iso: AtomicU64::new(0) }))
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
    source: Arc<UnchangedSource>,
    revoked: AtomicBool,
    maps: Mutex<Vec<Map>>,
    /// Whether it has been said that nothing of it can be mapped.
    refused: AtomicBool,
}

struct Map {
    ranges: Vec<Range<u64>>,
    /// Whoever has it open keeps it.
    file: Weak<File>,
    metadata: Arc<File>,
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
    pub fn new(mapper: &Arc<Mapper>, iso: Arc<File>, source: Arc<UnchangedSource>) -> Arc<Self> {
        let number = mapper.next_iso.fetch_add(1, Ordering::Relaxed);
        let (revoked, refused) = (AtomicBool::new(false), AtomicBool::new(false));
        let mapper = mapper.clone();
        let mapped = Arc::new(Self { mapper, number, iso, source, revoked, maps: Mutex::default(), refused });
        let weak = Arc::downgrade(&mapped);
        mapped.unchanged().on_change(move || {
            if let Some(mapped) = weak.upgrade() {
                mapped.revoke();
            }
        });
        mapped.adopt();
        mapped
    }

    /// Takes over what a process before this one has mapped. What is no longer the same image is revoked.
    fn adopt(&self) {
        let (Some(keeper), Some(mapping)) = (&self.mapper.keeper, self.describe(&[])) else { return };
        let [device, inode, ..] = mapping.iso;
        for (number, left, file, metadata) in keeper.left(device, inode) {
            let held = Held(keeper.clone(), number);
            let metadata = Arc::new(metadata);
            if left.iso != mapping.iso || !self.unchanged().is_watched() {
                log::error!(
                    "{}: changed while nobody looked; what clients have open of it can't be read any more",
                    self.unchanged().name(),
                );
                self.revoke_all(left.iso[2], vec![(metadata, left.ranges)], vec![file.into()]);
                continue;
            }
            let file = Arc::new(file);
            self.mapper.keep(self.number, &left.ranges, file.clone());
            let file = Arc::downgrade(&file);
            self.maps.lock().push(Map { ranges: left.ranges, file, metadata, _held: Some(held) });
        }
    }

    fn describe(&self, ranges: &[Range<u64>]) -> Option<Mapping> {
        let stat = self.iso.metadata().ok()?;
        let (_, fingerprint) = self.source.origin()?;
        Some(Mapping {
            iso: [stat.dev(), stat.ino(), self.source.len(), fingerprint],
            ranges: ranges.to_vec(),
        })
    }

    /// [`MappedIso::file`] for files that are worth it; `None` if they are read through the cache, which is logged.
    pub fn offer(self: &Arc<Self>, ranges: &[Range<u64>]) -> Option<Arc<File>> {
        let lens = ranges.iter().map(|range| range.end.saturating_sub(range.start));
        if lens.fold(0, u64::saturating_add) < SMALLEST {
            return None;
        }
        match self.file(ranges) {
            Ok(file) => Some(file),
            Err(reason) => {
                let level = match reason.is_of_the_iso() && !self.refused.swap(true, Ordering::Relaxed) {
                    true => log::Level::Info,
                    false => log::Level::Debug,
                };
                log::log!(level, "{}: read through the block cache: {reason}", self.unchanged().name());
                None
            }
        }
    }

    /// The file of those ranges, one after the other. It stays readable as long as somebody holds it, whatever becomes
    /// of the ISO's name.
    ///
    /// # Errors
    /// If they can't be mapped.
    pub fn file(self: &Arc<Self>, ranges: &[Range<u64>]) -> Result<Arc<File>, Error> {
        if !self.unchanged().is_watched() {
            return Err(Error::Unwatched);
        }
        self.unchanged().check().map_err(Error::Changed)?;
        let mut maps = self.maps.lock();
        if self.revoked.load(Ordering::Relaxed) {
            return Err(Error::Changed(io::Error::other("it has changed")));
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

    fn map(&self, maps: &mut Vec<Map>, ranges: &[Range<u64>]) -> Result<Arc<File>, Error> {
        // What can't be said isn't asked for.
        erofs::encode(ranges, self.source.len())?;
        maps.retain(|map| map.file.strong_count() > 0);
        let mounted = self.mapper.mounter.map(self.iso.as_fd(), self.source.len(), ranges);
        let Mounted { file, metadata } = mounted.map_err(Error::Mount)?;
        // Unchecked: what a look finds out would have to be revoked, and that waits for this.
        taste(&file, self.source.unchecked(), ranges).map_err(Error::Backing)?;
        let held = self.mapper.keeper.as_ref().zip(self.describe(ranges));
        let held =
            held.map(|(keeper, mapping)| Held(keeper.clone(), keeper.made(&mapping, &file, &metadata)));
        let (file, metadata) = (Arc::new(file), Arc::new(metadata));
        maps.push(Map { ranges: ranges.to_vec(), file: Arc::downgrade(&file), metadata, _held: held });
        Ok(file)
    }

    fn unchanged(&self) -> &Arc<Unchanged> {
        self.source.unchanged()
    }

    /// Lets nobody read it any more but what is in memory, and drops that: pages that were read after a change may be
    /// anything. The kernel keeps what somebody is just reading, and what a program has mapped.
    fn revoke(self: &Arc<Self>) {
        self.revoked.store(true, Ordering::Relaxed);
        let maps: Vec<_> =
            self.maps.lock().iter().map(|map| (map.metadata.clone(), map.ranges.clone())).collect();
        self.mapper.forget(self.number);
        let files = self.maps.lock().iter().filter_map(|map| map.file.upgrade()).collect();
        self.revoke_all(self.source.len(), maps, files);
    }

    /// Revokes what was mapped of an ISO of that length, now or as soon as that can be done.
    fn revoke_all(&self, len: u64, mut maps: Vec<(Arc<File>, Vec<Range<u64>>)>, files: Vec<Arc<File>>) {
        let mounter = self.mapper.mounter.clone();
        maps.retain(|(metadata, ranges)| {
            let revoked = mounter.revoke(metadata, len, ranges);
            let name = self.unchanged().name();
            revoked.inspect_err(|error| log::error!("{name}: a mapping can't be revoked: {error}")).is_err()
        });
        let forget = move || {
            for pause in AGAIN.into_iter().chain(std::iter::repeat(LATER)) {
                std::thread::sleep(pause);
                let all = maps.is_empty();
                maps.retain(|(metadata, ranges)| mounter.revoke(metadata, len, ranges).is_err());
                for file in &files {
                    let _ = rustix::fs::fadvise(&**file, 0, None, rustix::fs::Advice::DontNeed);
                }
                if pause == LATER && all {
                    break;
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("forget".into()).spawn(forget) {
            log::error!("pages of it stay in memory: {error}");
        }
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
