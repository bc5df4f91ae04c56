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
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    const BOOT: &str = "linux /k\n initrd /i\n";

    fn read_files(files: &[(&str, &str)]) -> Option<Menu> {
        read(&Memory::of(files), "/boot/grub/grub.cfg", &Environment::default())
    }

    fn read_one(text: &str) -> Menu {
        read_files(&[("/boot/grub/grub.cfg", text)]).unwrap()
    }

    fn titles(menu: &Menu) -> Vec<&str> {
        menu.entries.iter().map(|entry| entry.title.as_str()).collect()
    }

    /// Entries a (boots nothing), b, a submenu s with c and d, and e.
    fn default_of(default: &str) -> Option<&'static str> {
        let script = format!(
            "{default}\nmenuentry a {{ reboot; }}\nmenuentry 'b > b' --id=bb {{ {BOOT} }}\n\
             submenu s --id ss {{ menuentry c {{ {BOOT} }}\n menuentry d {{ {BOOT} }}\n }}\nmenuentry e {{ {BOOT} }}\n"
        );
        let index = read_one(&script).default?;
        ["b", "c", "d", "e"].get(index).copied()
    }

    #[test]
    fn options_stand_before_or_after_the_title() {
        let menu = read_one(&format!(
            "menuentry --class a --id=x 'Live' --hotkey=l --unrestricted --users '' {{ {BOOT} }}\n\
             menuentry \"Two\" --class b arg {{ linux /k $1 $2\ninitrd /i }}"
        ));
        assert_eq!(titles(&menu), ["Live", "Two"]);
        assert_eq!(menu.entries[1].args, "Two arg");
    }

    #[test]
    fn linux_and_initrd_in_all_their_forms() {
        for (linux, initrd) in [("linux", "initrd"), ("linuxefi", "initrdefi"), ("linux16", "initrd16")] {
            let menu = read_one(&format!("menuentry a {{ {linux} (cd)/k x  y; {initrd} /i1 ($root)/i2 }}"));
            let entry = &menu.entries[0];
            assert_eq!((entry.kernel.as_str(), entry.args.to_string().as_str()), ("/k", "x y"));
            assert_eq!(entry.initrds, ["/i1", "/i2"]);
        }
    }

    #[test]
    fn a_word_with_a_blank_is_quoted_for_the_kernel() {
        let menu = read_one("menuentry a { linux /k 'a b' c'd' 'ds=nocloud;s=/x'\n initrd /i\n}");
        assert_eq!(menu.entries[0].args, "\"a b\" cd ds=nocloud;s=/x");
    }

    #[test]
    fn what_boots_no_live_system_is_left_out() {
        let text = "menuentry a { linux /memtest }\nmenuentry b { chainloader /x }\nmenuentry c { halt }\n\
             menuentry d { linux http://x/k\ninitrd /i }\nhiddenentry e { linux /k\ninitrd /i }\n";
        assert_eq!(read_files(&[("/boot/grub/grub.cfg", text)]), None);
    }

    #[test]
    fn bodies_expand_when_booted_and_titles_when_read() {
        let menu =
            read_one(&format!("x=1\nmenuentry \"t$x\" {{ y=$x; linux /k $x$y\n initrd /i }}\nx=2\n{BOOT}"));
        assert_eq!((menu.entries[0].title.as_str(), menu.entries[0].args.to_string().as_str()), ("t1", "22"));
    }

    #[test]
    fn what_an_entry_sets_stays_inside() {
        let menu =
            read_one(&format!("menuentry a {{ x=1\n {BOOT} }}\nmenuentry b {{ linux /k x$x\n initrd /i }}"));
        assert_eq!(menu.entries[1].args, "x");
    }

    #[test]
    fn submenus_see_exported_variables_only() {
        let menu =
            read_one("a=1\nb=2\nexport b\nsubmenu s {\nmenuentry t { linux /k a$a b$b\n initrd /i }\n}");
        assert_eq!(menu.entries[0].args, "a b2");
        assert_eq!(menu.entries[0].submenu, ["s"]);
    }

    #[test]
    fn the_default_by_number_title_id_and_path() {
        assert_eq!(default_of("set default=1"), Some("b"));
        assert_eq!(default_of("default='b >> b'"), Some("b"));
        assert_eq!(default_of("default=bb"), Some("b"));
        assert_eq!(default_of("default='2>1'"), Some("d"));
        assert_eq!(default_of("default='ss>d'"), Some("d"));
        assert_eq!(default_of("default=2"), Some("c"));
        assert_eq!(default_of("default=\"3\""), Some("e"));
    }

    #[test]
    fn the_default_is_the_first_if_it_is_none() {
        for default in ["", "default=", "default=99", "default=nothing", "default=$saved_entry", "default=0"]
        {
            assert_eq!(default_of(default), None, "{default}");
        }
        assert_eq!(read_one(&format!("menuentry a {{ {BOOT} }}")).default, Some(0));
    }

    #[test]
    fn source_reads_in_place_and_knows_variables() {
        let menu = read_files(&[
            ("/boot/grub/grub.cfg", "x=1; source $prefix/b.cfg\nsource /missing.cfg\n. (cd)/c.cfg"),
            ("/boot/grub/b.cfg", "menuentry b$x { linux /k\n initrd /i }\n"),
            ("/c.cfg", "menuentry c { linux /k\n initrd /i }\n"),
        ]);
        assert_eq!(titles(&menu.unwrap()), ["b1", "c"]);
    }

    #[test]
    fn configfile_shows_the_other_menu() {
        let menu = read_files(&[
            ("/boot/grub/grub.cfg", "x=1\nmenuentry a { linux /k\n initrd /i }\nconfigfile /b.cfg\nx=2"),
            (
                "/b.cfg",
                "default=1\nmenuentry b$x { linux /k\n initrd /i }\nmenuentry c { linux /k\n initrd /i }",
            ),
        ]);
        let menu = menu.unwrap();
        assert_eq!((menu.config.as_str(), titles(&menu), menu.default), ("/b.cfg", vec!["b", "c"], Some(1)));
    }

    #[test]
    fn configfile_without_entries_changes_nothing() {
        let menu = read_files(&[
            ("/boot/grub/grub.cfg", "configfile /b.cfg\nmenuentry a$x { linux /k\n initrd /i }"),
            ("/b.cfg", "export x=1"),
        ]);
        assert_eq!(titles(&menu.unwrap()), ["a"]);
    }

    #[test]
    fn a_menu_of_languages_leads_to_the_next() {
        let menu = read_files(&[
            ("/boot/grub/grub.cfg", "menuentry English { export l\n l=en\n configfile ${prefix}/next.cfg }"),
            ("/boot/grub/next.cfg", "menuentry Live { linux /k lang=$l\n initrd /i }"),
        ]);
        let menu = menu.unwrap();
        assert_eq!(
            (menu.config.as_str(), menu.entries[0].args.to_string().as_str()),
            ("/boot/grub/next.cfg", "lang=en")
        );
        let circle = "menuentry a { configfile /boot/grub/grub.cfg }";
        assert_eq!(read_files(&[("/boot/grub/grub.cfg", circle)]), None);
    }

    #[test]
    fn the_platforms_directory_is_not_the_prefix() {
        let files = Memory::of(&[
            ("/boot/grub/x86_64-efi/grub.cfg", "source $prefix/a.cfg"),
            ("/boot/grub/a.cfg", "menuentry a { linux /k\n initrd /i }"),
        ]);
        assert!(read(&files, "/boot/grub/x86_64-efi/grub.cfg", &Environment::default()).is_some());
    }

    #[test]
    fn any_vendors_configuration_is_tried_at_last() {
        let files = Memory::of(&[("/EFI/vendor/grub.cfg", format!("menuentry a {{ {BOOT} }}"))]);
        let mut menus = Vec::new();
        read_known(&mut BoundedFiles::new(&files), &Environment::default(), &mut menus);
        assert_eq!(menus[0].config, "/EFI/vendor/grub.cfg");
    }

    #[test]
    fn inside_an_entry_no_file_is_followed() {
        let menu = read_files(&[
            ("/boot/grub/grub.cfg", "menuentry a { source /b.cfg; configfile /b.cfg; linux /k\n initrd /i }"),
            ("/b.cfg", "menuentry b { linux /k\n initrd /i }"),
        ]);
        assert_eq!(titles(&menu.unwrap()), ["a"]);
    }

    #[test]
    fn entries_may_come_from_functions_loops_and_eval() {
        let body = "{ linux /k $2\n initrd /i\n }";
        let menu = read_one(&format!(
            "function f {{\n menuentry $1 $2 {body}\n}}\nf a 1\nfor i in b c; do f $i 2; done\n\
             eval \"menuentry d 3 {}\"",
            body.replace('$', "\\$")
        ));
        assert_eq!(titles(&menu), ["a", "b", "c", "d"]);
        let args: Vec<String> = menu.entries.iter().map(|entry| entry.args.to_string()).collect();
        assert_eq!(args, ["1", "2", "2", "3"]);
    }

    #[test]
    fn submenus_and_entries_without_end_are_limited() {
        let deep = format!("{} menuentry a {{ {BOOT}", "submenu s { ".repeat(500));
        assert_eq!(read_files(&[("/boot/grub/grub.cfg", &deep)]), None);
        let many = format!("menuentry a {{ {BOOT} }};").repeat(2 * MAX_ENTRIES);
        assert_eq!(read_one(&many).entries.len(), MAX_ENTRIES);
        let endless = format!("while true; do menuentry a {{ {BOOT} }}; done");
        assert_eq!(read_files(&[("/boot/grub/grub.cfg", &endless)]), None);
        let fan = "function f { submenu s { f; f; f; }; menuentry a { linux /k\n initrd /i }; }; f";
        assert!(read_one(fan).entries.len() <= MAX_ENTRIES);
    }

    #[test]
    fn crlf_and_nul_and_a_missing_end_of_line() {
        let menu = read_one("menuentry 'a\0b' {\r\n linux /k x \\\r\n  y\r\n initrd /i\r\n}\r");
        assert_eq!(
            (menu.entries[0].title.as_str(), menu.entries[0].args.to_string().as_str()),
            ("a b", "x y")
        );
    }
}
