//! Menus that no sane person writes, and what every loader is to make of them.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a model fails by panicking")]
//!
//! Each loader's `model` reads a rendered file as that loader does, and gives a [`Booted`] for each thing that can be chosen;
//! [`expected`] says it straight from the menu.

use super::refusal::arguments;
use super::{Choice, Firmware, Item, LOCAL, Menu, title};
use crate::image::args::Args;

#[cfg(test)]
pub mod cases;

/// What somebody can choose in a menu.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Booted {
    pub name: String,
    pub title: String,
    pub kernel: String,
    pub initrds: Vec<String>,
    /// The kernel's arguments as it reads them, without those that every loader adds.
    pub args: Vec<(String, Option<String>)>,
}

/// A menu as a loader has it.
#[derive(Debug, Default)]
pub struct Read {
    pub booted: Vec<Booted>,
    /// What boots after the time-out.
    pub default: String,
}

/// What the kernel reads of a line (lib/cmdline.c, `next_arg`).
pub fn kernel_args(line: &str) -> Vec<(String, Option<String>)> {
    assert!(line.len() <= 2047, "the kernel drops the end of {} bytes", line.len());
    let words = Args::parse(line);
    let parsed = words.iter().map(|arg| {
        let word = arg.to_string();
        let whole = word.strip_prefix('"').map(|word| word.strip_suffix('"').unwrap_or(word).to_owned());
        let (word, quoted) = (whole.clone().unwrap_or(word), whole.is_some());
        // Blanks and the equals sign of a key are looked for from the left.
        match word.split_once('=') {
            None => (word, None),
            Some((key, value)) => {
                let bare = value.strip_prefix('"').map(|value| value.strip_suffix('"').unwrap_or(value));
                (key.to_owned(), Some(if quoted { value } else { bare.unwrap_or(value) }.to_owned()))
            }
        }
    });
    parsed.collect()
}

/// What a loader is to offer: what it can say of the menu. `shown` is how it shows a title.
pub fn expected(
    menu: &Menu,
    firmware: Firmware,
    can_say: impl Fn(&Item) -> bool,
    shown: impl Fn(&str) -> String,
    host: &str,
) -> Read {
    let mut read = Read { default: LOCAL.into(), ..Read::default() };
    for entry in &menu.entries {
        let fits = |item: &&Item| item.firmware == Firmware::Both || item.firmware == firmware;
        let fitting: Vec<&Item> = entry.items.iter().filter(fits).collect();
        let live = fitting.iter().position(|item| item.live);
        let said = fitting.iter().filter(|item| can_say(item)).count();
        let whole = title::shown(&title::with_way(&entry.title, entry.way));
        let whole = if whole.is_empty() { entry.label.clone() } else { whole };
        for (number, item) in fitting.into_iter().enumerate().filter(|(_, item)| can_say(item)) {
            let own = title::shown(&item.title);
            let title = match number {
                0 if said == 1 => whole.clone(),
                _ if said == 1 => title::shown(&format!("{}: {}", entry.label, item.title)),
                _ if own.is_empty() => whole.clone(),
                _ => own,
            };
            let name =
                if number == 0 { entry.label.clone() } else { format!("{}/{}", entry.label, item.name) };
            let by_itself = match &menu.default {
                Choice::Local => false,
                Choice::Iso(label) => name == *label,
                Choice::Live(label) => *label == entry.label && live == Some(number),
            };
            if by_itself {
                read.default.clone_from(&name);
            }
            read.booted.push(Booted {
                name,
                title: shown(&title),
                kernel: item.kernel.clone(),
                initrds: item.initrds.clone(),
                args: kernel_args(&arguments(item).with_server(host).to_string()),
            });
        }
    }
    read.booted.sort();
    read
}
