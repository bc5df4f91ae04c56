//! Running GRUB's commands, as far as they matter for a menu: variables, conditions, loops, functions, other
//! configurations, entries and what those boot. Any other command does nothing and succeeds.
//!
//! Entries are collected while a configuration runs; what they boot is evaluated by the caller once it has run to its
//! end, as GRUB does when one is chosen. Each command and each byte that it is given is paid for.

use super::condition;
use super::lex::Word;
use super::options;
use super::parse::{self, Block, Command};
use super::variables::{DEVICE, Variables};
use crate::image::menu::Environment;
use crate::image::menu::bounded_files::BoundedFiles;
use crate::image::menu::draft::{Draft, MAX_ENTRIES, MAX_INITRDS};
use crate::image::menu::path;
use std::collections::HashMap;

/// Blocks, functions, `eval` and files within one another.
const MAX_DEPTH: usize = 64;
/// Functions; menus have one or two.
const MAX_FUNCTIONS: usize = 256;
pub struct Machine<'m, 'd> {
    pub iso: &'m mut BoundedFiles<'d>,
    pub environment: &'m Environment,
    pub variables: Variables,
    /// What the configuration has defined so far.
    pub items: Vec<Item>,
    /// What `linux` and `initrd` said last.
    pub boot: Draft,
    /// Where another configuration took over by `configfile`: its path and menu.
    pub taken_over: Option<(String, Vec<Item>, Variables)>,
    /// Inside of an entry no further configuration is read, only noted.
    pub in_entry: bool,
    /// The configuration that the entry would have read.
    pub leads_to: Option<String>,
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
            functions: HashMap::new(),
            files: Vec::new(),
            depth: 0,
            flow: None,
        }
    }

    /// Runs a configuration; false if there is none.
    pub fn file(&mut self, path: &str) -> bool {
        let Some(path) = self.iso.locate(path).filter(|path| !self.files.contains(path)) else {
            return false;
        };
        let Some(text) = self.iso.read(&path) else {
            return false;
        };
        let outer = self.variables.value("config_file").unwrap_or_default().to_owned();
        self.set_config(&path);
        self.files.push(path);
        self.text(&text);
        self.files.pop();
        self.set_config(&outer);
        self.flow.take_if(|flow| *flow == Flow::Return);
        true
    }

    fn set_config(&mut self, path: &str) {
        self.variables.set("config_file", path);
        self.variables.set("config_directory", path::parent(path));
    }

    /// Runs a body from its beginning, whatever ended the last one.
    pub fn body(&mut self, body: &Block) {
        self.flow = None;
        self.run(body);
    }

    fn text(&mut self, text: &str) -> bool {
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

    /// Whether the loop goes on.
    fn loop_once(&mut self, body: &[Command]) -> bool {
        self.run(body);
        if let Some(Flow::Break | Flow::Continue) = self.flow {
            return self.flow.take() == Some(Flow::Continue);
        }
        self.flow.is_none() && self.iso.spend(1)
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
            "setparams" => drop(self.variables.set_positional(args)),
            "shift" => self.variables.shift(),
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
        let outer = self.variables.set_positional(args);
        let status = self.run(body);
        self.variables.set_positional(&outer);
        self.flow.take_if(|flow| *flow == Flow::Return);
        status
    }

    fn define(&mut self, args: &[String], block: Option<&Block>, is_submenu: bool) {
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
        if self.in_entry {
            self.leads_to = Some(path);
            return true;
        }
        if matches!(name, "source" | ".") {
            return self.file(&path);
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

    fn linux(&mut self, args: &[String]) {
        let [kernel, args @ ..] = args else { return };
        self.boot.kernel = kernel.clone();
        self.boot.initrds.clear();
        self.boot.args = args.iter().map(|arg| options::quote(arg)).collect::<Vec<_>>().join(" ");
    }

    fn initrd(&mut self, args: &[String]) {
        // `newc:` packs a file by GRUB's own hand; what is in the ISO would not be the same.
        let files = args.iter().filter(|arg| !arg.starts_with("newc:") && !arg.starts_with("--"));
        self.boot.initrds = files.take(MAX_INITRDS + 1).cloned().collect();
    }

    fn expand(&mut self, words: &[Word]) -> Vec<String> {
        let mut args = Vec::new();
        for word in words {
            let more = self.variables.expand(std::slice::from_ref(word));
            if !self.iso.spend(more.iter().map(|arg| arg.len() + 1).sum()) {
                break;
            }
            args.extend(more);
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    /// The value of `$x` after a script.
    fn x_in(files: &Memory, script: &str) -> Option<String> {
        let environment = Environment { fs_uuid: Some("2026-01-01".into()), ..Environment::default() };
        let mut iso = BoundedFiles::new(files);
        let mut machine = Machine::new(&mut iso, &environment, Variables::new(&environment));
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
        assert_eq!(x("y=1; eval 'x=$y; x=${x}'\"$y\"").unwrap(), "11");
    }

    #[test]
    fn search_finds_the_iso() {
        let files = Memory::of(&[("/marker", "")]);
        assert_eq!(x_in(&files, "search --no-floppy --set=x --file /marker").unwrap(), DEVICE);
        assert_eq!(x_in(&files, "search --file /marker --hint y --set x"), None);
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
    fn a_file_knows_its_place_and_may_return() {
        let files = Memory::of(&[("/a/b", "x=$config_directory; return; x=no")]);
        assert_eq!(x_in(&files, "source /a/b; x=$x$config_file"), Some("/a".into()));
    }

    #[test]
    fn menus_ask_for_features() {
        assert_eq!(x("if [ x$feature_menuentry_id = xy ]; then x=--id; fi").unwrap(), "--id");
    }

    #[test]
    fn files_that_source_one_another_end() {
        let files = Memory::of(&[("/a", "source /b; source /b"), ("/b", "source /a; configfile /a; x=1")]);
        assert_eq!(x_in(&files, "source /a").unwrap(), "1");
    }
}
