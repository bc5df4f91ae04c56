//! Loads kernel modules: nbd, and the drivers of network cards; from the archive, or with the initramfs's own modprobe.
//!
//! Which module belongs to which device is [`crate::aliases`]'s matter.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;

use crate::aliases;
use crate::console::{complain, say};
use crate::disk;

/// Files of netrootfs's archive.
const MODULES: &str = "/netrootfs/modules";
const LOAD: &str = "/netrootfs/load";
const NIC: &str = "/netrootfs/nic";
/// Where NixOS' initramfs has its programs and modules.
const STORE: &str = "nix/store";
/// One disk without partitions: the ISO looks like a CD then, and a hybrid ISO doesn't appear twice.
const NBD_PARAMETERS: [&str; 2] = ["nbds_max=1", "max_part=0"];
/// A driver may look for its firmware, or wait for its card.
const MODPROBE_PATIENCE: Duration = Duration::from_secs(30);
const BUSES: [&str; 7] = ["acpi", "pci", "virtio", "vmbus", "xen", "usb", "platform"];
/// A driver brings up a bus, on which a device wants a driver: PCI, USB controller, USB device, its PHY.
const ROUNDS: usize = 5;

/// Makes sure that the kernel has nbd.
pub fn load_nbd() -> Result<()> {
    if disk::is_known() {
        return Ok(());
    }
    load_all(aliases::load_list(&read(LOAD)).collect());
    if !disk::is_known() {
        modprobe(&[&["-q", "nbd"][..], &NBD_PARAMETERS].concat());
    }
    if !disk::is_known() {
        let kernel = read("/proc/sys/kernel/osrelease");
        bail!(
            "the kernel {} has no nbd: neither built in, nor in netrootfs's archive, nor in the initramfs",
            kernel.trim()
        );
    }
    Ok(())
}

/// Loads drivers for what leads to a network, until nothing new shows up. What is in `done` has had its turn.
pub fn load_cards(done: &mut BTreeSet<String>) {
    let table = read(NIC);
    for _ in 0..ROUNDS {
        let new: Vec<_> = unbound().into_iter().filter(|alias| done.insert(alias.clone())).collect();
        if new.is_empty() {
            return;
        }
        load_all(new.iter().flat_map(|alias| aliases::modules_for(&table, alias)).collect());
        let mut words = vec!["-qab"];
        words.extend(new.iter().map(String::as_str));
        modprobe(&words);
    }
}

/// Makes sure that the kernel knows VLANs.
pub fn load_vlan() {
    modprobe(&["-q", "8021q"]);
}

/// The aliases of devices without a driver that lead to a network.
fn unbound() -> BTreeSet<String> {
    let mut aliases = BTreeSet::new();
    for bus in BUSES {
        let devices = fs::read_dir(format!("/sys/bus/{bus}/devices")).into_iter().flatten().flatten();
        for device in devices.filter(|device| !device.path().join("driver").exists()) {
            let alias = read(device.path().join("modalias"));
            if aliases::leads_to_network(bus, alias.trim()) {
                aliases.insert(alias.trim().to_owned());
            }
        }
    }
    aliases
}

/// Loads modules of the archive in that order; one that fails gets another turn after the others.
fn load_all(mut names: Vec<&str>) {
    loop {
        let mut failed = Vec::new();
        for name in &names {
            if let Err(error) = load(name) {
                failed.push((*name, error));
            }
        }
        if failed.len() == names.len() || failed.is_empty() {
            for (name, error) in failed {
                complain(&format!("the module {name} can't be loaded: {error:#}"));
            }
            return;
        }
        names = failed.into_iter().map(|(name, _)| name).collect();
    }
}

/// Loads a module of the archive. One that is there already is as good.
fn load(name: &str) -> Result<()> {
    let file = File::open(Path::new(MODULES).join(name)).context("netrootfs's archive hasn't got it")?;
    let parameters = if name == "nbd.ko" { NBD_PARAMETERS.join(" ") } else { String::new() };
    match rustix::system::finit_module(&file, &CString::new(parameters)?, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => bail!("a module that it needs isn't there, or is of another kernel"),
        Err(Errno::NOEXEC | Errno::INVAL) => bail!("it is of another kernel"),
        Err(Errno::KEYREJECTED | Errno::PERM) => {
            bail!("this kernel, locked down, doesn't accept its signature")
        }
        Err(error) => Err(error.into()),
    }
}

/// Runs the initramfs's modprobe, if it has one. Whether it did anything shows in what is there afterwards.
fn modprobe(words: &[&str]) {
    let Some(program) = find_modprobe(Path::new("/")) else { return };
    let _link = Link::to_modules_of_a_store(Path::new("/"));
    let child = Command::new(&program)
        .args(words)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return complain(&format!("{} doesn't start: {error}", program.display())),
    };
    let deadline = Instant::now() + MODPROBE_PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let words = words.join(" ");
            say(&format!("{} {words} takes long; going on without waiting for it", program.display()));
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The initramfs's modprobe: in its usual places, or in a package of NixOS' store.
fn find_modprobe(root: &Path) -> Option<PathBuf> {
    const PLACES: [&str; 4] = ["sbin", "usr/sbin", "bin", "usr/bin"];
    let usual = PLACES.into_iter().map(|place| root.join(place));
    let stored = packages(root).into_iter().flat_map(|package| [package.join("bin"), package.join("sbin")]);
    usual.chain(stored).map(|directory| directory.join("modprobe")).find(|program| program.exists())
}

/// The packages of NixOS' store, in order.
fn packages(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(STORE)).into_iter().flatten().flatten();
    let mut packages: Vec<_> = entries.map(|entry| entry.path()).collect();
    packages.sort();
    packages
}

/// `/lib/modules` as long as modprobe runs: NixOS' `/init` makes it, and is yet to run.
struct Link(PathBuf);

impl Link {
    fn to_modules_of_a_store(root: &Path) -> Option<Self> {
        let link = root.join("lib/modules");
        if link.exists() {
            return None;
        }
        let mut modules = packages(root).into_iter().map(|package| package.join("lib/modules"));
        let modules = modules.find(|modules| modules.is_dir())?;
        let _ = fs::create_dir(root.join("lib"));
        symlink(modules, &link).ok()?;
        Some(Self(link))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A small text file, or nothing.
pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn modprobe_is_found_in_a_store_too() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(find_modprobe(root.path()), None);
        put(root.path(), "nix/store/abc-extra-utils/bin/modprobe");
        assert_eq!(
            find_modprobe(root.path()),
            Some(root.path().join("nix/store/abc-extra-utils/bin/modprobe"))
        );
        put(root.path(), "usr/bin/modprobe");
        assert_eq!(find_modprobe(root.path()), Some(root.path().join("usr/bin/modprobe")));
    }

    #[test]
    fn the_modules_of_a_store_are_in_their_place_for_a_while() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert!(Link::to_modules_of_a_store(root).is_none(), "there is no store");
        put(root, "nix/store/abc-linux-6.6-modules-shrunk/lib/modules/6.6/modules.dep");
        let link = Link::to_modules_of_a_store(root).unwrap();
        assert!(root.join("lib/modules/6.6/modules.dep").exists());
        assert!(Link::to_modules_of_a_store(root).is_none(), "it is there");
        drop(link);
        assert!(!root.join("lib/modules").exists() && root.join("lib").exists());
    }
}
