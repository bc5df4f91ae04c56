//! The sum that `implantisomd5` has written into an ISO, as Fedora's and its relatives' have it.
//!
//! It stands in the application use area of the primary volume descriptor: an MD5 of the volume with that area blank, and
//! without some last sectors, which burnt discs can't always give back (isomd5sum, utilities.c and README). The sums of
//! fragments beside it only let a check end early; they are passed over.

use std::ops::Range;

use crate::storage::extent::SECTOR;
use crate::storage::source::ReadAt;

/// Where the descriptors begin, and how many are looked at (ECMA-119, 6.2.1).
const START: u64 = 16 * SECTOR;
const MOST: u64 = 32;

/// Where in the descriptor the volume's size stands, in sectors and big-endian (ECMA-119, 8.4.8).
const SIZE: Range<usize> = 84..88;

/// The application use area in the descriptor (ECMA-119, 8.4.32).
const AREA: Range<usize> = 883..883 + 512;

/// What is in the area while the sum is made.
pub const BLANK: u8 = b' ';

/// An implanted sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implanted {
    /// The MD5, in lower-case hexadecimal digits.
    pub md5: String,
    /// How many bytes it is of, from the first on.
    pub len: u64,
    /// The bytes that count as [`BLANK`].
    pub blank: Range<u64>,
}

/// The sum in an ISO, if it has one.
pub fn find(iso: &(impl ReadAt + ?Sized)) -> Option<Implanted> {
    let mut sector = [0; SECTOR as usize];
    for number in 0..MOST {
        let at = START + number * SECTOR;
        iso.read_exact_at(&mut sector, at).ok()?;
        match (sector.get(1..6)?, sector.first()?) {
            (b"CD001", 1) => return parse(&sector, at),
            (b"CD001", 0) => {}
            _ => return None,
        }
    }
    None
}

/// The sum in a primary volume descriptor that lies at `at`.
fn parse(descriptor: &[u8], at: u64) -> Option<Implanted> {
    let area = std::str::from_utf8(descriptor.get(AREA)?).ok()?;
    let value = |key: &str| area.split(';').find_map(|field| field.trim().strip_prefix(key));
    let md5 = value("ISO MD5SUM = ")?;
    let skipped = value("SKIPSECTORS = ")?.parse::<u64>().ok()?;
    if md5.len() != 32 || !md5.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let sectors = u32::from_be_bytes(descriptor.get(SIZE)?.try_into().ok()?);
    Some(Implanted {
        md5: md5.to_ascii_lowercase(),
        len: u64::from(sectors).checked_sub(skipped)? * SECTOR,
        blank: at + AREA.start as u64..at + AREA.end as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "ISO MD5SUM = 0123456789abcdef0123456789ABCDEF;SKIPSECTORS = 15;RHLISOSTATUS=1;\
                       FRAGMENT SUMS = ab;FRAGMENT COUNT = 20;THIS IS NOT THE SAME AS RUNNING MD5SUM ON THIS ISO!!";

    fn iso(area: &str, sectors: u32) -> Vec<u8> {
        let mut iso = vec![0; 20 * SECTOR as usize];
        let descriptor = &mut iso[START as usize..];
        descriptor[..6].copy_from_slice(b"\x01CD001");
        descriptor[SIZE].copy_from_slice(&sectors.to_be_bytes());
        descriptor[AREA].fill(b' ');
        descriptor[AREA][..area.len()].copy_from_slice(area.as_bytes());
        iso
    }

    #[test]
    fn the_sum_has_its_length_and_the_area_that_counts_as_blank() {
        let found = find(&iso(SUM, 115)).unwrap();
        assert_eq!(found.md5, "0123456789abcdef0123456789abcdef");
        assert_eq!((found.len, found.blank), (100 * 2048, 33_651..34_163));
    }

    #[test]
    fn an_area_of_another_kind_has_none() {
        for area in [
            "",
            "MKISOFS ISOFS",
            "ISO MD5SUM = 0123;SKIPSECTORS = 15;",
            "ISO MD5SUM = 0123456789abcdef0123456789abcdef;SKIPSECTORS = -1;",
            "ISO MD5SUM = 0123456789abcdef0123456789abcdef;",
            "ISO MD5SUM = xx23456789abcdef0123456789abcdef;SKIPSECTORS = 0;",
        ] {
            assert_eq!(find(&iso(area, 115)), None, "{area}");
        }
        assert_eq!(find(&iso(SUM, 14)), None, "more is skipped than there is");
        assert_eq!(find(&vec![0_u8; 100]), None);
        assert_eq!(find(&vec![0_u8; 100_000]), None);
    }
}
