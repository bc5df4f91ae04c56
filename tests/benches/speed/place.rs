//! The ISO that all read from, its root image as a plain file, and how to make the kernel forget both.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use netrootfs::image::iso::Image;
use netrootfs::storage::source::{FileSource, PageCache};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;
use testkit::disc::noise;
use testkit::process::run;

/// The volume id.
pub const LABEL: &str = "BENCH";

/// Where a live ISO has its root image.
pub const ROOT: &str = "LiveOS/squashfs.img";

/// Sizes of today's live ISOs.
pub const KERNEL: usize = 14 << 20;
const INITRD: usize = 40 << 20;

const MENU: &str = "default linux\nlabel linux\n  menu label Start\n  kernel vmlinuz\n  \
                    append initrd=initrd.img root=live:CDLABEL=BENCH rd.live.image quiet\n";

/// A directory with everything in it.
pub struct Place {
    dir: TempDir,
    /// The ISO.
    pub iso: PathBuf,
    /// Its root image, copied out.
    pub plain: PathBuf,
    /// Where the root image lies in the ISO.
    pub offset: u64,
    /// Bytes of the root image.
    pub len: u64,
}

impl Place {
    /// Makes an ISO whose root image has about `size` bytes: a squashfs with a `LiveOS/rootfs.img` that can't be
    /// compressed. What unpacks it is limited by the disk and not by the decompressor.
    pub fn new(work: &Path, size: u64) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("netrootfs-bench.").tempdir_in(work)?;
        let top = dir.path();
        let disc = top.join("disc");
        for name in ["isos", "root/LiveOS", "disc/LiveOS", "disc/isolinux"] {
            fs::create_dir_all(top.join(name))?;
        }
        write_noise(&top.join("root/LiveOS/rootfs.img"), size)?;
        run(Command::new("mksquashfs").arg(top.join("root")).arg(disc.join(ROOT)).args([
            "-quiet",
            "-no-progress",
            "-noD",
            "-noF",
            "-no-xattrs",
        ]))?;
        fs::remove_dir_all(top.join("root"))?;
        fs::write(disc.join("isolinux/vmlinuz"), noise(1, KERNEL))?;
        fs::write(disc.join("isolinux/initrd.img"), [b"070701".to_vec(), noise(2, INITRD)].concat())?;
        fs::write(disc.join("isolinux/isolinux.cfg"), MENU)?;
        let iso = top.join("isos/live.iso");
        run(Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-R", "-J", "-V", LABEL, "-o"])
            .args([&iso, &disc]))?;
        fs::remove_dir_all(disc)?;
        let (offset, len) = root_image(&iso)?;
        let plain = top.join("plain.img");
        copy_out(&iso, offset, len, &plain)?;
        Ok(Self { iso, plain, offset, len, dir })
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Empties the page cache. What is mounted forgets nothing of its own: mount it again.
    pub fn forget(&self) -> Result<()> {
        rustix::fs::sync();
        fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
        for file in [&self.iso, &self.plain] {
            fadvise(File::open(file)?, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}

fn write_noise(path: &Path, size: u64) -> Result<()> {
    const PIECE: usize = 4 << 20;
    let mut file = BufWriter::new(File::create(path)?);
    for piece in 0..size.div_ceil(PIECE as u64) {
        file.write_all(&noise(piece + 3, PIECE))?;
    }
    Ok(file.flush()?)
}

/// Offset and length.
fn root_image(iso: &Path) -> Result<(u64, u64)> {
    let source = FileSource::new(Arc::new(File::open(iso)?), PageCache::Keep)?;
    let file = Image::open(Arc::new(source))?.file(ROOT)?.context("no root image")?;
    ensure!(file.extents.len() == 1, "the root image has {} extents", file.extents.len());
    Ok((file.extents[0].offset, file.extents[0].len))
}

fn copy_out(iso: &Path, offset: u64, len: u64, to: &Path) -> Result<()> {
    let (iso, mut to) = (File::open(iso)?, File::create(to)?);
    let mut piece = vec![0; 4 << 20];
    let mut at = 0;
    while at < len {
        let part = piece.len().min(usize::try_from(len - at)?);
        iso.read_exact_at(&mut piece[..part], offset + at)?;
        to.write_all(&piece[..part])?;
        at += part as u64;
    }
    Ok(to.sync_all()?)
}
