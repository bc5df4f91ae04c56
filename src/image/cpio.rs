//! The "newc" format of cpio archives, the only one that the kernel unpacks: the header of an entry, read and written, and
//! a writer of archives with gzip around them.
//!
//! The layout is that of Documentation/driver-api/early-userspace/buffer-format.rst. The same entries make the same
//! bytes: there is no time, owner or device in them. Names are the caller's; they begin without a slash.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes of a header; the name follows, then, from a multiple of [`ALIGN`] on, the body.
pub const HEADER: usize = 110;

/// Headers and bodies begin at a multiple of this.
pub const ALIGN: usize = 4;

/// The name of the entry that ends an archive.
pub const TRAILER: &str = "TRAILER!!!";

const MAGIC: &[u8] = b"070701";
const MAGIC_CHECKSUM: &[u8] = b"070702";
const DIGITS: usize = 8;

const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_755;

/// The numbers before the name of an entry, as far as they matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Files of one number are one file, if there are links.
    pub inode: u32,
    /// Type and permissions (inode(7)).
    pub mode: u32,
    /// Names of the file.
    pub links: u32,
    /// Length of the body in bytes.
    pub body: u32,
    /// Length of the name in bytes, with the NUL at its end.
    pub name: u32,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is of another format of cpio, or of none.
    Magic,
    /// That number is not hexadecimal.
    Number(&'static str),
}

impl Header {
    /// Reads one; the checksum variant of the format has the same shape.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, Fault> {
        if !bytes.starts_with(MAGIC) && !bytes.starts_with(MAGIC_CHECKSUM) {
            return Err(Fault::Magic);
        }
        let number = |index: usize, name| {
            let start = MAGIC.len() + index * DIGITS;
            let digits = bytes.get(start..start + DIGITS).filter(|it| it.iter().all(u8::is_ascii_hexdigit));
            let number = digits.and_then(|it| u32::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok());
            number.ok_or(Fault::Number(name))
        };
        Ok(Self {
            inode: number(0, "inode")?,
            mode: number(1, "mode")?,
            links: number(4, "number of links")?,
            body: number(6, "file size")?,
            name: number(11, "name size")?,
        })
    }

    /// Its bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        // Owner and group, time, two devices of two numbers each, checksum: all of them 0.
        let fields = [self.inode, self.mode, 0, 0, self.links, 0, self.body, 0, 0, 0, 0, self.name, 0];
        let mut bytes = MAGIC.to_vec();
        fields.iter().for_each(|field| bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
        bytes
    }

    /// Whether the kernel makes something of the entry: devices and directories have no body (init/initramfs.c, `do_header`).
    pub fn is_unpacked(self) -> bool {
        let file_type = self.mode & FILE_TYPE;
        file_type == REGULAR || file_type == SYMLINK || self.body == 0
    }
}

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    entries: u32,
}

impl Writer {
    /// Adds a directory. The kernel takes one that is there already for made.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, 2, &[]);
    }

    /// Adds a file with these permission bits.
    pub fn file(&mut self, name: &str, permissions: u32, body: &[u8]) {
        self.entry(name, REGULAR | permissions, 1, body);
    }

    /// The archive, closed.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, 1, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, body: &[u8]) {
        self.entries += 1;
        let header = Header {
            inode: if name == TRAILER { 0 } else { self.entries },
            mode,
            links,
            // A program or a module is far from 4 GiB; the field has room for no more.
            body: u32::try_from(body.len()).unwrap_or(u32::MAX),
            name: u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
        };
        self.bytes.extend_from_slice(&header.to_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(body);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
    }
}

/// One gzip member with these bytes in it. A loader may put it at any offset of an initrd.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let pack = || -> io::Result<Vec<u8>> {
        // No name and no time: the head is the same each time.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes)?;
        encoder.finish()
    };
    // Writing to memory doesn't fail.
    pack().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// Names, permissions and sizes by cpio(1).
    fn listed(archive: &[u8]) -> String {
        let mut cpio = Command::new("cpio")
            .args(["-tv", "--numeric-uid-gid", "--quiet"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio is installed by scripts/setup test");
        cpio.stdin.take().unwrap().write_all(archive).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    fn sample() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.directory("netrootfs");
        writer.file("netrootfs/init", 0o755, b"\x7fELF!");
        writer.file("netrootfs/load", 0o644, b"");
        writer.finish()
    }

    #[test]
    fn an_archive_is_what_the_document_says() {
        let archive = sample();
        let fields = ["00000001", "000041ed", "00000000", "00000000", "00000002", "00000000", "00000000"];
        let head = format!("070701{}{}0000000a00000000", fields.concat(), "0".repeat(32));
        assert_eq!(String::from_utf8_lossy(&archive[..110]), head);
        assert_eq!(&archive[110..120], b"netrootfs\0");
        assert_eq!(archive.len() % 4, 0);
        assert_eq!(archive, sample());
    }

    #[test]
    fn cpio_reads_it() {
        let lines = listed(&sample());
        let lines: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        let wanted = [
            ("drwxr-xr-x", "0", "netrootfs"),
            ("-rwxr-xr-x", "5", "netrootfs/init"),
            ("-rw-r--r--", "0", "netrootfs/load"),
        ];
        assert_eq!(lines.len(), wanted.len(), "{lines:?}");
        for (line, (mode, size, name)) in lines.iter().zip(wanted) {
            assert_eq!(
                (line[0], line[2], line[3], line[4], *line.last().unwrap()),
                (mode, "0", "0", size, name)
            );
            assert!(line.contains(&"1970"), "{line:?}");
        }
    }

    #[test]
    fn gzip_makes_the_same_bytes_each_time() {
        let packed = gzip(&sample());
        assert_eq!(packed, gzip(&sample()));
        assert_eq!(&packed[4..8], &[0; 4], "no time");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, sample());
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written(inode: u32, mode: u32, links: u32, body: u32, name: u32) {
            let header = Header { inode, mode, links, body, name };
            prop_assert_eq!(Header::parse(&header.to_bytes().try_into().unwrap()), Ok(header));
        }

        /// The reader of initrds sees what was written, whatever the lengths.
        #[test]
        fn what_is_written_is_read(names in prop::collection::btree_set("[a-z0-9_/.]{1,40}", 1..8), len in 0usize..70) {
            let mut writer = Writer::default();
            let body = vec![b'x'; len];
            names.iter().for_each(|name| writer.file(&format!("sbin/{name}"), 0o644, &body));
            writer.file("sbin/nbdroot", 0o755, &body);
            let features = crate::image::initrd::probe(gzip(&writer.finish()).as_slice(), Default::default()).unwrap();
            prop_assert!(features.has(crate::image::initrd::Feature::DracutNbd) && features.damage.is_none());
        }
    }
}
