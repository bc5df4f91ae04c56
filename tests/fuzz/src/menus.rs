//! The readers of the menus in an ISO.
//!
//! An input is the text of several files with NULs between them: that of the loader's own menu first.

use std::cell::Cell;

use netrootfs::image::menu::{self, Environment, Files, Menu};

/// An ISO that has nothing but these files, and counts what is asked of it.
struct Iso<'a> {
    files: Vec<(&'static str, &'a [u8])>,
    reads: Cell<usize>,
    lists: Cell<usize>,
}

impl<'a> Iso<'a> {
    fn new(paths: &[&'static str], bytes: &'a [u8]) -> Self {
        let texts = bytes.splitn(paths.len(), |&byte| byte == 0);
        Self { files: paths.iter().copied().zip(texts).collect(), reads: Cell::new(0), lists: Cell::new(0) }
    }

    fn assert_budget(&self) {
        assert!(self.reads.get() <= menu::MAX_READS && self.lists.get() <= menu::MAX_LISTS);
    }
}

impl Files for Iso<'_> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.reads.set(self.reads.get() + 1);
        self.files.iter().find(|(name, _)| *name == path).map(|(_, text)| text.to_vec())
    }

    fn exists(&self, path: &str) -> bool {
        let inside =
            |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.files.iter().any(|(name, _)| inside(name))
    }

    fn list(&self, dir: &str) -> Vec<String> {
        self.lists.set(self.lists.get() + 1);
        let prefix = format!("{}/", dir.trim_end_matches('/'));
        let rest = self.files.iter().filter_map(|(name, _)| name.strip_prefix(&prefix));
        rest.filter_map(|rest| rest.split('/').next()).map(String::from).collect()
    }
}

/// GRUB's.
pub fn grub(bytes: &[u8]) {
    all(&Iso::new(&["/boot/grub/grub.cfg", "/boot/grub/b.cfg", "/boot/grub/loopback.cfg"], bytes));
}

/// SYSLINUX's and ISOLINUX's.
pub fn syslinux(bytes: &[u8]) {
    all(&Iso::new(&["/isolinux/isolinux.cfg", "/isolinux/b.cfg", "/isolinux/whichsys.c32"], bytes));
}

/// Those of the Boot Loader Specification.
pub fn bls(bytes: &[u8]) {
    all(&Iso::new(&["/loader/loader.conf", "/loader/entries/a.conf", "/loader/entries/b.conf"], bytes));
}

fn all(iso: &Iso<'_>) {
    let with_all = Environment {
        iso_path: Some("/x.iso".into()),
        fs_uuid: Some("2026-01-01-00-00-00-00".into()),
        label: Some("A B".into()),
        ..Environment::default()
    };
    for menu in menu::read(iso, &with_all) {
        assert_limits(&menu);
    }
    iso.assert_budget();
}

fn assert_limits(menu: &Menu) {
    assert!(menu.entries.len() <= menu::MAX_ENTRIES && menu.left_out.len() <= menu::MAX_ENTRIES);
    assert!(menu.default.is_none_or(|index| index < menu.entries.len()));
    assert_eq!(menu.boot_entry().is_some(), !menu.entries.is_empty());
    for other in &menu.left_out {
        other.submenu.iter().chain([&other.title]).for_each(|title| assert_title(title));
        assert!(other.submenu.len() <= menu::MAX_SUBMENUS && other.files.len() <= menu::MAX_INITRDS);
        other.files.iter().for_each(|path| assert_path(path));
    }
    for entry in &menu.entries {
        entry.submenu.iter().chain([&entry.title]).for_each(|title| assert_title(title));
        assert!(!entry.title.is_empty() && entry.submenu.len() <= menu::MAX_SUBMENUS);
        let args = entry.args.to_string();
        assert_one_line(&args);
        assert!(args.len() <= menu::MAX_ARGS && entry.initrds.len() <= menu::MAX_INITRDS);
        entry.initrds.iter().chain([&entry.kernel]).for_each(|path| assert_path(path));
    }
}

fn assert_title(title: &str) {
    assert_one_line(title);
    assert!(title.chars().count() <= menu::MAX_TITLE);
}

fn assert_one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.trim() == text && !text.contains("  "), "{text:?}");
}

fn assert_path(path: &str) {
    assert!(
        path.starts_with('/') && path.len() <= menu::MAX_PATH && !path.contains(char::is_control),
        "{path:?}"
    );
    assert!(path.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
}
