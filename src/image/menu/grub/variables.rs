//! GRUB's variables, limited in number and size, and words made into arguments with them.

use super::lex::{Part, Word};
use crate::image::menu::Environment;
use std::collections::HashMap;

/// Bytes of one argument: `eval` gets a whole menu as one.
pub const MAX_WORD: usize = 64 << 10;
/// Bytes of one variable's value: whole kernel command lines are kept in them. Doubling one ends here.
const MAX_VALUE: usize = 4096;
/// Bytes of all names and values: each menu entry is read with a copy of them.
const MAX_ALL: usize = 64 << 10;
/// Arguments of a function or entry: `$1` to `$64`.
const MAX_POSITIONAL: usize = 64;
/// The variables that the core exports to every menu.
const EXPORTED: [&str; 9] = [
    "root",
    "prefix",
    "cmdpath",
    "grub_cpu",
    "grub_platform",
    "iso_path",
    "lang",
    "config_file",
    "config_directory",
];
/// The abilities that this GRUB announces (`normal/main.c`); menus ask before they use it.
const FEATURES: [&str; 8] = [
    "feature_200_final",
    "feature_all_video_module",
    "feature_chainloader_bpb",
    "feature_default_font_path",
    "feature_menuentry_id",
    "feature_menuentry_options",
    "feature_platform_search_hint",
    "feature_timeout_style",
];
/// The device that the ISO is on, as GRUB for UEFI calls the first CD. NixOS' menu asks.
pub const DEVICE: &str = "cd0";

#[derive(Debug, Clone, Default)]
pub struct Variables {
    values: HashMap<String, Value>,
    bytes: usize,
    /// `$1`, `$2`, …
    positional: Vec<String>,
    /// `$?` is 1: the last command failed.
    pub failed: bool,
}

/// A word as it is given to a command, or one of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Argument {
    pub text: String,
    /// A `*` or `?` in it stands for characters of file names, as far as it was not quoted.
    pub is_pattern: bool,
}

#[derive(Debug, Clone, Default)]
struct Value {
    text: String,
    exported: bool,
}

impl Variables {
    pub fn new(environment: &Environment) -> Self {
        let mut variables = Self::default();
        variables.set("grub_cpu", &environment.cpu);
        variables.set("grub_platform", &environment.platform);
        variables.set("root", DEVICE);
        variables.set("prefix", &format!("({DEVICE})/boot/grub"));
        variables.set("cmdpath", &format!("({DEVICE})/EFI/BOOT"));
        if let Some(path) = &environment.iso_path {
            variables.set("iso_path", path);
        }
        FEATURES.iter().for_each(|name| variables.set(name, "y"));
        EXPORTED.iter().chain(&FEATURES).for_each(|name| variables.export(name));
        variables
    }

    /// Bytes of all names and values: what a copy costs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.text.as_str())
    }

    /// Sets a variable; what is over the limits is cut, or not kept.
    pub fn set(&mut self, name: &str, text: &str) {
        let exported = self.unset(name);
        let text = cut(text, MAX_VALUE);
        let bytes = name.len() + text.len();
        if self.bytes + bytes <= MAX_ALL {
            self.bytes += bytes;
            self.values.insert(name.into(), Value { text: text.into(), exported });
        }
    }

    /// Forgets a variable; says whether it was exported.
    pub fn unset(&mut self, name: &str) -> bool {
        let old = self.values.remove(name);
        self.bytes -= old.as_ref().map_or(0, |old| name.len() + old.text.len());
        old.is_some_and(|old| old.exported)
    }

    /// Sets `$1`, `$2`, …; gives back what they were.
    pub fn set_positional(&mut self, args: &[String]) -> Vec<String> {
        let args = args.iter().take(MAX_POSITIONAL).cloned().collect();
        std::mem::replace(&mut self.positional, args)
    }

    /// Drops `$1` and more: the others move up. False, and nothing done, if there are not so many.
    pub fn shift(&mut self, count: usize) -> bool {
        let is_there = count <= self.positional.len();
        if is_there {
            self.positional.drain(..count);
        }
        is_there
    }

    pub fn export(&mut self, name: &str) {
        if !self.values.contains_key(name) {
            self.set(name, "");
        }
        if let Some(value) = self.values.get_mut(name) {
            value.exported = true;
        }
    }

    /// The variables that a submenu or another configuration sees.
    pub fn exported(&self) -> Self {
        let mut variables = Self::default();
        for (name, value) in self.values.iter().filter(|(_, value)| value.exported) {
            variables.set(name, &value.text);
            variables.export(name);
        }
        variables
    }

    /// The arguments that words become: an unset variable without quotes disappears, and a set one is split at blanks.
    pub fn expand(&self, words: &[Word]) -> Vec<Argument> {
        let mut args = Vec::new();
        for word in words {
            let mut arg: Option<Argument> = None;
            for part in &word.0 {
                match part {
                    Part::Plain(text) => append(&mut arg, text, true),
                    Part::Quoted(text) => append(&mut arg, text, false),
                    Part::Variable { name, quoted: true } => append(&mut arg, &self.text(name), false),
                    Part::Variable { name, quoted: false } => {
                        for (index, piece) in self.text(name).split_whitespace().enumerate() {
                            if index > 0 {
                                args.extend(arg.take());
                            }
                            append(&mut arg, piece, true);
                        }
                    }
                }
            }
            args.extend(arg);
        }
        args
    }

    fn text(&self, name: &str) -> String {
        match name {
            "?" => u8::from(self.failed).to_string(),
            "#" => self.positional.len().to_string(),
            "*" | "@" => self.positional.join(" "),
            name => match name.parse::<usize>() {
                Ok(number) => number.checked_sub(1).and_then(|index| self.positional.get(index).cloned()),
                Err(_) => self.value(name).map(String::from),
            }
            .unwrap_or_default(),
        }
    }
}

fn append(arg: &mut Option<Argument>, text: &str, is_unquoted: bool) {
    let arg = arg.get_or_insert_default();
    arg.text.push_str(cut(text, MAX_WORD - arg.text.len().min(MAX_WORD)));
    arg.is_pattern |= is_unquoted && text.contains(['*', '?']);
}

/// The text up to a number of bytes, ending with a whole character.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::lex::{Token, tokens};
    use super::*;

    fn expand(variables: &Variables, text: &str) -> Vec<String> {
        let words = tokens(text).into_iter().filter_map(|token| match token {
            Token::Word(word) => Some(word),
            _ => None,
        });
        variables.expand(&words.collect::<Vec<_>>()).into_iter().map(|arg| arg.text).collect()
    }

    #[test]
    fn an_unset_variable_disappears_unless_quoted() {
        assert_eq!(expand(&Variables::default(), "a $x ${x}b \"$x\" c=$x"), ["a", "b", "", "c="]);
    }

    #[test]
    fn a_value_is_split_at_blanks_unless_quoted() {
        let mut variables = Variables::default();
        variables.set("x", " 1 2 ");
        assert_eq!(expand(&variables, "a${x}b"), ["a1", "2b"]);
        assert_eq!(expand(&variables, "\"a${x}b\" '$x'"), ["a 1 2 b", "$x"]);
    }

    #[test]
    fn positional_variables() {
        let variables = Variables { positional: vec!["a b".into(), "c".into()], ..Variables::default() };
        assert_eq!(expand(&variables, "\"$1\" $2 $3 $# \"$@\""), ["a b", "c", "2", "a b c"]);
    }

    #[test]
    fn wildcards_count_unquoted_only() {
        let mut variables = Variables::default();
        variables.set("x", "*");
        let is_pattern = |text: &str| {
            let words = tokens(text).into_iter().filter_map(|token| match token {
                Token::Word(word) => Some(word),
                _ => None,
            });
            variables.expand(&words.collect::<Vec<_>>()).iter().any(|arg| arg.is_pattern)
        };
        assert!(is_pattern("\"/a\"/*") && is_pattern("/?") && is_pattern("/$x"));
        assert!(
            !is_pattern("\"/*\"") && !is_pattern("'/?'") && !is_pattern("\"/$x\"") && !is_pattern("/\\*")
        );
    }

    #[test]
    fn shift_moves_by_as_many_as_there_are() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let mut variables = Variables { positional: words("a b c"), ..Variables::default() };
        assert!(!variables.shift(4) && variables.shift(2));
        assert_eq!(variables.positional, ["c"]);
        assert!(variables.shift(0) && variables.shift(1) && !variables.shift(1));
    }

    #[test]
    fn only_exported_variables_go_on() {
        let mut variables = Variables::new(&Environment::default());
        variables.set("a", "1");
        variables.set("b", "2");
        variables.export("b");
        let inner = variables.exported();
        assert_eq!(
            (inner.value("a"), inner.value("b"), inner.value("grub_platform")),
            (None, Some("2"), Some("efi"))
        );
    }

    #[test]
    fn values_are_limited_in_size_and_number() {
        let mut variables = Variables::default();
        variables.set("a", "é");
        for _ in 0..40 {
            let double = format!("{0}{0}", variables.value("a").unwrap());
            variables.set("a", &double);
        }
        assert!(variables.value("a").unwrap().len() <= MAX_VALUE);
        for number in 0..10_000 {
            variables.set(&format!("name{number}"), &"x".repeat(100));
        }
        assert!(variables.bytes() <= MAX_ALL);
    }

    #[test]
    fn a_word_is_limited() {
        let mut variables = Variables::default();
        variables.set("a", &"x".repeat(MAX_VALUE));
        assert_eq!(expand(&variables, &format!("\"{}\"", "$a".repeat(100)))[0].len(), MAX_WORD);
    }
}
