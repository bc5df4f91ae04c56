//! Menus that no sane person writes, and what every loader is to make of them.
//!
//! Each loader's `model` reads a rendered file as that loader does, and gives a [`Booted`] for each thing that can be chosen;
//! [`expected`] says it straight from the menu.

use proptest::prelude::*;
use proptest::sample::select;

use super::refusal::arguments;
use super::{Choice, Firmware, IsoEntry, Item, LOCAL, Menu, title};
use crate::image::args::{Arg, Args};

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

/// Pieces that mean something to one of the loaders, or to none.
const PIECES: [&str; 56] = [
    "&&",
    "||",
    ";",
    "#",
    "#1",
    "${",
    "}",
    "${mac}",
    "$",
    "$x",
    "$(x)",
    "\\",
    "\\x20",
    "\\n",
    "'",
    "\"",
    "^",
    "^a",
    "-",
    "--",
    "---",
    "--gap",
    "{",
    ">",
    ">>",
    "<",
    "|",
    "&",
    ",",
    "é",
    "日",
    "initrd=/x",
    "x.initrd=y",
    "vmlinuz.0",
    "%s",
    "menu",
    "label evil",
    "echo",
    "kernel",
    "linux",
    "boot",
    " ",
    " ",
    " ",
    "  ",
    "=",
    "a",
    "b c",
    "k=v",
    "k=\"v w\"",
    "\n",
    "\r\nlabel x",
    "\u{85}",
    "[",
    "*",
    "~",
];

pub fn text() -> impl Strategy<Value = String> {
    let long = select(vec![150_usize, 900, 2040, 4090]).prop_map(|len| "A".repeat(len));
    let piece = prop_oneof![60 => select(PIECES.to_vec()).prop_map(str::to_owned), 1 => long];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Arguments as readers, options and configuration make them: words of a line, some with the server in them.
fn args() -> impl Strategy<Value = Args> {
    let server = || Arg::new("root=nbd:").server(None).text(":X");
    (text(), any::<bool>()).prop_map(move |(line, with)| {
        let args = Args::parse(&line.replace(char::is_control, ""));
        if with { args.prepend([server()]) } else { args }
    })
}

fn item(number: usize) -> impl Strategy<Value = Item> {
    let firmware = select(vec![Firmware::Both, Firmware::Both, Firmware::Bios, Firmware::Uefi]);
    let submenu = prop::collection::vec(select(vec!["Advanced".to_owned(), "&& x ${y}".into()]), 0..3);
    (text(), submenu, args(), firmware, 0..3_usize, any::<bool>()).prop_map(
        move |(title, submenu, args, firmware, initrds, live)| Item {
            name: if number == 0 { String::new() } else { number.to_string() },
            title,
            submenu,
            kernel: format!("vmlinuz_X.{number}"),
            initrds: (0..initrds).map(|initrd| format!("initrd_X.{initrd}")).collect(),
            args,
            firmware,
            live,
        },
    )
}

/// Menus with arguments around the length that a kernel keeps.
pub fn around_the_limit() -> impl Iterator<Item = Menu> {
    (1900..2060).map(|len| {
        let mut menu = super::tests::plain_menu();
        menu.entries[0].items[0].args = Args::parse(&"a".repeat(len));
        menu
    })
}

fn entry() -> impl Strategy<Value = IsoEntry> {
    let items = (item(0), item(1), item(2), 1..4_usize);
    let items = items.prop_map(|(a, b, c, len)| [a, b, c].into_iter().take(len).collect::<Vec<_>>());
    let way = select(vec![None, Some("HTTP")]);
    (text(), way, items).prop_map(|(title, way, items)| IsoEntry {
        label: String::new(),
        name: title.clone(),
        title,
        way,
        items,
    })
}

/// One to 14 ISOs with names that mean something.
pub fn menu() -> impl Strategy<Value = Menu> {
    let labels = [
        "start", "local", "back", "failed", "linux", "F42", "F42.0", "0", "1-bios", "default", "a", "b", "c",
        "d",
    ];
    let entries = prop_oneof![prop::collection::vec(entry(), 1..4), prop::collection::vec(entry(), 12..14)];
    let choice = select(vec![Choice::Iso, Choice::Live, |_| Choice::Local]);
    let choices = (entries, 0..14_usize, choice, select(vec![0_u32, 5]));
    choices.prop_map(move |(mut entries, default, choice, timeout)| {
        for (entry, label) in entries.iter_mut().zip(labels) {
            entry.label = label.into();
        }
        let default = choice(labels[default].to_owned());
        Menu { default, timeout, append: Args::default(), entries }
    })
}
