//! What lies in an ISO: initrds, kernels, loaders for UEFI, root images.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use netrootfs::boot::netroot::drivers::{self, Wanted};
use netrootfs::boot::netroot::kernel as kernels;
use netrootfs::boot::netroot::root::udeb::Udebs;
use netrootfs::boot::netroot::root::{self as roots, Files};
use netrootfs::image::efi;
use netrootfs::image::initrd::{self as initrds, Limits};
use netrootfs::image::iso::Image;
use netrootfs::storage::source::ReadAt;

use crate::iso::image;

/// The version whose drivers are looked for.
const VERSION: &str = "6.1.0";

/// Least length of an image of a file system in bytes: zeros at its end are not part of the input.
const LEAST: usize = 128 << 10;

/// An ISO with a boot image for UEFI as its last sectors, and one with a loader in its tree as the last.
const WITH_BOOT_IMAGE: &[u8] = include_bytes!("../isos/boot-image");
const WITH_LOADER: &[u8] = include_bytes!("../isos/loader");

/// An initrd.
pub fn initrd(bytes: &[u8]) {
    let limits = Limits { bytes: 4 << 20, entries: 10_000, ..Limits::default() };
    let _ = initrds::probe(bytes, limits);
}

/// A kernel: what it says of itself is fit for a path.
pub fn kernel(bytes: &[u8]) {
    if let Ok(kernel) = kernels::read(bytes) {
        let version = &kernel.version;
        assert!(!version.is_empty() && !version.contains(['/', '\0']) && !version.contains(char::is_control));
        assert!(!version.starts_with('.'), "{version}");
        let _ = kernel.release();
    }
}

/// The FAT of an ISO's boot image.
pub fn fat(bytes: &[u8]) {
    let mut iso = image(WITH_BOOT_IMAGE, 0);
    iso.extend(bytes);
    loaders(iso);
}

/// A loader in an ISO's tree, of at most 1 MiB.
pub fn pe(bytes: &[u8]) {
    let mut iso = image(WITH_LOADER, 0);
    iso.extend(bytes);
    loaders(iso);
}

fn loaders(mut iso: Vec<u8>) {
    iso.resize(iso.len() + (1 << 20), 0);
    let len = iso.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(iso);
    let mut image = Image::open(source.clone()).expect("the ISO around it is sound");
    for loader in efi::find(&mut image) {
        assert!(loader.name.chars().all(|symbol| symbol.is_ascii_alphanumeric() || "._-".contains(symbol)));
        let extents = &loader.file.extents;
        assert!(
            extents.iter().all(|extent| extent.offset.checked_add(extent.len).is_some_and(|end| end <= len))
        );
        assert_eq!(extents.iter().map(|extent| extent.len).sum::<u64>(), loader.file.len);
        let _ = loader.modules(&source);
    }
}

/// The drivers in a root image or in a package of an installer. A panic of the crate that reads it is borne, as the program
/// bears it.
pub fn root(bytes: &[u8]) {
    let files: Box<dyn Files> = if bytes.starts_with(b"!<arch>") {
        let package: Arc<dyn ReadAt> = Arc::new(bytes.to_vec());
        let Ok(Ok(packages)) = catch_unwind(AssertUnwindSafe(|| Udebs::open(&[package], VERSION))) else {
            return;
        };
        Box::new(packages)
    } else {
        let mut image = bytes.to_vec();
        image.resize(image.len().max(LEAST), 0);
        let Ok(files) = roots::open(Arc::new(image)) else { return };
        files
    };
    let taken = catch_unwind(AssertUnwindSafe(|| drivers::take(files.as_ref(), VERSION, &Wanted::all())));
    if let Ok(Ok(Some(drivers))) = taken {
        // A kernel may have nbd built in.
        assert!(!drivers.has_nbd() || !drivers.is_empty());
        assert!(!drivers.pack(None).is_empty());
    }
}
