//! SYSLINUX's and ISOLINUX's menu.
//!
//! `parse` turns a configuration and what it includes into labels and submenus. Here the loader is followed to the
//! menu that it ends up showing (`CONFIG`, `whichsys.c32`, `ifcpu64.c32`, `menu.c32` with a file), and the labels that
//! boot a kernel with an initrd become entries.

mod parse;
mod words;

use super::bounded_files::BoundedFiles;
use super::draft::{self, Draft, MAX_MENUS};
use super::path;
use super::{Files, Loader, Menu, MenuEntry};
use parse::{Config, Item, Label, Verb};
use std::collections::HashSet;
use words::{chosen_by_cpu, chosen_by_system, is_program, program_name, split_word, without_initrd};

/// Places of the main configuration: ISOLINUX's and SYSLINUX's own search path first.
const KNOWN: [&str; 14] = [
    "/boot/isolinux/isolinux.cfg",
    "/isolinux/isolinux.cfg",
    "/isolinux.cfg",
    "/boot/syslinux/isolinux.cfg",
    "/boot/syslinux/syslinux.cfg",
    "/boot/isolinux/syslinux.cfg",
    "/isolinux/syslinux.cfg",
    "/syslinux/isolinux.cfg",
    "/syslinux/syslinux.cfg",
    "/syslinux.cfg",
    "/boot/x86_64/loader/isolinux.cfg",
    "/boot/i386/loader/isolinux.cfg",
    "/arch/boot/syslinux/syslinux.cfg",
    "/sysresccd/boot/syslinux/syslinux.cfg",
];
/// Where any `.cfg` is tried if none of [`KNOWN`] gives a menu (`live.cfg`, `txt.cfg`, …).
const DIRECTORIES: [&str; 6] = [
    "/isolinux",
    "/boot/isolinux",
    "/boot/syslinux",
    "/syslinux",
    "/arch/boot/syslinux",
    "/manjaro/boot/syslinux",
];
/// Configurations on the way to the menu; the longest chain seen is three.
const MAX_CHAIN: usize = 8;
/// Labels on the way to a configuration or kernel, one `.c32` choosing the next.
const MAX_HOPS: usize = 8;

/// Reads one configuration and those that it hands over to. `cwd` is what relative paths are relative to: the
/// directory of the configuration, unless another one handed over with its own.
#[must_use]
pub fn read(files: &dyn Files, config: &str, cwd: Option<&str>) -> Vec<Menu> {
    let mut menus = Vec::new();
    let cwd = cwd.unwrap_or_else(|| path::parent(config));
    follow(&mut BoundedFiles::new(files), config, cwd, &mut HashSet::new(), 0, &mut menus);
    menus
}

pub(super) fn read_known(iso: &mut BoundedFiles, menus: &mut Vec<Menu>) {
    let mut visited = HashSet::new();
    let before = menus.len();
    for path in KNOWN {
        if let Some(path) = iso.locate(path) {
            follow(iso, &path, path::parent(&path), &mut visited, 0, menus);
        }
    }
    if menus.len() > before {
        return;
    }
    for dir in DIRECTORIES {
        for name in iso.list(dir) {
            if name.to_ascii_lowercase().ends_with(".cfg")
                && let Some(path) = iso.locate(&format!("{dir}/{name}"))
            {
                follow(iso, &path, path::parent(&path), &mut visited, 0, menus);
            }
        }
    }
}

/// Adds the menu that the loader shows for this configuration, then the configuration's own entries if those differ.
fn follow(
    iso: &mut BoundedFiles,
    path: &str,
    cwd: &str,
    visited: &mut HashSet<(String, String)>,
    depth: usize,
    menus: &mut Vec<Menu>,
) {
    if depth > MAX_CHAIN || menus.len() >= MAX_MENUS || !visited.insert((path.into(), cwd.into())) {
        return;
    }
    let Some(config) = Config::read(iso, path, cwd) else {
        return;
    };
    let before = menus.len();
    let mut hand_over = |iso: &mut BoundedFiles, next: Next, menus: &mut Vec<Menu>| {
        if let Some(path) = iso.locate(&next.config) {
            follow(iso, &path, &next.cwd, visited, depth + 1, menus);
        }
    };
    let start = config.ui.as_ref().or(config.default.as_ref());
    if let Some(next) = start.and_then(|line| config.command(line, cwd, 0)) {
        hand_over(iso, next, menus);
    }
    menus.extend(config.menu(iso, path, cwd));
    if menus.len() > before {
        return;
    }
    for label in &config.labels {
        if let Some(next) = config.start(label, "", cwd, 0) {
            hand_over(iso, next, menus);
        }
    }
}

/// The configuration that another one hands over to.
struct Next {
    config: String,
    cwd: String,
}

impl Config {
    /// Where a command line leads: a label, or a program with its arguments.
    fn command(&self, line: &str, cwd: &str, hops: usize) -> Option<Next> {
        let (name, rest) = split_word(line);
        if let Some(label) = self.find(line) {
            return self.start(label, rest, cwd, hops);
        }
        self.program(name, rest, cwd, hops)
    }

    /// Where a label leads.
    fn start(&self, label: &Label, more: &str, cwd: &str, hops: usize) -> Option<Next> {
        let (target, rest) = split_word(&label.target);
        let args = format!("{rest} {} {more}", label.append);
        match label.verb {
            Verb::Config => {
                let dir = args.split_whitespace().next();
                let cwd_next = dir.map_or(Some(cwd.into()), |dir| directory(dir, cwd))?;
                Some(Next { config: path::resolve(target, cwd)?, cwd: cwd_next })
            }
            Verb::Kernel | Verb::Program => self.program(target, &args, cwd, hops),
            Verb::Linux | Verb::Nothing => None,
        }
    }

    fn program(&self, name: &str, args: &str, cwd: &str, hops: usize) -> Option<Next> {
        if hops >= MAX_HOPS {
            return None;
        }
        match program_name(name).as_str() {
            "menu" | "vesamenu" => {
                let file = args.split_whitespace().find(|word| *word != "~")?;
                Some(Next { config: path::resolve(file, cwd)?, cwd: cwd.into() })
            }
            "whichsys" => self.command(&chosen_by_system(args), cwd, hops + 1),
            "ifcpu64" | "ifcpu" => self.command(&chosen_by_cpu(args), cwd, hops + 1),
            _ => None,
        }
    }

    /// The label that a command line begins with.
    fn find(&self, line: &str) -> Option<&Label> {
        self.position(line).and_then(|index| self.labels.get(index))
    }

    fn position(&self, line: &str) -> Option<usize> {
        let (line, word) = (line.trim(), split_word(line).0);
        let find = |wanted: &str| self.labels.iter().position(|label| label.name == wanted);
        let find_caseless =
            |wanted: &str| self.labels.iter().position(|label| label.name.eq_ignore_ascii_case(wanted));
        find(line).or_else(|| find(word)).or_else(|| find_caseless(word))
    }

    fn menu(&self, iso: &mut BoundedFiles, path: &str, cwd: &str) -> Option<Menu> {
        let mut entries = Vec::new();
        let mut indices = Vec::new();
        for label in &self.labels {
            let entry = self.entry(iso, label, cwd);
            indices.push(entry.as_ref().map(|_| entries.len()));
            entries.extend(entry);
        }
        if entries.is_empty() {
            return None;
        }
        let default = self.default_label().and_then(|label| indices.get(label).copied().flatten());
        Some(Menu { config: path.into(), loader: Loader::Syslinux, entries, default })
    }

    /// What boots by itself: the last `default` if it names a label, then the first menu's `menu default`, then
    /// `ontimeout`, then the first entry shown.
    fn default_label(&self) -> Option<usize> {
        if let Some(label) = self.default.as_ref().and_then(|line| self.position(line)) {
            return Some(label);
        }
        let chosen = self.menus.get(self.start).is_some_and(|menu| menu.default.is_some());
        let timeout = || self.ontimeout.as_ref().and_then(|line| self.position(line));
        if chosen {
            return self.first_shown(self.start, 0);
        }
        timeout().or_else(|| self.first_shown(self.start, 0))
    }

    fn first_shown(&self, menu: usize, depth: usize) -> Option<usize> {
        let menu = self.menus.get(menu).filter(|_| depth < MAX_HOPS)?;
        match menu.items.get(menu.default.unwrap_or(0))? {
            Item::Label(label) => Some(*label),
            Item::Menu(inner) => self.first_shown(*inner, depth + 1),
        }
    }

    fn entry(&self, iso: &mut BoundedFiles, label: &Label, cwd: &str) -> Option<MenuEntry> {
        let (target, more) = self.linux(label, 0)?;
        let (kernel, rest) = split_word(&target.target);
        let mut args = format!("{rest} {} {more}", target.append);
        let mut kernel = kernel.to_owned();
        if program_name(&kernel) == "linux" && is_program(&kernel) {
            let (first, rest) = split_word(&args);
            (kernel, args) = (first.into(), rest.into());
        }
        if program_name(&kernel) == "memdisk" {
            return None;
        }
        let (args, in_args) = without_initrd(&args);
        // The `initrd` line is appended to the arguments, and the last `initrd=` counts.
        let initrd = target.initrd.as_deref().or(in_args.as_deref())?;
        let initrds = initrd.split(',').map(str::trim).filter(|name| !name.is_empty());
        let draft = Draft {
            title: label.title.clone(),
            submenu: self.path_of(label.menu),
            kernel,
            initrds: initrds.take(draft::MAX_INITRDS + 1).map(String::from).collect(),
            args,
            cwd: cwd.into(),
        };
        draft.pass(iso)
    }

    /// The label that boots Linux for this one: itself, or the one that `ifcpu64.c32` chooses; and further arguments.
    fn linux<'a>(&'a self, label: &'a Label, hops: usize) -> Option<(&'a Label, String)> {
        let (target, rest) = split_word(&label.target);
        match label.verb {
            Verb::Linux => return Some((label, String::new())),
            Verb::Kernel if !is_program(target) => return Some((label, String::new())),
            Verb::Kernel | Verb::Program if program_name(target) == "linux" => {
                return Some((label, String::new()));
            }
            Verb::Kernel | Verb::Program if program_name(target).starts_with("ifcpu") && hops < MAX_HOPS => {}
            _ => return None,
        }
        let line = chosen_by_cpu(&format!("{rest} {}", label.append));
        let (found, more) = self.linux(self.find(&line)?, hops + 1)?;
        Some((found, format!("{more} {}", split_word(&line).1)))
    }

    fn path_of(&self, menu: usize) -> Vec<String> {
        let mut path = Vec::new();
        let mut next = self.menus.get(menu);
        while let Some(menu) = next {
            let Some(parent) = menu.parent else { break };
            path.push(draft::title(&menu.title, "submenu"));
            // A parent is always an earlier menu.
            next = self.menus.get(parent);
        }
        path.reverse();
        path
    }
}

/// As [`draft::path`], but the top of the ISO is one too.
fn directory(dir: &str, cwd: &str) -> Option<String> {
    let parent = path::resolve(&format!("{dir}/x"), cwd)?;
    Some(path::parent(&parent).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    const BOOT: &str = "kernel /k\ninitrd /i\n";

    fn read_one(text: &str) -> Menu {
        let mut menus =
            read(&Memory::of(&[("/isolinux/isolinux.cfg", text)]), "/isolinux/isolinux.cfg", None);
        assert_eq!(menus.len(), 1, "{menus:?}");
        menus.remove(0)
    }

    fn default_of(text: &str) -> Option<usize> {
        read_one(text).default
    }

    fn titles(menu: &Menu) -> Vec<&str> {
        menu.entries.iter().map(|entry| entry.title.as_str()).collect()
    }

    #[test]
    fn keywords_in_any_case_with_tabs_and_crlf() {
        let menu = read_one(
            "LABEL live\r\n\tMenu Label ^Live\tSystem\r\n\tKerNel\tvmlinuz\r\n\tAPPEND\tinitrd=i  a\tb",
        );
        let entry = &menu.entries[0];
        assert_eq!((entry.title.as_str(), entry.kernel.as_str()), ("Live System", "/isolinux/vmlinuz"));
        assert_eq!((entry.initrds[0].as_str(), entry.args.to_string().as_str()), ("/isolinux/i", "a b"));
    }

    #[test]
    fn initrds_by_comma_and_the_last_one_counts() {
        let menu = read_one(
            "label a\nkernel k\nappend initrd=x,y a initrd=z\nlabel b\ninitrd u,v\nappend initrd=x\n",
        );
        assert_eq!(menu.entries[0].initrds, ["/isolinux/z"]);
        assert_eq!(menu.entries[1].initrds, ["/isolinux/u", "/isolinux/v"]);
        assert_eq!(menu.entries[1].kernel, "/isolinux/b");
    }

    #[test]
    fn arguments_may_follow_the_kernel() {
        assert_eq!(read_one("label a\nlinux k one\nappend two initrd=i\n").entries[0].args, "one two");
    }

    #[test]
    fn append_of_a_hyphen_is_empty_and_a_global_one_is_inherited() {
        let menu =
            read_one("append global\nlabel a\nkernel k\ninitrd i\nlabel b\nkernel k\ninitrd i\nappend -\n");
        assert_eq!(
            (menu.entries[0].args.to_string().as_str(), menu.entries[1].args.to_string().as_str()),
            ("global", "")
        );
    }

    #[test]
    fn programs_disks_and_memdisk_are_no_entries() {
        let text = "label a\nkernel a.c32\ninitrd i\nlabel b\nlocalboot 0x80\nlabel c\nkernel memdisk\ninitrd d.img\n\
            label d\nkernel x.BIN\ninitrd i\nlabel e\nlinux memtest\nlabel f\ncom32 b\ninitrd i\nlabel g\nlinux k\ninitrd i\n";
        assert_eq!(titles(&read_one(text)), ["g"]);
    }

    #[test]
    fn linux_c32_boots_its_first_argument() {
        let entry = &read_one("label a\ncom32 linux.c32\nappend /k initrd=/i quiet\n").entries[0];
        assert_eq!((entry.kernel.as_str(), entry.args.to_string().as_str()), ("/k", "quiet"));
    }

    #[test]
    fn the_last_default_that_names_a_label_wins() {
        let labels = format!("label a\n{BOOT}menu default\nlabel b\n{BOOT}label c\n{BOOT}");
        assert_eq!(default_of(&format!("default b\n{labels}default c")), Some(2));
        assert_eq!(default_of(&format!("default b\n{labels}default vesamenu.c32")), Some(0));
        assert_eq!(default_of(&format!("default B extra words\n{labels}")), Some(1));
    }

    #[test]
    fn the_default_may_be_no_linux() {
        assert_eq!(default_of(&format!("default disk\nlabel disk\nlocalboot 0\nlabel a\n{BOOT}")), None);
    }

    #[test]
    fn without_a_default_the_timeout_then_the_first_shown() {
        let labels = format!("menu separator\nlabel a\n{BOOT}menu hide\nlabel b\n{BOOT}label c\n{BOOT}");
        assert_eq!(default_of(&format!("ui menu.c32\n{labels}")), Some(1));
        assert_eq!(default_of(&format!("ontimeout c extra\n{labels}")), Some(2));
    }

    #[test]
    fn a_default_in_a_submenu_counts_where_the_menu_starts() {
        let inner =
            format!("menu begin\nmenu title S\nlabel b\n{BOOT}label c\n{BOOT}menu default\nmenu end\n");
        assert_eq!(default_of(&format!("label a\n{BOOT}{inner}")), Some(0));
        assert_eq!(
            default_of(&format!("label a\n{BOOT}{}", inner.replace("title S", "title S\nmenu start"))),
            Some(2)
        );
    }

    #[test]
    fn config_changes_the_working_directory() {
        let files = Memory::of(&[
            ("/isolinux/isolinux.cfg", "default go\nlabel go\nconfig /arch/boot/a.cfg\nappend /arch/\n"),
            (
                "/arch/boot/a.cfg",
                "default s\nlabel s\ncom32 whichsys.c32\nappend -pxe- p -sys- p -iso- q\nlabel q\nconfig boot/b.cfg\n",
            ),
            ("/arch/boot/b.cfg", "include boot/head.cfg\nlabel l\nlinux boot/k\ninitrd boot/i\n"),
            ("/arch/boot/head.cfg", "append from head\n"),
        ]);
        let menus = read(&files, "/isolinux/isolinux.cfg", None);
        assert_eq!((menus.len(), menus[0].config.as_str()), (1, "/arch/boot/b.cfg"));
        assert_eq!(menus[0].entries[0].kernel, "/arch/boot/k");
        assert_eq!(menus[0].entries[0].args, "from head");
    }

    #[test]
    fn a_menu_program_may_name_its_file() {
        for first in ["ui vesamenu.c32 live.cfg", "default m\nlabel m\nkernel /menu.c32\nappend live.cfg"] {
            let live = format!("label l\n{BOOT}");
            let files = Memory::of(&[("/isolinux/isolinux.cfg", first), ("/isolinux/live.cfg", &live)]);
            assert_eq!(read(&files, "/isolinux/isolinux.cfg", None)[0].config, "/isolinux/live.cfg");
        }
    }

    #[test]
    fn ifcpu64_chooses_the_64_bit_label() {
        let text = "label live\nmenu label Live\nkernel ifcpu64.c32\nappend l64 -- l32\n\
            label l32\nmenu hide\nkernel k32\ninitrd i32\nlabel l64\nmenu hide\nkernel k64\ninitrd i64\n";
        let entry = &read_one(text).entries[0];
        assert_eq!((entry.title.as_str(), entry.kernel.as_str()), ("Live", "/isolinux/k64"));
    }

    #[test]
    fn without_own_entries_every_config_is_followed() {
        let files = Memory::of(&[
            (
                "/a.cfg",
                "ui menu.c32\nlabel x\nconfig b.cfg\nlabel y\nconfig c.cfg\nlabel z\nconfig a.cfg\n"
                    .to_owned(),
            ),
            ("/b.cfg", format!("label b\n{BOOT}")),
            ("/c.cfg", format!("label c\n{BOOT}label back\nconfig a.cfg\n")),
        ]);
        assert_eq!(read(&files, "/a.cfg", None).len(), 2);
    }

    #[test]
    fn configurations_and_labels_in_a_circle_end() {
        let files = Memory::of(&[
            ("/a.cfg", "default x\nlabel x\nconfig b.cfg\n"),
            ("/b.cfg", "default x\nlabel x\nconfig a.cfg\n"),
            ("/c.cfg", "default x\nlabel x\nkernel ifcpu64.c32\nappend x -- x\n"),
        ]);
        assert!(read(&files, "/a.cfg", None).is_empty());
        assert!(read(&files, "/c.cfg", None).is_empty());
    }

    #[test]
    fn any_configuration_of_the_directory_is_tried_at_last() {
        let files = Memory::of(&[("/isolinux/live.cfg", format!("label l\n{BOOT}"))]);
        let mut menus = Vec::new();
        read_known(&mut BoundedFiles::new(&files), &mut menus);
        assert_eq!(menus[0].config, "/isolinux/live.cfg");
    }
}
