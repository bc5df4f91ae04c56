//! GRUB's menu.
//!
//! `lex` and `parse` read the script, `eval` runs it; here its entries are evaluated, each as if it were chosen, and
//! numbered as GRUB's `default` counts them. A submenu sees exported variables only, as in GRUB.

mod condition;
mod eval;
mod lex;
mod options;
mod parse;
mod variables;

use super::bounded_files::BoundedFiles;
use super::draft::{self, MAX_ENTRIES, MAX_SUBMENUS};
use super::path;
use super::{Environment, Files, Loader, Menu, MenuEntry};
use eval::{Item, Machine};
use std::mem::{replace, take};
use variables::Variables;

/// Places of the main configuration: those that a distribution's GRUB reads by itself first.
const KNOWN: [&str; 9] = [
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/EFI/BOOT/grub.cfg",
    "/EFI/BOOT/BOOT.conf",
    "/EFI/debian/grub.cfg",
    "/EFI/ubuntu/grub.cfg",
    "/boot/grub/x86_64-efi/grub.cfg",
    "/boot/grub/grubsrcd.cfg",
    "/boot/grub/grub_void.cfg",
];
/// Where any `.cfg` is tried if none of [`KNOWN`] gives a menu (`kernels.cfg`, …).
const DIRECTORIES: [&str; 4] = ["/boot/grub", "/boot/grub2", "/grub", "/grub2"];
/// Menus for booting the ISO as a file on a disk, by another GRUB.
const LOOPBACK: [&str; 2] = ["/boot/grub/loopback.cfg", "/boot/grub2/loopback.cfg"];
/// Directories of `/EFI`: one a distribution.
const MAX_VENDORS: usize = 16;
/// Entries that lead to another configuration, one after the other (a language, then an edition, …).
const MAX_CHAIN: usize = 4;

/// Reads one configuration, and those that it hands over to.
#[must_use]
pub fn read(files: &dyn Files, config: &str, environment: &Environment) -> Option<Menu> {
    read_from(&mut BoundedFiles::new(files), config, environment)
}

pub(super) fn read_known(iso: &mut BoundedFiles, environment: &Environment, menus: &mut Vec<Menu>) {
    let before = menus.len();
    menus.extend(KNOWN.iter().filter_map(|path| read_from(iso, path, environment)));
    if menus.len() > before {
        return;
    }
    let vendors = iso.list("/EFI").into_iter().take(MAX_VENDORS).map(|name| format!("/EFI/{name}"));
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
    for _ in 0..MAX_CHAIN {
        let mut machine = Machine::new(iso, environment, variables);
        machine.file(&path);
        if let Some(other) = machine.taken_over.take() {
            (path, machine.items, machine.variables) = other;
        }
        let mut reader = Reader { machine, entries: Vec::new(), submenu: Vec::new(), leads_to: None };
        let nodes = reader.menu();
        if !reader.entries.is_empty() {
            let default = reader.machine.variables.value("default").unwrap_or_default();
            let default = chosen(&nodes, default);
            return Some(Menu { config: path, loader: Loader::Grub, entries: reader.entries, default });
        }
        // A menu of languages, say: the first that leads anywhere stands for all.
        let next = reader.leads_to?;
        variables = next.1;
        path = iso.locate(&next.0)?;
    }
    None
}

/// GRUB's directory, of which the configuration may lie in the platform's (`x86_64-efi`).
fn prefix(config: &str) -> &str {
    let dir = path::parent(config);
    let name = path::base_name(dir);
    if name.ends_with("-efi") || name.ends_with("-pc") { path::parent(dir) } else { dir }
}

/// What a menu shows at one place.
struct Node {
    title: String,
    id: Option<String>,
    what: What,
}

enum What {
    /// By its index among those that boot Linux, if it does.
    MenuEntry(Option<usize>),
    /// With the submenu's own default.
    Submenu(Vec<Node>, String),
}

struct Reader<'m, 'd> {
    machine: Machine<'m, 'd>,
    entries: Vec<MenuEntry>,
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
            let what = if item.is_submenu { self.submenu(&item) } else { What::MenuEntry(self.entry(&item)) };
            nodes.push(Node { title: item.title, id: item.id, what });
        }
        nodes
    }

    fn entry(&mut self, item: &Item) -> Option<usize> {
        if self.entries.len() >= MAX_ENTRIES {
            return None;
        }
        let saved = self.machine.variables.clone();
        self.machine.variables.set_positional(&item.args);
        self.machine.boot = draft::Draft { cwd: "/".into(), ..draft::Draft::default() };
        self.machine.in_entry = true;
        self.machine.body(&item.body);
        self.machine.in_entry = false;
        let variables = replace(&mut self.machine.variables, saved);
        if let Some(path) = self.machine.leads_to.take() {
            self.leads_to.get_or_insert_with(|| (path, variables.exported()));
        }

        let mut draft = take(&mut self.machine.boot);
        draft.title = item.title.clone();
        draft.submenu = self.submenu.clone();
        self.entries.push(draft.pass(self.machine.iso)?);
        Some(self.entries.len() - 1)
    }

    fn submenu(&mut self, item: &Item) -> What {
        if self.submenu.len() >= MAX_SUBMENUS {
            return What::Submenu(Vec::new(), String::new());
        }
        let inner = self.machine.variables.exported();
        let outer = replace(&mut self.machine.variables, inner);
        self.machine.variables.set_positional(&item.args);
        self.submenu.push(draft::title(&item.title, "submenu"));
        self.machine.body(&item.body);
        if let Some((_, items, variables)) = self.machine.taken_over.take() {
            (self.machine.items, self.machine.variables) = (items, variables);
        }
        let nodes = self.menu();
        self.submenu.pop();
        let inner: Variables = replace(&mut self.machine.variables, outer);
        What::Submenu(nodes, inner.value("default").unwrap_or_default().into())
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
    match &node.or(nodes.first())?.what {
        What::MenuEntry(index) => *index,
        What::Submenu(nodes, own) => chosen(nodes, if rest.is_empty() { own } else { rest }),
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
