//! Modules in packages of Debian's installer: udebs in the `pool/` of its disc, each an ar with a packed tar in it.
//!
//! They bring no lists of depmod(8), which the installer makes itself; what those say stands in the modules, so they are
//! made of that. What a module needs and none of the packages has is the initrd's. The modules are held in memory, up to a
//! limit.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Read};
use std::sync::Arc;

use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, elf};

use super::{Error, Files, LONGEST, MOST_BYTES};
use crate::boot::netroot::drivers::{self, LARGEST_MODULE};
use crate::boot::netroot::packed;
use crate::image::modules;
use crate::storage::source::ReadAt;
use crate::storage::source::bounded::Bounded;
use crate::storage::source::cursor::Cursor;

/// Beginnings of the names of packages with nbd, drivers of network cards, and what these need.
const NAMES: [&str; 9] = [
    "crc-modules-",
    "i2c-modules-",
    "mtd-core-modules-",
    "nbd-modules-",
    "nic-extra-modules-",
    "nic-modules-",
    "nic-shared-modules-",
    "nic-usb-modules-",
    "usb-modules-",
];

/// The end of a name.
const ENDING: &str = ".udeb";

/// Bytes that all of them unpack to. Debian 12's have 40 MB.
const MOST_UNPACKED: u64 = 128 << 20;

/// Files in all of them. Debian 12's have 400.
const MOST_FILES: usize = 8192;

/// Bytes of a path (PATH_MAX).
const MOST_PATH: u64 = 4096;

/// Read at a time.
const READ_SIZE: usize = 64 << 10;

/// Whether a path is that of a package that may be of use.
pub fn is_package(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.ends_with(ENDING) && NAMES.iter().any(|beginning| name.starts_with(beginning))
}

/// Whether a package is of that kernel: `nbd-modules-6.1.0-50-amd64-di_6.1.176-1_amd64.udeb`.
pub(in crate::boot::netroot) fn is_of(path: &str, version: &str) -> bool {
    path.contains(&format!("-modules-{version}-di_"))
}

/// Packages that are open: their modules and the lists, by path.
pub struct Udebs(BTreeMap<String, Vec<u8>>);

impl Udebs {
    /// Reads packages of that kernel.
    ///
    /// # Errors
    /// If none can be read.
    pub fn open(packages: &[Arc<dyn ReadAt>], version: &str) -> Result<Self, Error> {
        let mut unpacking = Unpacking { modules: BTreeMap::new(), files: MOST_FILES, bytes: MOST_UNPACKED };
        let directory = format!("lib/modules/{version}/");
        let mut fault = None;
        for package in packages {
            let bounded = Bounded::new(package.clone(), MOST_BYTES, LONGEST);
            let package = BufReader::with_capacity(READ_SIZE, Cursor::new(Arc::new(bounded)));
            let read = unpacking.package(package, &directory);
            fault = fault.or(read.err());
        }
        // A damaged one is left out, as long as there are others.
        if let Some(fault) = fault.filter(|_| unpacking.modules.is_empty()) {
            return Err(fault);
        }
        let lists = lists(&unpacking.modules);
        let all = unpacking.modules.into_iter().chain(lists);
        Ok(Self(all.map(|(path, bytes)| (format!("{directory}{path}"), bytes)).collect()))
    }
}

struct Unpacking {
    /// By their paths below the directory of the kernel.
    modules: BTreeMap<String, Vec<u8>>,
    /// Files and bytes that may still come.
    files: usize,
    bytes: u64,
}

impl Unpacking {
    fn package(&mut self, package: impl Read, directory: &str) -> Result<(), Error> {
        let (name, member) = content(package)?;
        let mut tar =
            tar::Archive::new(packed::unpacked(&name, member).map_err(Error::damaged)?.take(self.bytes));
        let mut long_path = None;
        // As they are in the archive: the crate would read a long path to its end, however long.
        for entry in tar.entries().map_err(Error::damaged)?.raw(true) {
            let mut entry = entry.map_err(Error::damaged)?;
            let too_much = || Error::Damaged("packages with too many files or bytes".into());
            self.files = self.files.checked_sub(1).ok_or_else(too_much)?;
            self.bytes = self.bytes.checked_sub(entry.size()).ok_or_else(too_much)?;
            if entry.header().entry_type().is_gnu_longname() {
                let mut path = Vec::new();
                entry.take(MOST_PATH).read_to_end(&mut path).map_err(Error::damaged)?;
                path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(path.len()));
                long_path = Some(path);
                continue;
            }
            let path = long_path.take().unwrap_or_else(|| entry.path_bytes().into_owned());
            let path = String::from_utf8_lossy(&path);
            let path = path.trim_start_matches("./").trim_start_matches("usr/");
            let Some(path) = path.strip_prefix(directory) else { continue };
            let fits = entry.header().entry_type().is_file() && entry.size() <= LARGEST_MODULE;
            if fits && modules::name_of(path).is_some() {
                let mut module = Vec::new();
                entry.read_to_end(&mut module).map_err(Error::damaged)?;
                self.modules.insert(path.to_owned(), module);
            }
        }
        Ok(())
    }
}

/// The content of a package and its name: a member of an ar, whose names are plain ones (deb(5)).
fn content(mut package: impl Read) -> Result<(String, impl Read), Error> {
    let mut magic = [0; 8];
    package.read_exact(&mut magic).map_err(Error::damaged)?;
    if magic != *b"!<arch>\n" {
        return Err(Error::Damaged("no package".into()));
    }
    loop {
        // name[16], date[12], uid[6], gid[6], mode[8], size[10], end[2] (ar(5)).
        let mut header = [0; 60];
        package.read_exact(&mut header).map_err(|_| Error::Damaged("a package without content".into()))?;
        let text = std::str::from_utf8(&header).ok().filter(|text| text.ends_with("`\n"));
        let fields = text.and_then(|text| Some((text.get(..16)?.trim_end(), text.get(48..58)?.trim_end())));
        let member =
            fields.and_then(|(name, size)| Some((name.trim_end_matches('/'), size.parse::<u64>().ok()?)));
        let Some((name, size)) = member else {
            return Err(Error::Damaged("a package with a damaged header".into()));
        };
        if name.starts_with("data.tar") {
            return Ok((name.to_owned(), package.take(size)));
        }
        // Each begins at an even place.
        let mut passed = package.by_ref().take(size.next_multiple_of(2));
        std::io::copy(&mut passed, &mut std::io::sink()).map_err(Error::damaged)?;
    }
}

/// The lists that depmod(8) would make. A module that tells nothing of itself is in none.
fn lists(modules: &BTreeMap<String, Vec<u8>>) -> [(String, Vec<u8>); 3] {
    let [mut dep, mut alias, mut softdep] = [String::new(), String::new(), String::new()];
    let paths: HashMap<String, &String> =
        modules.keys().filter_map(|path| Some((modules::name_of(path)?, path))).collect();
    for (path, file) in modules {
        let (Some(name), Some(info)) = (modules::name_of(path), info(path, file)) else { continue };
        let of = |key: &'static str| info.iter().filter(move |(found, _)| found == key).map(|(_, it)| it);
        let needs = of("depends").flat_map(|names| names.split(','));
        let needs: Vec<&str> =
            needs.filter_map(|name| paths.get(&name.replace('-', "_")).map(|path| path.as_str())).collect();
        dep.push_str(&format!("{path}: {}\n", needs.join(" ")));
        alias.extend(of("alias").map(|it| format!("alias {it} {name}\n")));
        softdep.extend(of("softdep").map(|it| format!("softdep {name} {it}\n")));
    }
    [("modules.dep", dep), ("modules.alias", alias), ("modules.softdep", softdep)]
        .map(|(list, text)| (list.to_owned(), text.into_bytes()))
}

/// A module's description of itself: lines of `key=value` (Linux, include/linux/moduleparam.h, `MODULE_INFO`).
fn info(path: &str, file: &[u8]) -> Option<Vec<(String, String)>> {
    let module = drivers::unpack(path, file).ok()?;
    let header = elf::FileHeader64::<Endianness>::parse(module.as_slice()).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, module.as_slice()).ok()?;
    let (_, section) = sections.section_by_name(endian, b".modinfo")?;
    let text = section.data(endian, module.as_slice()).ok()?;
    let line = |line: &[u8]| {
        let (key, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        let plain = !value.contains(char::is_control);
        plain.then(|| (key.to_owned(), value.to_owned()))
    };
    Some(text.split(|byte| *byte == 0).filter_map(line).collect())
}

impl Files for Udebs {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.0.get(path) {
            Some(file) if file.len() as u64 > most => Err(Error::TooLarge(path.to_owned(), most)),
            file => Ok(file.cloned()),
        }
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        Ok(vec!["lib".into()])
    }

    fn image(&self, _path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        Ok(None)
    }
}

#[cfg(test)]
pub(in crate::boot::netroot) mod tests;
