//! A small live ISO whose files are known byte for byte, so that what is served can be compared with what was put in.
//!
//! xorriso makes one image; every other disc is a copy of it with another volume id and other bytes in its files.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Sizes that are no multiple of a sector, page or block.
const KERNEL_LEN: usize = 70_001;
const INITRD_LEN: usize = 150_004;
const ROOT_LEN: usize = 3_000_017;

/// Where the volume id stands: primary volume descriptor, bytes 41 to 72 (ECMA-119, 8.4.7).
const VOLUME_ID: std::ops::Range<usize> = 16 * 2048 + 40..16 * 2048 + 72;

/// When the volume was made, to the hundredth of a second: bytes 814 to 829 (ECMA-119, 8.4.26).
const CREATED: std::ops::Range<usize> = 16 * 2048 + 813..16 * 2048 + 829;

/// The ISO's own menu.
const MENU: &str = "default live\nlabel live\n  menu label Start the Live System\n  kernel vmlinuz\n  \
                    append initrd=initrd.img root=live:CDLABEL=ANY rd.live.image quiet\n";

/// An ISO in Fedora's layout, and the files in it.
#[derive(Clone)]
pub struct Disc {
    /// `/isolinux/vmlinuz`.
    pub kernel: Vec<u8>,
    /// `/isolinux/initrd.img`: a cpio archive that dracut might have made, with NetworkManager and NBD.
    pub initrd: Vec<u8>,
    /// `/LiveOS/squashfs.img`.
    pub root: Vec<u8>,
    /// All of it.
    pub iso: Vec<u8>,
}

impl Disc {
    /// The disc of that volume id whose files have the bytes number `seed`.
    pub fn new(volume_id: &str, seed: u64) -> Self {
        static BASE: OnceLock<Disc> = OnceLock::new();
        let base = BASE.get_or_init(|| {
            let mut base = Self::files(0);
            base.iso = master(&base);
            base
        });
        let mut disc = Self::files(seed);
        disc.iso = base.iso.clone();
        for (old, new) in
            [(&base.kernel, &disc.kernel), (&base.initrd, &disc.initrd), (&base.root, &disc.root)]
        {
            let at = (0..disc.iso.len()).step_by(2048).find(|&at| disc.iso[at..].starts_with(old));
            let at = at.expect("a file of the base ISO in one piece");
            disc.iso[at..at + new.len()].copy_from_slice(new);
        }
        disc.iso[CREATED].copy_from_slice(format!("{:016}", 2_026_010_100_000_000 + seed).as_bytes());
        disc.rename(volume_id);
        disc
    }

    /// Gives it another volume id.
    pub fn rename(&mut self, volume_id: &str) {
        let field = format!("{volume_id:<32}");
        self.iso[VOLUME_ID].copy_from_slice(field.as_bytes());
    }

    /// Writes the ISO with a hole for its root image, so that hundreds of them fit everywhere.
    pub fn write_without_root(&self, path: &Path) {
        let at = (0..self.iso.len()).step_by(2048).find(|&at| self.iso[at..].starts_with(&self.root));
        let (start, end) = at.map(|at| (at, at + self.root.len())).expect("the root image");
        let file = fs::File::create(path).expect("an ISO");
        file.write_all_at(&self.iso[..start], 0).expect("what is before it");
        file.write_all_at(&self.iso[end..], end as u64).expect("what is behind it");
    }

    fn files(seed: u64) -> Self {
        let root = [b"hsqs".to_vec(), noise(seed * 3 + 1, ROOT_LEN - 4)].concat();
        Self { kernel: noise(seed * 3 + 2, KERNEL_LEN), initrd: initrd(seed * 3 + 3), root, iso: Vec::new() }
    }
}

/// Bytes without a pattern, the same for the same seed (Marsaglia's xorshift64).
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

fn initrd(seed: u64) -> Vec<u8> {
    let names = [
        "init",
        "usr/lib/dracut/dracut-059",
        "usr/lib/modules/6.1.0/kernel/drivers/block/nbd.ko",
        "usr/sbin/nbd-client",
        "usr/sbin/nbdroot",
        "usr/libexec/nm-initrd-generator",
        "usr/sbin/dmsquash-live-root",
    ];
    let mut bytes: Vec<u8> = names.iter().flat_map(|name| entry(name, b"x")).collect();
    let trailer = entry("TRAILER!!!", b"");
    let filler = INITRD_LEN - bytes.len() - trailer.len() - entry("noise", b"").len();
    bytes.extend(entry("noise", &noise(seed, filler)));
    bytes.extend(trailer);
    bytes
}

/// A file of a cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
fn entry(name: &str, body: &[u8]) -> Vec<u8> {
    let fields = [1, 0o100_644, 0, 0, 1, 0, body.len(), 0, 0, 0, 0, name.len() + 1, 0];
    let mut bytes = b"070701".to_vec();
    fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
    bytes.extend(name.bytes().chain([0]));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn master(disc: &Disc) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |path: &str, bytes: &[u8]| {
        let path = dir.path().join("disc").join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, bytes).expect("a file of the ISO");
    };
    put("isolinux/vmlinuz", &disc.kernel);
    put("isolinux/initrd.img", &disc.initrd);
    put("isolinux/isolinux.cfg", MENU.as_bytes());
    put("LiveOS/squashfs.img", &disc.root);
    let made = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-R", "-V", "BASE", "-o"])
        .args([&dir.path().join("base.iso"), &dir.path().join("disc")])
        .output()
        .expect("xorriso: is it installed?");
    assert!(made.status.success(), "xorriso: {}", String::from_utf8_lossy(&made.stderr));
    fs::read(Path::join(dir.path(), "base.iso")).expect("the ISO")
}
