//! What is open, written down for the process that comes after this one.
//!
//! Each entry is there before the kernel is answered, with all descriptors that are needed for it; so a process may be
//! killed at any moment. An error in keeping it costs no client anything: what isn't written down is lost with the
//! process, as all was without it, and the log says so.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};

use crate::catalog::scan::{DEADLY, Witness};
use crate::storage::closing::Closing;
use crate::storage::content::Content;
use crate::storage::late::Needed;
use crate::storage::passthrough::{Keeper, Mapping};
use crate::storage::recipe::Recipe;
use crate::tree::lazy::{Listed, Type};

use super::claims::Claims;
use super::queues::QUEUE;
use super::settings;
use super::slots::{Record, Slots};
use super::store::{Inherited, Store, gives_back};
use super::told;

/// What the file in memory is held as.
const STATE: &str = "state";

/// Seconds after which a look that has not ended waits for a disk or a file server: who is ended then has died of something
/// else. The next process begins within two seconds of a death.
const LONG: u64 = 10;

/// What each device of the mount is held as.
pub const DEVICE: &str = "device";

/// Kinds of records, with what their number is.
mod kind {
    /// The mount; 0.
    pub const MOUNT: u16 = 1;
    /// An open file; its handle.
    pub const FILE: u16 = 2;
    /// An open directory, with the number of its listing; its handle.
    pub const DIRECTORY: u16 = 3;
    /// The recipe of an open file; its inode.
    pub const RECIPE: u16 = 4;
    /// A backing file; the inode that is read from it, or 0 for the one that was given last.
    pub const BACKING: u16 = 5;
    /// Where a node that is not in the arena was found; its inode.
    pub const NAME: u16 = 6;
    /// A mapping of an ISO; its number.
    pub const MAPPING: u16 = 7;
    /// A backing file that nobody reads any more; its number.
    pub const ENDING: u16 = 8;
    /// What open directories show; its number.
    pub const LISTING: u16 = 9;
    /// An ISO that is being looked at, with the number of processes that have died of it and when that began; its number.
    pub const LOOK: u16 = 10;
}

/// The mount, as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub mountpoint: PathBuf,
    /// Its device number.
    pub device: (u32, u32),
    /// Whether the kernel takes backing files.
    pub passthrough: bool,
    /// Whether the kernel sends again what was not answered.
    pub resends: bool,
}

/// A file that was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFile {
    /// Its handle.
    pub handle: u64,
    /// Its inode.
    pub ino: u64,
    /// The request that opened it.
    pub request: u64,
}

/// A directory that was open.
#[derive(Debug)]
pub struct OpenDirectory {
    /// Its handle.
    pub handle: u64,
    /// The request that opened it.
    pub request: u64,
    /// The number of what it showed.
    pub listing: u64,
}

/// What open directories show.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its number.
    pub number: u64,
    /// The entries, of which the first is the directory itself.
    pub entries: Vec<Listed>,
}

/// A node that is not in the arena, as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The directory that it was found in.
    pub parent: u64,
    /// Its name there.
    pub name: OsString,
    /// The look-ups that the kernel has not forgotten. One that was carried out and not answered is counted twice: a name
    /// too many is kept, and never one too few.
    pub lookups: u64,
}

/// The remains of the process before this one.
#[derive(Default)]
pub struct Left {
    /// The mount.
    pub mount: Option<Mount>,
    /// Its queues of events, whose end takes its time.
    pub queues: Vec<OwnedFd>,
    /// What only one process can have.
    pub claims: Claims,
    /// The devices by which the kernel asks.
    pub devices: Vec<OwnedFd>,
    /// Open files.
    pub files: Vec<OpenFile>,
    /// Open directories.
    pub directories: Vec<OpenDirectory>,
    /// What they showed, by number.
    pub listings: HashMap<u64, Arc<Listing>>,
    /// Time of the last change in seconds, and what it consists of, by inode.
    pub recipes: HashMap<u64, (u64, Recipe)>,
    /// Backing files by inode.
    pub backings: HashMap<u64, u32>,
    /// Backing files that nobody reads any more, and which the kernel may still have.
    pub ending: Vec<u32>,
    /// The backing file that was given last.
    pub last_backing: Option<u32>,
    /// Names by inode.
    pub names: HashMap<u64, Name>,
    /// ISOs that were being looked at, with the number of processes that had died of them.
    pub looks: HashMap<u64, u8>,
    /// Mappings with their file and their metadata, by number.
    mappings: HashMap<u64, (Mapping, File, File)>,
    /// Files that recipes need, by identity.
    pub needed: HashMap<u64, Needed>,
}

/// The ledger, and the holder of what is in it.
pub struct Ledger {
    store: Store,
    entries: Mutex<Entries>,
    failed: AtomicBool,
}

struct Entries {
    slots: Slots,
    /// Open files: inode by handle.
    files: HashMap<u64, u64>,
    /// Open directories: number of the listing by handle.
    directories: HashMap<u64, u64>,
    /// How many open directories show a listing, by its number.
    listings: HashMap<u64, usize>,
    /// Open files by inode: how many, and the identities of the files that are held for it.
    open: HashMap<u64, (usize, Vec<u64>)>,
    /// How many inodes need a held file, by its identity.
    held: HashMap<u64, usize>,
    /// Backing files by inode.
    backings: HashMap<u64, u32>,
    /// Mappings of the process before this one that nobody has taken over yet, by number.
    mappings: HashMap<u64, (Mapping, File, File)>,
    next_mapping: u64,
}

impl Ledger {
    /// Opens what is held, or begins anew; `None` without a holder. `Left::mount` says whether there is something to go on with.
    ///
    /// # Errors
    /// If the holder can't be reached.
    pub fn open() -> io::Result<(Option<Arc<Self>>, Left)> {
        let Some(store) = Store::find()? else { return Ok((None, Left::default())) };
        let mut inherited = Inherited::take();
        // They stay held for whoever comes next.
        settings::NAMES.iter().chain(&[told::NAME]).for_each(|name| drop(inherited.all(name)));
        let queues = inherited.all(QUEUE);
        store.release(QUEUE)?;
        let claims = Claims::take(&mut inherited);
        let mut looks = HashMap::new();
        let state = inherited.one(STATE).map(File::from);
        if let Some((slots, records)) = state.map(Slots::open).transpose()?.flatten() {
            let mut left = Left::of(records, &mut inherited);
            if left.mount.is_some() && !left.devices.is_empty() {
                let ledger = Self::with(store, slots);
                ledger.adopt(&mut left, &inherited);
                return Ok((Some(Arc::new(ledger)), Left { queues, claims, ..left }));
            }
            looks = left.looks;
        }
        for name in inherited.names().map(String::as_str).chain([STATE, DEVICE]) {
            store.release(name)?;
        }
        drop(inherited.all(DEVICE));
        Closing::new().close(inherited);
        // The mount is dead then, and may be asked about.
        if gives_back() {
            store.settle()?;
        }
        let file = File::from(memfd_create("netrootfs", MemfdFlags::CLOEXEC)?);
        store.hold(STATE, file.as_fd())?;
        let ledger = Self::with(store, Slots::create(file)?);
        looks.iter().for_each(|(iso, deaths)| ledger.begins(*iso, *deaths));
        Ok((Some(Arc::new(ledger)), Left { looks, claims, ..Left::default() }))
    }

    fn with(store: Store, slots: Slots) -> Self {
        Self { store, entries: Mutex::new(Entries::new(slots)), failed: AtomicBool::new(false) }
    }

    /// Goes on with what is left, and lets go of what nothing needs.
    fn adopt(&self, left: &mut Left, inherited: &Inherited) {
        let mut guard = self.entries();
        let entries = &mut *guard;
        for file in &left.files {
            entries.files.insert(file.handle, file.ino);
            entries.open.entry(file.ino).or_default().0 += 1;
        }
        for directory in &left.directories {
            entries.directories.insert(directory.handle, directory.listing);
            *entries.listings.entry(directory.listing).or_default() += 1;
        }
        for number in left.listings.keys().filter(|number| !entries.listings.contains_key(number)) {
            self.done(entries.slots.remove((kind::LISTING, *number)));
        }
        for (ino, (_, recipe)) in &left.recipes {
            match entries.open.get_mut(ino) {
                Some((_, needs)) => {
                    *needs = identities(recipe);
                    needs.iter().for_each(|identity| *entries.held.entry(*identity).or_default() += 1);
                }
                None => self.done(entries.slots.remove((kind::RECIPE, *ino))),
            }
        }
        for (ino, id) in &left.backings {
            if entries.open.contains_key(ino) {
                entries.backings.insert(*ino, *id);
            } else {
                left.ending.push(*id);
                self.done(entries.slots.insert((kind::ENDING, (*id).into()), &[]));
                self.done(entries.slots.remove((kind::BACKING, *ino)));
            }
        }
        for identity in left.needed.keys().filter(|identity| !entries.held.contains_key(identity)) {
            self.done(self.store.release(&file_name(*identity)));
        }
        entries.next_mapping = left.mappings.keys().max().map_or(1, |last| last + 1);
        entries.mappings = std::mem::take(&mut left.mappings);
        for name in inherited.names() {
            self.done(self.store.release(name));
        }
    }

    /// Forgets all, for another mount.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn begin_anew(&self) -> io::Result<()> {
        let mut entries = self.entries();
        for name in
            entries.held.keys().map(|identity| file_name(*identity)).chain([DEVICE.into(), STATE.into()])
        {
            self.store.release(&name)?;
        }
        self.store.settle()?;
        let file = File::from(memfd_create("netrootfs", MemfdFlags::CLOEXEC)?);
        self.store.hold(STATE, file.as_fd())?;
        *entries = Entries::new(Slots::create(file)?);
        Ok(())
    }

    /// How many processes have served the mount before this one.
    pub fn generation(&self) -> u64 {
        self.entries().slots.generation()
    }

    /// Begins with a mount.
    pub fn mounted(&self, mount: &Mount) {
        let flags = u8::from(mount.passthrough) | u8::from(mount.resends) << 1;
        let mut bytes = vec![flags];
        bytes.extend(mount.device.0.to_le_bytes());
        bytes.extend(mount.device.1.to_le_bytes());
        bytes.extend(mount.mountpoint.as_os_str().as_bytes());
        self.done(self.entries().slots.insert((kind::MOUNT, 0), &bytes));
    }

    /// Has a device held.
    pub fn device(&self, device: BorrowedFd<'_>) {
        self.done(self.store.hold(DEVICE, device));
    }

    /// Waits until the holder has all of it.
    pub fn settle(&self) {
        self.done(self.store.settle());
    }

    /// Tells that the tree is served.
    pub fn ready(&self) {
        self.done(self.store.ready());
    }

    /// A file has been opened.
    pub fn opened(&self, file: &OpenFile, mtime: u64, content: &Content) {
        let known = self.entries().open.contains_key(&file.ino);
        // Rendering and encoding need no lock; who comes second here writes the same.
        let mut needed = Vec::new();
        let recipe = (!known).then(|| content.recipe(&mut needed)).flatten();
        let mut guard = self.entries();
        let entries = &mut *guard;
        let new = !entries.open.contains_key(&file.ino);
        // It may have been closed by all others meanwhile.
        let recipe = if new && known { content.recipe(&mut needed) } else { recipe };
        if let Some(recipe) = recipe.filter(|_| new) {
            let needs = identities(&recipe);
            let mut sent = false;
            for identity in &needs {
                let count = entries.held.entry(*identity).or_default();
                *count += 1;
                if *count == 1
                    && let Some((_, held)) = needed.iter().find(|(other, _)| other == identity)
                {
                    self.done(self.store.hold(&file_name(*identity), held.as_fd()));
                    sent = true;
                }
            }
            if sent {
                self.settle();
            }
            entries.open.insert(file.ino, (0, needs));
            let mut bytes = mtime.to_le_bytes().to_vec();
            bytes.extend(recipe.encode());
            self.done(entries.slots.insert((kind::RECIPE, file.ino), &bytes));
        }
        entries.open.entry(file.ino).or_default().0 += 1;
        entries.files.insert(file.handle, file.ino);
        let bytes = [file.ino.to_le_bytes(), file.request.to_le_bytes()].concat();
        self.done(entries.slots.insert((kind::FILE, file.handle), &bytes));
    }

    /// A directory has been opened.
    pub fn opened_directory(&self, handle: u64, request: u64, listing: &Listing) {
        let mut guard = self.entries();
        let entries = &mut *guard;
        let count = entries.listings.entry(listing.number).or_default();
        *count += 1;
        if *count == 1 {
            self.done(entries.slots.insert((kind::LISTING, listing.number), &listing.encode()));
        }
        entries.directories.insert(handle, listing.number);
        let bytes = [request.to_le_bytes(), listing.number.to_le_bytes()].concat();
        self.done(entries.slots.insert((kind::DIRECTORY, handle), &bytes));
    }

    /// A handle of either kind has been closed.
    pub fn closed(&self, handle: u64) {
        let mut guard = self.entries();
        let entries = &mut *guard;
        if let Some(number) = entries.directories.remove(&handle) {
            self.done(entries.slots.remove((kind::DIRECTORY, handle)));
            let Some(count) = entries.listings.get_mut(&number) else { return };
            *count -= 1;
            if *count == 0 {
                entries.listings.remove(&number);
                self.done(entries.slots.remove((kind::LISTING, number)));
            }
            return;
        }
        let Some(ino) = entries.files.remove(&handle) else { return };
        self.done(entries.slots.remove((kind::FILE, handle)));
        let Some((count, _)) = entries.open.get_mut(&ino) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        let (_, needs) = entries.open.remove(&ino).unwrap_or_default();
        self.done(entries.slots.remove((kind::RECIPE, ino)));
        for identity in needs {
            let Some(count) = entries.held.get_mut(&identity) else { continue };
            *count -= 1;
            if *count == 0 {
                entries.held.remove(&identity);
                self.done(self.store.release(&file_name(identity)));
            }
        }
    }

    /// The kernel knows a node by this name in that directory, from so many look-ups.
    pub fn named(&self, ino: u64, parent: u64, name: &OsStr, lookups: u64) {
        let bytes = [&parent.to_le_bytes(), lookups.to_le_bytes().as_slice(), name.as_bytes()].concat();
        self.done(self.entries().slots.insert((kind::NAME, ino), &bytes));
    }

    /// It has forgotten it.
    pub fn forgotten(&self, ino: u64) {
        self.done(self.entries().slots.remove((kind::NAME, ino)));
    }

    /// The open files of an inode are read from a backing file.
    pub fn backed(&self, ino: u64, id: u32) {
        let mut entries = self.entries();
        // The one before it is just being taken back.
        if let Some(old) = entries.backings.insert(ino, id).filter(|old| *old != id) {
            self.done(entries.slots.insert((kind::ENDING, old.into()), &[]));
        }
        for number in [0, ino] {
            self.done(entries.slots.insert((kind::BACKING, number), &id.to_le_bytes()));
        }
    }

    /// No longer from this one, which the kernel still has.
    pub fn ending(&self, ino: u64, id: u32) {
        let mut entries = self.entries();
        self.done(entries.slots.insert((kind::ENDING, id.into()), &[]));
        if entries.backings.get(&ino) == Some(&id) {
            entries.backings.remove(&ino);
            self.done(entries.slots.remove((kind::BACKING, ino)));
        }
    }

    /// The kernel has it no longer.
    pub fn ended(&self, id: u32) {
        self.done(self.entries().slots.remove((kind::ENDING, id.into())));
    }

    /// Lets go of mappings that nobody has taken over: their ISOs are gone, and nobody has them open.
    pub fn taken_over(&self) {
        let rest = std::mem::take(&mut self.entries().mappings);
        rest.into_keys().for_each(|number| self.gone(number));
    }

    /// Says once that the mount wouldn't outlive this process unharmed.
    fn done(&self, result: io::Result<()>) {
        if let Err(error) = result
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            log::error!("not all that is open would outlive this process: {error}");
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock()
    }
}

impl Keeper for Ledger {
    fn made(&self, mapping: &Mapping, file: &File, metadata: &File) -> u64 {
        let mut entries = self.entries();
        let number = entries.next_mapping;
        entries.next_mapping += 1;
        self.done(self.store.hold(&mapping_name(number), file.as_fd()));
        self.done(self.store.hold(&metadata_name(number), metadata.as_fd()));
        let ranges = mapping.ranges.iter().flat_map(|range| [range.start, range.end]);
        let bytes: Vec<u8> = mapping.iso.into_iter().chain(ranges).flat_map(u64::to_le_bytes).collect();
        self.done(entries.slots.insert((kind::MAPPING, number), &bytes));
        drop(entries);
        self.settle();
        number
    }

    fn gone(&self, number: u64) {
        self.done(self.entries().slots.remove((kind::MAPPING, number)));
        self.done(self.store.release(&mapping_name(number)));
        self.done(self.store.release(&metadata_name(number)));
    }

    fn left(&self, device: u64, inode: u64) -> Vec<(u64, Mapping, File, File)> {
        let of_it =
            |_: &u64, (mapping, ..): &mut (Mapping, File, File)| mapping.iso.starts_with(&[device, inode]);
        let found = self.entries().mappings.extract_if(of_it).collect::<Vec<_>>();
        found
            .into_iter()
            .map(|(number, (mapping, file, metadata))| (number, mapping, file, metadata))
            .collect()
    }
}

impl Witness for Ledger {
    fn begins(&self, iso: u64, deaths: u8) {
        let bytes: Vec<u8> = [deaths].into_iter().chain(now().to_le_bytes()).collect();
        self.done(self.entries().slots.insert((kind::LOOK, iso), &bytes));
    }

    fn ends(&self, iso: u64) {
        self.done(self.entries().slots.remove((kind::LOOK, iso)));
    }
}

impl Entries {
    fn new(slots: Slots) -> Self {
        Self {
            slots,
            files: HashMap::new(),
            directories: HashMap::new(),
            listings: HashMap::new(),
            open: HashMap::new(),
            held: HashMap::new(),
            backings: HashMap::new(),
            mappings: HashMap::new(),
            next_mapping: 1,
        }
    }
}

impl Left {
    fn of(records: Vec<Record>, inherited: &mut Inherited) -> Self {
        let mut left = Self { devices: inherited.all(DEVICE), ..Self::default() };
        for record in records {
            // What can't be read is as if it weren't there.
            let _ = left.enter(&record, inherited);
        }
        for (identity, fingerprint) in left.recipes.values().flat_map(|(_, recipe)| recipe.files()) {
            if let Some(file) = inherited.one(&file_name(identity)) {
                left.needed.insert(identity, Needed { file: Arc::new(file.into()), fingerprint });
            }
        }
        left
    }

    fn enter(&mut self, record: &Record, inherited: &mut Inherited) -> Option<()> {
        let (kind, id) = record.key;
        let mut bytes = record.bytes.as_slice();
        match kind {
            kind::MOUNT => self.mount = Some(Mount::parse(bytes)?),
            kind::FILE => {
                let (ino, request) = (number(&mut bytes)?, number(&mut bytes)?);
                self.files.push(OpenFile { handle: id, ino, request });
            }
            kind::DIRECTORY => {
                let (request, listing) = (number(&mut bytes)?, number(&mut bytes)?);
                self.directories.push(OpenDirectory { handle: id, request, listing });
            }
            kind::LISTING => {
                self.listings.insert(id, Arc::new(Listing { number: id, entries: Listing::decode(bytes)? }));
            }
            kind::RECIPE => {
                let mtime = number(&mut bytes)?;
                self.recipes.insert(id, (mtime, Recipe::decode(bytes)?));
            }
            kind::BACKING => {
                let backing = u32::from_le_bytes(bytes.try_into().ok()?);
                match id {
                    0 => self.last_backing = Some(backing),
                    ino => drop(self.backings.insert(ino, backing)),
                }
            }
            kind::ENDING => self.ending.push(u32::try_from(id).ok()?),
            kind::NAME => {
                let (parent, lookups) = (number(&mut bytes)?, number(&mut bytes)?);
                self.names.insert(id, Name { parent, lookups, name: OsString::from_vec(bytes.to_vec()) });
            }
            kind::LOOK => {
                let (deaths, mut began) = bytes.split_first()?;
                if *deaths >= DEADLY || now().saturating_sub(number(&mut began)?) <= LONG {
                    self.looks.insert(id, *deaths);
                }
            }
            kind::MAPPING => {
                let iso =
                    [number(&mut bytes)?, number(&mut bytes)?, number(&mut bytes)?, number(&mut bytes)?];
                let mut ranges = Vec::new();
                while !bytes.is_empty() {
                    ranges.push(number(&mut bytes)?..number(&mut bytes)?);
                }
                let file = File::from(inherited.one(&mapping_name(id))?);
                let metadata = File::from(inherited.one(&metadata_name(id))?);
                self.mappings.insert(id, (Mapping { iso, ranges }, file, metadata));
            }
            _ => {}
        }
        Some(())
    }
}

impl Mount {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (major, rest) = rest.split_first_chunk()?;
        let (minor, path) = rest.split_first_chunk()?;
        Some(Self {
            mountpoint: Path::new(OsStr::from_bytes(path)).to_owned(),
            device: (u32::from_le_bytes(*major), u32::from_le_bytes(*minor)),
            passthrough: flags & 1 != 0,
            resends: flags & 2 != 0,
        })
    }
}

impl Listing {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.extend(entry.ino.to_le_bytes());
            bytes.push(entry.kind as u8);
            bytes.extend((entry.name.len() as u16).to_le_bytes());
            bytes.extend(entry.name.as_bytes());
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Vec<Listed>> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let ino = number(&mut bytes)?;
            let (kind, rest) = bytes.split_first()?;
            let (len, rest) = rest.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            let kind =
                [Type::Directory, Type::File, Type::Link].into_iter().find(|other| *other as u8 == *kind)?;
            entries.push(Listed { ino, kind, name: OsString::from_vec(name.to_vec()) });
            bytes = rest;
        }
        Some(entries)
    }
}

/// Each once.
fn identities(recipe: &Recipe) -> Vec<u64> {
    let mut identities: Vec<u64> = recipe.files().into_iter().map(|(identity, _)| identity).collect();
    identities.sort_unstable();
    identities.dedup();
    identities
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

/// Seconds since the host's start, the same for all processes.
fn now() -> u64 {
    clock_gettime(ClockId::Boottime).tv_sec.unsigned_abs()
}

fn file_name(identity: u64) -> String {
    format!("file-{identity:x}")
}

fn mapping_name(number: u64) -> String {
    format!("mapping-{number}")
}

fn metadata_name(number: u64) -> String {
    format!("metadata-{number}")
}
