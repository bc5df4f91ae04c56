//! GRUB's menu.
//!
//! `lex` and `parse` read the script, `eval` runs it; here its entries are evaluated, each as if it were chosen, and
//! numbered as GRUB's `default` counts them. A submenu sees exported variables only, as in GRUB.

mod commands;
mod condition;
mod eval;
mod lex;
mod loaders;
mod options;
mod parse;
mod variables;

use super::bounded_files::BoundedFiles;
use super::draft::{self, Draft, MAX_ENTRIES, MAX_SUBMENUS, Passed};
use super::path;
use super::{Environment, Files, Firmware, Loader, Menu, Reason};
use eval::{Item, Machine};
use std::mem::{replace, take};
use variables::Variables;

/// Places of the main configuration that a distribution's GRUB for UEFI reads by itself.
const KNOWN_BY_UEFI: [&str; 5] = [
    "/EFI/BOOT/grub.cfg",
    "/EFI/BOOT/BOOT.conf",
    "/EFI/debian/grub.cfg",
    "/EFI/ubuntu/grub.cfg",
    "/boot/grub/x86_64-efi/grub.cfg",
];
/// As those, by GRUB for BIOS.
const KNOWN_BY_BIOS: [&str; 1] = ["/boot/grub/i386-pc/grub.cfg"];
/// As those, by either.
const KNOWN: [&str; 4] =
    ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/grub/grubsrcd.cfg", "/boot/grub/grub_void.cfg"];
/// Where any `.cfg` is tried if none of [`KNOWN`] gives a menu (`kernels.cfg`, …).
const DIRECTORIES: [&str; 4] = ["/boot/grub", "/boot/grub2", "/grub", "/grub2"];
/// Menus for booting the ISO as a file on a disk, by another GRUB.
const LOOPBACK: [&str; 2] = ["/boot/grub/loopback.cfg", "/boot/grub2/loopback.cfg"];
/// Directories of `/EFI`: one a distribution.
const MAX_VENDORS: usize = 16;
/// Entries that lead to another configuration, one after the other (a language, then an edition, …).
const MAX_CHAIN: usize = 4;

/// Reads one configuration, and those that it hands over to, as GRUB does on the environment's platform.
#[must_use]
pub fn read(files: &dyn Files, config: &str, environment: &Environment) -> Option<Menu> {
    read_from(&mut BoundedFiles::new(files), config, environment)
}

pub(super) fn read_known(iso: &mut BoundedFiles, environment: &Environment, menus: &mut Vec<Menu>) {
    let own: &[&str] = match Firmware::of_platform(&environment.platform) {
        Firmware::Bios => &KNOWN_BY_BIOS,
        _ => &KNOWN_BY_UEFI,
    };
    let found: Vec<Menu> =
        own.iter().chain(&KNOWN).filter_map(|path| read_from(iso, path, environment)).collect();
    let is_enough = found.iter().any(|menu| !menu.entries.is_empty());
    menus.extend(found);
    if is_enough {
        return;
    }
    let vendors = match Firmware::of_platform(&environment.platform) {
        Firmware::Bios => Vec::new(),
        _ => iso.list("/EFI").into_iter().take(MAX_VENDORS).map(|name| format!("/EFI/{name}")).collect(),
    };
    for dir in DIRECTORIES.into_iter().map(String::from).chain(vendors) {
        for name in iso.list(&dir) {
            let lower = name.to_ascii_lowercase();
            if lower.ends_with(".cfg") && lower != "loopback.cfg" {
                menus.extend(read_from(iso, &format!("{dir}/{name}"), environment));
            }
        }
    }
}

pub(super) fn read_loopback(iso: &mut BoundedFiles, environment: &Environment, menus: &mut Vec<Menu>) {
    menus.extend(LOOPBACK.iter().filter_map(|path| read_from(iso, path, environment)));
}

fn read_from(iso: &mut BoundedFiles, config: &str, environment: &Environment) -> Option<Menu> {
    let mut path = iso.locate(config)?;
    let mut variables = Variables::new(environment);
    variables.set("prefix", &format!("({}){}", variables::DEVICE, prefix(&path)));
    for step in 1..=MAX_CHAIN {
        let mut machine = Machine::new(iso, environment, variables);
        machine.file(&path);
        if let Some(other) = machine.taken_over.take() {
            (path, machine.items, machine.variables) = other;
        }
        let mut reader = Reader { machine, passed: Passed::default(), submenu: Vec::new(), leads_to: None };
        let nodes = reader.menu();
        // A menu of languages, say: the first that leads anywhere stands for all.
        if let Some((config, exported)) = reader.leads_to.take().filter(|_| reader.passed.entries.is_empty())
            && let Some(next) = reader.machine.iso.locate(&config).filter(|_| step < MAX_CHAIN)
        {
            (path, variables) = (next, exported);
            continue;
        }
        if reader.passed.is_empty() {
            return None;
        }
        let default = reader.machine.variables.value("default").unwrap_or_default();
        let default = chosen(&nodes, default);
        let Passed { entries, left_out } = reader.passed;
        let firmware = Firmware::of_platform(&environment.platform);
        return Some(Menu { config: path, loader: Loader::Grub, firmware, entries, default, left_out });
    }
    None
}

/// GRUB's directory, of which the configuration may lie in the platform's (`x86_64-efi`).
fn prefix(config: &str) -> &str {
    let dir = path::parent(config);
    let name = path::base_name(dir);
    if name.ends_with("-efi") || name.ends_with("-pc") { path::parent(dir) } else { dir }
}

/// A place in a menu.
struct Node {
    title: String,
    id: Option<String>,
    shown: Shown,
}

enum Shown {
    /// By its index among those that boot Linux, if it does.
    MenuEntry(Option<usize>),
    /// With the submenu's own default.
    Submenu(Vec<Node>, String),
}

struct Reader<'m, 'd> {
    machine: Machine<'m, 'd>,
    passed: Passed,
    /// Titles of the submenus around.
    submenu: Vec<String>,
    /// The configuration that the first entry to do so leads to, and the variables that it would see.
    leads_to: Option<(String, Variables)>,
}

impl Reader<'_, '_> {
    /// Evaluates what the configuration has defined.
    fn menu(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for item in take(&mut self.machine.items) {
            if !self.machine.iso.spend(self.machine.variables.bytes()) {
                break;
            }
            let shown =
                if item.is_submenu { self.submenu(&item) } else { Shown::MenuEntry(self.entry(&item)) };
            nodes.push(Node { title: item.title, id: item.id, shown });
        }
        nodes
    }

    fn entry(&mut self, item: &Item) -> Option<usize> {
        if self.passed.entries.len() >= MAX_ENTRIES {
            return None;
        }
        let saved = self.machine.variables.clone();
        self.machine.boot = Draft::default();
        self.machine.in_entry = true;
        self.machine.body(&item.body, &item.args);
        self.machine.in_entry = false;
        let variables = replace(&mut self.machine.variables, saved);
        let mut draft = take(&mut self.machine.boot);
        if let Some(path) = self.machine.leads_to.take()
            && draft.kernel.is_empty()
        {
            draft.instead = Some(Reason::OtherMenu);
            self.leads_to.get_or_insert_with(|| (path, variables.exported()));
        }

        draft.title = item.title.clone();
        draft.submenu = self.submenu.clone();
        self.passed.add(draft.pass(self.machine.iso))
    }

    fn submenu(&mut self, item: &Item) -> Shown {
        if self.submenu.len() >= MAX_SUBMENUS {
            return Shown::Submenu(Vec::new(), String::new());
        }
        let inner = self.machine.variables.exported();
        let outer = replace(&mut self.machine.variables, inner);
        self.submenu.push(draft::title(&item.title, "submenu"));
        self.machine.body(&item.body, &item.args);
        if let Some((_, items, variables)) = self.machine.taken_over.take() {
            (self.machine.items, self.machine.variables) = (items, variables);
        }
        let nodes = self.menu();
        self.submenu.pop();
        let inner: Variables = replace(&mut self.machine.variables, outer);
        Shown::Submenu(nodes, inner.value("default").unwrap_or_default().into())
    }
}

/// The entry that `default` names: numbers, titles or ids, `>` between those of a submenu; the first if it names none.
fn chosen(nodes: &[Node], default: &str) -> Option<usize> {
    let (head, rest) = split_path(default);
    let is_named = |node: &&Node| node.title == head || node.id.as_ref() == Some(&head);
    let numbered = head.trim().parse::<usize>().ok();
    let node = match numbered {
        Some(index) => nodes.get(index),
        None => nodes.iter().find(is_named),
    };
    match &node.or(nodes.first())?.shown {
        Shown::MenuEntry(index) => *index,
        Shown::Submenu(nodes, own) => chosen(nodes, if rest.is_empty() { own } else { rest }),
    }
}

/// The first component of a path of titles, in which `>>` stands for `>`.
fn split_path(path: &str) -> (String, &str) {
    let mut from = 0;
    while let Some(at) = path.get(from..).and_then(|rest| rest.find('>')).map(|at| from + at) {
        if !path.get(at + 1..).is_some_and(|rest| rest.starts_with('>')) {
            let head = path.get(..at).unwrap_or_default();
            return (head.replace(">>", ">"), path.get(at + 1..).unwrap_or_default());
        }
        from = at + 2;
    }
    (path.replace(">>", ">"), "")
}

#[cfg(test)]
mod tests;
