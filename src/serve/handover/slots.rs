//! Records in a file in memory that outlives the process: slots of fixed size, each written by one call.
//!
//! A record is a kind, a number and bytes; it takes as many slots as it needs and gives them back when it goes, so the
//! file is as large as the most that was in it at a time, and there is nothing to replay. A process may be killed between
//! any two writes: a record of which a slot is missing is none, and a slot is never half written (it lies within a page,
//! and what kills a process waits for the copy of a page).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What the file begins with: a name, and the version of everything in it. Another one is not read.
const MAGIC: &[u8; 8] = b"netroot\x03";

/// Where the slots begin.
const HEADER: u64 = 4096;
/// A part of a page.
const SLOT: usize = 128;
/// Kind, length, part and parts, and the number of the record come before the bytes.
const PREFIX: usize = 20;
const PAYLOAD: usize = SLOT - PREFIX;

/// Larger records are refused: a second initramfs with all drivers has 2 MB.
const MAX_BYTES: usize = 16 << 20;

/// Kind and number. Kind 0 is a free slot.
pub type Key = (u16, u64);

/// The records.
pub struct Slots {
    file: File,
    generation: u64,
    used: HashMap<Key, Vec<u32>>,
    free: Vec<u32>,
    /// Slots in the file.
    end: u32,
}

/// A record that has been read back.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Kind and number.
    pub key: Key,
    /// The entry.
    pub bytes: Vec<u8>,
}

impl Slots {
    /// An empty file gets its header.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn create(file: File) -> io::Result<Self> {
        file.set_len(HEADER)?;
        file.write_all_at(MAGIC, 0)?;
        Ok(Self { file, generation: 0, used: HashMap::new(), free: Vec::new(), end: 0 })
    }

    /// What a process before this one has left, in no order; `None` if it was of another version.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn open(file: File) -> io::Result<Option<(Self, Vec<Record>)>> {
        let len = file.metadata()?.len();
        let mut header = [0; 16];
        if len < HEADER {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        if !header.starts_with(MAGIC) {
            return Ok(None);
        }
        let generation = u64::from_le_bytes(array(&header, 8)).wrapping_add(1);
        file.write_all_at(&generation.to_le_bytes(), 8)?;
        let count = (len - HEADER) as usize / SLOT;
        let mut bytes = vec![0; count * SLOT];
        file.read_exact_at(&mut bytes, HEADER)?;
        let mut slots = Self { file, generation, used: HashMap::new(), free: Vec::new(), end: count as u32 };
        let records = slots.collect(&bytes)?;
        Ok(Some((slots, records)))
    }

    /// How often it has been opened since it was created.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Enters a record, in the place of the one of that key.
    ///
    /// # Errors
    /// If there is no memory, or it is too large; then there is none.
    pub fn insert(&mut self, key: Key, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > MAX_BYTES {
            self.remove(key)?;
            return Err(io::Error::other("too large to be kept"));
        }
        let parts = bytes.len().div_ceil(PAYLOAD).max(1);
        // A slot is written over in one go: there is no moment without the record.
        let kept = self.used.get(&key).filter(|places| parts == 1 && places.len() == 1).cloned();
        if kept.is_none() {
            self.remove(key)?;
        }
        let mut image = Vec::with_capacity(parts * SLOT);
        for part in 0..parts {
            let rest = bytes.get(part * PAYLOAD..).unwrap_or_default();
            let payload = rest.get(..PAYLOAD).unwrap_or(rest);
            image.extend_from_slice(&key.0.to_le_bytes());
            image.extend_from_slice(&(payload.len() as u16).to_le_bytes());
            image.extend_from_slice(&(part as u32).to_le_bytes());
            image.extend_from_slice(&(parts as u32).to_le_bytes());
            image.extend_from_slice(&key.1.to_le_bytes());
            image.extend_from_slice(payload);
            image.resize((part + 1) * SLOT, 0);
        }
        let places = kept.unwrap_or_else(|| self.take(parts));
        let written = self.write(&places, &image);
        self.used.insert(key, places);
        if written.is_err() {
            self.remove(key)?;
        }
        written
    }

    /// Takes a record out, if there is one.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn remove(&mut self, key: Key) -> io::Result<()> {
        let Some(places) = self.used.remove(&key) else { return Ok(()) };
        self.clear(places)
    }

    fn clear(&mut self, places: Vec<u32>) -> io::Result<()> {
        let cleared = self.write(&places, &vec![0; places.len() * SLOT]);
        // The first is the next to be taken.
        self.free.extend(places.iter().rev());
        cleared
    }

    /// Writes slots, those that lie in a row by one call.
    fn write(&self, places: &[u32], mut image: &[u8]) -> io::Result<()> {
        for row in places.chunk_by(|one, next| one + 1 == *next) {
            let (now, rest) = image.split_at_checked(row.len() * SLOT).unwrap_or((image, &[]));
            let first = row.first().copied().unwrap_or_default();
            self.file.write_all_at(now, HEADER + u64::from(first) * SLOT as u64)?;
            image = rest;
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Vec<u32> {
        let mut places: Vec<u32> = (0..count).map_while(|_| self.free.pop()).collect();
        while places.len() < count {
            places.push(self.end);
            self.end += 1;
        }
        places.sort_unstable();
        places
    }

    /// Puts the parts of records together. What is not whole is cleared.
    fn collect(&mut self, bytes: &[u8]) -> io::Result<Vec<Record>> {
        let mut found: HashMap<Key, Vec<(u32, Slot<'_>)>> = HashMap::new();
        for (place, slot) in (0..).zip(bytes.chunks_exact(SLOT)) {
            match Slot::parse(slot) {
                Some(slot) => found.entry(slot.key).or_default().push((place, slot)),
                None => self.free.push(place),
            }
        }
        self.free.reverse();
        let mut records = Vec::new();
        for (key, mut parts) in found {
            parts.sort_unstable_by_key(|(_, slot)| slot.part);
            let count = parts.len() as u32;
            let whole =
                (0..).zip(&parts).all(|(number, (_, slot))| slot.part == number && slot.parts == count);
            let places: Vec<u32> = parts.iter().map(|(place, _)| *place).collect();
            if whole {
                let bytes = parts.iter().flat_map(|(_, slot)| slot.payload).copied().collect();
                records.push(Record { key, bytes });
                self.used.insert(key, places);
            } else {
                self.clear(places)?;
            }
        }
        Ok(records)
    }
}

/// A slot that is in use.
struct Slot<'a> {
    key: Key,
    part: u32,
    parts: u32,
    payload: &'a [u8],
}

impl<'a> Slot<'a> {
    fn parse(slot: &'a [u8]) -> Option<Self> {
        let kind = u16::from_le_bytes(array(slot, 0));
        let len = usize::from(u16::from_le_bytes(array(slot, 2)));
        let payload = slot.get(PREFIX..)?.get(..len)?;
        let (part, parts) = (u32::from_le_bytes(array(slot, 4)), u32::from_le_bytes(array(slot, 8)));
        (kind != 0).then_some(Self { key: (kind, u64::from_le_bytes(array(slot, 12))), part, parts, payload })
    }
}

/// Bytes from there on; zeros where there are none.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn memory() -> File {
        rustix::fs::memfd_create("slots", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into()
    }

    /// As the next process finds it.
    fn reopened(file: &File) -> (Slots, BTreeMap<Key, Vec<u8>>) {
        let (slots, records) = Slots::open(file.try_clone().unwrap()).unwrap().unwrap();
        let count = records.len();
        let records: BTreeMap<_, _> = records.into_iter().map(|record| (record.key, record.bytes)).collect();
        assert_eq!(records.len(), count);
        (slots, records)
    }

    proptest! {
        #[test]
        fn what_was_entered_and_not_taken_out_is_there(
            steps in prop::collection::vec((1u16..3, 0u64..4, prop::option::of(0usize..400), any::<u8>()), 0..40),
            restarts in prop::collection::vec(any::<bool>(), 40),
        ) {
            let file = memory();
            let mut slots = Slots::create(file.try_clone().unwrap()).unwrap();
            let mut model: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
            for ((kind, id, len, fill), restart) in steps.into_iter().zip(restarts) {
                match len {
                    Some(len) => {
                        slots.insert((kind, id), &vec![fill; len]).unwrap();
                        model.insert((kind, id), vec![fill; len]);
                    }
                    None => {
                        slots.remove((kind, id)).unwrap();
                        model.remove(&(kind, id));
                    }
                }
                let (next, records) = reopened(&file);
                prop_assert_eq!(&records, &model);
                if restart {
                    slots = next;
                }
            }
        }
    }

    #[test]
    fn a_record_that_was_written_in_part_is_none_and_harms_no_other() {
        let file = memory();
        let mut slots = Slots::create(file.try_clone().unwrap()).unwrap();
        slots.insert((1, 1), b"one").unwrap();
        slots.insert((1, 2), &[7; 1000]).unwrap();
        slots.insert((1, 3), b"three").unwrap();
        for part in 0..10 {
            let torn = memory();
            let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            let at = HEADER as usize + (1 + part) * SLOT;
            bytes[at..at + SLOT].fill(0);
            torn.write_all_at(&bytes, 0).unwrap();
            let (mut slots, records) = reopened(&torn);
            assert_eq!(records.keys().copied().collect::<Vec<_>>(), [(1, 1), (1, 3)], "{part}");
            slots.insert((1, 2), &[8; 1000]).unwrap();
            assert_eq!(reopened(&torn).1[&(1, 2)], [8; 1000], "{part}");
        }
    }

    #[test]
    fn the_file_is_as_large_as_the_most_that_was_in_it() {
        let file = memory();
        let mut slots = Slots::create(file.try_clone().unwrap()).unwrap();
        for round in 0..1000 {
            slots.insert((1, round), &[1; 300]).unwrap();
            slots.insert((2, round), b"small").unwrap();
            slots.remove((1, round)).unwrap();
            slots.remove((2, round)).unwrap();
        }
        assert_eq!(file.metadata().unwrap().len(), HEADER + 4 * SLOT as u64);
    }

    #[test]
    fn a_small_record_is_written_over_in_its_place() {
        let file = memory();
        let mut slots = Slots::create(file.try_clone().unwrap()).unwrap();
        slots.insert((1, 1), b"one").unwrap();
        let place = slots.used.get(&(1, 1)).cloned();
        slots.insert((1, 2), b"two").unwrap();
        slots.insert((1, 1), &[b'3'; PAYLOAD]).unwrap();
        assert_eq!(slots.used.get(&(1, 1)).cloned(), place);
        slots.insert((1, 1), b"4").unwrap();
        let (_, mut left) = Slots::open(file).unwrap().unwrap();
        left.sort_by_key(|record| record.key);
        let bytes: Vec<&[u8]> = left.iter().map(|record| record.bytes.as_slice()).collect();
        assert_eq!(bytes, [b"4".as_slice(), b"two"]);
    }

    #[test]
    fn another_version_is_not_read() {
        let file = memory();
        Slots::create(file.try_clone().unwrap()).unwrap();
        file.write_all_at(b"netroot\x01", 0).unwrap();
        assert!(Slots::open(file).unwrap().is_none());
        assert!(Slots::open(memory()).unwrap().is_none(), "nor an empty file");
    }

    #[test]
    fn generations_are_counted() {
        let file = memory();
        assert_eq!(Slots::create(file.try_clone().unwrap()).unwrap().generation(), 0);
        assert_eq!(reopened(&file).0.generation(), 1);
        assert_eq!(reopened(&file).0.generation(), 2);
    }

    #[test]
    fn what_is_too_large_is_refused_and_takes_no_room() {
        let file = memory();
        let mut slots = Slots::create(file.try_clone().unwrap()).unwrap();
        assert!(slots.insert((1, 1), &vec![0; MAX_BYTES + 1]).is_err());
        assert!(reopened(&file).1.is_empty());
    }
}
