//! Entries as loaders have them, and what they must be like to leave a menu.
//!
//! What comes out is a single line without control characters and of limited length, or nothing.

use super::MenuEntry;
use super::bounded_files::BoundedFiles;
use super::path::{self, is_control};
use crate::image::args::Args;

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
    pub kernel: String,
    pub initrds: Vec<String>,
    pub args: String,
    /// What relative paths are relative to.
    pub cwd: String,
}

impl Draft {
    /// The entry, if it boots a kernel of the ISO with an initrd. A path or arguments over their limit refuse it: cut
    /// ones would boot something else.
    pub fn pass(&self, iso: &mut BoundedFiles) -> Option<MenuEntry> {
        let args = line(&self.args, usize::MAX);
        if args.len() > MAX_ARGS || self.initrds.is_empty() || self.initrds.len() > MAX_INITRDS {
            return None;
        }
        let mut spelt =
            |text: &str| path::resolve(text, &self.cwd).map(|path| iso.locate(&path).unwrap_or(path));
        let kernel = spelt(&self.kernel)?;
        let initrds = self.initrds.iter().map(|initrd| spelt(initrd)).collect::<Option<Vec<_>>>()?;
        Some(MenuEntry {
            title: title(&self.title, &kernel),
            submenu: self.submenu.iter().take(MAX_SUBMENUS).cloned().collect(),
            kernel,
            initrds,
            args: Args::parse(&args),
        })
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
        assert!(draft.pass(&mut iso).is_none());
    }
}
