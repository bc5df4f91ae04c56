//! The medium as libblkid tells it, and so udev under `/dev/disk`: its label and its UUID.
//!
//! Neither need be what the primary volume descriptor says: a Joliet label is preferred to it, and UDF to both (util-linux,
//! libblkid/src/superblocks, iso9660.c and udf.c). Of UDF only the label is read.

use super::Image;
use crate::storage::extent::SECTOR;
use crate::storage::source::ReadAt;

/// Sector of the first volume descriptor (ECMA-119, 6.2.1).
const FIRST: u64 = 16;

/// Descriptors that libblkid looks at.
const MOST: u64 = 16;

/// Bytes of a volume id.
const ID: usize = 32;

/// Where the dates of a volume's creation and modification lie in its descriptor (ECMA-119, 8.4.26 and 8.4.27).
const DATES: [usize; 2] = [830, 813];

/// Sector of UDF's anchor (ECMA-167, 3/8.4.2.1), and the descriptors that are looked at from there.
const ANCHOR: u64 = 256;

/// UDF's tags of an anchor, a logical volume descriptor and the end of a sequence (ECMA-167, 3/7.2.1).
const TAG_ANCHOR: u16 = 2;
const TAG_LOGICAL: u16 = 6;
const TAG_END: u16 = 8;

/// The names that a medium is found by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Medium {
    /// Its label, not yet as udev writes it; empty if it has none.
    pub label: Vec<u8>,
    /// Its UUID, such as `2024-05-01-12-00-00-00`.
    pub uuid: Option<String>,
}

type Sector = [u8; SECTOR as usize];

impl Image {
    /// The names that it is found by as a disc.
    pub fn medium(&self) -> Medium {
        let (mut primary, mut joliet, mut udf) = (None, None, false);
        for number in FIRST..FIRST + MOST {
            let Some(sector) = self.sector(number) else { break };
            match (sector[0], &sector[1..6]) {
                (1, b"CD001") if primary.is_none() => primary = Some(sector),
                (2, b"CD001") if is_joliet(&sector) && joliet.is_none() => joliet = Some(sector),
                (_, b"NSR02" | b"NSR03") => udf = true,
                _ => {}
            }
        }
        if udf && let Some(label) = self.udf_label() {
            return Medium { label, uuid: None };
        }
        let Some(primary) = primary else { return Medium::default() };
        let label = match joliet {
            Some(joliet) => merged(&id(&joliet), &id(&primary)),
            None => trimmed(&id(&primary)).to_vec(),
        };
        Medium { label, uuid: DATES.iter().find_map(|&at| date(&primary, at)) }
    }

    /// The UUID that GRUB makes of its dates, and libblkid where there is no UDF; nothing if it has no date.
    pub fn uuid(&self) -> Option<String> {
        let primary = self.sector(FIRST)?;
        DATES.iter().find_map(|&at| date(&primary, at))
    }

    /// The id of UDF's logical volume.
    fn udf_label(&self) -> Option<Vec<u8>> {
        let anchor = self.sector(ANCHOR).filter(|sector| number(sector, 0) == TAG_ANCHOR)?;
        let [len, start] = [16, 20].map(|at| u64::from(u32::from_le_bytes(field(&anchor, at))));
        let sequence = (start..start + (len / SECTOR).min(MOST)).map_while(|number| self.sector(number));
        let logical = sequence
            .take_while(|sector| number(sector, 0) != TAG_END)
            .find(|sector| number(sector, 0) == TAG_LOGICAL)?;
        // A dstring of 128 bytes: compression id, text, length (UDF 2.60, 2.1.3).
        let [compression, text @ .., len] = field::<128>(&logical, 84);
        let text = text.get(..usize::from(len).checked_sub(1)?)?;
        let text = match compression {
            8 => text.iter().map(|&byte| char::from(byte)).collect(),
            16 => String::from_utf16_lossy(&units(text)),
            _ => return None,
        };
        Some(trimmed(text.as_bytes()).to_vec())
    }

    fn sector(&self, number: u64) -> Option<Sector> {
        let mut sector = [0; SECTOR as usize];
        self.source.read_exact_at(&mut sector, number.checked_mul(SECTOR)?).ok()?;
        Some(sector)
    }
}

/// One of the escape sequences for UCS-2 (Joliet Specification, "SVD Escape Sequences Field").
fn is_joliet(descriptor: &Sector) -> bool {
    [b"%/@", b"%/C", b"%/E"].contains(&&[descriptor[88], descriptor[89], descriptor[90]])
}

fn id(descriptor: &Sector) -> [u8; ID] {
    field(descriptor, 40)
}

/// A Joliet label has 16 characters, the other one 32 that are often in capitals only: where they say the same, libblkid
/// makes one of both since util-linux 2.37.
fn merged(joliet: &[u8; ID], primary: &[u8; ID]) -> Vec<u8> {
    let units = units(joliet);
    let one = |(&unit, &byte): (&u16, &u8)| {
        let (narrow, ascii) = (u8::try_from(unit).unwrap_or(b'_'), byte);
        match () {
            () if ascii == b'_' || ascii == narrow.to_ascii_uppercase() => Some(unit),
            () if ascii.eq_ignore_ascii_case(&narrow) => Some(u16::from(ascii)),
            () => None,
        }
    };
    let both: Option<Vec<u16>> = units.iter().zip(primary).map(one).collect();
    let rest = primary.iter().skip(ID / 2).map(|&byte| u16::from(byte));
    let units = both.map_or(units, |both| both.into_iter().chain(rest).collect());
    trimmed(String::from_utf16_lossy(&units).as_bytes()).to_vec()
}

/// Big-endian UCS-2.
fn units(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
}

/// Up to the first NUL, without blanks at the end.
fn trimmed(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default().trim_ascii_end()
}

/// Digits and an offset from Greenwich; sixteen zeros are no date. libblkid takes any bytes for digits, which could then
/// be no word of kernel arguments.
fn date(descriptor: &Sector, at: usize) -> Option<String> {
    let (digits, [offset]) = (field::<16>(descriptor, at), field(descriptor, at + 16));
    let unset = digits.iter().all(|&digit| digit == b'0') && offset == 0;
    if unset || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = digits.split_at(4);
    let parts = std::iter::once(year).chain(rest.chunks(2)).map(String::from_utf8_lossy);
    Some(parts.collect::<Vec<_>>().join("-"))
}

fn number(sector: &Sector, at: usize) -> u16 {
    u16::from_le_bytes(field(sector, at))
}

fn field<const N: usize>(sector: &Sector, at: usize) -> [u8; N] {
    sector.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded<const N: usize>(text: &[u8], pad: u8) -> [u8; N] {
        let mut field = [pad; N];
        field[..text.len()].copy_from_slice(text);
        field
    }

    fn both(primary: &str, joliet: &str) -> String {
        let units: Vec<u8> = format!("{joliet:<16}").encode_utf16().flat_map(u16::to_be_bytes).collect();
        let label = merged(&padded(&units, 0), &padded(primary.as_bytes(), b' '));
        String::from_utf8(label).unwrap()
    }

    /// What `blkid -p` of util-linux 2.38.1 says of such ISOs.
    #[test]
    fn a_joliet_label_is_merged_as_libblkid_does_it() {
        for (primary, joliet, label) in [
            ("CDROM", "My Rescue 1", "My Rescue 1"),
            ("RESCUE_LIVE_42", "Rescue Live 42", "Rescue Live 42"),
            ("RESCUE-WORKSTATION-LIVE-42-X8664", "Rescue-Workstati", "Rescue-WorkstatiON-LIVE-42-X8664"),
            ("", "Rescue 7", "Rescue 7"),
            ("Same-7", "Same-7", "Same-7"),
            ("RESCUE_LIVE_42_ABCDEFG", "Rescue Live 42_A", "Rescue Live 42_ABCDEFG"),
            ("Fedora-WS-Live-42-1-1-ABCD", "Fedora-WS-Live-4", "Fedora-WS-Live-42-1-1-ABCD"),
            ("ABC", "ABCD", "ABCD"),
            ("ABCD", "ABC", "ABC"),
            ("AB_", "ABÄ", "ABÄ"),
            ("lower_x", "LOWER_X", "lower_x"),
        ] {
            assert_eq!(both(primary, joliet), label, "{primary} {joliet}");
        }
    }

    #[test]
    fn a_date_is_a_uuid() {
        let sector = |text: &[u8]| {
            let mut sector = [0; SECTOR as usize];
            sector[830..830 + text.len()].copy_from_slice(text);
            sector
        };
        assert_eq!(date(&sector(b"2026112521562200\x04"), 830).unwrap(), "2026-11-25-21-56-22-00");
        assert_eq!(date(&sector(b"0000000000000000\0"), 830), None);
        assert!(date(&sector(b"0000000000000000\x04"), 830).is_some());
        assert_eq!(date(&sector(b"20261125 1562200\0"), 830), None);
    }
}
