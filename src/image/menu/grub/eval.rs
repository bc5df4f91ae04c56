//! Running GRUB's script: conditions, loops, functions, other configurations. The commands themselves are in `commands`
//! and `loaders`.
//!
//! Entries are collected while a configuration runs; what they boot is evaluated by the caller once it has run to its
//! end, as GRUB does when one is chosen. Each command and each byte that it is given is paid for.

use super::lex::Word;
use super::parse::{self, Block, Command};
use super::variables::Variables;
use crate::image::menu::Environment;
use crate::image::menu::bounded_files::BoundedFiles;
use crate::image::menu::draft::Draft;
use crate::image::menu::glob;
use crate::image::menu::path;
use std::collections::HashMap;

/// Blocks, functions, `eval` and files within one another.
pub const MAX_DEPTH: usize = 64;
/// Functions; menus have one or two.
const MAX_FUNCTIONS: usize = 256;
/// How often a file may be run while it is being run: grml's reads itself again once it knows about Secure Boot.
const MAX_REENTRIES: usize = 2;
/// Files that one wildcard stands for.
const MAX_MATCHES: usize = 256;

pub struct Machine<'m, 'd> {
    pub iso: &'m mut BoundedFiles<'d>,
    pub environment: &'m Environment,
    pub variables: Variables,
    /// The entries that the configuration has defined so far.
    pub items: Vec<Item>,
    /// What the last commands said that load something.
    pub boot: Draft,
    /// Where another configuration took over by `configfile`: its path and menu.
    pub taken_over: Option<(String, Vec<Item>, Variables)>,
    /// Inside of an entry no further entries are defined, and no further configuration is shown, only noted.
    pub in_entry: bool,
    /// The configuration that the entry would have shown.
    pub leads_to: Option<String>,
    /// An entry was defined in an entry.
    pub defines_in_entry: bool,
    pub(super) functions: HashMap<String, Block>,
    files: Vec<String>,
    pub(super) depth: usize,
    /// Loops around, in the same function.
    pub(super) loops: usize,
    /// Functions and entries around: what `return` and `setparams` belong to.
    pub(super) scopes: usize,
    pub(super) flow: Option<Flow>,
}

/// An entry or submenu as it was defined.
#[derive(Debug, Clone)]
pub struct Item {
    pub title: String,
    pub id: Option<String>,
    /// The title and what else followed it: `$1`, `$2`, … of the body.
    pub args: Vec<String>,
    pub body: Block,
    pub is_submenu: bool,
}

/// Why the next command is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Ends so many loops.
    Break(usize),
    /// Ends all but the last of so many loops, and goes on with that.
    Continue(usize),
    Return,
    Exit,
}

impl<'m, 'd> Machine<'m, 'd> {
    pub fn new(iso: &'m mut BoundedFiles<'d>, environment: &'m Environment, variables: Variables) -> Self {
        Self {
            iso,
            environment,
            variables,
            items: Vec::new(),
            boot: Draft::default(),
            taken_over: None,
            in_entry: false,
            leads_to: None,
            defines_in_entry: false,
            functions: HashMap::new(),
            files: Vec::new(),
            depth: 0,
            loops: 0,
            scopes: 0,
            flow: None,
        }
    }

    /// Runs a configuration; false if there is none.
    pub fn file(&mut self, path: &str) -> bool {
        let Some(path) = self.iso.locate(path) else {
            return false;
        };
        if self.files.iter().filter(|file| **file == path).count() >= MAX_REENTRIES {
            return false;
        }
        let Some(text) = self.iso.read(&path) else {
            return false;
        };
        let outer = self.variables.value("config_file").unwrap_or_default().to_owned();
        self.set_config(&path);
        self.files.push(path);
        self.text(&text);
        self.files.pop();
        self.set_config(&outer);
        true
    }

    fn set_config(&mut self, path: &str) {
        self.variables.set("config_file", path);
        self.variables.set("config_directory", path::parent(path));
    }

    /// Runs the body of an entry or submenu, whatever ended the last one.
    pub fn body(&mut self, body: &Block, args: &[String]) {
        self.flow = None;
        self.variables.set_positional(args);
        self.scopes += 1;
        self.run(body);
        self.scopes -= 1;
        self.flow = None;
    }

    pub(super) fn text(&mut self, text: &str) -> bool {
        if self.depth >= MAX_DEPTH || !self.iso.spend(text.len()) {
            return false;
        }
        let commands = parse::parse(text);
        self.run(&commands)
    }

    fn run(&mut self, commands: &[Command]) -> bool {
        if self.depth >= MAX_DEPTH {
            return false;
        }
        self.depth += 1;
        let mut status = true;
        for command in commands {
            if self.flow.is_some() || !self.iso.spend(1) {
                break;
            }
            status = self.command(command);
            self.variables.failed = !status;
        }
        self.depth -= 1;
        status
    }

    fn command(&mut self, command: &Command) -> bool {
        match command {
            Command::Simple(words, block) => self.simple(words, block.as_ref()),
            Command::If(branches) => {
                let taken = branches.iter().find(|(condition, _)| self.run(condition));
                taken.is_none_or(|(_, body)| self.run(body))
            }
            Command::For { name, words, body } => {
                for value in self.expand(words) {
                    self.variables.set(name, &value);
                    if !self.loop_once(body) {
                        break;
                    }
                }
                true
            }
            Command::While { wanted, condition, body } => {
                while self.iso.spend(1) && self.run(condition) == *wanted && self.loop_once(body) {}
                true
            }
            Command::Function { name, body } => {
                if self.functions.len() < MAX_FUNCTIONS {
                    self.functions.insert(name.clone(), body.clone());
                }
                true
            }
        }
    }

    /// True if the loop goes on.
    fn loop_once(&mut self, body: &[Command]) -> bool {
        self.loops += 1;
        self.run(body);
        self.loops -= 1;
        let goes_on = self.flow.is_none() || self.flow == Some(Flow::Continue(1));
        self.flow = match self.flow {
            Some(Flow::Break(0 | 1) | Flow::Continue(0 | 1)) => None,
            Some(Flow::Break(count)) => Some(Flow::Break(count - 1)),
            Some(Flow::Continue(count)) => Some(Flow::Continue(count - 1)),
            other => other,
        };
        goes_on && self.iso.spend(1)
    }

    fn simple(&mut self, words: &[Word], block: Option<&Block>) -> bool {
        let args = self.expand(words);
        let (invert, args) = match args.as_slice() {
            [first, rest @ ..] if first == "!" => (true, rest),
            args => (false, args),
        };
        let [name, args @ ..] = args else { return true };
        self.builtin(name, args, block) != invert
    }

    pub(super) fn call(&mut self, body: &Block, args: &[String]) -> bool {
        let outer = self.variables.set_positional(args);
        let loops = std::mem::take(&mut self.loops);
        self.scopes += 1;
        let status = self.run(body);
        self.scopes -= 1;
        self.loops = loops;
        self.variables.set_positional(&outer);
        self.flow.take_if(|flow| *flow == Flow::Return);
        status
    }

    fn expand(&mut self, words: &[Word]) -> Vec<String> {
        let mut args = Vec::new();
        for word in words {
            let more = self.variables.expand(std::slice::from_ref(word));
            if !self.iso.spend(more.iter().map(|arg| arg.text.len() + 1).sum()) {
                break;
            }
            for arg in more {
                let found = if arg.is_pattern { self.matching(&arg.text) } else { Vec::new() };
                if found.is_empty() { args.push(arg.text) } else { args.extend(found) }
            }
        }
        args
    }

    /// The files that a path with wildcards stands for (`commands/wildcard.c`), sorted: a pattern without any is taken as it
    /// stands.
    fn matching(&mut self, pattern: &str) -> Vec<String> {
        if !pattern.starts_with(['/', '(']) {
            return Vec::new();
        }
        let mut found = vec![String::new()];
        for (number, part) in pattern.split('/').enumerate() {
            let mut next = Vec::new();
            for base in found {
                let joined =
                    |name: &str| if number == 0 { name.to_owned() } else { format!("{base}/{name}") };
                if !part.contains(['*', '?']) {
                    next.push(joined(part));
                    continue;
                }
                let Some(dir) = path::resolve(&format!("{base}/x"), "/") else { continue };
                for name in self.iso.list(path::parent(&dir)) {
                    if !self.iso.spend(name.len() * part.len() / 8 + 1) {
                        return Vec::new();
                    }
                    if next.len() < MAX_MATCHES && glob::matches(part, &name) {
                        next.push(joined(&name));
                    }
                }
            }
            found = next;
        }
        found.retain(|path| path::resolve(path, "/").is_some_and(|path| self.iso.locate(&path).is_some()));
        found
    }
}

#[cfg(test)]
mod tests;
