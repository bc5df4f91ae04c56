//! SYSLINUX's configuration language, line by line, as its own `readconfig.c` reads it.
//!
//! Included files are read as if they stood in place of the line that includes them; their names are relative to the
//! working directory, not to the including file. What only concerns how the menu looks is skipped.

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
    /// What the verb is applied to, with anything that follows on its line.
    pub target: String,
    pub append: String,
    pub initrd: Option<String>,
    /// Index of the menu that it lies in.
    pub menu: usize,
}

/// What a label does with its target.
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
    /// Nothing that leads to Linux.
    Nothing,
}

#[derive(Debug, Default)]
pub struct Submenu {
    pub title: String,
    /// The title is only the tag of `menu begin`, until there is a better one.
    is_tagged: bool,
    pub parent: Option<usize>,
    /// What is shown and can be chosen.
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
    /// What labels without `append` get.
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
            "localboot" | "boot" | "bss" | "pxe" | "fdimage" => Verb::Nothing,
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
            "goto" | "exit" | "quit" => draft.label.verb = Verb::Nothing,
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
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    fn parse(text: &str) -> Config {
        Config::read(&mut BoundedFiles::new(&Memory::of(&[("/a.cfg", text)])), "/a.cfg", "/").unwrap()
    }

    fn names(config: &Config) -> Vec<&str> {
        config.labels.iter().map(|label| label.name.as_str()).collect()
    }

    fn menu_titles(config: &Config) -> Vec<&str> {
        config.labels.iter().map(|label| config.menus[label.menu].title.as_str()).collect()
    }

    #[test]
    fn comments_and_unknown_words_are_skipped() {
        assert_eq!(names(&parse("#label a\n # label b\nlabels c\nlabel d # e\n")), ["d # e"]);
    }

    #[test]
    fn help_text_is_skipped_even_if_it_never_ends() {
        assert_eq!(
            names(&parse("label a\nTEXT HELP\nlabel b\n EndText\nlabel c\ntext help\nlabel d\n")),
            ["a", "c"]
        );
    }

    #[test]
    fn menus_nest_and_stay_open() {
        let config = parse(
            "label a\nmenu begin x\nmenu title ^X\nlabel b\nmenu begin\nmenu label Y\nlabel c\nmenu end\nlabel d\n",
        );
        assert_eq!(menu_titles(&config), ["", "X", "Y", "X"]);
    }

    #[test]
    fn menus_may_end_once_too_often() {
        let config = parse("menu begin ^T\nlabel a\nmenu end\nmenu end\nlabel b\n");
        assert_eq!(menu_titles(&config), ["T", ""]);
    }

    #[test]
    fn disabled_labels_and_separators_are_not_shown() {
        let config = parse("label a\nmenu disable\nmenu separator\nlabel b\nmenu hide\nlabel c\n");
        assert_eq!((names(&config), config.menus[0].items.len()), (vec!["b", "c"], 1));
    }

    #[test]
    fn a_default_before_the_first_label_is_nobodys() {
        assert_eq!(parse("menu default\nlabel a\nlabel b\n").menus[0].default, None);
    }

    #[test]
    fn a_submenu_may_be_the_default() {
        let config = parse("label a\nmenu begin\nmenu default\nlabel b\nmenu end\n");
        assert_eq!(config.menus[0].default, Some(1));
    }

    #[test]
    fn a_missing_include_is_no_error_and_a_circle_ends() {
        let files = Memory::of(&[
            ("/a.cfg", "include missing.cfg\ninclude B.CFG\nlabel a\ninclude a.cfg\n"),
            ("/b.cfg", "label b\nmenu include a.cfg\n"),
        ]);
        let config = Config::read(&mut BoundedFiles::new(&files), "/a.cfg", "/").unwrap();
        assert_eq!(names(&config), ["b", "a"]);
    }

    #[test]
    fn an_include_with_a_tag_is_a_submenu() {
        let files =
            Memory::of(&[("/a.cfg", "menu include b.cfg More ^things\nlabel a\n"), ("/b.cfg", "label b\n")]);
        let config = Config::read(&mut BoundedFiles::new(&files), "/a.cfg", "/").unwrap();
        assert_eq!(menu_titles(&config), ["More things", ""]);
    }

    #[test]
    fn long_lines_and_many_labels_are_cut() {
        let config = parse(&format!("label {}\n", "é".repeat(MAX_LINE)));
        assert!(config.labels[0].name.len() < MAX_LINE);
        assert_eq!(parse(&"label a\n".repeat(2 * MAX_ENTRIES)).labels.len(), MAX_ENTRIES);
        assert_eq!(parse(&"menu begin\n".repeat(2 * MAX_ENTRIES)).menus.len(), MAX_ENTRIES);
    }
}
