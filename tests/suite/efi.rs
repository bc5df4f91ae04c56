//! The loaders that an ISO carries, found in real file systems and among Debian's real loaders.
//!
//! Needs xorriso, mtools, dosfstools, shim-signed and grub-efi-amd64-signed; what is missing is an error, never a pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use netrootfs::image::efi::{self, Arch, EfiLoader, Role};
use netrootfs::image::iso::Image;
use netrootfs::storage::content::{Content, Segments};
use netrootfs::storage::source::ReadAt;
use netrootfs::storage::source::testing::Counting;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
const MOK_MANAGER: &str = "/usr/lib/shim/mmx64.efi.signed";
const FALLBACK: &str = "/usr/lib/shim/fbx64.efi.signed";
/// GRUB as Debian puts it on its ISOs, and as it makes it for networks.
const DISC_GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed";
const NET_GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed";

#[test]
fn loaders_in_the_tree_of_the_iso() -> Result<()> {
    let work = Work::new()?;
    work.copy(SHIM, "iso/EFI/BOOT/BOOTX64.EFI")?;
    work.copy(DISC_GRUB, "iso/EFI/BOOT/grubx64.efi")?;
    work.copy(MOK_MANAGER, "iso/EFI/BOOT/mmx64.efi")?;
    work.copy(FALLBACK, "iso/EFI/BOOT/fbx64.efi")?;
    fs::write(work.path("iso/EFI/BOOT/grub.cfg"), "no program")?;
    fs::write(work.path("iso/EFI/BOOT/junk.efi"), "no program either")?;
    let (source, loaders) = open(&work.iso(&[])?)?;
    ensure!(roles(&loaders) == DEBIAN, "{loaders:?}");
    let originals = [SHIM, FALLBACK, DISC_GRUB, MOK_MANAGER];
    same_bytes(&source, &loaders, &originals)
}

#[test]
fn loaders_in_the_el_torito_image() -> Result<()> {
    let work = Work::new()?;
    // Of 6 MB: the boot catalog counts as many sectors as it is given, and here it is given one.
    work.fat("iso/efi.img", 6 << 10, &[])?;
    let options = ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", "-boot-load-size", "1"];
    let (source, loaders) = open(&work.iso(&options)?)?;
    ensure!(roles(&loaders) == DEBIAN, "{loaders:?}");
    same_bytes(&source, &loaders, &[SHIM, FALLBACK, DISC_GRUB, MOK_MANAGER])
}

#[test]
fn loaders_in_an_appended_partition() -> Result<()> {
    let work = Work::new()?;
    // FAT32, beyond what the catalog's 16 bits can count.
    work.fat("efi.img", 48 << 10, &["-F", "32"])?;
    let image = work.path("efi.img");
    let options = [
        &["-append_partition", "2", "0xef", image.to_str().context("path")?][..],
        &["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"],
    ];
    let (source, loaders) = open(&work.iso(&options.concat())?)?;
    ensure!(roles(&loaders) == DEBIAN, "{loaders:?}");
    same_bytes(&source, &loaders, &[SHIM, FALLBACK, DISC_GRUB, MOK_MANAGER])
}

#[test]
fn a_fragmented_file_is_its_clusters_in_order() -> Result<()> {
    let work = Work::new()?;
    // Every other kilobyte of what is free at first is taken away again, and the loaders lie in the gaps.
    run(Command::new("mkfs.fat").args(["-C", "-s", "2"]).arg(work.path("gaps.img")).arg("12000"))?;
    let fillers: Vec<_> = (0..400).map(|number| work.path(&number.to_string())).collect();
    for filler in &fillers {
        fs::write(filler, [b'x'; 700])?;
    }
    run(Command::new("mcopy").arg("-i").arg(work.path("gaps.img")).args(&fillers).arg("::/"))?;
    let every_other = (0..400).step_by(2).map(|number| format!("::/{number}"));
    run(Command::new("mdel").arg("-i").arg(work.path("gaps.img")).args(every_other))?;
    fs::create_dir_all(work.path("iso"))?;
    fs::rename(work.path("gaps.img"), work.path("iso/efi.img"))?;
    work.fill("iso/efi.img")?;
    let (source, loaders) = open(&work.iso(&["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"])?)?;
    ensure!(loaders.iter().any(|loader| loader.file.extents.len() > 50), "{loaders:?}");
    same_bytes(&source, &loaders, &[SHIM, FALLBACK, DISC_GRUB, MOK_MANAGER])
}

#[test]
fn an_iso_without_loaders_has_none() -> Result<()> {
    let work = Work::new()?;
    fs::create_dir_all(work.path("iso/EFI/BOOT"))?;
    fs::write(work.path("iso/EFI/BOOT/BOOTX64.EFI"), "#!/bin/sh")?;
    ensure!(open(&work.iso(&[])?)?.1.is_empty());
    Ok(())
}

#[test]
fn debian_s_network_grub_is_told_from_its_disc_grub() -> Result<()> {
    for (grub, network) in [(DISC_GRUB, false), (NET_GRUB, true)] {
        let work = Work::new()?;
        work.copy(SHIM, "iso/EFI/BOOT/BOOTX64.EFI")?;
        work.copy(grub, "iso/EFI/BOOT/grubx64.efi")?;
        let (source, loaders) = open(&work.iso(&[])?)?;
        let chain = efi::chain(&loaders, Arch::X64).context("a chain")?;
        ensure!(chain.signed() && chain.has_network(&source) == network, "{grub}");
        if network {
            ensure!(chain.grub.modules(&source).prefix == "/grub", "{:?}", chain.grub.modules(&source));
        }
    }
    Ok(())
}

#[test]
fn finding_loaders_reads_little_and_only_asking_for_modules_reads_a_program() -> Result<()> {
    let work = Work::new()?;
    work.fat("iso/efi.img", 6 << 10, &[])?;
    let iso = work.iso(&["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"])?;
    let counting = Arc::new(Counting::new(fs::read(iso)?));
    let source: Arc<dyn ReadAt> = counting.clone();
    let mut image = Image::open(source.clone())?;
    let read = || counting.reads().iter().map(|(_, len)| len).sum::<usize>();
    let before = (counting.reads().len(), read());
    let loaders = efi::find(&mut image);
    let finding = (counting.reads().len() - before.0, read() - before.1);
    ensure!(finding.0 < 500 && finding.1 < 512 << 10, "{finding:?} reads and bytes");
    let chain = efi::chain(&loaders, Arch::X64).context("a chain")?;
    chain.has_network(&source);
    let first = read();
    ensure!(first - before.1 > 3 << 20, "{first}");
    chain.has_network(&source);
    ensure!(read() == first, "read again");
    Ok(())
}

#[test]
fn damaged_fats_give_less_and_never_more() -> Result<()> {
    let work = Work::new()?;
    work.fat("iso/efi.img", 6 << 10, &[])?;
    let iso = fs::read(work.iso(&["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"])?)?;
    let source: Arc<dyn ReadAt> = Arc::new(iso.clone());
    let start = Image::open(source)?.efi_boot_images()?.first().copied().context("a boot image")? as usize;
    // Boot sector, both tables and the directories lie in the first 64 KB.
    let flips = prop::collection::vec((0_usize..64 << 10, any::<u8>()), 1..20);
    let boot_sector = prop::collection::vec((0..64_usize, any::<u8>()), 0..4);
    let iso = std::cell::RefCell::new(iso);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&(flips, boot_sector), |(flips, boot_sector)| {
        let mut damaged = iso.borrow().clone();
        for (at, value) in flips.into_iter().chain(boot_sector) {
            damaged[start + at] = value;
        }
        let len = damaged.len() as u64;
        let source: Arc<dyn ReadAt> = Arc::new(damaged);
        let loaders = Image::open(source.clone()).map(|mut image| efi::find(&mut image)).unwrap_or_default();
        for loader in &loaders {
            let extents = &loader.file.extents;
            prop_assert!(extents.iter().all(|extent| extent.offset + extent.len <= len));
            prop_assert_eq!(extents.iter().map(|extent| extent.len).sum::<u64>(), loader.file.len);
            let _ = loader.modules(&source);
        }
        Ok(())
    });
    result.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Debian's loaders by name.
const DEBIAN: [(&str, Role); 4] = [
    ("bootx64.efi", Role::Shim),
    ("fbx64.efi", Role::Fallback),
    ("grubx64.efi", Role::Grub),
    ("mmx64.efi", Role::MokManager),
];

fn roles(loaders: &[EfiLoader]) -> Vec<(&str, Role)> {
    DEBIAN
        .iter()
        .filter_map(|(name, _)| {
            let loader = loaders.iter().find(|loader| loader.name.eq_ignore_ascii_case(name))?;
            (loader.arch == Arch::X64 && loader.signed).then_some((*name, loader.role))
        })
        .collect()
}

/// An error unless the loaders, by [`DEBIAN`]'s names in order, have the bytes of these files.
fn same_bytes(source: &Arc<dyn ReadAt>, loaders: &[EfiLoader], originals: &[&str; 4]) -> Result<()> {
    ensure!(loaders.len() == originals.len(), "{loaders:?}");
    for ((name, _), original) in DEBIAN.iter().zip(originals) {
        let loader = loaders.iter().find(|loader| loader.name.eq_ignore_ascii_case(name)).context(*name)?;
        let content = Content::Segments(Segments::new(source.clone(), 0).extents(&loader.file.extents));
        ensure!(
            content.read_at(0, usize::MAX)? == fs::read(original)?,
            "{name}: other bytes than {original}"
        );
    }
    Ok(())
}

fn open(iso: &Path) -> Result<(Arc<dyn ReadAt>, Vec<EfiLoader>)> {
    let source: Arc<dyn ReadAt> = Arc::new(fs::read(iso)?);
    let loaders = efi::find(&mut Image::open(source.clone())?);
    Ok((source, loaders))
}

/// A scratch directory with the root of an ISO in it.
struct Work(TempDir);

impl Work {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let to = self.path(to);
        fs::create_dir_all(to.parent().context("no parent")?)?;
        fs::copy(from, to).with_context(|| format!("{from}: is its package installed?"))?;
        Ok(())
    }

    /// A FAT of so many kilobytes with Debian's loaders in it.
    fn fat(&self, name: &str, size: usize, options: &[&str]) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        run(Command::new("mkfs.fat").args(options).arg("-C").arg(&path).arg(size.to_string()))?;
        self.fill(name)
    }

    fn fill(&self, name: &str) -> Result<()> {
        let image = self.path(name);
        run(Command::new("mmd").arg("-i").arg(&image).args(["::/EFI", "::/EFI/BOOT"]))?;
        for (from, to) in [
            (SHIM, "BOOTX64.EFI"),
            (DISC_GRUB, "grubx64.efi"),
            (MOK_MANAGER, "mmx64.efi"),
            (FALLBACK, "fbx64.efi"),
        ] {
            run(Command::new("mcopy").arg("-i").arg(&image).arg(from).arg(format!("::/EFI/BOOT/{to}")))?;
        }
        Ok(())
    }

    /// An ISO of what lies in `iso/`, made with these further options.
    fn iso(&self, options: &[&str]) -> Result<PathBuf> {
        fs::create_dir_all(self.path("iso"))?;
        let to = self.path("made.iso");
        let mut command = Command::new("xorriso");
        command.args(["-as", "mkisofs", "-quiet", "-V", "EFI-TEST", "-o"]).arg(&to).args(options);
        run(command.arg(self.path("iso")))?;
        Ok(to)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}: is it installed?"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
