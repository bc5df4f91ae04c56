//! Processor and version of a kernel, out of its image.
//!
//! x86: the header of Documentation/arch/x86/boot.rst, which is never compressed. AArch64: the image of
//! Documentation/arch/arm64/booting.rst, plain, gzipped, or in the EFI envelope of drivers/firmware/efi/libstub/zboot-header.S;
//! there the version stands in the text of `/proc/version`. Takes bytes from a reader, and ends within its limits.

use std::io::{self, BufReader, Read};

use serde::{Deserialize, Serialize};

/// Bytes of an image that hold an x86 header with its version: the setup code has at most 64 sectors of 512.
const SETUP: u64 = 64 << 10;

/// Bytes that are unpacked in search of a version. The largest AArch64 kernels have 60 MB.
const MOST_BYTES: u64 = 128 << 20;

/// A version longer than this is not one.
const LONGEST_VERSION: usize = 64;

/// A processor that netrootfs has a program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// Its name, as `uname -m` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its processor.
    pub arch: Arch,
    /// Its version, as `uname -r` has it: fit for the name of a directory.
    pub version: String,
}

impl Kernel {
    /// The first two numbers of its version.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split(|symbol: char| !symbol.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// Why an image doesn't tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image of a kernel that is known.
    #[error("its kernel is of no known kind")]
    Unknown,
    /// A kernel for 32-bit machines.
    #[error("its kernel is for 32-bit machines")]
    Bits32,
    /// There is no version in it.
    #[error("its kernel doesn't tell its version")]
    NoVersion,
    /// It can't be read.
    #[error("its kernel can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Looks into a kernel image.
///
/// # Errors
/// If it isn't one that is known, with the reason.
pub fn read(image: impl Read) -> Result<Kernel, Error> {
    let mut image = BufReader::new(image);
    let mut head = Vec::new();
    image.by_ref().take(SETUP).read_to_end(&mut head)?;
    if word(&head, 0x1fe) == Some(0xaa55) && at(&head, 0x202, b"HdrS") {
        return x86(&head);
    }
    let rest = head.as_slice().chain(image);
    if at(&head, 56, b"ARM\x64") {
        return arm64(rest);
    }
    if at(&head, 0, &[0x1f, 0x8b]) {
        return arm64(flate2::read::GzDecoder::new(rest));
    }
    if at(&head, 4, b"zimg") {
        return zboot(&head, rest);
    }
    Err(Error::Unknown)
}

/// The fields are those of the boot protocol, which counts from the beginning of the image.
fn x86(head: &[u8]) -> Result<Kernel, Error> {
    const PROTOCOL: usize = 0x206;
    const KERNEL_VERSION: usize = 0x20e;
    const XLOADFLAGS: usize = 0x236;
    const XLF_KERNEL_64: u16 = 1;
    // Before 2.12 no kernel says whether it is one of 64 bits. Those are of 2012 and older.
    let old = word(head, PROTOCOL).is_none_or(|protocol| protocol < 0x020c);
    if !old && word(head, XLOADFLAGS).is_none_or(|flags| flags & XLF_KERNEL_64 == 0) {
        return Err(Error::Bits32);
    }
    let offset = word(head, KERNEL_VERSION).filter(|offset| *offset != 0).ok_or(Error::NoVersion)?;
    let text = head.get(usize::from(offset) + 0x200..).ok_or(Error::NoVersion)?;
    Ok(Kernel { arch: Arch::X86_64, version: version(text).ok_or(Error::NoVersion)? })
}

/// Little-endian payload offset and size at 8, name of the compression at 24.
fn zboot(head: &[u8], image: impl Read) -> Result<Kernel, Error> {
    let number = |offset: usize| {
        head.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    };
    let (offset, size) = number(8).zip(number(12)).ok_or(Error::Unknown)?;
    let mut image = image;
    io::copy(&mut image.by_ref().take(offset.into()), &mut io::sink())?;
    let payload = image.take(size.into());
    if at(head, 24, b"gzip") {
        arm64(flate2::read::GzDecoder::new(payload))
    } else if at(head, 24, b"zstd") {
        let mut decoder = zstd::stream::read::Decoder::new(payload)?;
        decoder.window_log_max(27)?;
        arm64(decoder)
    } else {
        Err(Error::Unknown)
    }
}

fn arm64(image: impl Read) -> Result<Kernel, Error> {
    let mut image = BufReader::new(image.take(MOST_BYTES));
    let mut head = [0; 64];
    image.read_exact(&mut head)?;
    if !at(&head, 56, b"ARM\x64") {
        return Err(Error::Unknown);
    }
    let version = search(image)?.ok_or(Error::NoVersion)?;
    Ok(Kernel { arch: Arch::Aarch64, version })
}

/// The version behind the first `Linux version ` that has one: a format string has the same words.
fn search(mut image: impl Read) -> io::Result<Option<String>> {
    const WORDS: &[u8] = b"Linux version ";
    const STEP: usize = 1 << 20;
    let mut window = Vec::new();
    loop {
        let read = image.by_ref().take(STEP as u64).read_to_end(&mut window)?;
        for start in memchr_all(&window, WORDS) {
            let text = window.get(start + WORDS.len()..).unwrap_or_default();
            // What is cut off at the end of the window comes again at the beginning of the next.
            if (text.len() > LONGEST_VERSION || read == 0)
                && let Some(version) = version(text)
            {
                return Ok(Some(version));
            }
        }
        if read == 0 {
            return Ok(None);
        }
        let keep = (WORDS.len() + LONGEST_VERSION).min(window.len());
        window.drain(..window.len() - keep);
    }
}

fn memchr_all<'a>(text: &'a [u8], words: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    text.windows(words.len()).enumerate().filter(move |(_, window)| *window == words).map(|(at, _)| at)
}

/// The first word, if it can be the name of a directory below `lib/modules`.
fn version(text: &[u8]) -> Option<String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(byte);
    let word = text.get(..LONGEST_VERSION + 1).unwrap_or(text);
    let end = word.iter().position(|byte| !plain(byte)).unwrap_or(word.len());
    let ended = text.get(end).is_none_or(|byte| matches!(byte, b' ' | b'\0'));
    let word = word.get(..end).filter(|word| word.first().is_some_and(u8::is_ascii_digit))?;
    let fits = ended && word.len() <= LONGEST_VERSION && word.contains(&b'.');
    fits.then(|| String::from_utf8_lossy(word).into_owned())
}

fn at(bytes: &[u8], offset: usize, magic: &[u8]) -> bool {
    bytes.get(offset..offset + magic.len()) == Some(magic)
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2)?.try_into().ok().map(u16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_release_is_the_first_two_numbers() {
        let release = |version: &str| Kernel { arch: Arch::X86_64, version: version.into() }.release();
        assert_eq!(release("5.4.0-26-generic"), Some((5, 4)));
        assert_eq!(release("6.12-x"), Some((6, 12)));
        assert_eq!(release("generic"), None);
    }

    fn bzimage(version: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x3000];
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x20e..0x210].copy_from_slice(&0x2e00_u16.to_le_bytes());
        image[0x236] = 0x3f;
        image.truncate(0x3000);
        image.extend_from_slice(version);
        image.push(0);
        image
    }

    fn arm64_image(version: &str) -> Vec<u8> {
        let mut image = vec![0; 2 << 20];
        image[56..60].copy_from_slice(b"ARM\x64");
        image.extend_from_slice(b"Linux version %s (%s)\0");
        // So that the words stand across two of the steps.
        image.resize((3 << 20) - 20, b'.');
        image.extend_from_slice(format!("Linux version {version} (x@y) (gcc) #1 SMP\n").as_bytes());
        image.resize(4 << 20, 0);
        image
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zboot(kind: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 64];
        image[..2].copy_from_slice(b"MZ");
        image[4..8].copy_from_slice(b"zimg");
        image[8..12].copy_from_slice(&64_u32.to_le_bytes());
        image[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image[24..24 + kind.len()].copy_from_slice(kind);
        image.extend_from_slice(payload);
        image
    }

    fn found(image: &[u8]) -> (Arch, String) {
        let kernel = read(image).unwrap();
        (kernel.arch, kernel.version)
    }

    #[test]
    fn an_x86_kernel_tells_in_its_header() {
        let image = bzimage(b"6.1.0-32-amd64 (debian-kernel@lists.debian.org) #1 SMP");
        assert_eq!(found(&image), (Arch::X86_64, "6.1.0-32-amd64".into()));
        let mut old = image.clone();
        old[0x236] = 0;
        assert!(matches!(read(old.as_slice()), Err(Error::Bits32)));
        old[0x206] = 0x0a;
        assert_eq!(found(&old).0, Arch::X86_64, "too old to say so");
    }

    #[test]
    fn an_arm64_kernel_is_found_in_each_of_its_envelopes() {
        let image = arm64_image("6.12.43+deb13-arm64");
        let want = (Arch::Aarch64, "6.12.43+deb13-arm64".to_owned());
        assert_eq!(found(&image), want);
        assert_eq!(found(&gzip(&image)), want);
        assert_eq!(found(&zboot(b"gzip", &gzip(&image))), want);
        assert_eq!(found(&zboot(b"zstd", &zstd::encode_all(image.as_slice(), 1).unwrap())), want);
        assert!(matches!(read(zboot(b"lzma", b"x").as_slice()), Err(Error::Unknown)));
    }

    #[test]
    fn a_version_that_is_no_name_of_a_directory_is_none() {
        for bad in
            [&b""[..], b"..", b"../../etc", b"6.1/x", b"6.1\x1b[2J", b"generic", b".6", b"6", &[b'6'; 80]]
        {
            assert!(matches!(read(bzimage(bad).as_slice()), Err(Error::NoVersion)), "{bad:?}");
        }
        let mut wild = bzimage(b"6.1.0");
        wild[0x20e..0x210].copy_from_slice(&[0xff, 0xff]);
        assert!(matches!(read(wild.as_slice()), Err(Error::NoVersion)));
    }

    #[test]
    fn others_are_not_known() {
        for image in [&b""[..], b"MZ", &[0; 4096], &gzip(b"x".repeat(100).as_slice())] {
            assert!(matches!(read(image), Err(Error::Unknown | Error::Io(_))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn hostile_bytes_give_a_plain_version_or_none(
            patches in prop::collection::vec((0usize..0x3040, any::<u8>()), 0..20), text in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut image = bzimage(&text);
            for (at, byte) in patches {
                if let Some(target) = image.get_mut(at) { *target = byte; }
            }
            if let Ok(kernel) = read(image.as_slice()) {
                prop_assert!(kernel.version.len() <= LONGEST_VERSION && !kernel.version.contains('/'));
                prop_assert!(kernel.version.starts_with(|first: char| first.is_ascii_digit()));
            }
        }
    }
}
