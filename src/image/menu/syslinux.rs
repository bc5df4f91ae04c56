//! SYSLINUX's and ISOLINUX's menu.
//!
//! `parse` turns a configuration and what it includes into labels and submenus. Here the loader is followed to the
//! menu that it ends up showing (`CONFIG`, `whichsys.c32`, `ifcpu64.c32`, `menu.c32` with a file), and the labels that
//! boot a kernel become entries.

mod parse;
mod words;

use super::bounded_files::BoundedFiles;
use super::draft::{self, Draft, MAX_INITRDS, MAX_MENUS, Passed};
use super::path;
use super::{Files, Firmware, Loader, Menu, Reason};
use parse::{Config, Item, Label, Verb};
use std::collections::HashSet;
use words::{
    chosen_by_cpu, chosen_by_system, is_program, multiboot_files, program_name, program_reason, split_word,
    without_initrd,
};

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
/// Directories within one another that are searched for ISOLINUX, and all of them: `/slax/boot`.
const MAX_LEVEL: usize = 2;
const MAX_SEARCHED: usize = 64;
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
    for path in KNOWN {
        if let Some(path) = iso.locate(path) {
            follow(iso, &path, path::parent(&path), &mut visited, 0, menus);
        }
    }
    if has_entries(menus) {
        return;
    }
    for path in beside_isolinux(iso) {
        follow(iso, &path, path::parent(&path), &mut visited, 0, menus);
    }
    if has_entries(menus) {
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

fn has_entries(menus: &[Menu]) -> bool {
    menus.iter().any(|menu| !menu.entries.is_empty())
}

/// The configurations of directories of the first two levels, wherever ISOLINUX lies: it reads the one beside it first, under
/// the first of these names (`fs/iso9660/iso9660.c`).
fn beside_isolinux(iso: &mut BoundedFiles) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![String::new()];
    let mut next = 0;
    while let Some(dir) = directories.get(next).cloned() {
        next += 1;
        let names = iso.list(if dir.is_empty() { "/" } else { &dir });
        let named = |wanted: &str| names.iter().find(|name| name.eq_ignore_ascii_case(wanted));
        let config = ["isolinux.cfg", "syslinux.cfg"].into_iter().find_map(named);
        found.extend(config.map(|name| format!("{dir}/{name}")));
        if dir.matches('/').count() < MAX_LEVEL {
            // A directory's name has seldom a dot; packages and images have one.
            let inner = names.iter().filter(|name| !name.contains('.'));
            directories
                .extend(inner.map(|name| format!("{dir}/{name}")).take(MAX_SEARCHED - directories.len()));
        }
    }
    found
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
    let (bootable, other): (Vec<Menu>, Vec<Menu>) =
        config.menu(iso, path, cwd).into_iter().partition(|menu| !menu.entries.is_empty());
    menus.extend(bootable);
    if menus.get(before..).is_some_and(has_entries) {
        return;
    }
    for label in &config.labels {
        if let Some(next) = config.start(label, "", cwd, 0) {
            hand_over(iso, next, menus);
        }
    }
    if menus.len() == before {
        menus.extend(other);
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
            Verb::Linux | Verb::Other(_) => None,
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
        let mut passed = Passed::default();
        let indices: Vec<Option<usize>> =
            self.labels.iter().map(|label| passed.add(self.draft(label, cwd).pass(iso))).collect();
        if passed.is_empty() {
            return None;
        }
        let default = self.default_label().and_then(|label| indices.get(label).copied().flatten());
        let is_efi = path.split('/').any(|part| part.eq_ignore_ascii_case("efi"));
        let firmware = if is_efi { Firmware::Uefi } else { Firmware::Bios };
        let Passed { entries, left_out } = passed;
        Some(Menu { config: path.into(), loader: Loader::Syslinux, firmware, entries, default, left_out })
    }

    /// The label that boots by itself: the last `default` if it names a label, then the first menu's `menu default`, then
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

    fn draft(&self, label: &Label, cwd: &str) -> Draft {
        let draft = Draft {
            title: label.title.clone(),
            submenu: self.path_of(label.menu),
            cwd: cwd.into(),
            ..Draft::default()
        };
        let Some((target, more)) = self.linux(label, 0) else {
            let (instead, files) = other_than_linux(label);
            return Draft { instead: Some(instead), files, ..draft };
        };
        let (kernel, rest) = split_word(&target.target);
        let mut args = format!("{rest} {} {more}", target.append);
        let mut kernel = kernel.to_owned();
        if program_name(&kernel) == "linux" && is_program(&kernel) {
            let (first, rest) = split_word(&args);
            (kernel, args) = (first.into(), rest.into());
        }
        // The `initrd` line is appended to the arguments.
        let (args, in_args) = without_initrd(&args);
        let initrd = in_args.or_else(|| target.initrd.clone()).unwrap_or_default();
        let initrds = initrd.split(',').map(str::trim).filter(|name| !name.is_empty());
        let initrds: Vec<String> = initrds.take(MAX_INITRDS + 1).map(String::from).collect();
        if program_name(&kernel) == "memdisk" {
            return Draft { instead: Some(Reason::DiskImage), files: initrds, ..draft };
        }
        Draft { kernel, initrds, args, ..draft }
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

/// Why a label boots no Linux, and the files that it loads instead.
fn other_than_linux(label: &Label) -> (Reason, Vec<String>) {
    let (program, rest) = split_word(&label.target);
    match label.verb {
        Verb::Other(reason) => (reason, Vec::new()),
        Verb::Config => (Reason::OtherMenu, Vec::new()),
        _ => match program_reason(program) {
            Reason::Multiboot => (Reason::Multiboot, multiboot_files(&format!("{rest} {}", label.append))),
            reason => (reason, vec![program.into()]),
        },
    }
}

/// As [`path::resolve`], but the top of the ISO is one too.
fn directory(dir: &str, cwd: &str) -> Option<String> {
    let parent = path::resolve(&format!("{dir}/x"), cwd)?;
    Some(path::parent(&parent).into())
}

#[cfg(test)]
mod tests;
