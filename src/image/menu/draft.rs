//! Entries as loaders have them, and what they must be like to leave a menu.
//!
//! What comes out is a single line without control characters and of limited length, or nothing.

use super::bounded_files::BoundedFiles;
use super::path;
use super::{LeftOut, MenuEntry, Reason};
use crate::image::args::Args;
use crate::image::printable::is_control;

/// Characters of a title: wider than any text screen that shows one.
pub const MAX_TITLE: usize = 200;
/// Bytes of kernel arguments: twice the `COMMAND_LINE_SIZE` of x86 (2048), the longest that Linux has there.
pub const MAX_ARGS: usize = 4096;
/// Initrds of an entry: microcode for two vendors, the initramfs, and as many again for each module of a split one.
pub const MAX_INITRDS: usize = 32;
/// Entries of a menu: the largest one seen has 60 (one for each kernel, desktop and language would still fit).
pub const MAX_ENTRIES: usize = 256;
/// Submenus that an entry lies in; the deepest seen is two.
pub const MAX_SUBMENUS: usize = 8;
/// Menus of an ISO: three loaders, each in a few places and for a few processors.
pub const MAX_MENUS: usize = 16;

/// A loader's entry before it has passed the gate.
#[derive(Debug, Default, Clone)]
pub(super) struct Draft {
    pub title: String,
    pub submenu: Vec<String>,
    /// Empty if there is none.
    pub kernel: String,
    pub initrds: Vec<String>,
    pub args: String,
    /// What relative paths are relative to.
    pub cwd: String,
    /// What it does instead of booting Linux, if that is known.
    pub instead: Option<Reason>,
    /// The files that it loads then.
    pub files: Vec<String>,
}

impl Draft {
    /// The entry, if it boots a kernel of the ISO. A path or arguments over their limit refuse it: cut ones would boot
    /// something else.
    ///
    /// # Errors
    /// What doesn't, with the reason.
    pub fn pass(&self, iso: &mut BoundedFiles) -> Result<MenuEntry, LeftOut> {
        self.entry(iso).map_err(|reason| self.left_out(iso, reason))
    }

    fn entry(&self, iso: &mut BoundedFiles) -> Result<MenuEntry, Reason> {
        if let Some(reason) = self.instead {
            return Err(reason);
        }
        if self.kernel.is_empty() {
            return Err(Reason::NoLinux);
        }
        let args = line(&self.args, usize::MAX);
        if args.len() > MAX_ARGS || self.initrds.len() > MAX_INITRDS {
            return Err(Reason::TooLong);
        }
        let mut spelt = |text: &str| self.spelt(iso, text).ok_or(Reason::NotInIso);
        let kernel = spelt(&self.kernel)?;
        let initrds = self.initrds.iter().map(|initrd| spelt(initrd)).collect::<Result<Vec<_>, _>>()?;
        Ok(MenuEntry {
            title: title(&self.title, &kernel),
            submenu: self.submenu.iter().take(MAX_SUBMENUS).cloned().collect(),
            kernel,
            initrds,
            args: Args::parse(&args),
        })
    }

    fn left_out(&self, iso: &mut BoundedFiles, reason: Reason) -> LeftOut {
        let files = self.files.iter().take(MAX_INITRDS).filter_map(|file| self.spelt(iso, file)).collect();
        let submenu = self.submenu.iter().take(MAX_SUBMENUS).cloned().collect();
        LeftOut { title: line(&self.title, MAX_TITLE), submenu, reason, files }
    }

    fn spelt(&self, iso: &mut BoundedFiles, text: &str) -> Option<String> {
        path::resolve(text, &self.cwd).map(|path| iso.locate(&path).unwrap_or(path))
    }
}

/// What has passed, in the order of the menu, and what has not.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub entries: Vec<MenuEntry>,
    pub left_out: Vec<LeftOut>,
}

impl Passed {
    /// Index of the entry that it has become.
    pub fn add(&mut self, passed: Result<MenuEntry, LeftOut>) -> Option<usize> {
        match passed {
            Ok(entry) if self.entries.len() < MAX_ENTRIES => {
                self.entries.push(entry);
                return Some(self.entries.len() - 1);
            }
            Err(other) if self.left_out.len() < MAX_ENTRIES => self.left_out.push(other),
            _ => {}
        }
        None
    }

    /// True if there is nothing but ways to other menus.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.left_out.iter().all(|other| other.reason == Reason::OtherMenu)
    }
}

/// One line of at most `limit` characters: controls become blanks, runs of blanks one, the ends are trimmed.
pub(super) fn line(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split(is_gap).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
            length += 1;
        }
        for c in word.chars() {
            if length >= limit {
                return out.trim_end().into();
            }
            out.push(c);
            length += 1;
        }
    }
    out
}

/// A title as [`line`]; an entry without one is called after its kernel.
pub(super) fn title(text: &str, kernel: &str) -> String {
    let title = line(text, MAX_TITLE);
    if title.is_empty() { line(kernel, MAX_TITLE) } else { title }
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || is_control(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    #[test]
    fn a_line_has_single_blanks_and_no_controls() {
        assert_eq!(line(" a\t\tb\r\n c\0d\u{1b}[2J\u{202e} ", 99), "a b c d [2J");
    }

    #[test]
    fn a_line_is_cut_at_characters() {
        assert_eq!(line("ééé é", 2), "éé");
        assert_eq!(line("ab cd", 3), "ab");
    }

    #[test]
    fn too_many_arguments_refuse_the_entry() {
        let files = Memory::default();
        let mut iso = BoundedFiles::new(&files);
        let mut draft = Draft { kernel: "/k".into(), initrds: vec!["/i".into()], ..Draft::default() };
        draft.args = "a".repeat(MAX_ARGS);
        assert_eq!(draft.pass(&mut iso).unwrap().title, "/k");
        draft.args.push('a');
        assert_eq!(draft.pass(&mut iso).unwrap_err().reason, Reason::TooLong);
    }
}
