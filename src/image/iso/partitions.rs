//! Partition tables of hybrid ISOs: how far an image reaches behind its volume.
//!
//! xorriso appends an EFI partition and the second header of a GPT behind the ISO 9660 volume, whose length then isn't that
//! of the file. A table that doesn't hold together says nothing.

use crate::storage::source::ReadAt;

/// Unit of both tables in bytes, as on the disks that hybrid ISOs are copied to.
const BLOCK: u64 = 512;

/// Longest header of a GPT (UEFI 2.10, 5.3.2: the block).
const LONGEST: usize = BLOCK as usize;

/// Where the last part ends that an MBR or a GPT names behind the volume, in bytes; 0 if there is none.
pub(super) fn end(image: &impl ReadAt, volume: u64) -> u64 {
    let block = |number: u64| {
        let mut block = [0; BLOCK as usize];
        image.read_exact_at(&mut block, number * BLOCK).ok().map(|()| block)
    };
    let mbr = block(0).map_or(0, |mbr| end_of_mbr(&mbr, volume));
    let gpt = block(1).and_then(|header| end_of_gpt(&header)).unwrap_or(0);
    mbr.max(gpt)
}

/// Of the partitions that begin behind the volume. One that begins in it is a hybrid's own, often rounded up.
fn end_of_mbr(block: &[u8; BLOCK as usize], volume: u64) -> u64 {
    if block[510..] != [0x55, 0xaa] {
        return 0;
    }
    let ends = block[446..510].chunks_exact(16).filter_map(|entry| {
        let long = |at: usize| Some(u64::from(u32::from_le_bytes(*entry.get(at..)?.first_chunk()?)));
        let (start, count) = (long(8)? * BLOCK, long(12)? * BLOCK);
        // 0xee covers the whole of a disk with a GPT, whatever its size.
        let counts = !matches!(entry.get(4)?, 0 | 0xee) && start >= volume && count > 0;
        counts.then_some(start + count)
    });
    ends.max().unwrap_or(0)
}

/// Where the second header lies (UEFI 2.10, 5.3.2). A sound header has the checksum of itself.
fn end_of_gpt(block: &[u8; BLOCK as usize]) -> Option<u64> {
    let size = u32::from_le_bytes(*block[12..].first_chunk()?) as usize;
    if !block.starts_with(b"EFI PART") || !(92..=LONGEST).contains(&size) {
        return None;
    }
    let mut header = block.get(..size)?.to_vec();
    header.get_mut(16..20)?.fill(0);
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    if sum.sum() != u32::from_le_bytes(*block[16..].first_chunk()?) {
        return None;
    }
    let second = u64::from_le_bytes(*block[32..].first_chunk()?);
    second.checked_add(1)?.checked_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mbr(kind: u8, start: u32, count: u32) -> [u8; 512] {
        let mut block = [0; 512];
        block[510..].copy_from_slice(&[0x55, 0xaa]);
        block[446 + 4] = kind;
        block[446 + 8..446 + 12].copy_from_slice(&start.to_le_bytes());
        block[446 + 12..446 + 16].copy_from_slice(&count.to_le_bytes());
        block
    }

    fn gpt(second: u64) -> [u8; 512] {
        let mut block = [0; 512];
        block[..8].copy_from_slice(b"EFI PART");
        block[12..16].copy_from_slice(&92_u32.to_le_bytes());
        block[32..40].copy_from_slice(&second.to_le_bytes());
        let mut sum = flate2::Crc::new();
        sum.update(&block[..92]);
        block[16..20].copy_from_slice(&sum.sum().to_le_bytes());
        block
    }

    #[test]
    fn a_partition_behind_the_volume_counts() {
        assert_eq!(end_of_mbr(&mbr(0xef, 8, 4), 4096), 12 * 512);
        assert_eq!(end_of_mbr(&mbr(0xef, 7, 400), 4096), 0, "it begins in the volume");
        assert_eq!(end_of_mbr(&mbr(0xee, 8, 4), 4096), 0);
        assert_eq!(end_of_mbr(&[0; 512], 0), 0);
    }

    #[test]
    fn a_gpt_ends_with_its_second_header() {
        assert_eq!(end_of_gpt(&gpt(99)), Some(100 * 512));
        let mut damaged = gpt(99);
        damaged[32] ^= 1;
        assert_eq!(end_of_gpt(&damaged), None);
        assert_eq!(end_of_gpt(&[0; 512]), None);
        assert_eq!(end_of_gpt(&gpt(u64::MAX)), None);
    }

    #[test]
    fn what_can_not_be_read_says_nothing() {
        assert_eq!(end(&b"short".to_vec(), 0), 0);
        let image: Vec<u8> = [mbr(0xef, 8, 4), gpt(20)].concat();
        assert_eq!(end(&image, 4096), 21 * 512);
    }
}
