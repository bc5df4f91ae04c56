//! SYSLINUX's configuration language, line by line, as its own `readconfig.c` reads it.
//!
//! Included files are read as if they stood in place of the line that includes them; their names are relative to the
//! working directory, not to the including file. What only concerns how the menu looks is skipped.

use crate::image::menu::Reason;
use crate::image::menu::bounded_files::BoundedFiles;
use crate::image::menu::draft::MAX_ENTRIES;
use crate::image::menu::path;

/// Bytes of a line that are looked at: SYSLINUX's own buffer (`MAX_LINE`).
const MAX_LINE: usize = 4096;
/// Files that include one another.
const MAX_DEPTH: usize = 16;

/// A configuration with everything that it includes.
#[derive(Debug, Default)]
pub struct Config {
    pub labels: Vec<Label>,
    /// The first is the top one.
    pub menus: Vec<Submenu>,
    /// The last `default`: a label or a command line.
    pub default: Option<String>,
    pub ui: Option<String>,
    pub ontimeout: Option<String>,
    /// Index of the menu that is shown first.
    pub start: usize,
}

#[derive(Debug, Default)]
pub struct Label {
    pub name: String,
    pub title: String,
    pub verb: Verb,
    /// The object of the verb, with anything that follows on its line.
    pub target: String,
    pub append: String,
    pub initrd: Option<String>,
    /// Index of the menu that it lies in.
    pub menu: usize,
}

/// The use that a label makes of its target.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Boots it as what its name says.
    #[default]
    Kernel,
    /// Boots it as Linux.
    Linux,
    /// Starts a program of SYSLINUX's.
    Program,
    /// Reads another configuration.
    Config,
    /// Does what leads to no Linux.
    Other(Reason),
}

#[derive(Debug, Default)]
pub struct Submenu {
    pub title: String,
    /// The title is only the tag of `menu begin`, until there is a better one.
    is_tagged: bool,
    pub parent: Option<usize>,
    /// The rows that are shown and can be chosen.
    pub items: Vec<Item>,
    /// Index into `items`.
    pub default: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
pub enum Item {
    /// By index of the label.
    Label(usize),
    /// By index of the menu.
    Menu(usize),
}

impl Config {
    /// Reads a configuration; `None` if there is no such file.
    pub fn read(iso: &mut BoundedFiles, path: &str, cwd: &str) -> Option<Self> {
        let text = iso.read(path)?;
        let config = Config { menus: vec![Submenu::default()], ..Config::default() };
        let mut parser = Parser {
            iso,
            cwd,
            config,
            current: 0,
            label: None,
            append: String::new(),
            active: vec![path.into()],
        };
        parser.text(&text);
        parser.record();
        Some(parser.config)
    }
}

struct Parser<'p, 'd> {
    iso: &'p mut BoundedFiles<'d>,
    cwd: &'p str,
    config: Config,
    /// Index of the menu that labels go to.
    current: usize,
    label: Option<Draft>,
    /// The arguments of labels without `append`.
    append: String,
    /// The files that are being read.
    active: Vec<String>,
}

#[derive(Default)]
struct Draft {
    label: Label,
    append: Option<String>,
    is_default: bool,
    is_hidden: bool,
    is_disabled: bool,
}

impl Parser<'_, '_> {
    fn text(&mut self, text: &str) {
        let mut lines = text.split('\n').map(clean);
        while let Some(line) = lines.next() {
            let (key, value) = keyword(line);
            if key == "text" {
                lines.by_ref().find(|line| keyword(line).0 == "endtext");
            } else {
                self.line(&key, value);
            }
        }
    }

    fn line(&mut self, key: &str, value: &str) {
        match key {
            "menu" => {
                let (key, value) = keyword(value);
                self.menu_line(&key, value);
            }
            "include" => self.include(value),
            "label" => {
                self.record();
                let label = Label {
                    name: value.into(),
                    title: value.into(),
                    target: value.into(),
                    ..Label::default()
                };
                self.label = Some(Draft { label, ..Draft::default() });
            }
            "default" => self.config.default = Some(value.into()),
            "ui" => self.config.ui = Some(value.into()),
            "ontimeout" => self.config.ontimeout = Some(value.into()),
            "append" => match &mut self.label {
                Some(draft) => draft.append = Some(value.into()),
                None => self.append = value.into(),
            },
            _ => self.label_line(key, value),
        }
    }

    fn label_line(&mut self, key: &str, value: &str) {
        let Some(draft) = &mut self.label else { return };
        let verb = match key {
            "initrd" => {
                draft.label.initrd = Some(value.into());
                return;
            }
            "kernel" => Verb::Kernel,
            "linux" => Verb::Linux,
            "com32" | "comboot" => Verb::Program,
            "config" => Verb::Config,
            "localboot" | "boot" | "bss" | "pxe" => Verb::Other(Reason::Chainload),
            "fdimage" => Verb::Other(Reason::DiskImage),
            _ => return,
        };
        draft.label.verb = verb;
        draft.label.target = value.into();
    }

    fn menu_line(&mut self, key: &str, value: &str) {
        match key {
            "begin" => {
                self.record();
                self.begin(value);
            }
            "end" => {
                self.record();
                self.end();
            }
            "separator" => self.record(),
            "include" => self.include(value),
            "start" => self.config.start = self.current,
            "title" => {
                let current = self.current;
                if let Some(menu) = self.config.menus.get_mut(current).filter(|menu| menu.is_tagged) {
                    menu.title = plain(value);
                    menu.is_tagged = false;
                }
            }
            _ if self.label.is_none() => self.submenu_line(key, value),
            _ => self.entry_line(key, value),
        }
    }

    /// `menu label` and `menu default` before the first label are the submenu's own.
    fn submenu_line(&mut self, key: &str, value: &str) {
        let Some(menu) = self.config.menus.get_mut(self.current) else {
            return;
        };
        let Some(parent) = menu.parent else { return };
        match key {
            "label" => {
                menu.title = plain(value);
                menu.is_tagged = false;
            }
            "default" => {
                let current = self.current;
                let Some(parent) = self.config.menus.get_mut(parent) else {
                    return;
                };
                parent.default =
                    parent.items.iter().position(|item| matches!(item, Item::Menu(m) if *m == current));
            }
            _ => {}
        }
    }

    fn entry_line(&mut self, key: &str, value: &str) {
        let Some(draft) = &mut self.label else { return };
        match key {
            "label" => draft.label.title = plain(value),
            "default" => draft.is_default = true,
            "hide" => draft.is_hidden = true,
            "disable" | "disabled" => draft.is_disabled = true,
            "goto" | "exit" | "quit" => draft.label.verb = Verb::Other(Reason::OtherMenu),
            _ => {}
        }
    }

    /// Ends the label that is being read.
    fn record(&mut self) {
        let Some(draft) = self.label.take() else {
            return;
        };
        if draft.is_disabled || self.config.labels.len() >= MAX_ENTRIES {
            return;
        }
        let append = draft.append.as_ref().unwrap_or(&self.append);
        let append = if append == "-" { String::new() } else { append.clone() };
        let index = self.config.labels.len();
        self.config.labels.push(Label { append, menu: self.current, ..draft.label });
        if let Some(menu) = self.config.menus.get_mut(self.current).filter(|_| !draft.is_hidden) {
            if draft.is_default {
                menu.default = Some(menu.items.len());
            }
            menu.items.push(Item::Label(index));
        }
    }

    fn begin(&mut self, tag: &str) {
        let index = self.config.menus.len();
        if index >= MAX_ENTRIES {
            return;
        }
        let menu =
            Submenu { title: plain(tag), is_tagged: true, parent: Some(self.current), ..Submenu::default() };
        self.config.menus.push(menu);
        if let Some(parent) = self.config.menus.get_mut(self.current) {
            parent.items.push(Item::Menu(index));
        }
        self.current = index;
    }

    fn end(&mut self) {
        let parent = self.config.menus.get(self.current).and_then(|menu| menu.parent);
        self.current = parent.unwrap_or(self.current);
    }

    fn include(&mut self, value: &str) {
        let (file, tag) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
        let found = path::resolve(file, self.cwd).and_then(|path| self.iso.locate(&path));
        let Some(path) = found.filter(|path| self.active.len() < MAX_DEPTH && !self.active.contains(path))
        else {
            return;
        };
        let Some(text) = self.iso.read(&path) else {
            return;
        };
        let tag = tag.trim();
        self.active.push(path);
        if !tag.is_empty() {
            self.record();
            self.begin(tag);
        }
        self.text(&text);
        if !tag.is_empty() {
            self.record();
            self.end();
        }
        self.active.pop();
    }
}

/// A line without what SYSLINUX does not see: after a carriage return, after its buffer, blanks at the ends.
fn clean(line: &str) -> &str {
    let line = line.split('\r').next().unwrap_or(line);
    let end = (0..=MAX_LINE.min(line.len())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    line.get(..end).unwrap_or(line).trim_matches(is_space)
}

/// The first word in lower case, and the rest.
fn keyword(line: &str) -> (String, &str) {
    let (key, value) = line.split_once(is_space).unwrap_or((line, ""));
    (key.to_ascii_lowercase(), value.trim_matches(is_space))
}

/// SYSLINUX takes every control character for a blank.
fn is_space(c: char) -> bool {
    c <= ' '
}

/// A title without its hot-key mark.
fn plain(title: &str) -> String {
    title.replace('^', "")
}

#[cfg(test)]
mod tests;
