//! What is kept of ISOs that somebody looks into: a few opened images, and directories that have been read.
//!
//! Both are bounded whatever the number of ISOs and of their files, and go with their ISO. An image is read by one
//! thread at a time; those of different ISOs don't wait for each other. Nothing that fails is kept.

use std::collections::HashSet;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::catalog::scan::{Catalog, IsoFile};
use crate::image::iso::{self, DirectoryEntry, Image};
use crate::storage::identity::identity;

/// Images that stay open, at 30 KiB each, and up to 3 MiB more where files are hard-linked. Opening one takes 50 µs.
const MAX_IMAGES: usize = 16;

/// Bytes of all listings that are kept: some hundred thousand names, or the largest directory that there can be.
const MAX_BYTES: usize = 24 << 20;

/// Images and listings of all ISOs.
pub struct DirectoryCache {
    images: Mutex<LruCache<u64, Arc<Mutex<Option<Image>>>>>,
    listings: Mutex<Listings>,
}

struct Listings {
    kept: LruCache<u64, Arc<Listing>>,
    bytes: usize,
}

/// A directory that has been read.
pub struct Listing {
    disc: u64,
    /// By name; each name once.
    entries: Box<[DirectoryEntry]>,
    bytes: usize,
}

impl Listing {
    /// The entries, by name.
    pub fn entries(&self) -> &[DirectoryEntry] {
        &self.entries
    }

    /// The entry of that name.
    pub fn find(&self, name: &[u8]) -> Option<&DirectoryEntry> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_ref().cmp(name)).ok()?;
        self.entries.get(at)
    }
}

impl Default for DirectoryCache {
    fn default() -> Self {
        let kept = LruCache::unbounded();
        Self { images: Mutex::new(LruCache::unbounded()), listings: Mutex::new(Listings { kept, bytes: 0 }) }
    }
}

impl DirectoryCache {
    /// Calls `work` with the opened image of a disc. One that `work` fails on, or panics, is opened anew.
    ///
    /// # Errors
    /// If it can't be opened, and whatever `work` says.
    pub fn with_image<T>(
        &self,
        disc: &IsoFile,
        work: impl FnOnce(&mut Image) -> Result<T, iso::Error>,
    ) -> Result<T, iso::Error> {
        let slot = self.slot(number(disc));
        let mut slot = slot.lock();
        let mut image = match slot.take() {
            Some(image) => image,
            None => Image::open(disc.plain.clone())?,
        };
        let result = work(&mut image)?;
        *slot = Some(image);
        Ok(result)
    }

    /// A directory that has been read and is still there.
    pub fn listing(&self, directory: u64) -> Option<Arc<Listing>> {
        self.listings.lock().kept.get(&directory).cloned()
    }

    /// Keeps a directory of a disc. Of several entries of one name, the first counts.
    pub fn keep(&self, disc: &IsoFile, directory: u64, mut entries: Vec<DirectoryEntry>) -> Arc<Listing> {
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries.dedup_by(|later, first| later.name == first.name);
        let bytes = entries.iter().map(|entry| size_of::<DirectoryEntry>() + entry.text()).sum::<usize>();
        let bytes = bytes + size_of::<Listing>();
        let listing = Arc::new(Listing { disc: number(disc), entries: entries.into(), bytes });
        let mut listings = self.listings.lock();
        listings.bytes += bytes;
        if let Some(before) = listings.kept.put(directory, listing.clone()) {
            listings.bytes -= before.bytes;
        }
        while listings.bytes > MAX_BYTES {
            let Some((_, oldest)) = listings.kept.pop_lru() else { break };
            listings.bytes -= oldest.bytes;
        }
        listing
    }

    /// Lets go of all ISOs that are not in the catalog.
    pub fn keep_only(&self, catalog: &Catalog) {
        let served: HashSet<u64> = catalog.isos.iter().map(|iso| number(&iso.disc)).collect();
        let mut images = self.images.lock();
        let gone: Vec<u64> =
            images.iter().map(|(disc, _)| *disc).filter(|disc| !served.contains(disc)).collect();
        gone.iter().for_each(|disc| drop(images.pop(disc)));
        drop(images);
        let mut listings = self.listings.lock();
        let gone = listings.kept.iter().filter(|(_, listing)| !served.contains(&listing.disc));
        let gone: Vec<u64> = gone.map(|(directory, _)| *directory).collect();
        for directory in gone {
            listings.bytes -= listings.kept.pop(&directory).map_or(0, |listing| listing.bytes);
        }
    }

    fn slot(&self, disc: u64) -> Arc<Mutex<Option<Image>>> {
        let mut images = self.images.lock();
        let slot = images.get_or_insert(disc, Arc::default).clone();
        while images.len() > MAX_IMAGES {
            images.pop_lru();
        }
        slot
    }
}

/// A number that stands for a disc's content, the same after a restart.
pub fn number(disc: &IsoFile) -> u64 {
    identity(&disc.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::families::generic;
    use crate::boot::inspect::Facts;
    use crate::catalog::scan::FileId;
    use std::time::SystemTime;

    fn disc(inode: u64) -> IsoFile {
        IsoFile {
            id: FileId { device: 1, inode, len: 0, mtime: 0, written: 0 },
            source: Arc::new(Vec::new()).into(),
            plain: Arc::new(Vec::new()),
            len: 0,
            mtime: SystemTime::UNIX_EPOCH,
            facts: Facts {
                volume_id: Vec::new(),
                product: None,
                medium: Default::default(),
                family: &generic::FAMILY,
                found: String::new(),
                files: Vec::new(),
                entries: Vec::new(),
                left_out: Vec::new(),
                unbootable: None,
                root: None,
                efi: Vec::new(),
            },
        }
    }

    #[test]
    fn of_two_entries_of_one_name_the_first_counts() {
        let (directories, disc) = (DirectoryCache::default(), disc(1));
        let listing = directories.keep(
            &disc,
            7,
            vec![
                DirectoryEntry::sample(b"b", 1),
                DirectoryEntry::sample(b"a", 2),
                DirectoryEntry::sample(b"b", 3),
            ],
        );
        assert_eq!(listing.entries().iter().map(|entry| entry.mode).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(listing.find(b"b").unwrap().mode, 1);
        assert!(
            listing.find(b"c").is_none()
                && directories.listing(7).is_some()
                && directories.listing(8).is_none()
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_with_its_iso() {
        let directories = DirectoryCache::default();
        let name = vec![b'n'; MAX_BYTES / 50];
        let entry = DirectoryEntry::sample(&name, 0);
        for number in 0..100 {
            let disc = disc(number);
            directories.keep(&disc, number, vec![entry.clone()]);
            directories.keep(&disc, number, vec![entry.clone()]);
            directories.slot(super::number(&disc));
        }
        let listings = directories.listings.lock();
        let kept: usize = listings.kept.iter().map(|(_, listing)| listing.bytes).sum();
        assert_eq!(kept, listings.bytes);
        assert!(kept <= MAX_BYTES && kept > MAX_BYTES / 2, "{kept}");
        drop(listings);
        assert!(directories.listing(99).is_some() && directories.listing(0).is_none());
        assert_eq!(directories.images.lock().len(), MAX_IMAGES);
        directories.keep_only(&Catalog::default());
        assert_eq!(directories.listings.lock().bytes, 0);
        assert!(directories.listing(99).is_none() && directories.images.lock().is_empty());
    }
}
