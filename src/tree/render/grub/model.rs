//! GRUB as the reader of its file: the lexer (grub-core/script/yylex.l), as much of the grammar as is used, and what

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a model fails by panicking")]
//! `linux` makes of its words (grub-core/lib/cmdline.c), in GNU's and Debian's way and in Fedora's.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use super::*;
use crate::tree::render::hostile::{Booted, Read, expected, kernel_args};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Splits a script into tokens, with its variables in their places.
struct Lexer<'s> {
    rest: Peekable<Chars<'s>>,
    variables: HashMap<String, String>,
}

impl Lexer<'_> {
    fn token(&mut self) -> Option<Token> {
        while self.rest.next_if(|symbol| matches!(symbol, ' ' | '\t')).is_some() {}
        match *self.rest.peek()? {
            '#' => {
                while self.rest.next_if(|&symbol| symbol != '\n').is_some() {}
                self.token()
            }
            symbol @ ('\n' | ';' | '{' | '}') => {
                self.rest.next();
                Some(match symbol {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::End,
                })
            }
            symbol @ ('|' | '&' | '<' | '>') => panic!("{symbol} is an operator"),
            _ => Some(Token::Word(self.word())),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(symbol) = self.rest.next_if(|symbol| !" \t\n;{}|&<>".contains(*symbol)) {
            match symbol {
                '\'' => word.extend(self.until('\'')),
                '"' => {
                    let mut inner = Lexer { rest: "".chars().peekable(), variables: self.variables.clone() };
                    let text: String = self.until('"').collect();
                    assert!(!text.contains('\\'), "no escapes are used here");
                    inner.rest = text.chars().peekable();
                    while let Some(symbol) = inner.rest.next() {
                        match symbol {
                            '$' => word.push_str(&inner.variable()),
                            symbol => word.push(symbol),
                        }
                    }
                }
                '\\' => word.extend(self.rest.next()),
                '$' => word.push_str(&self.variable()),
                symbol => word.push(symbol),
            }
        }
        word
    }

    fn until(&mut self, end: char) -> impl Iterator<Item = char> + use<> {
        let text: Vec<char> = std::iter::from_fn(|| self.rest.next_if(|&symbol| symbol != end)).collect();
        assert_eq!(self.rest.next(), Some(end), "a quote ends");
        text.into_iter()
    }

    fn variable(&mut self) -> String {
        let part = |symbol: &char| symbol.is_ascii_alphanumeric() || *symbol == '_';
        let name: String = std::iter::from_fn(|| self.rest.next_if(part)).collect();
        assert!(!name.is_empty(), "a name behind $");
        self.variables.get(&name).cloned().unwrap_or_default()
    }
}

/// Runs a script.
struct Run<'s> {
    lexer: Lexer<'s>,
    booted: Vec<Booted>,
    /// Variables that a submenu has.
    exported: Vec<String>,
    /// Ids of the rows that lead to where it is.
    path: Vec<String>,
    /// Where the booted ones are, in the order of the menu, and their names.
    paths: Vec<(Vec<String>, String)>,
    /// Ids of the rows of the first screen.
    rows: Vec<String>,
}

impl Run<'_> {
    fn command(&mut self) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        loop {
            match self.lexer.token() {
                None if tokens.is_empty() => return None,
                None | Some(Token::End) => return Some(tokens),
                Some(Token::Open) => {
                    tokens.push(Token::Open);
                    return Some(tokens);
                }
                Some(token) => tokens.push(token),
            }
        }
    }

    /// Runs up to the end of a block; `live`: what is in it counts.
    fn block(&mut self, live: bool, depth: usize) {
        let mut branches: Vec<(bool, bool)> = Vec::new();
        while let Some(tokens) = self.command() {
            let counts = live && branches.iter().all(|(taken, _)| *taken);
            let mut words: Vec<String> = Vec::new();
            for token in &tokens {
                match token {
                    Token::Word(word) => words.push(word.clone()),
                    Token::Close => return,
                    _ => {}
                }
            }
            let mut line: Vec<&str> = words.iter().map(String::as_str).collect();
            if line.first() == Some(&"then") {
                line.remove(0);
            }
            match line.as_slice() {
                [] => {}
                ["if", "[", "-n", value, "]"] => branches.push((!value.is_empty(), false)),
                ["if", "[", one, "=", other, "]"] => branches.push((one == other, false)),
                ["else"] => {
                    let branch = branches.last_mut().unwrap();
                    *branch = (!branch.0, true);
                }
                ["fi"] => drop(branches.pop()),
                ["set", pair] if counts => {
                    let (name, value) = pair.split_once('=').unwrap();
                    self.lexer.variables.insert(name.into(), value.into());
                }
                ["export", name] => self.exported.push((*name).into()),
                ["set", _] | ["regexp", ..] => {}
                ["submenu", _title, "--id", id] => {
                    self.row(id, counts);
                    self.path.push((*id).into());
                    let all = self.lexer.variables.clone();
                    let seen = |name: &String| self.exported.contains(name) || name.starts_with("net_");
                    self.lexer.variables.retain(|name, _| seen(name));
                    self.block(counts, depth + 1);
                    self.lexer.variables = all;
                    self.path.pop();
                }
                ["menuentry", title, "--id", id] => {
                    self.row(id, counts);
                    self.entry(title, id, counts);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(branches.is_empty() && depth == 0, "all blocks end");
    }

    fn row(&mut self, id: &str, counts: bool) {
        self.rows.extend((counts && self.path.is_empty()).then(|| id.to_owned()));
    }

    /// What is booted by time-out: a number counts rows, and behind a row that is a menu it is the first.
    fn default(&self) -> String {
        let wanted = &self.lexer.variables["default"];
        let digits: String = wanted.chars().take_while(char::is_ascii_digit).collect();
        let by_number = digits.parse().ok().and_then(|number: usize| self.rows.get(number)).cloned();
        let row = by_number.unwrap_or_else(|| wanted.clone());
        let ids: Vec<String> = row.split('>').map(str::to_owned).collect();
        let found = self.paths.iter().find(|(path, _)| path.starts_with(&ids));
        found.map(|(_, name)| name.clone()).unwrap_or(row)
    }

    fn entry(&mut self, title: &str, id: &str, counts: bool) {
        let name = id.strip_prefix('.').filter(|_| id != LOCAL).unwrap_or(id);
        let mut booted = Booted {
            name: name.into(),
            title: title.into(),
            kernel: String::new(),
            initrds: Vec::new(),
            args: Vec::new(),
        };
        while let Some(tokens) = self.command() {
            let words: Vec<String> = tokens
                .iter()
                .filter_map(|token| match token {
                    Token::Word(word) => Some(word.clone()),
                    _ => None,
                })
                .collect();
            match words.split_first().map(|(command, rest)| (command.as_str(), rest)) {
                None if tokens.contains(&Token::Close) => break,
                None => {}
                Some(("echo", [text])) => assert_eq!(*text, format!("Loading {title} ...")),
                Some(("exit", [])) => assert_eq!(id, LOCAL),
                Some(("linux", [kernel, args @ ..])) => {
                    booted.kernel = kernel.strip_prefix('/').unwrap().into();
                    let [own, fedora] = [false, true].map(|fedora| loader_line(args, fedora));
                    assert_eq!(own, fedora, "the same by every GRUB");
                    booted.args = kernel_args(&format!("BOOT_IMAGE={kernel} {own}"));
                    let bootif = ("BOOTIF".into(), Some("01-52:54:00:12:34:56".into()));
                    assert!(booted.args.contains(&bootif), "{own}");
                    booted.args.retain(|(key, _)| !matches!(key.as_str(), "BOOT_IMAGE" | "BOOTIF"));
                }
                Some(("initrd", files)) => {
                    booted.initrds =
                        files.iter().map(|file| file.strip_prefix('/').unwrap().into()).collect();
                }
                other => panic!("{other:?}"),
            }
        }
        if counts && id != LOCAL {
            let path = self.path.iter().cloned().chain([id.to_owned()]).collect();
            self.paths.push((path, booted.name.clone()));
            self.booted.push(booted);
        }
    }
}

/// What the kernel is given of the words (`grub_create_loader_cmdline`).
fn loader_line(words: &[String], fedora: bool) -> String {
    let escaped = |word: &String| {
        let mut out = String::new();
        let symbols: Vec<char> = word.chars().collect();
        for (at, symbol) in symbols.iter().enumerate() {
            let hex = |at: usize| symbols.get(at).is_some_and(char::is_ascii_hexdigit);
            let kept = fedora && symbols.get(at + 1) == Some(&'x') && hex(at + 2) && hex(at + 3);
            if matches!(symbol, '\\' | '\'' | '"') && !(*symbol == '\\' && kept) {
                out.push('\\');
            }
            out.push(*symbol);
        }
        if word.contains(' ') { format!("\"{out}\"") } else { out }
    };
    words.iter().map(escaped).collect::<Vec<_>>().join(" ")
}

fn read(text: &str, platform: &str) -> Read {
    let variables = [
        ("net_default_server", "10.0.2.2"),
        ("net_default_mac", "52:54:00:12:34:56"),
        ("grub_platform", platform),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let lexer = Lexer { rest: text.chars().peekable(), variables: variables.into() };
    let (booted, exported, path, paths, rows) = Default::default();
    let mut run = Run { lexer, booted, exported, path, paths, rows };
    run.block(true, 0);
    let default = run.default();
    run.booted.sort();
    Read { booted: run.booted, default }
}

/// Renders a menu, reads it back as GRUB does, and compares.
///
/// # Panics
/// If GRUB would offer or boot anything else than the menu says.
pub fn assert_reads(menu: &Menu, uefi: bool, given: bool) {
    let host = given.then_some("10.0.2.2");
    let (firmware, platform) = if uefi { (Firmware::Uefi, "efi") } else { (Firmware::Bios, "pc") };
    let can_say = |item: &Item| refuse(item, host).is_none();
    let want = expected(menu, firmware, can_say, str::to_owned, "10.0.2.2");
    let read = read(&render(menu, host), platform);
    assert_eq!(read.booted, want.booted);
    assert_eq!(read.default, want.default);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::render::hostile::cases;

    #[test]
    fn the_kernel_keeps_all_that_is_written() {
        cases::assert_the_kernel_keeps_all(|menu| read(&render(menu, None), "pc").booted);
    }

    proptest! {
        #[test]
        fn it_reads_exactly_the_menu(menu in cases::menu(), uefi: bool, given: bool) {
            assert_reads(&menu, uefi, given);
        }
    }
}
