//! The menu readers against arbitrary bytes and mutated menus: whatever is in an ISO, what comes out keeps the limits,
//! and reading ends within the budget of files and bytes. Time is not measured; every loop of the readers is paid for.

use netrootfs::image::menu::{self, Environment, Files, Menu};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::Cell;
use std::collections::BTreeMap;

/// An ISO in memory that counts what is asked of it.
#[derive(Debug, Default)]
struct Counted {
    files: BTreeMap<String, Vec<u8>>,
    reads: Cell<usize>,
    bytes: Cell<usize>,
    lists: Cell<usize>,
}

impl Files for Counted {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let bytes = self.files.get(path)?;
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + bytes.len().min(menu::MAX_FILE));
        Some(bytes.clone())
    }

    fn exists(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        self.files.keys().any(|key| key == path || key.starts_with(&inside))
    }

    fn list(&self, dir: &str) -> Vec<String> {
        self.lists.set(self.lists.get() + 1);
        let prefix = format!("{}/", dir.trim_end_matches('/'));
        let rest = self.files.keys().filter_map(|key| key.strip_prefix(&prefix));
        rest.filter_map(|rest| rest.split('/').next()).map(String::from).collect()
    }
}

/// Where the readers look, so that the files include and chain to one another.
const PATHS: [&str; 8] = [
    "/boot/grub/grub.cfg",
    "/boot/grub/b.cfg",
    "/boot/grub/loopback.cfg",
    "/isolinux/isolinux.cfg",
    "/isolinux/b.cfg",
    "/loader/loader.conf",
    "/loader/entries/a.conf",
    "/loader/entries/b.conf",
];

/// Pieces of the three languages, good and bad ends, and what is meant to break a line or a parser.
const PIECES: [&str; 111] = [
    "menuentry ",
    "submenu ",
    "hiddenentry ",
    "linux ",
    "initrd ",
    "linuxefi ",
    "if ",
    "then ",
    "elif ",
    "else ",
    "fi ",
    "for i in ",
    "while ",
    "until ",
    "do ",
    "done ",
    "function f ",
    "f ",
    "[ ",
    "]",
    "test ",
    "true",
    "false",
    "! ",
    "set a=$a$a",
    "a=b",
    "$a",
    "${a}",
    "\"$a\"",
    "$1",
    "$@",
    "export a",
    "unset a",
    "default=0",
    "default=1>0",
    "eval ",
    "source ",
    "configfile ",
    "search --set=a --file ",
    "probe --set a --fs-uuid",
    "break",
    "break 2",
    "continue",
    "continue 2",
    "/boot/*/*.cfg ",
    "/*/? ",
    "regexp --set 1:a ",
    "regexp -s a '(.*)*(.+)+b' ",
    "$?",
    "shift 2",
    "multiboot2 ",
    "module2 ",
    "chainloader ",
    "halt",
    "boot",
    "mboot.c32 ",
    "--- ",
    "return",
    "exit",
    "shift",
    "setparams ",
    "--id ",
    "--class=a ",
    "{",
    "}",
    ";",
    "'",
    "\"",
    "\\",
    "\\\n",
    "$",
    "$\"",
    "#",
    "(",
    ")",
    "-a ",
    "-o ",
    "== ",
    "-f ",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    "\0",
    " ",
    "\t",
    "é",
    "\u{2028}",
    "label ",
    "kernel ",
    "append ",
    "append - ",
    "initrd=/i ",
    "include ",
    "menu ",
    "menu begin ",
    "menu end",
    "menu default",
    "menu hide",
    "default ",
    "ui ",
    "config ",
    "com32 whichsys.c32\nappend -iso- ",
    "com32 ifcpu64.c32\nappend ",
    "menu.c32 ",
    "text help",
    "endtext",
    "title ",
    "options ",
    "sort-key ",
];

const MENUS: [&str; 5] = [
    "set default=1\nexport x\nfunction load_video {\n insmod all_video\n}\nload_video\nsearch --set=root -l 'A B'\n\
     if [ \"$grub_platform\" = efi -a -f /x ]; then set l=linuxefi; else l=linux; fi\n\
     menuentry \"A $x\" --class a --id a {\n $l ($root)/k root=live:CDLABEL=A\\x20B quiet \\\n  'a b'\n initrd /i /j\n}\n\
     submenu 'S >' { menuentry 'B' { linux /k rd.live.check; initrd /i }\n}\nsource ${prefix}/b.cfg\n",
    "default vesamenu.c32\ninclude b.cfg\nlabel a\n menu label ^A\n menu default\n kernel k\n append initrd=i,j x\n\
     menu begin S\n menu title S\ntext help\n x\nendtext\nlabel b\n linux k\n initrd i\nmenu end\n",
    "DEFAULT s\nLABEL s\nCOM32 whichsys.c32\nAPPEND -pxe- p -sys- q -iso- q\nLABEL q\nCONFIG b.cfg\nAPPEND ../\n",
    "title A\nsort-key 01\nlinux /k\ninitrd /i\ninitrd /j\noptions a b\narchitecture x64\n",
    "timeout 1\ndefault a*\n",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        8 => select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        2 => select(&PATHS[..]).prop_map(|path| path.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..8),
    ];
    prop_oneof![
        2 => vec(any::<u8>(), 0..600),
        6 => vec(word, 0..200).prop_map(|words| words.concat()),
        4 => mutated(),
        1 => (vec(select(&PIECES[..]), 1..4), 1..3000usize).prop_map(|(pieces, n)| pieces.concat().repeat(n).into_bytes()),
    ]
}

/// A menu with pieces inserted and ranges taken out or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0..40usize, select(&PIECES[..]), any::<bool>());
    (select(&MENUS[..]), vec(edit, 0..12)).prop_map(|(menu, edits)| {
        let mut bytes = menu.as_bytes().to_vec();
        for (at, length, piece, doubles) in edits {
            let from = at.index(bytes.len() + 1);
            let to = (from + length).min(bytes.len());
            let mut new = piece.as_bytes().to_vec();
            if doubles {
                new.extend_from_within(..);
                new.extend(bytes.get(from..to).unwrap_or_default().repeat(2));
            }
            bytes.splice(from..to, new);
        }
        bytes
    })
}

fn iso() -> impl Strategy<Value = Counted> {
    vec((select(&PATHS[..]), text()), 1..6).prop_map(|files| Counted {
        files: files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect(),
        ..Counted::default()
    })
}

fn assert_one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert_eq!(text.trim(), text);
    assert!(!text.contains("  "), "{text:?}");
}

fn assert_limits(menu: &Menu) {
    assert!(menu.entries.len() <= menu::MAX_ENTRIES && menu.left_out.len() <= menu::MAX_ENTRIES);
    assert!(!menu.entries.is_empty() || !menu.left_out.is_empty());
    assert!(menu.default.is_none_or(|index| index < menu.entries.len()));
    assert_eq!(menu.boot_entry().is_some(), !menu.entries.is_empty());
    for other in &menu.left_out {
        for title in other.submenu.iter().chain([&other.title]) {
            assert_one_line(title);
            assert!(title.chars().count() <= menu::MAX_TITLE);
        }
        assert!(other.submenu.len() <= menu::MAX_SUBMENUS && other.files.len() <= menu::MAX_INITRDS);
        other.files.iter().for_each(|path| assert_path(path));
    }
    for entry in &menu.entries {
        for title in entry.submenu.iter().chain([&entry.title]) {
            assert_one_line(title);
            assert!(!title.is_empty() && title.chars().count() <= menu::MAX_TITLE);
        }
        assert!(entry.submenu.len() <= menu::MAX_SUBMENUS);
        let args = entry.args.to_string();
        assert_one_line(&args);
        assert!(args.len() <= menu::MAX_ARGS);
        assert!(entry.initrds.len() <= menu::MAX_INITRDS);
        entry.initrds.iter().chain([&entry.kernel]).for_each(|path| assert_path(path));
    }
}

fn assert_path(path: &str) {
    assert!(path.starts_with('/') && path.len() <= menu::MAX_PATH, "{path:?}");
    assert!(!path.contains(char::is_control));
    assert!(path.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
}

fn assert_budget(iso: &Counted) {
    assert!(iso.reads.get() <= menu::MAX_READS);
    assert!(iso.bytes.get() <= menu::MAX_TOTAL + menu::MAX_FILE);
    assert!(iso.lists.get() <= menu::MAX_LISTS);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_everything_keeps_the_limits(iso in iso()) {
        for menu in menu::read(&iso, &Environment::default()) {
            assert_limits(&menu);
        }
        assert_budget(&iso);
    }

    #[test]
    fn each_reader_keeps_the_limits(iso in iso(), path in select(&PATHS[..])) {
        let environment = Environment { iso_path: Some("/x.iso".into()), fs_uuid: Some("1".into()), ..Environment::default() };
        menu::grub::read(&iso, path, &environment).iter().for_each(assert_limits);
        menu::syslinux::read(&iso, path, None).iter().for_each(assert_limits);
        menu::bls::read(&iso, &environment).iter().for_each(assert_limits);
    }
}

/// Whole menus of one repeated piece, as long as a file may be: what a quadratic step would show in.
#[test]
fn a_long_run_of_any_piece_ends() {
    for piece in PIECES {
        let long = piece.repeat(menu::MAX_FILE / piece.len() + 1).into_bytes();
        let files = PATHS.map(|path| (path.to_owned(), long.clone()));
        let iso = Counted { files: files.into(), ..Counted::default() };
        menu::read(&iso, &Environment::default()).iter().for_each(assert_limits);
        assert_budget(&iso);
    }
}

/// A configuration that hands over to itself in ever new directories gives no more menus than the limit.
#[test]
fn menus_are_limited_in_number() {
    let labels: String = (0..100).map(|n| format!("label c{n}\nconfig a.cfg /{n}\n")).collect();
    let mut iso = Counted::default();
    iso.files.insert("/isolinux/isolinux.cfg".into(), labels.replace("a.cfg", "/isolinux/b.cfg").into());
    iso.files.insert("/isolinux/b.cfg".into(), "label l\nlinux k\ninitrd i\n".into());
    assert_eq!(menu::read(&iso, &Environment::default()).len(), menu::MAX_MENUS);
}

/// Commands that cost more than their words: lookups in large directories, copies of many variables.
#[test]
fn expensive_commands_are_paid_for() {
    for body in [
        "[ -f /A/B/C ]",
        "configfile /x",
        "shift",
        "shift 2",
        "f",
        "search --file /A/B",
        "echo /a/*",
        "regexp --set x '(.*)(.*)(.*)x' \"$v1\"",
    ] {
        let script = format!(
            "setparams {}\nfunction f {{\n true\n}}\nfor i in {}; do set v$i={}; done\nwhile true; do {body}; done",
            "a ".repeat(50_000),
            (0..200).map(|n| format!("{n} ")).collect::<String>(),
            "x".repeat(300),
        );
        let mut iso = Counted::default();
        iso.files.insert("/boot/grub/grub.cfg".into(), script.into());
        for number in 0..4000 {
            iso.files.insert(format!("/a/{number}"), Vec::new());
        }
        assert!(menu::read(&iso, &Environment::default()).is_empty());
    }
}

/// Files that are all one another's includes cost no more than the budget.
#[test]
fn includes_that_fan_out_end() {
    let mut iso = Counted::default();
    for number in 0..12 {
        let next = number + 1;
        let grub = format!("source /boot/grub/{next}.cfg\n").repeat(50);
        let isolinux = format!("include {next}.cfg\n").repeat(50);
        iso.files.insert(format!("/boot/grub/{number}.cfg"), grub.into_bytes());
        iso.files.insert(format!("/isolinux/{number}.cfg"), isolinux.into_bytes());
    }
    assert!(menu::read(&iso, &Environment::default()).is_empty());
    assert_budget(&iso);
    assert_eq!(iso.reads.get(), menu::MAX_READS);
}
