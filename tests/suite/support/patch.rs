//! An ISO in memory, to be damaged one field at a time.
//!
//! Records are found by their Rock Ridge names in the primary tree, by a reader of a few lines that trusts what it
//! reads: it is only for images that a tool has just made.

use netrootfs::storage::extent::SECTOR;

const SECTOR_SIZE: usize = SECTOR as usize;

/// An image, and where its parts lie.
#[derive(Clone)]
pub struct Patch {
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Patch {
    /// Offset of the primary volume descriptor (ECMA-119, 6.2.1).
    pub const PVD: usize = 16 * SECTOR_SIZE;
    /// In the descriptor: volume id, volume space size, logical block size, root record (ECMA-119, 8.4).
    pub const VOLUME_ID: usize = Self::PVD + 40;
    pub const SPACE_SIZE: usize = Self::PVD + 80;
    pub const BLOCK_SIZE: usize = Self::PVD + 128;
    pub const ROOT_RECORD: usize = Self::PVD + 156;

    /// Offset of the directory record of a path; of the root's own `.` for `/`.
    pub fn record(&self, path: &str) -> usize {
        let mut at = self.extent(Self::ROOT_RECORD);
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let directory = self.extent(at);
            let found =
                self.records(directory).into_iter().find(|&record| self.name(record) == part.as_bytes());
            at = found.unwrap_or_else(|| panic!("no {part} of {path}"));
        }
        at
    }

    /// Offset of the SUSP entry of that signature in a record's system use area (SUSP, 4).
    pub fn susp(&self, record: usize, signature: &[u8; 2]) -> usize {
        self.entries(record).into_iter().find(|&at| self.bytes[at..at + 2] == *signature).unwrap()
    }

    /// Puts other SUSP entries in the place of a record's `PX`, which has 44 bytes.
    pub fn replace_px(&mut self, record: usize, entries: &[u8]) {
        let at = self.susp(record, b"PX");
        let len = usize::from(self.bytes[at + 2]);
        let mut field = entries.to_vec();
        let rest = u8::try_from(len - entries.len()).unwrap();
        // What is left over is padding (SUSP, 5.2).
        field.extend([b'P', b'D', rest, 1]);
        field.resize(len, 0);
        self.put(at, &field);
    }

    /// Offset in bytes of what a record points at.
    pub fn extent(&self, record: usize) -> usize {
        self.little32(record + 2) as usize * SECTOR_SIZE
    }

    /// Lets a record point at a sector and have a length.
    pub fn point(&mut self, record: usize, sector: u32, len: u32) {
        self.both32(record + 2, sector);
        self.both32(record + 10, len);
    }

    /// Overwrites bytes.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Overwrites a number in both byte orders (ECMA-119, 7.3.3).
    pub fn both32(&mut self, at: usize, number: u32) {
        self.put(at, &both32(number));
    }

    /// Overwrites a number in both byte orders (ECMA-119, 7.2.3).
    pub fn both16(&mut self, at: usize, number: u16) {
        self.put(at, &number.to_le_bytes());
        self.put(at + 2, &number.to_be_bytes());
    }

    /// Appends sectors; returns the number of the first.
    pub fn append(&mut self, bytes: &[u8]) -> u32 {
        let first = self.bytes.len().div_ceil(SECTOR_SIZE);
        self.bytes.resize(first * SECTOR_SIZE, 0);
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR_SIZE), 0);
        u32::try_from(first).unwrap()
    }

    /// Where the records of the directory at an offset begin, without `.` and `..`.
    pub fn records(&self, directory: usize) -> Vec<usize> {
        let end = directory + self.little32(directory + 10) as usize;
        let mut found = Vec::new();
        let mut at = directory;
        while at < end {
            match usize::from(self.bytes[at]) {
                0 => at = (at / SECTOR_SIZE + 1) * SECTOR_SIZE,
                len => {
                    found.push(at);
                    at += len;
                }
            }
        }
        found.split_off(2)
    }

    fn name(&self, record: usize) -> Vec<u8> {
        let at = self.susp(record, b"NM");
        self.bytes[at + 5..at + usize::from(self.bytes[at + 2])].to_vec()
    }

    fn entries(&self, record: usize) -> Vec<usize> {
        let end = record + usize::from(self.bytes[record]);
        let mut at = record + 33 + (usize::from(self.bytes[record + 32]) | 1);
        let mut found = Vec::new();
        while at + 4 <= end && self.bytes[at + 2] >= 4 {
            found.push(at);
            at += usize::from(self.bytes[at + 2]);
        }
        found
    }

    fn little32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }
}

/// A number in both byte orders (ECMA-119, 7.3.3).
pub fn both32(number: u32) -> [u8; 8] {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&number.to_le_bytes());
    both[4..].copy_from_slice(&number.to_be_bytes());
    both
}

/// A SUSP entry: signature, length, version, data.
pub fn entry(signature: &[u8; 2], data: &[u8]) -> Vec<u8> {
    let len = u8::try_from(4 + data.len()).unwrap();
    [signature.as_slice(), &[len, 1], data].concat()
}

/// A `CE` entry (SUSP, 5.1): the area continues there.
pub fn continuation(sector: u32, offset: u32, len: u32) -> Vec<u8> {
    entry(b"CE", &[both32(sector), both32(offset), both32(len)].concat())
}

/// A directory record (ECMA-119, 9.1) with the system use area behind it.
pub fn record(name: &[u8], sector: u32, len: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 33];
    record[2..10].copy_from_slice(&both32(sector));
    record[10..18].copy_from_slice(&both32(len));
    record[25] = flags;
    record[28..32].copy_from_slice(&[1, 0, 0, 1]);
    record[32] = u8::try_from(name.len()).unwrap();
    record.extend(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system_use);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len()).unwrap();
    record
}

/// Directory records one after the other, none across a sector's end (ECMA-119, 6.8.1.1).
pub fn directory(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        if bytes.len() % SECTOR_SIZE + record.len() > SECTOR_SIZE {
            bytes.resize(bytes.len().next_multiple_of(SECTOR_SIZE), 0);
        }
        bytes.extend(record);
    }
    bytes.resize(bytes.len().next_multiple_of(SECTOR_SIZE), 0);
    bytes
}
