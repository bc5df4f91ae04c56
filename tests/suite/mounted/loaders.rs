//! How the tree follows the loaders that the host has installed.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use testkit::disc::Disc;

use crate::support::place::Place;

/// A place with a host of its own beside it, on which nothing is installed.
struct Host(Place);

impl Host {
    fn new() -> Self {
        Self(Place::with("first.iso", &Disc::new("First", 1)))
    }

    fn root(&self) -> PathBuf {
        self.0.top().join("host")
    }

    /// Puts a file there as dpkg and rpm do: under another name first.
    fn install(&self, path: &str, bytes: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("dpkg-new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// The inode number of a file below `tftp/`, and its bytes.
    fn served(&self, name: &str) -> Option<(u64, String)> {
        let path = self.0.tree("tftp").join(name);
        let inode = fs::metadata(&path).ok()?.ino();
        Some((inode, fs::read_to_string(path).ok()?))
    }
}

#[test]
fn a_loader_that_is_replaced_is_served_within_two_seconds_with_another_inode_number() {
    let host = Host::new();
    host.install("usr/lib/shim/shimx64.efi.signed", "an old shim");
    host.install("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "a GRUB");
    let _daemon = host.0.start(&["--loaders", host.root().to_str().unwrap()]);
    host.0.eventually("the verdicts", || host.0.top().join("state/initrds.json").exists());
    let (old, grub) = (host.served("bootx64.efi").unwrap(), host.served("grubx64.efi").unwrap());
    let mut open = File::open(host.0.tree("tftp/bootx64.efi")).unwrap();
    assert_eq!(old.1, "an old shim");

    host.install("usr/lib/shim/shimx64.efi.signed", "the new shim, longer");
    host.0.promised("the new shim", || {
        host.served("bootx64.efi").is_some_and(|(_, bytes)| bytes == "the new shim, longer")
    });
    assert_ne!(host.served("bootx64.efi").unwrap().0, old.0);
    assert_eq!(host.served("grubx64.efi").unwrap(), grub);
    // Who is loading the old one gets all of it.
    let mut bytes = String::new();
    open.rewind().unwrap();
    open.read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "an old shim");
    assert!(host.0.log().contains("loaders of this host have changed: bootx64.efi"), "{}", host.0.log());
}

#[test]
fn a_loader_that_is_installed_or_removed_comes_and_goes_within_two_seconds() {
    let host = Host::new();
    let _daemon = host.0.start(&["--loaders", host.root().to_str().unwrap()]);
    host.0.eventually("the verdicts", || host.0.top().join("state/initrds.json").exists());
    assert_eq!(host.served("pxelinux.0"), None);
    assert!(host.0.log().contains("pxelinux.0 is not installed"), "{}", host.0.log());

    host.install("usr/lib/PXELINUX/pxelinux.0", "pxelinux");
    host.install("usr/lib/syslinux/modules/bios/menu.c32", "a menu");
    host.0.promised("the loader and its menu", || {
        let plain = host.0.text("tftp/pxelinux.cfg/default");
        host.served("pxelinux.0").is_some() && plain.contains("menu.c32")
    });

    fs::remove_file(host.root().join("usr/lib/PXELINUX/pxelinux.0")).unwrap();
    host.0.promised("the end of the loader", || host.served("pxelinux.0").is_none());
    let said = host.0.log().matches("pxelinux.0 is not installed").count();
    assert_eq!(said, 2, "once each time: {}", host.0.log());
}
