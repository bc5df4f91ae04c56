//! The ISO as the menu readers see it: names in any case, and a budget.
//!
//! Every read, listing and evaluation step is paid for here, so that no menu can keep a reader busy: once the budget
//! is spent, files are missing and evaluation stops.

use super::Files;
use super::path::MAX_PATH;
use std::collections::HashMap;

/// Bytes of one configuration file: ten times the largest seen; what lies beyond is not read.
pub const MAX_FILE: usize = 256 << 10;
/// Bytes of all configuration files of an ISO, counted each time one is read: menus include the same file often.
pub const MAX_TOTAL: usize = 4 << 20;
/// Files read: three dozen for the menus with the most includes, several times over for the places that are tried.
pub const MAX_READS: usize = 512;
/// Directories listed, each once: names are looked for in another case in a few places only.
pub const MAX_LISTS: usize = 128;
/// Bytes of a name: Rock Ridge's and Linux's limit.
pub const MAX_NAME: usize = 255;
/// Names taken of a directory.
const MAX_NAMES: usize = 4096;
/// Steps of evaluation, one for each byte that is read or made and each command that is run. The largest menu seen, 144
/// entries in 36 languages, is read within it, for both firmwares and once more as a loopback menu. A fuzzer, which makes
/// loops of nearly everything, gets further with fewer.
const MAX_STEPS: usize = 1 << if cfg!(fuzzing) { 16 } else { 20 };

pub(super) struct BoundedFiles<'a> {
    files: &'a dyn Files,
    lists: HashMap<String, Vec<String>>,
    reads: usize,
    bytes: usize,
    steps: usize,
}

impl<'a> BoundedFiles<'a> {
    pub fn new(files: &'a dyn Files) -> Self {
        Self { files, lists: HashMap::new(), reads: MAX_READS, bytes: MAX_TOTAL, steps: MAX_STEPS }
    }

    /// The text of a file, with bytes that are no UTF-8 replaced.
    pub fn read(&mut self, path: &str) -> Option<String> {
        let path = self.locate(path)?;
        if self.reads == 0 || self.bytes == 0 {
            return None;
        }
        self.reads -= 1;
        let bytes = self.files.read(&path)?;
        let bytes = bytes.get(..MAX_FILE.min(self.bytes)).unwrap_or(&bytes);
        self.bytes -= bytes.len();
        let text = String::from_utf8_lossy(bytes);
        Some(text.strip_prefix('\u{feff}').unwrap_or(&text).into())
    }

    /// The path as the ISO spells it.
    pub fn locate(&mut self, path: &str) -> Option<String> {
        if path.len() > MAX_PATH {
            return None;
        }
        if self.files.exists(path) {
            return Some(path.into());
        }
        let mut found = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let dir = if found.is_empty() { "/" } else { &found };
            let cost = self.names(dir).len() / 8 + 1;
            if !self.spend(cost) {
                return None;
            }
            let names = self.names(dir);
            let exact = names.iter().find(|name| *name == part);
            let name = exact.or_else(|| names.iter().find(|name| name.eq_ignore_ascii_case(part)))?;
            found = format!("{found}/{name}");
        }
        (found.len() <= MAX_PATH && self.files.exists(&found)).then_some(found)
    }

    /// The names in a directory, sorted.
    pub fn list(&mut self, dir: &str) -> Vec<String> {
        let top = (dir == "/").then(|| dir.to_owned());
        let Some(dir) = top.or_else(|| self.locate(dir)) else {
            return Vec::new();
        };
        let mut names = self.names(&dir).to_vec();
        names.sort();
        names
    }

    /// Pays for evaluation; false once the budget is spent.
    pub fn spend(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_sub(steps);
        self.steps > 0
    }

    fn names(&mut self, dir: &str) -> &[String] {
        if !self.lists.contains_key(dir) && self.lists.len() < MAX_LISTS {
            let mut names = self.files.list(dir);
            names.retain(|name| matches!(name.len(), 1..=MAX_NAME) && !name.contains('/'));
            names.truncate(MAX_NAMES);
            self.lists.insert(dir.into(), names);
        }
        self.lists.get(dir).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    #[test]
    fn a_name_in_the_right_case_wins() {
        let files = Memory::of(&[("/Boot/A.CFG", "1"), ("/boot/a.cfg", "2")]);
        let mut iso = BoundedFiles::new(&files);
        assert_eq!(iso.read("/boot/a.cfg").unwrap(), "2");
        assert_eq!(iso.locate("/BOOT/a.cfg").unwrap(), "/Boot/A.CFG");
        assert_eq!(iso.locate("/boot/b.cfg"), None);
    }

    #[test]
    fn a_long_file_is_cut() {
        let files = Memory::of(&[("/a", vec![b'x'; MAX_FILE + 1])]);
        assert_eq!(BoundedFiles::new(&files).read("/a").unwrap().len(), MAX_FILE);
    }

    #[test]
    fn reading_ends_when_the_budget_is_spent() {
        let files = Memory::of(&[("/a", vec![b'x'; MAX_FILE])]);
        let mut iso = BoundedFiles::new(&files);
        assert_eq!((0..MAX_READS).filter(|_| iso.read("/a").is_some()).count(), MAX_TOTAL / MAX_FILE);
        let files = Memory::of(&[("/a", "x")]);
        let mut iso = BoundedFiles::new(&files);
        assert_eq!((0..2 * MAX_READS).filter(|_| iso.read("/a").is_some()).count(), MAX_READS);
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        let files = Memory::of(&[("/a", b"\xef\xbb\xbfa\xff" as &[u8])]);
        assert_eq!(BoundedFiles::new(&files).read("/a").unwrap(), "a\u{fffd}");
    }
}
