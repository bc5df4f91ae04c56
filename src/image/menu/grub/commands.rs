//! GRUB's commands, as far as they matter for a menu: variables, conditions, searches, other configurations, entries. Any
//! other command does nothing and succeeds, as GRUB has it for those that it doesn't know.

use super::condition;
use super::eval::{Flow, Item, MAX_DEPTH, Machine};
use super::options;
use super::parse::Block;
use super::variables::DEVICE;
use crate::image::menu::draft::MAX_ENTRIES;
use crate::image::menu::path;
use regex_lite::RegexBuilder;

/// Bytes that the program of a regular expression may take.
const MAX_REGEX: usize = 64 << 10;

impl Machine<'_, '_> {
    /// A command, else a function, else an assignment (`script/execute.c`); its status.
    pub(super) fn builtin(&mut self, name: &str, args: &[String], block: Option<&Block>) -> bool {
        match name {
            "menuentry" | "submenu" => self.define(args, block, name == "submenu"),
            "hiddenentry" => {}
            "set" => args.iter().for_each(|arg| self.assign(arg)),
            "export" => args.iter().for_each(|arg| self.variables.export(arg)),
            "unset" => {
                for arg in args {
                    self.variables.unset(arg);
                }
            }
            "setparams" if self.scopes > 0 => drop(self.variables.set_positional(args)),
            "shift" => return self.shift(args),
            "[" | "test" => return self.test(args),
            "true" => {}
            "false" | "keystatus" => return false,
            "cpuid" => {
                return self.environment.cpu == "x86_64" || !args.iter().any(|arg| arg == "-l");
            }
            "regexp" => return self.regexp(args),
            "eval" => return self.text(&args.join(" ")),
            "source" | "." | "configfile" | "normal" => return self.other_file(name, args),
            "search" | "search.file" | "search.fs_label" | "search.fs_uuid" => {
                return self.search(name, args);
            }
            "probe" => self.probe(args),
            "break" | "continue" => return self.end_loops(name, args),
            "return" => return self.end_function(args),
            name => return self.load(name, args) || self.other(name, args),
        }
        true
    }

    fn other(&mut self, name: &str, args: &[String]) -> bool {
        if let Some(body) = self.functions.get(name).cloned() {
            return self.call(&body, args);
        }
        if name.contains('=') {
            self.assign(name);
        }
        true
    }

    fn assign(&mut self, assignment: &str) {
        if let Some((name, value)) = assignment.split_once('=') {
            self.variables.set(name, value);
        }
    }

    fn shift(&mut self, args: &[String]) -> bool {
        let count = match args {
            [] => Some(1),
            [count] => count.parse().ok(),
            _ => None,
        };
        count.is_some_and(|count| self.variables.shift(count))
    }

    /// Out of no more loops than there are; none is no error.
    fn end_loops(&mut self, name: &str, args: &[String]) -> bool {
        let count = match args {
            [] => Some(1),
            [count] => count.parse().ok().filter(|count| *count > 0),
            _ => None,
        };
        let Some(count) = count else { return false };
        let count: usize = self.loops.min(count);
        if count > 0 {
            self.flow = Some(if name == "break" { Flow::Break(count) } else { Flow::Continue(count) });
        }
        true
    }

    /// Only functions and entries return: in a configuration it is an error, and what follows is run.
    fn end_function(&mut self, args: &[String]) -> bool {
        if self.scopes == 0 {
            return false;
        }
        self.flow = Some(Flow::Return);
        args.first().map_or(!self.variables.failed, |status| status == "0")
    }

    fn define(&mut self, args: &[String], block: Option<&Block>, is_submenu: bool) {
        self.defines_in_entry |= self.in_entry;
        if self.items.len() >= MAX_ENTRIES || self.in_entry {
            return;
        }
        let (args, id) = options::menu_entry(args);
        if let (Some(title), Some(body)) = (args.first().cloned(), block.cloned()) {
            self.items.push(Item { title, id, args, body, is_submenu });
        }
    }

    /// The file that an ISO is said to lie in counts as there: a loopback menu looks for it.
    fn test(&mut self, args: &[String]) -> bool {
        let iso = self.environment.iso_path.as_deref();
        let is_iso = |arg: &String| iso.is_some_and(|iso| arg.ends_with(iso));
        match args {
            [operator, path, _] if matches!(operator.as_str(), "-e" | "-f" | "-s") && is_iso(path) => true,
            args => condition::holds(self.iso, args),
        }
    }

    fn other_file(&mut self, name: &str, args: &[String]) -> bool {
        let path = args.first().and_then(|arg| path::resolve(arg, "/"));
        let Some(path) = path.filter(|_| self.depth < MAX_DEPTH) else {
            return false;
        };
        if matches!(name, "source" | ".") {
            return self.source(path);
        }
        if self.in_entry {
            let Some(path) = self.iso.locate(&path) else { return false };
            self.leads_to.get_or_insert(path);
            self.flow = Some(Flow::Exit);
            return true;
        }
        if !self.iso.spend(self.variables.bytes()) {
            return false;
        }
        // Another configuration has a menu of its own, which is shown instead of this one.
        let inner = self.variables.exported();
        let outer = std::mem::replace(&mut self.variables, inner);
        let items = std::mem::take(&mut self.items);
        let found = self.file(&path);
        let variables = std::mem::replace(&mut self.variables, outer);
        let inner = std::mem::replace(&mut self.items, items);
        self.flow = None;
        if !inner.is_empty() || self.taken_over.is_some() {
            let path = self.iso.locate(&path).unwrap_or(path);
            self.taken_over.get_or_insert((path, inner, variables));
            self.flow = Some(Flow::Exit);
        }
        found
    }

    /// In an entry that defines a menu, which GRUB doesn't show: the file is where it leads to all the same.
    fn source(&mut self, path: String) -> bool {
        let defined = std::mem::take(&mut self.defines_in_entry);
        let found = self.file(&path);
        if self.defines_in_entry {
            self.leads_to.get_or_insert(path);
        }
        self.defines_in_entry |= defined;
        found
    }

    /// Finds by label and UUID whatever is looked for, by file what there is.
    fn search(&mut self, name: &str, args: &[String]) -> bool {
        let search = options::search(name, args);
        let is_iso = self.environment.iso_path.as_deref() == search.wanted;
        let path = search.wanted.and_then(|wanted| path::resolve(wanted, "/"));
        let found = !search.is_file || is_iso || path.is_some_and(|path| self.iso.locate(&path).is_some());
        if found {
            self.variables.set(search.variable, DEVICE);
        }
        found
    }

    fn probe(&mut self, args: &[String]) {
        let (variable, what) = options::probe(args);
        let value = match what {
            Some("--fs-uuid" | "-u") => self.environment.fs_uuid.as_deref(),
            Some("--label" | "-l") => self.environment.label.as_deref(),
            Some("--fs" | "-f") => Some("iso9660"),
            _ => None,
        };
        if let (Some(variable), Some(value)) = (variable, value) {
            self.variables.set(variable, value);
        }
    }

    /// The device's name stands for itself: GRUB takes its parentheses for a group, so that a pattern that holds `$prefix`
    /// (grml's) never fits there, and the menu lacks what its author put behind it.
    fn regexp(&mut self, args: &[String]) -> bool {
        let Some(regexp) = options::regexp(args) else { return false };
        let pattern = regexp.pattern.replace(&format!("({DEVICE})"), &format!("\\({DEVICE}\\)"));
        if !self.iso.spend(pattern.len().saturating_mul(regexp.text.len()) / 16 + pattern.len()) {
            return false;
        }
        let Ok(compiled) = RegexBuilder::new(&pattern).size_limit(MAX_REGEX).build() else { return false };
        let Some(groups) = compiled.captures(regexp.text) else { return false };
        for (number, variable) in regexp.variables {
            match groups.get(number) {
                Some(group) => self.variables.set(variable, group.as_str()),
                None => {
                    self.variables.unset(variable);
                }
            }
        }
        true
    }
}
