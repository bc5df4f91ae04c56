//! iPXE as the reader of its script (src/image/script.c, src/core/exec.c, `expand_settings` in src/core/settings.c).

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a model fails by panicking")]

use std::collections::{HashMap, HashSet};

use super::*;
use crate::tree::render::hostile::{Booted, Read, expected, kernel_args};

/// A line: where it begins, its label, and its command.
struct Line {
    label: Option<String>,
    command: String,
}

/// Where a script comes to.
enum End {
    /// Somebody is to choose: what is lit, whether it is taken by time-out, and names and titles.
    Menu {
        lit: Option<String>,
        waits: bool,
        items: Vec<(String, String)>,
    },
    Boots(Booted),
    Local,
}

fn lines(text: &str) -> Vec<Line> {
    let joined = text.replace("\\\n", "");
    let lines = joined.lines().map(|line| {
        let line = line.trim_start();
        match line.strip_prefix(':') {
            Some(rest) => {
                let (label, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                Line { label: Some(label.into()), command: command.into() }
            }
            None => Line { label: None, command: line.into() },
        }
    });
    lines.collect()
}

struct Machine<'t> {
    lines: &'t [Line],
    at: usize,
    settings: HashMap<String, String>,
    choices: std::slice::Iter<'t, String>,
    title: String,
    items: Vec<(String, String)>,
    kernel: Option<(String, String)>,
    initrds: Vec<String>,
}

impl Machine<'_> {
    /// Expands while there is something to expand: the last `${` before the first `}` behind one.
    fn expand(&self, word: &str) -> String {
        let mut text = word.to_owned();
        while let Some(begin) = text.find("${") {
            let Some(end) = text[begin..].find('}').map(|end| begin + end) else { break };
            let begin = text[..end].rfind("${").unwrap();
            let value = self.settings.get(&text[begin + 2..end]).cloned().unwrap_or_default();
            text = format!("{}{value}{}", &text[..begin], &text[end + 1..]);
        }
        text
    }

    fn run(&mut self) -> End {
        while let Some(line) = self.lines.get(self.at) {
            self.at += 1;
            if let Some(end) = self.line(&line.command) {
                return end;
            }
        }
        panic!("the script ends")
    }

    fn line(&mut self, command: &str) -> Option<End> {
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        let mut rest = words.as_slice();
        let mut process = true;
        loop {
            let stop =
                rest.iter().position(|word| matches!(*word, "&&" | "||" | ";") || word.starts_with('#'));
            let (argv, terminator) = match stop {
                Some(at) => (&rest[..at], rest.get(at).copied().filter(|word| !word.starts_with('#'))),
                None => (rest, None),
            };
            let mut succeeded = true;
            if process {
                let argv: Vec<String> = argv.iter().map(|word| self.expand(word)).collect();
                match self.execute(&argv) {
                    Step::Done(ok) => succeeded = ok,
                    Step::Gone => return None,
                    Step::End(end) => return Some(end),
                }
            }
            let Some(terminator) = terminator else {
                assert!(succeeded, "a script ends where a command fails: {command}");
                return None;
            };
            process = match terminator {
                "&&" => succeeded,
                "||" => !succeeded,
                _ => true,
            };
            rest = &rest[stop.unwrap() + 1..];
            if !process && !rest.contains(&"&&") && !rest.contains(&"||") && !rest.contains(&";") {
                return None;
            }
        }
    }

    fn execute(&mut self, argv: &[String]) -> Step {
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        match argv.as_slice() {
            [] => {}
            ["set", name, value] => drop(self.settings.insert((*name).into(), (*value).into())),
            ["menu", title @ ..] => {
                assert!(!title.first().is_some_and(|word| word.starts_with('-')), "an option: {title:?}");
                self.title = title.join(" ");
                self.items.clear();
            }
            ["item", name, title @ ..] => self.items.push(((*name).into(), title.join(" "))),
            ["choose", options @ .., "target"] => return self.choose(options),
            ["goto", label] => {
                let line = self.lines.iter().position(|line| line.label.as_deref() == Some(label));
                self.at = line.unwrap_or_else(|| panic!("no {label}"));
                return Step::Gone;
            }
            ["echo", ..] | ["imgfree"] => {}
            ["kernel", file, args @ ..] => self.kernel = Some(((*file).into(), args.join(" "))),
            ["initrd", file] => self.initrds.push((*file).into()),
            ["boot"] => return Step::End(End::Boots(self.booted())),
            ["iseq", one, other] => return Step::Done(one == other),
            ["exit", "1"] | ["sanboot", ..] => return Step::End(End::Local),
            other => panic!("{other:?}"),
        }
        Step::Done(true)
    }

    fn choose(&mut self, options: &[&str]) -> Step {
        let option = |name| options.iter().position(|word| *word == name).map(|at| options[at + 1]);
        let Some(choice) = self.choices.next() else {
            let lit = option("--default").map(str::to_owned);
            let waits = option("--timeout").is_some_and(|wait| wait != "0");
            let names: HashSet<&String> = self.items.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), self.items.len(), "names of rows are different: {:?}", self.items);
            return Step::End(End::Menu { lit, waits, items: self.items.clone() });
        };
        self.settings.insert("target".into(), choice.clone());
        Step::Done(true)
    }

    fn booted(&self) -> Booted {
        let (kernel, line) = self.kernel.clone().unwrap();
        let mut args = kernel_args(&format!("{kernel} {line}"));
        assert_eq!(args.remove(0), (kernel.clone(), None));
        let named: Vec<String> = line
            .match_indices("initrd=")
            .map(|(at, found)| line[at + found.len()..].split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(named, self.initrds, "what the kernel asks for is what is there");
        args.retain(|(key, _)| !matches!(key.as_str(), "initrd" | "BOOTIF"));
        let name = self.settings["target"].clone();
        Booted { name, title: String::new(), kernel, initrds: self.initrds.clone(), args }
    }
}

enum Step {
    Done(bool),
    Gone,
    End(End),
}

fn follow(lines: &[Line], platform: &str, choices: &[String]) -> End {
    let settings = [
        ("platform", platform),
        ("next-server", "10.0.2.2"),
        ("netX/mac:hexhyp", "52-54-00-12-34-56"),
        ("mac", "evil"),
        ("y", "evil"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let choices = choices.iter();
    let (title, items, kernel, initrds) = Default::default();
    Machine { lines, at: 1, settings, choices, title, items, kernel, initrds }.run()
}

/// Goes every way through the menus.
fn read(text: &str, platform: &str) -> Read {
    let lines = lines(text);
    let prefix = if text.contains("\n:~.start\n") && platform == "efi" { "~" } else { "" };
    // A title may say anything, but is no line.
    let timed = text.lines().any(|line| line == "set netrootfs-wait 5000");
    let bare = |name: &str| name.strip_prefix(prefix).unwrap().to_owned();
    let mut read = Read::default();
    let mut seen: HashSet<String> = HashSet::from([format!("{prefix}.start")]);
    let mut ways: Vec<(Vec<String>, bool)> = vec![(Vec::new(), true)];
    while let Some((way, by_itself)) = ways.pop() {
        let End::Menu { lit, waits, items } = follow(&lines, platform, &way) else {
            panic!("no menu at {way:?}")
        };
        if by_itself && !way.is_empty() {
            assert!(lit.is_some(), "one behind a row");
        }
        for (name, title) in items.into_iter().filter(|(name, _)| seen.insert(name.clone())) {
            let way: Vec<String> = way.iter().cloned().chain([name.clone()]).collect();
            let taken = by_itself && lit.as_ref() == Some(&name);
            let end = follow(&lines, platform, &way);
            assert!(waits || !taken || !timed, "{name}");
            let name = bare(&name);
            if taken && !matches!(end, End::Menu { .. }) {
                read.default.clone_from(&name);
            }
            match end {
                End::Menu { .. } => ways.push((way, taken)),
                End::Boots(booted) => read.booted.push(Booted { name, title, ..booted }),
                End::Local => assert_eq!(name, LOCAL),
            }
        }
    }
    read.booted.sort();
    read
}

/// Renders a menu, reads it back as iPXE does, and compares.
///
/// # Panics
/// If iPXE would offer or boot anything else than the menu says.
pub fn assert_reads(menu: &Menu, uefi: bool, given: bool) {
    let host = given.then_some("10.0.2.2");
    let (firmware, platform) = if uefi { (Firmware::Uefi, "efi") } else { (Firmware::Bios, "pcbios") };
    let shown = |title: &str| {
        let word = |word: &str| match word.split_once("${") {
            Some((_, rest)) if rest.contains('}') => word.replace("${", "$ {"),
            _ => word.to_owned(),
        };
        title.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    let can_say = |item: &Item| refuse(item, host).is_none();
    let want = expected(menu, firmware, can_say, shown, "10.0.2.2");
    let read = read(&render(menu, host, Machines::default()), platform);
    assert_eq!(read.booted, want.booted);
    assert_eq!(read.default, want.default);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::render::hostile::cases;
    use crate::tree::render::tests::menu;

    #[test]
    fn the_kernel_keeps_all_that_is_written() {
        cases::assert_the_kernel_keeps_all(|menu| {
            read(&render(menu, None, Machines::default()), "efi").booted
        });
    }

    /// Found by fuzzing: the model took it for the script's own line.
    #[test]
    fn a_title_that_reads_like_a_line_of_the_script_is_a_title() {
        let mut menu = menu();
        menu.timeout = 0;
        menu.entries[0].title = "set netrootfs-wait 5000".into();
        menu.entries[0].items[1].title = "set netrootfs-wait 5000 set netrootfs-behind 3000".into();
        for (uefi, given) in [(false, false), (true, true)] {
            assert_reads(&menu, uefi, given);
        }
    }

    proptest! {
        #[test]
        fn it_reads_exactly_the_menu(menu in cases::menu(), uefi: bool, given: bool) {
            assert_reads(&menu, uefi, given);
        }
    }
}
