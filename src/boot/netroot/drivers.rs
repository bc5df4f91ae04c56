//! The drivers of an ISO's kernel, taken out of its root image and packed as the second part of an archive.
//!
//! Takes a file system that is open and gives bytes. Each module is unpacked, as the kernel of an initramfs needs it, and
//! unchanged, so that its signature stands.

use std::collections::BTreeMap;
use std::io::Read;

use super::packed;
use super::program::DIRECTORY;
use super::root::{Error, Files};
use crate::image::cpio;
use crate::image::modules::{self, Deps, Softdeps};
use crate::image::nics::{NICS, Nic};

/// Where modules lie: everywhere, where `/lib` is a link, and in Alpine's modloop.
const DIRECTORIES: [&str; 3] = ["lib/modules", "usr/lib/modules", "modules"];

/// Packages of a store that are looked into for modules; an installer has some thousand, of which ten are of a kernel.
const MOST_PACKAGES: usize = 64;

/// A list: `modules.alias` of a kernel with everything has 1.5 MB.
const LARGEST_LIST: u64 = 16 << 20;

/// A module, unpacked. The largest network drivers have 4 MB.
pub(super) const LARGEST_MODULE: u64 = 16 << 20;

/// All modules for network cards, unpacked: a client's memory must hold them beside its initramfs. And those that are loaded for
/// one.
const MOST_BYTES: usize = 32 << 20;

/// What is said of more.
const TOO_MUCH: &str = "the modules that it needs are more than 32 MiB";

/// The drivers that an ISO's initrd lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// nbd and what it needs.
    pub nbd: bool,
    /// Drivers of network cards, those of them that there are.
    pub nics: Vec<&'static Nic>,
    /// Whether there must be one of these at least.
    pub some_nic: bool,
}

impl Wanted {
    /// All that an archive may carry.
    pub fn all() -> Self {
        Self { nbd: true, nics: NICS.iter().collect(), some_nic: true }
    }

    /// Whether nothing is wanted.
    pub fn is_nothing(&self) -> bool {
        !self.nbd && self.nics.is_empty()
    }

    /// Whether the ISO doesn't boot without.
    pub fn is_vital(&self) -> bool {
        self.nbd || self.some_nic
    }
}

/// Drivers that were found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Drivers {
    /// Unpacked modules by their names in the archive.
    files: BTreeMap<String, Vec<u8>>,
    /// Names for `load`.
    load: Vec<String>,
    /// Aliases and what is loaded for them, for `nic`.
    nic: Vec<(Vec<String>, Vec<String>)>,
    /// Names of the network drivers.
    pub nics: Vec<String>,
}

/// Takes what is wanted for kernel `version` out of a root; `None` if it has no modules of that kernel.
///
/// # Errors
/// If that can't be done, with the reason.
pub fn take(files: &dyn Files, version: &str, wanted: &Wanted) -> Result<Option<Drivers>, String> {
    let Some((directory, deps)) = find(files, version).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let list = |name: &str| -> Result<Vec<u8>, String> {
        let path = format!("{directory}/{name}");
        Ok(files.read(&path, LARGEST_LIST).map_err(|error| error.to_string())?.unwrap_or_default())
    };
    let softdeps = Softdeps::parse(&list("modules.softdep")?);
    let builtin = list("modules.builtin")?;
    let mut take =
        Take { files, directory: &directory, deps: Deps::parse(&deps), softdeps, found: Drivers::default() };
    if wanted.nbd && !modules::is_builtin(&builtin, "nbd") {
        take.nbd()?;
    }
    let fault = take.nics(&wanted.nics, &list("modules.alias")?);
    let built_in = |nic: &Nic| modules::is_builtin(&builtin, nic.name);
    if wanted.some_nic && take.found.nics.is_empty() && !NICS.iter().any(built_in) {
        return Err(fault.unwrap_or_else(|| "its kernel has no driver of a usual network card".into()));
    }
    Ok(Some(take.found))
}

/// The directory of a kernel's modules, and its `modules.dep`.
fn find(files: &dyn Files, version: &str) -> Result<Option<(String, Vec<u8>)>, Error> {
    let read = |directory: String| -> Result<Option<(String, Vec<u8>)>, Error> {
        let list = files.read(&format!("{directory}/modules.dep"), LARGEST_LIST)?;
        Ok(list.map(|list| (directory, list)))
    };
    for directory in DIRECTORIES {
        if let Some(found) = read(format!("{directory}/{version}"))? {
            return Ok(Some(found));
        }
    }
    // NixOS' image is a store: each package has a directory of its own. Its name gets into the reason why there is none.
    let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
    let packages = files.top()?.into_iter().filter(|name| name.contains("-linux-") && plain(name));
    for package in packages.take(MOST_PACKAGES) {
        if let Some(found) = read(format!("{package}/lib/modules/{version}"))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

struct Take<'a> {
    files: &'a dyn Files,
    directory: &'a str,
    deps: Deps,
    softdeps: Softdeps,
    found: Drivers,
}

impl Take<'_> {
    fn nbd(&mut self) -> Result<(), String> {
        let order = self.deps.load_order("nbd", &self.softdeps);
        let order = order.ok_or("its kernel has no nbd, neither built in nor as a module")?;
        let read = self.read(&order).map_err(|error| error.to_string())?;
        self.found.load = read.iter().map(|(name, _)| name.clone()).collect();
        self.found.files.extend(read);
        Ok(())
    }

    /// Takes those of these drivers that can be used; returns what is wrong with the first that can't.
    fn nics(&mut self, nics: &[&'static Nic], aliases: &[u8]) -> Option<String> {
        let names: Vec<&str> = nics.iter().map(|nic| nic.name).collect();
        let mut aliases = modules::aliases(aliases, &names);
        let mut room = MOST_BYTES;
        let mut fault = None;
        for nic in nics {
            let Some(aliases) = aliases.remove(nic.name) else { continue };
            let Some(order) = self.order(nic) else { continue };
            let read = match self.read(&order) {
                Ok(read) => read,
                Err(error) => {
                    fault = fault.or_else(|| Some(format!("{}: {error}", nic.name)));
                    continue;
                }
            };
            let new = read.iter().filter(|(name, _)| !self.found.files.contains_key(name));
            let size = new.map(|(_, module)| module.len()).sum();
            // A smaller one may still find room.
            let Some(left) = room.checked_sub(size) else { continue };
            room = left;
            self.found.nic.push((aliases, read.iter().map(|(name, _)| name.clone()).collect()));
            self.found.nics.push(nic.name.to_owned());
            self.found.files.extend(read);
        }
        fault
    }

    fn order(&self, nic: &Nic) -> Option<Vec<&str>> {
        let mut order = self.deps.load_order(nic.name, &self.softdeps)?;
        if let Some(with) = nic.with {
            let more = self.deps.load_order(with, &self.softdeps)?;
            order.extend(more.into_iter().filter(|path| !order.contains(path)).collect::<Vec<_>>());
        }
        Some(order)
    }

    /// Modules by their names in the archive, unpacked.
    fn read(&self, paths: &[&str]) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let read = |path: &&str| -> Result<(String, Vec<u8>), Error> {
            let name = format!("{}.ko", modules::name_of(path).unwrap_or_default());
            if let Some(module) = self.found.files.get(&name) {
                return Ok((name, module.clone()));
            }
            let file = self.files.read(&format!("{}/{path}", self.directory), LARGEST_MODULE)?;
            let file = file.ok_or_else(|| Error::Damaged(format!("{path} is not there")))?;
            Ok((name, unpack(path, &file)?))
        };
        let mut room = MOST_BYTES;
        let mut modules = Vec::new();
        for path in paths {
            let module = read(path)?;
            room = room.checked_sub(module.1.len()).ok_or_else(|| Error::damaged(TOO_MUCH))?;
            modules.push(module);
        }
        Ok(modules)
    }
}

/// A module as it is loaded, whatever it is packed with.
pub(super) fn unpack(path: &str, file: &[u8]) -> Result<Vec<u8>, Error> {
    let mut module = Vec::new();
    packed::unpacked(path, file)
        .and_then(|reader| reader.take(LARGEST_MODULE + 1).read_to_end(&mut module))
        .map_err(|error| Error::damaged(format!("{path}: {error}")))?;
    if module.len() as u64 > LARGEST_MODULE {
        return Err(Error::TooLarge(path.to_owned(), LARGEST_MODULE));
    }
    if !module.starts_with(b"\x7fELF") {
        return Err(Error::Damaged(format!("{path} is no module")));
    }
    Ok(module)
}

impl Drivers {
    /// Whether there is anything to pack.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether nbd is among them.
    pub fn has_nbd(&self) -> bool {
        !self.load.is_empty()
    }

    /// The part of the archive that holds them, and a file more if there is one: name and text. The same drivers make the
    /// same bytes.
    pub fn pack(&self, more: Option<(&str, &str)>) -> Vec<u8> {
        let mut writer = cpio::Writer::default();
        writer.directory(DIRECTORY);
        writer.directory(&format!("{DIRECTORY}/modules"));
        for (name, module) in &self.files {
            writer.file(&format!("{DIRECTORY}/modules/{name}"), 0o644, module);
        }
        if self.has_nbd() {
            writer.file(&format!("{DIRECTORY}/load"), 0o644, lines(&self.load).as_bytes());
        }
        if !self.nic.is_empty() {
            let lines_of = |(aliases, modules): &(Vec<String>, Vec<String>)| {
                let modules = modules.join(" ");
                lines(aliases.iter().map(|alias| format!("{alias} {modules}")))
            };
            let text: String = self.nic.iter().map(lines_of).collect();
            writer.file(&format!("{DIRECTORY}/nic"), 0o644, text.as_bytes());
        }
        if let Some((name, text)) = more {
            writer.file(name, 0o644, text.as_bytes());
        }
        cpio::gzip(&writer.finish())
    }
}

fn lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect()
}

#[cfg(test)]
mod tests;
