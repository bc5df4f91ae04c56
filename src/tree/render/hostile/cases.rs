//! Menus that no sane person writes, at random.

use proptest::prelude::*;
use proptest::sample::select;

use super::Booted;
use crate::image::args::{Arg, Args};
use crate::tree::render::{Choice, Firmware, IsoEntry, Item, Menu};

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

/// Arguments of every length around the one that a kernel keeps: an entry is in the menu as long as all of them are kept.
/// `read` renders a menu and reads it back, which asserts the length of what the kernel gets.
pub fn assert_the_kernel_keeps_all(read: impl Fn(&Menu) -> Vec<Booted>) {
    let said = (1900..2060).map(|len| {
        let mut menu = crate::tree::render::tests::plain_menu();
        menu.entries[0].items[0].args = Args::parse(&"a".repeat(len));
        read(&menu).iter().any(|booted| booted.name == "F42")
    });
    let said: Vec<bool> = said.collect();
    assert!(said.is_sorted_by(|one, other| one >= other) && said[0] && !said[said.len() - 1]);
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
