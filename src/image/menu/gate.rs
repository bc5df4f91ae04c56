//! The one gate that foreign text passes on its way out of a menu.
//!
//! What comes out is a single line without control characters and of limited length, or nothing.

use super::Entry;
use super::disc::Disc;

/// Characters of a title: wider than any text screen that shows one.
pub const MAX_TITLE: usize = 200;
/// Bytes of kernel arguments: twice the `COMMAND_LINE_SIZE` of x86 (2048), the longest that Linux has there.
pub const MAX_ARGS: usize = 4096;
/// Bytes of a path: ECMA-119 allows 255, Rock Ridge and Joliet go beyond; kernels lie near the top.
pub const MAX_PATH: usize = 1024;
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
    pub fn pass(&self, disc: &mut Disc) -> Option<Entry> {
        let args = line(&self.args, usize::MAX);
        if args.len() > MAX_ARGS || self.initrds.is_empty() || self.initrds.len() > MAX_INITRDS {
            return None;
        }
        let mut spelt = |text: &str| path(text, &self.cwd).map(|path| disc.locate(&path).unwrap_or(path));
        let kernel = spelt(&self.kernel)?;
        let initrds = self.initrds.iter().map(|initrd| spelt(initrd)).collect::<Option<Vec<_>>>()?;
        Some(Entry {
            title: title(&self.title, &kernel),
            submenu: self.submenu.iter().take(MAX_SUBMENUS).cloned().collect(),
            kernel,
            initrds,
            args,
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

/// An absolute path inside the ISO: device prefixes (`(hd0,1)`, TFTP's `::`) are dropped, `.`, `..` and doubled slashes
/// resolved. Nothing for a URL, a block list, the root itself, or what is too long or holds control characters.
pub(super) fn path(text: &str, cwd: &str) -> Option<String> {
    let text = text.trim();
    if text.contains("://") || text.contains(is_control) {
        return None;
    }
    let text = text.rsplit_once("::").map_or(text, |(_, path)| path);
    let text = match text.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1,
        None => text,
    };
    if text.starts_with('+') || text.len() > MAX_PATH {
        return None;
    }
    let base = if text.starts_with('/') { "" } else { cwd };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(text.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path: String = parts.iter().flat_map(|part| ["/", part]).collect();
    (!path.is_empty() && path.len() <= MAX_PATH).then_some(path)
}

/// The directory of an absolute path: `/` for one at the top.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((dir, _)) => dir,
    }
}

/// The last component of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || is_control(c)
}

/// Besides Unicode's controls, the line and paragraph separators and the marks that reorder a line.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    fn paths_lose_their_device() {
        assert_eq!(path("(hd0,msdos1)/boot/k", "/x").as_deref(), Some("/boot/k"));
        assert_eq!(path("()/boot/k", "/x").as_deref(), Some("/boot/k"));
        assert_eq!(path("::/boot/k", "/x").as_deref(), Some("/boot/k"));
    }

    #[test]
    fn relative_paths_start_at_the_working_directory() {
        assert_eq!(path("k", "/isolinux").as_deref(), Some("/isolinux/k"));
        assert_eq!(path("../../k", "/a/b/c").as_deref(), Some("/a/k"));
    }

    #[test]
    fn paths_never_leave_the_iso() {
        assert_eq!(path("/../../etc/passwd", "/").as_deref(), Some("/etc/passwd"));
        assert_eq!(path("..", "/a"), None);
    }

    #[test]
    fn what_is_no_file_of_the_iso_is_no_path() {
        for text in ["", "/", "http://host/k", "(hd0)+1", "+1", "(hd0", "/a\nb", "/a\0"] {
            assert_eq!(path(text, "/"), None, "{text:?}");
        }
        assert_eq!(path(&format!("/{}", "a".repeat(MAX_PATH)), "/"), None);
    }

    #[test]
    fn too_many_arguments_refuse_the_entry() {
        let files = Memory::default();
        let mut disc = Disc::new(&files);
        let mut draft = Draft { kernel: "/k".into(), initrds: vec!["/i".into()], ..Draft::default() };
        draft.args = "a".repeat(MAX_ARGS);
        assert_eq!(draft.pass(&mut disc).unwrap().title, "/k");
        draft.args.push('a');
        assert!(draft.pass(&mut disc).is_none());
    }
}
