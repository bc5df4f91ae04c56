//! Running GRUB's commands, as far as they matter for a menu: variables, conditions, loops, functions, other
//! configurations, entries and what those boot. Any other command does nothing and succeeds.
//!
//! Entries are collected while a configuration runs; what they boot is evaluated by the caller once it has run to its
//! end, as GRUB does when one is chosen. Each command and each byte that it is given is paid for.

use super::condition;
use super::lex::Word;
use super::parse::{self, Block, Command};
use super::variables::{DEVICE, Variables};
use crate::menu::Environment;
use crate::menu::disc::Disc;
use crate::menu::gate::{self, Draft, MAX_ENTRIES, MAX_INITRDS};
use std::collections::HashMap;

/// Blocks, functions, `eval` and files within one another.
const MAX_DEPTH: usize = 64;
/// Functions; menus have one or two.
const MAX_FUNCTIONS: usize = 256;
/// Options of `menuentry` that take a value.
const VALUED: [&str; 5] = ["--class", "--id", "--hotkey", "--users", "--source"];

pub struct Machine<'m, 'd> {
    pub disc: &'m mut Disc<'d>,
    pub environment: &'m Environment,
    pub variables: Variables,
    /// What the configuration has defined so far.
    pub items: Vec<Item>,
    /// What `linux` and `initrd` said last.
    pub boot: Draft,
    /// Where another configuration took over by `configfile`: its path and menu.
    pub taken_over: Option<(String, Vec<Item>, Variables)>,
    /// Inside of an entry no further configuration is read.
    pub in_entry: bool,
    functions: HashMap<String, Block>,
    files: Vec<String>,
    depth: usize,
    flow: Option<Flow>,
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
enum Flow {
    Break,
    Continue,
    Return,
    Exit,
}

impl<'m, 'd> Machine<'m, 'd> {
    pub fn new(disc: &'m mut Disc<'d>, environment: &'m Environment) -> Self {
        Self {
            disc,
            environment,
            variables: Variables::new(environment),
            items: Vec::new(),
            boot: Draft::default(),
            taken_over: None,
            in_entry: false,
            functions: HashMap::new(),
            files: Vec::new(),
            depth: 0,
            flow: None,
        }
    }

    /// Runs a configuration; false if there is none.
    pub fn file(&mut self, path: &str) -> bool {
        let Some(path) = self
            .disc
            .locate(path)
            .filter(|path| !self.files.contains(path))
        else {
            return false;
        };
        let Some(text) = self.disc.read(&path) else {
            return false;
        };
        self.files.push(path);
        self.text(&text);
        self.files.pop();
        true
    }

    /// Runs a body from its beginning, whatever ended the last one.
    pub fn body(&mut self, body: &Block) {
        self.flow = None;
        self.run(body);
    }

    fn text(&mut self, text: &str) -> bool {
        if self.depth >= MAX_DEPTH || !self.disc.spend(text.len()) {
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
            if self.flow.is_some() || !self.disc.spend(1) {
                break;
            }
            status = self.command(command);
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
            Command::While {
                wanted,
                condition,
                body,
            } => {
                while self.disc.spend(1) && self.run(condition) == *wanted && self.loop_once(body) {
                }
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

    /// Whether the loop goes on.
    fn loop_once(&mut self, body: &[Command]) -> bool {
        self.run(body);
        if let Some(Flow::Break | Flow::Continue) = self.flow {
            return self.flow.take() == Some(Flow::Continue);
        }
        self.flow.is_none() && self.disc.spend(1)
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

    fn builtin(&mut self, name: &str, args: &[String], block: Option<&Block>) -> bool {
        if let Some(body) = self.functions.get(name).cloned() {
            return self.call(&body, args);
        }
        match name {
            "menuentry" | "submenu" => self.define(args, block, name == "submenu"),
            "hiddenentry" => {}
            "set" => args.iter().for_each(|arg| self.assign(arg)),
            "export" => {
                for arg in args {
                    self.assign(arg);
                    self.variables.export(arg.split('=').next().unwrap_or(arg));
                }
            }
            "unset" => {
                for arg in args {
                    self.variables.unset(arg);
                }
            }
            "setparams" => self.variables.positional = args.to_vec(),
            "shift" => drop(
                self.variables
                    .positional
                    .drain(..1.min(self.variables.positional.len())),
            ),
            "[" | "test" => return self.test(args),
            "false" | "keystatus" => return false,
            "cpuid" => {
                return self.environment.cpu == "x86_64" || !args.iter().any(|arg| arg == "-l");
            }
            "eval" => return self.text(&args.join(" ")),
            "source" | "." | "configfile" | "normal" => return self.other_file(name, args),
            "search" | "search.file" | "search.fs_label" | "search.fs_uuid" => {
                return self.search(name, args);
            }
            "probe" => self.probe(args),
            "linux" | "linux16" | "linuxefi" => self.linux(args),
            "initrd" | "initrd16" | "initrdefi" => self.initrd(args),
            "break" => self.flow = Some(Flow::Break),
            "continue" => self.flow = Some(Flow::Continue),
            "return" => {
                self.flow = Some(Flow::Return);
                return args.first().is_none_or(|status| status == "0");
            }
            "exit" => self.flow = Some(Flow::Exit),
            name if name.contains('=') => self.assign(name),
            _ => {}
        }
        true
    }

    fn assign(&mut self, assignment: &str) {
        if let Some((name, value)) = assignment.split_once('=') {
            self.variables.set(name, value);
        }
    }

    fn call(&mut self, body: &Block, args: &[String]) -> bool {
        let outer = std::mem::replace(&mut self.variables.positional, args.to_vec());
        let status = self.run(body);
        self.variables.positional = outer;
        self.flow.take_if(|flow| *flow == Flow::Return);
        status
    }

    fn define(&mut self, args: &[String], block: Option<&Block>, is_submenu: bool) {
        let Some(body) = block.filter(|_| self.items.len() < MAX_ENTRIES && !self.in_entry) else {
            return;
        };
        let mut id = None;
        let mut rest = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (option, value) = arg
                .split_once('=')
                .map_or((arg.as_str(), None), |(o, v)| (o, Some(v)));
            if arg == "--" {
                rest.extend(args.by_ref().cloned());
            } else if VALUED.contains(&option) {
                let value = value.or_else(|| args.next().map(String::as_str));
                if option == "--id" {
                    id = value.map(String::from);
                }
            } else if !arg.starts_with("--") {
                rest.push(arg.clone());
            }
        }
        let Some(title) = rest.first().cloned() else {
            return;
        };
        self.items.push(Item {
            title,
            id,
            args: rest,
            body: body.clone(),
            is_submenu,
        });
    }

    /// The file that an ISO is said to lie in counts as there: a loopback menu looks for it.
    fn test(&mut self, args: &[String]) -> bool {
        let iso = self.environment.iso_path.as_deref();
        let is_iso = |arg: &String| iso.is_some_and(|iso| arg.ends_with(iso));
        match args {
            [operator, path, _]
                if matches!(operator.as_str(), "-e" | "-f" | "-s") && is_iso(path) =>
            {
                true
            }
            args => condition::holds(self.disc, args),
        }
    }

    fn other_file(&mut self, name: &str, args: &[String]) -> bool {
        let path = args.first().and_then(|arg| gate::path(arg, "/"));
        let Some(path) = path.filter(|_| !self.in_entry && self.depth < MAX_DEPTH) else {
            return false;
        };
        if matches!(name, "source" | ".") {
            return self.file(&path);
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
            let path = self.disc.locate(&path).unwrap_or(path);
            self.taken_over.get_or_insert((path, inner, variables));
            self.flow = Some(Flow::Exit);
        }
        found
    }

    /// Finds by label and UUID whatever is looked for, by file what there is.
    fn search(&mut self, name: &str, args: &[String]) -> bool {
        let is_file = name == "search.file"
            || args
                .iter()
                .any(|arg| matches!(arg.as_str(), "--file" | "-f"));
        let mut variable = "root";
        let mut wanted = None;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--hint" | "-h" => drop(args.next()),
                arg if arg.starts_with("--set=") => variable = arg.trim_start_matches("--set="),
                arg if arg.starts_with('-') => {}
                arg if wanted.is_none() => wanted = Some(arg),
                arg => variable = arg,
            }
        }
        let is_iso = self.environment.iso_path.as_deref() == wanted;
        let path = wanted.and_then(|wanted| gate::path(wanted, "/"));
        let found =
            !is_file || is_iso || path.is_some_and(|path| self.disc.locate(&path).is_some());
        if found {
            self.variables.set(variable, DEVICE);
        }
        found
    }

    fn probe(&mut self, args: &[String]) {
        let mut variable = None;
        let mut value = None;
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            match arg {
                "--set" | "-s" => variable = args.next(),
                "--fs-uuid" | "-u" => value = self.environment.fs_uuid.as_deref(),
                "--label" | "-l" => value = self.environment.label.as_deref(),
                "--fs" | "-f" => value = Some("iso9660"),
                arg => variable = arg.strip_prefix("--set=").or(variable),
            }
        }
        if let (Some(variable), Some(value)) = (variable, value) {
            self.variables.set(variable, value);
        }
    }

    fn linux(&mut self, args: &[String]) {
        let [kernel, args @ ..] = args else { return };
        self.boot.kernel = kernel.clone();
        self.boot.initrds.clear();
        self.boot.args = args
            .iter()
            .map(|arg| quote(arg))
            .collect::<Vec<_>>()
            .join(" ");
    }

    fn initrd(&mut self, args: &[String]) {
        // `newc:` packs a file by GRUB's own hand; what is in the ISO would not be the same.
        let files = args
            .iter()
            .filter(|arg| !arg.starts_with("newc:") && !arg.starts_with("--"));
        self.boot.initrds = files.take(MAX_INITRDS + 1).cloned().collect();
    }

    fn expand(&mut self, words: &[Word]) -> Vec<String> {
        let mut args = Vec::new();
        for word in words {
            let more = self.variables.expand(std::slice::from_ref(word));
            if !self.disc.spend(more.iter().map(|arg| arg.len() + 1).sum()) {
                break;
            }
            args.extend(more);
        }
        args
    }
}

/// An argument as GRUB passes it to the kernel (`lib/cmdline.c`): in quotes if it holds a blank, quotes and backslashes
/// escaped, but not those of `\x20`.
fn quote(arg: &str) -> String {
    let mut out = String::with_capacity(arg.len());
    for (index, c) in arg.char_indices() {
        let is_code = arg.get(index..).is_some_and(|rest| {
            let mut digits = rest.strip_prefix("\\x").unwrap_or_default().chars();
            (0..2).all(|_| digits.next().is_some_and(|c| c.is_ascii_hexdigit()))
        });
        if matches!(c, '\\' | '\'' | '"') && !is_code {
            out.push('\\');
        }
        out.push(c);
    }
    if arg.contains(' ') {
        format!("\"{out}\"")
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::menu::tests::Memory;

    /// The value of `$x` after a script.
    fn x_in(files: &Memory, script: &str) -> Option<String> {
        let environment = Environment {
            fs_uuid: Some("2026-01-01".into()),
            ..Environment::default()
        };
        let mut disc = Disc::new(files);
        let mut machine = Machine::new(&mut disc, &environment);
        machine.text(script);
        machine.variables.value("x").map(String::from)
    }

    fn x(script: &str) -> Option<String> {
        x_in(&Memory::default(), script)
    }

    #[test]
    fn variables_are_set_in_three_ways() {
        assert_eq!(x("set x=1").unwrap(), "1");
        assert_eq!(x("x='a b'").unwrap(), "a b");
        assert_eq!(x("export x=3").unwrap(), "3");
        assert_eq!(x("x=1; unset x"), None);
    }

    #[test]
    fn a_variable_may_hold_the_command() {
        assert_eq!(x("c=set; $c x=1").unwrap(), "1");
    }

    #[test]
    fn branches_are_taken_by_status() {
        let script = "if false; then x=1; elif [ a = b ]; then x=2; else x=3; fi";
        assert_eq!(x(script).unwrap(), "3");
        assert_eq!(x("if loadfont y; then x=1; else x=2; fi").unwrap(), "1");
        assert_eq!(x("if ! false; then x=1; fi").unwrap(), "1");
        assert_eq!(x("if test \"$grub_platform\" == efi; then x=1; fi").unwrap(), "1");
    }

    #[test]
    fn functions_have_arguments_and_return() {
        let script = "function f {\n x=$x$2\n return 1\n x=no\n}\nif f a b; then x=; fi; f a c";
        assert_eq!(x(script).unwrap(), "bc");
    }

    #[test]
    fn loops_end_by_list_break_and_condition() {
        assert_eq!(x("for i in a b c; do x=$x$i; done").unwrap(), "abc");
        assert_eq!(x("for i in a b c; do if [ $i = b ]; then break; fi; x=$x$i; done").unwrap(), "a");
        assert_eq!(x("for i in a b c; do if [ $i = b ]; then continue; fi; x=$x$i; done").unwrap(), "ac");
        assert_eq!(x("while [ \"$x\" != aaa ]; do x=a$x; done").unwrap(), "aaa");
        assert_eq!(x("until [ \"$x\" = aa ]; do x=a$x; done").unwrap(), "aa");
    }

    #[test]
    fn eval_reads_its_arguments() {
        assert_eq!(x("y=1; eval \"x=\$y\nx=\\$x\$y\"").unwrap(), "11");
    }

    #[test]
    fn search_finds_the_iso() {
        let files = Memory::of(&[("/marker", "")]);
        assert_eq!(x_in(&files, "search --no-floppy --set=x --file /marker").unwrap(), DEVICE);
        assert_eq!(x_in(&files, "search --file /marker --hint y --set x").unwrap_or_default(), "");
        assert_eq!(x_in(&files, "search --set=x --file /other"), None);
        assert_eq!(x_in(&files, "search --set=x -l LABEL").unwrap(), DEVICE);
        assert_eq!(x_in(&files, "search.fs_uuid 1234 x").unwrap(), DEVICE);
    }

    #[test]
    fn probe_tells_the_uuid() {
        assert_eq!(x("probe --set x --fs-uuid \"$root\"").unwrap(), "2026-01-01");
        assert_eq!(x("probe --fs-uuid --set=x (cd)").unwrap(), "2026-01-01");
    }

    #[test]
    fn endless_scripts_end() {
        for script in [
            "while true; do x=1; done",
            "while true; do continue; done",
            "until false; do eval 'x=1'; done",
            "function f { f; f; }; f; f",
            "x='eval $x'; eval $x",
            "set a=1; while true; do set a=$a$a; done",
            "function f { for i in 1 2 3 4 5 6 7 8; do f; done; }; f",
            "while true; do while true; do break; done; done",
        ] {
            x(script);
        }
    }

    #[test]
    fn files_that_source_one_another_end() {
        let files = Memory::of(&[("/a", "source /b; source /b"), ("/b", "source /a; configfile /a; x=1")]);
        assert_eq!(x_in(&files, "source /a").unwrap(), "1");
    }

    #[test]
    fn words_are_quoted_for_the_kernel() {
        assert_eq!(quote("a b"), "\"a b\"");
        assert_eq!(quote("a'b\"c\\d"), "a\\'b\\\"c\\\\d");
        assert_eq!(quote("LABEL=a\\x20b"), "LABEL=a\\x20b");
        assert_eq!(quote("\\xz"), "\\\\xz");
    }
}
