//! Boot loaders and their menus below `tftp/`: this host's, and those of the ISOs.
//!
//! ```text
//! pxelinux.0, *.c32, pxelinux.cfg/default            BIOS
//! efi64/syslinux.efi, *.c32, pxelinux.cfg/default    UEFI with syslinux, which takes every name below its own directory
//! bootx64.efi, grubx64.efi, mmx64.efi                UEFI: a shim and the network GRUB that it accepts
//! efi/<LABEL>/bootx64.efi, grubx64.efi, …            those of the ISO itself, whose signatures fit its kernel
//! grub.cfg, grub/grub.cfg, efi/<LABEL>/grub.cfg      where network GRUBs look for their menu
//! boot.ipxe, autoexec.ipxe                           iPXE
//! ```
//!
//! shim loads its GRUB from the directory that it was itself loaded from, so a chain lies in one directory, and is of one
//! origin: it is never mixed from a host's files and an ISO's.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::{LoaderFile, segments};
use crate::boot::loader;
use crate::boot::names;
use crate::catalog::scan::{Catalog, Iso};
use crate::image::efi::{self, Arch, Chain, EfiLoader, Role};
use crate::image::label::Label;
use crate::storage::content::{Content, Segments};
use crate::storage::extent::Extent;
use crate::tree::arena::{Builder, NodeId};
use crate::tree::render::Firmware;

#[cfg(test)]
mod tests;

/// The menus, as text.
pub struct Menus<'a> {
    /// syslinux's, for machines of a firmware; whether its text menu can be loaded.
    pub syslinux: &'a dyn Fn(Firmware, bool) -> String,
    /// GRUB's.
    pub grub: &'a dyn Fn() -> String,
    /// GRUB's beside an ISO's own GRUB: leads to the other, with this ISO as the one that boots by itself.
    pub grub_for: &'a dyn Fn(&Iso) -> String,
    /// iPXE's.
    pub ipxe: &'a dyn Fn() -> String,
}

/// Adds loaders and menus. Kernels and initrds must be there already: syslinux for UEFI finds them by further names.
pub fn add(
    builder: &mut Builder,
    tftp: NodeId,
    catalog: &Catalog,
    default: Option<&Label>,
    host: &[LoaderFile],
    menus: &Menus<'_>,
) {
    let newest = catalog.isos.iter().map(|iso| iso.disc.mtime).max().unwrap_or(SystemTime::UNIX_EPOCH);
    let booted = builder.files(tftp);
    let mut lay = Lay { builder, tftp, newest, directories: HashMap::new(), names: HashSet::new() };
    lay.add_entries(catalog, default, host);
    for file in host {
        lay.add_host(&file.name, file);
    }
    for iso in &catalog.isos {
        lay.add_iso(iso, menus);
    }
    lay.add_menus(menus, &booted);
}

/// The tree in the making.
struct Lay<'a> {
    builder: &'a mut Builder,
    tftp: NodeId,
    newest: SystemTime,
    /// Directories below `tftp/`, by path.
    directories: HashMap<String, NodeId>,
    /// Loaders that are there, by path below `tftp/`.
    names: HashSet<String>,
}

impl Lay<'_> {
    /// `bootx64.efi` and its like, where the host has no chain of its own: the first ISO's that can be used over the
    /// network, signed ones first; else the host's GRUB alone.
    fn add_entries(&mut self, catalog: &Catalog, default: Option<&Label>, host: &[LoaderFile]) {
        let of_host = |name: &str| host.iter().find(|file| file.name == name);
        for arch in Arch::ALL {
            let boot = names::efi_loader(arch.suffix());
            if of_host(&boot).is_some() {
                continue;
            }
            if let Some((iso, chain)) = self.choose(catalog, default, arch) {
                self.add_chain(iso, &chain, &boot);
            } else if let Some(grub) = of_host(&format!("grub{}.efi", arch.suffix())) {
                self.add_host(&boot, grub);
            }
        }
    }

    /// The ISO that boots by itself has the first word, so that its kernel passes its own shim.
    fn choose<'c>(
        &self,
        catalog: &'c Catalog,
        default: Option<&Label>,
        arch: Arch,
    ) -> Option<(&'c Iso, Chain<'c>)> {
        let (first, rest): (Vec<_>, Vec<_>) =
            catalog.isos.iter().partition(|iso| Some(&iso.label) == default);
        let chains = first.into_iter().chain(rest).filter_map(|iso| {
            let chain = efi::chain(&iso.disc.facts.efi, arch)?;
            // Two chains can have a name in common: openSUSE's GRUB has one for all processors.
            (!self.names.contains(&chain.grub.name.to_ascii_lowercase())).then_some((iso, chain))
        });
        let chains: Vec<_> = chains.collect();
        let usable = |(iso, chain): &&(&Iso, Chain<'_>)| chain.has_network(&iso.disc.plain);
        let signed = chains.iter().filter(|(_, chain)| chain.signed()).find(usable);
        signed.or_else(|| chains.iter().filter(|(_, chain)| !chain.signed()).find(usable)).copied()
    }

    fn add_chain(&mut self, iso: &Iso, chain: &Chain<'_>, boot: &str) {
        self.add_from_iso(iso, chain.boot, self.tftp, boot);
        self.names.insert(boot.to_owned());
        if chain.boot.role == Role::Grub {
            return;
        }
        let mok_manager = [format!("mm{}.efi", chain.boot.arch.suffix()), "mokmanager.efi".into()];
        let keeps_keys = |loader: &&EfiLoader| {
            let name = loader.name.to_ascii_lowercase();
            loader.role == Role::MokManager && loader.arch == chain.boot.arch && mok_manager.contains(&name)
        };
        let companions = iso.disc.facts.efi.iter().filter(keeps_keys);
        for loader in std::iter::once(chain.grub).chain(companions) {
            let name = loader.name.to_ascii_lowercase();
            if self.names.insert(name.clone()) {
                self.add_from_iso(iso, loader, self.tftp, &name);
            }
        }
    }

    /// Adds a file of the host, unless a chain of an ISO has the name.
    fn add_host(&mut self, path: &str, file: &LoaderFile) {
        if !self.names.insert(path.to_owned()) {
            return;
        }
        let whole = Extent { offset: 0, len: file.source.len() };
        let content = Segments::new(file.source.clone(), file.identity).extents([&whole]);
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(directory);
        self.builder.file(parent, name, Content::Segments(content), file.mtime);
    }

    /// Adds what an ISO carries to `efi/<LABEL>/`, with a menu that boots this ISO by itself.
    fn add_iso(&mut self, iso: &Iso, menus: &Menus<'_>) {
        if iso.disc.facts.efi.is_empty() {
            return;
        }
        let path = names::efi_directory(&iso.label);
        let parent = self.directory(&path);
        for loader in &iso.disc.facts.efi {
            self.add_from_iso(iso, loader, parent, &loader.name.to_ascii_lowercase());
        }
        let menu = Content::text((menus.grub_for)(iso));
        self.builder.file(parent, "grub.cfg", menu, self.newest);
    }

    /// Firmware and shim ask for lower-case names, openSUSE's shim for `MokManager.efi`: the ISO's spelling is found too.
    fn add_from_iso(&mut self, iso: &Iso, loader: &EfiLoader, parent: NodeId, name: &str) {
        let content = Content::Segments(segments(&iso.disc).extents(&loader.file.extents));
        let node = self.builder.file(parent, name, content, iso.disc.mtime);
        if loader.name != name {
            self.builder.alias(parent, &loader.name, node);
        }
    }

    fn add_menus(&mut self, menus: &Menus<'_>, booted: &[(String, NodeId)]) {
        let bios = self.directory("pxelinux.cfg");
        let graphical = self.names.contains(loader::MENU);
        let menu = Content::text((menus.syslinux)(Firmware::Bios, graphical));
        self.builder.file(bios, "default", menu, self.newest);
        if let Some(&efi64) = self.directories.get(loader::EFI64) {
            let graphical = self.names.contains(&format!("{}/{}", loader::EFI64, loader::MENU));
            let menu = Content::text((menus.syslinux)(Firmware::Uefi, graphical));
            let parent = self.directory(&format!("{}/pxelinux.cfg", loader::EFI64));
            self.builder.file(parent, "default", menu, self.newest);
            for (name, node) in booted {
                self.builder.alias(efi64, name, *node);
            }
        }
        // Most GRUBs look beside themselves; those of Debian and Ubuntu in /grub.
        for directory in ["", "grub"] {
            let parent = self.directory(directory);
            self.builder.file(parent, "grub.cfg", Content::text((menus.grub)()), self.newest);
        }
        // The second is what iPXE looks for by itself, beside its own image.
        for name in names::IPXE {
            self.builder.file(self.tftp, name, Content::text((menus.ipxe)()), self.newest);
        }
    }

    /// A directory below `tftp/`, made if it isn't there.
    fn directory(&mut self, path: &str) -> NodeId {
        if path.is_empty() {
            return self.tftp;
        }
        if let Some(&node) = self.directories.get(path) {
            return node;
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(parent);
        let node = self.builder.directory(parent, name, self.newest);
        self.directories.insert(path.to_owned(), node);
        node
    }
}
