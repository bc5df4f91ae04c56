//! Writes cpio archives in the "newc" format, as the kernel unpacks them, and gzip around them.
//!
//! The layout is that of Documentation/driver-api/early-userspace/buffer-format.rst. The same entries make the same
//! bytes: there is no time, owner or device in them. Names are the caller's; they begin without a slash.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const ALIGN: usize = 4;

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

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
        let inode = if name == TRAILER { 0 } else { self.entries };
        // A program or a module is far from 4 GiB; the field has room for no more.
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Inode, mode, uid, gid, links, mtime, size, device and special device twice two, size of the name, checksum.
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        fields.iter().for_each(|field| self.bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
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

    /// What cpio(1) makes of an archive: names, permissions and sizes.
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
