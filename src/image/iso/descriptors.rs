//! The volume descriptors, as a strict reader wants them.
//!
//! Versions that nobody else looks at, junk in the terminator, or none at all: Linux mounts such an ISO. Here it gets
//! descriptors in which only that is mended; nothing else is touched, and no other byte of the image.

use std::io;

use crate::storage::extent::SECTOR;
use crate::storage::source::ReadAt;

const SIZE: usize = SECTOR as usize;

/// Where they begin (ECMA-119, 6.2.1).
const START: u64 = 16 * SECTOR;

/// Descriptors that are looked at. Three to five are usual.
const MOST: usize = 32;

/// Types (ECMA-119, 8.1.1).
const BOOT: u8 = 0;
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const TERMINATOR: u8 = 255;

/// An image with mended descriptors.
pub(super) struct Mended<R> {
    inner: R,
    descriptors: Vec<u8>,
}

impl<R: ReadAt> Mended<R> {
    pub(super) fn new(inner: R) -> Self {
        let mut descriptors = Vec::new();
        let mut primary = false;
        for number in 0..MOST {
            let mut sector = [0; SIZE];
            let read = inner.read_exact_at(&mut sector, START + (number * SIZE) as u64).is_ok();
            let kind = sector[0];
            if !read || &sector[1..6] != b"CD001" || kind == TERMINATOR {
                // Only what begins as an ISO ends as one.
                if primary {
                    descriptors.extend(terminator());
                }
                break;
            }
            primary |= kind == PRIMARY;
            // Version 2 of the third is ISO 9660:1999.
            let version = &mut sector[6];
            match (kind, *version) {
                (BOOT | PRIMARY, _) => *version = 1,
                (SUPPLEMENTARY, version) if version == 1 || version == 2 => {}
                (SUPPLEMENTARY, _) => *version = 1,
                _ => {}
            }
            descriptors.extend(sector);
        }
        Self { inner, descriptors }
    }
}

fn terminator() -> [u8; SIZE] {
    let mut sector = [0; SIZE];
    sector[..7].copy_from_slice(b"\xffCD001\x01");
    sector
}

impl<R: ReadAt> ReadAt for Mended<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, offset)?;
        let (first, end) =
            (offset.max(START), (offset + buf.len() as u64).min(START + self.descriptors.len() as u64));
        if first < end {
            let part = |start: u64| (first - start) as usize..(end - start) as usize;
            if let (Some(to), Some(from)) = (buf.get_mut(part(offset)), self.descriptors.get(part(START))) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(descriptors: &[&[u8]]) -> Vec<u8> {
        let mut image = vec![7; START as usize];
        for head in descriptors {
            let mut sector = [9_u8; SIZE];
            sector.iter_mut().zip(*head).for_each(|(to, from)| *to = *from);
            image.extend(sector);
        }
        image.extend([7; 2 * SIZE]);
        image
    }

    fn heads(image: Vec<u8>) -> Vec<[u8; 7]> {
        let mended = Mended::new(image);
        let head = |number: u64| {
            let mut head = [0; 7];
            mended.read_exact_at(&mut head, START + number * SECTOR).unwrap();
            head
        };
        (0..4).map(head).collect()
    }

    const GOOD: [&[u8]; 3] = [b"\x01CD001\x01", b"\x02CD001\x02", b"\xffCD001\x01"];

    #[test]
    fn versions_and_the_terminator_are_mended() {
        let good = heads(image(&GOOD));
        assert_eq!((&good[0], &good[1], &good[2]), (b"\x01CD001\x01", b"\x02CD001\x02", b"\xffCD001\x01"));
        assert_eq!(good[3], [7; 7]);
        assert_eq!(heads(image(&[b"\x01CD001\x00", GOOD[1], b"\xffCD001\x00"])), good);
        let none = heads(image(&[GOOD[0], GOOD[1]]));
        assert_eq!(none[..3], good[..3]);
    }

    #[test]
    fn what_is_no_iso_stays_none() {
        let bytes = vec![7; 40 * SIZE];
        let mut all = vec![0; bytes.len()];
        Mended::new(bytes.clone()).read_exact_at(&mut all, 0).unwrap();
        assert_eq!(all, bytes);
    }

    #[test]
    fn only_the_descriptors_change() {
        let bytes = image(&[b"\x01CD001\x00", b"\xffCD001\x00"]);
        let mut all = vec![0; bytes.len()];
        Mended::new(bytes.clone()).read_exact_at(&mut all, 0).unwrap();
        let changed: Vec<usize> = (0..bytes.len()).filter(|&at| all[at] != bytes[at]).collect();
        let start = START as usize;
        assert!(changed.iter().all(|&at| at == start + 6 || (start + SIZE..start + 2 * SIZE).contains(&at)));
        let mut version = [0];
        Mended::new(bytes).read_exact_at(&mut version, START + 6).unwrap();
        assert_eq!(version, [1]);
    }
}
