//! grub.cfg, for GRUB loaded over the network (GNU GRUB manual, "Writing full configuration files directly").
//!
//! Paths are absolute from the root of the server that GRUB was loaded from.
//!
//! The language, from grub-core/script/yylex.l and grub-core/lib/cmdline.c: what stands between single quotes is taken as
//! it is, but for the single quote itself. The words of `linux` are written into one line for the kernel, and there GRUB
//! puts double quotes around a word with a blank and a backslash before each backslash and quote in it; Fedora's leaves
//! `\xHH` alone, Debian's, SUSE's and GNU's don't. So no word with one of them is the same everywhere.

use std::borrow::Cow;
use std::fmt::{Result, Write as _};

use super::refusal::{BOOTIF, Refusal, arguments, common};
use super::rows::{Boot, Row, Rows};
use super::{Firmware, Item, LOCAL, Menu};
use crate::image::args::{Arg, Part};

#[cfg(any(test, feature = "models"))]
pub mod model;

/// GRUB's name for the address of the server that it was loaded from.
const SERVER: &str = "$net_default_server";

/// Variable that carries the entry to boot by itself from one file to the next.
const CHOICE: &str = "netrootfs_default";

/// Variable with the address of the card as BOOTIF has it.
const MAC: &str = "netrootfs_mac";

/// Renders the file. `host` is the server's address; `None` leaves it to GRUB.
pub fn render(menu: &Menu, host: Option<&str>) -> String {
    let [bios, uefi] = rows(menu, host);
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_head(&mut text, menu);
    let (on_bios, on_uefi) = (write_rows(&bios, host), write_rows(&uefi, host));
    let _ = match on_bios == on_uefi {
        true => write!(text, "{on_bios}"),
        false => write!(text, "if [ \"$grub_platform\" = efi ]; then\n{on_uefi}else\n{on_bios}fi\n"),
    };
    // Its menu has no title of its own.
    let none = bios.rows.is_empty() && uefi.rows.is_empty();
    let why = if none { " (no ISOs to boot)" } else { "" };
    let _ = write!(text, "\nmenuentry 'Boot from the local disk{why}' --id '{LOCAL}' {{\n  exit\n}}\n");
    text
}

/// A file that leads to the one at `path`, with another entry that boots by itself: if it can't be booted, the local disk.
pub fn lead_to(path: &str, menu: &Menu, host: Option<&str>, label: &str) -> String {
    let [_, uefi] = rows(menu, host);
    let names = ids(&uefi, label);
    format!("set {CHOICE}='{names}'\nexport {CHOICE}\nconfigfile {path}\n")
}

/// Why GRUB can't boot an item.
pub fn refuse(item: &Item, host: Option<&str>) -> Option<Refusal> {
    let args = arguments(item);
    let backslash = || args.iter().find(|arg| said(arg).is_none());
    let added = "BOOT_IMAGE=/".len() + item.kernel.len() + 1 + BOOTIF;
    common(item, host, added).or_else(|| Some(Refusal::Backslash(backslash()?.to_string())))
}

/// For BIOS and UEFI.
fn rows<'m>(menu: &'m Menu, host: Option<&str>) -> [Rows<'m>; 2] {
    [Firmware::Bios, Firmware::Uefi]
        .map(|firmware| Rows::new(menu, firmware, |item| refuse(item, host).is_none()))
}

fn write_head(text: &mut String, menu: &Menu) -> Result {
    if let Some((port, speed)) = menu.serial() {
        writeln!(text, "serial --unit={port} --speed={speed}")?;
        writeln!(text, "terminal_input --append serial\nterminal_output --append serial")?;
    }
    match menu.timeout {
        0 => writeln!(text, "set timeout=-1")?,
        seconds => writeln!(text, "set timeout={seconds}")?,
    }
    write_mac(text)
}

/// Writes the card's address with `-` in the place of GRUB's `:`. A GRUB without `regexp` leaves it as it is, which
/// most initramfs take too.
fn write_mac(text: &mut String) -> Result {
    let parts = 1..=6;
    let sets: String = parts.clone().map(|part| format!(" --set={part}:{MAC}{part}")).collect();
    let dashed: Vec<String> = parts.map(|part| format!("${MAC}{part}")).collect();
    writeln!(text, "set {MAC}=$net_default_mac")?;
    writeln!(text, "regexp{sets} '^(..):(..):(..):(..):(..):(..)$' \"${MAC}\"")?;
    // A command that isn't there counts as done: only the last of the parts tells.
    writeln!(text, "if [ -n \"${MAC}6\" ]; then set {MAC}={}; fi", dashed.join("-"))?;
    // A submenu has only what is exported.
    writeln!(text, "export {MAC}")
}

fn write_rows(rows: &Rows<'_>, host: Option<&str>) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(text, "set default='{}'", ids(rows, &rows.default));
    let _ = writeln!(text, "if [ -n \"${CHOICE}\" ]; then set default=\"${CHOICE}\"; fi");
    for row in &rows.rows {
        let _ = writeln!(text);
        let _ = write_row(&mut text, "", row, host);
    }
    text
}

/// What leads to the row of that name, as the variable `default` says it.
fn ids(rows: &Rows<'_>, name: &str) -> String {
    let names = rows.path(name).unwrap_or_else(|| vec![LOCAL]);
    names.into_iter().map(id).collect::<Vec<_>>().join(">")
}

/// The id of a row. One with a digit in front would be the number of a row (grub-core/normal/menu.c, `get_entry_number`).
fn id(name: &str) -> Cow<'_, str> {
    match name.starts_with(|symbol: char| symbol.is_ascii_digit()) {
        true => format!(".{name}").into(),
        false => name.into(),
    }
}

fn write_row(text: &mut String, indent: &str, row: &Row<'_>, host: Option<&str>) -> Result {
    let sub = match row {
        Row::Boot(boot) => return write_boot(text, indent, boot, host),
        Row::Sub(sub) => sub,
    };
    // As the one to boot by itself, a menu boots the first that is in it, unless it is told another.
    let id = id(sub.label.unwrap_or(&sub.name));
    writeln!(text, "{indent}submenu {} --id '{id}' {{", quote(&format!("{} ...", sub.title)))?;
    sub.rows.iter().try_for_each(|row| write_row(text, &format!("{indent}  "), row, host))?;
    writeln!(text, "{indent}}}")
}

fn write_boot(text: &mut String, indent: &str, boot: &Boot<'_>, host: Option<&str>) -> Result {
    let Boot { name, title, item } = boot;
    writeln!(text, "{indent}menuentry {} --id '{}' {{", quote(title), id(name))?;
    writeln!(text, "{indent}  echo {}", quote(&format!("Loading {title} ...")))?;
    // BOOTIF tells the system which card it was booted from, as pxelinux does with ipappend. It comes first: what stands
    // behind `---` is taken for the installed system's by some installers.
    write!(text, "{indent}  linux /{} BOOTIF=01-${MAC}", item.kernel)?;
    arguments(item).iter().filter_map(said).try_for_each(|arg| write!(text, " {}", argument(&arg, host)))?;
    writeln!(text)?;
    if !item.initrds.is_empty() {
        writeln!(text, "{indent}  initrd /{}", item.initrds.join(" /"))?;
    }
    writeln!(text, "{indent}}}")
}

/// A word as it has to be said for the kernel to read this argument, if it can be said. The kernel takes `"key=a b"` as it
/// takes `key="a b"`, and GRUB adds the quotes of the first.
fn said(arg: &Arg) -> Option<Arg> {
    let word = arg.to_string();
    if word.contains(['\\', '\'']) {
        return None;
    }
    if !word.contains('"') {
        return Some(arg.clone());
    }
    let inner = |text: &str| {
        let inner = text.strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('"')).then(|| inner.to_owned())
    };
    let of_value = || {
        let (key, value) = word.split_once('=')?;
        Some(format!("{key}={}", inner(value)?)).filter(|_| !key.contains('"'))
    };
    let plain = |part: &Part| matches!(part, Part::Text(_));
    let word = inner(&word).or_else(of_value).filter(|word| !word.is_empty())?;
    arg.parts().iter().all(plain).then(|| Arg::new(word))
}

/// A word in the script, with the server's address in its place.
fn argument(arg: &Arg, host: Option<&str>) -> String {
    let part = |part: &Part| match part {
        Part::Server => host.unwrap_or(SERVER).to_owned(),
        Part::Text(text) if plain(text) => text.clone(),
        Part::Text(text) => quote(text),
    };
    arg.parts().iter().map(part).collect()
}

fn plain(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=:./,_-+@%".contains(&byte))
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{menu, netroot_menu, plain_menu};
    use super::*;
    use crate::image::args::Args;

    #[test]
    fn an_entry_and_its_variants() {
        assert_eq!(
            render(&plain_menu(), None),
            "set timeout=5\nset netrootfs_mac=$net_default_mac\n\
             regexp --set=1:netrootfs_mac1 --set=2:netrootfs_mac2 --set=3:netrootfs_mac3 --set=4:netrootfs_mac4 \
             --set=5:netrootfs_mac5 --set=6:netrootfs_mac6 '^(..):(..):(..):(..):(..):(..)$' \"$netrootfs_mac\"\n\
             if [ -n \"$netrootfs_mac6\" ]; then set netrootfs_mac=$netrootfs_mac1-$netrootfs_mac2-$netrootfs_mac3-\
             $netrootfs_mac4-$netrootfs_mac5-$netrootfs_mac6; fi\nexport netrootfs_mac\n\
             set default='F42'\nif [ -n \"$netrootfs_default\" ]; then set default=\"$netrootfs_default\"; fi\n\n\
             submenu 'F42: ^Start Fedora ...' --id 'F42' {\n  menuentry '^Start Fedora' --id 'F42' {\n    \
             echo 'Loading ^Start Fedora ...'\n    linux /vmlinuz_F42 BOOTIF=01-$netrootfs_mac root=live:/dev/nbd0 \
             netroot=nbd:$net_default_server:F42.iso quiet\n    initrd /initrd_F42.img\n  }\n  \
             menuentry 'Basic graphics' --id 'F42/0' {\n    echo 'Loading Basic graphics ...'\n    \
             linux /vmlinuz_F42 BOOTIF=01-$netrootfs_mac nomodeset\n    initrd /initrd_F42.img\n  }\n}\n\n\
             menuentry 'Boot from the local disk' --id '.local' {\n  exit\n}\n"
        );
    }

    #[test]
    fn a_second_initramfs_stands_behind_the_first() {
        let text = render(&netroot_menu(), None);
        assert!(
            text.contains(
                "    linux /vmlinuz_F42 BOOTIF=01-$netrootfs_mac rdinit=/netrootfs/init \
                 netroot.nbd=$net_default_server/F42.iso quiet\n    initrd /initrd_F42.img /netroot_F42.img\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_file_leads_to_another_with_its_own_default() {
        let lead = |menu: &Menu, label: &str| lead_to("/grub.cfg", menu, None, label);
        let to = |names: &str| {
            format!("set netrootfs_default='{names}'\nexport netrootfs_default\nconfigfile /grub.cfg\n")
        };
        let mut menu = plain_menu();
        assert_eq!(lead(&menu, "F42"), to("F42"));
        assert_eq!(lead(&menu, "X"), to(".local"));
        for number in 0..20 {
            let mut entry = menu.entries[0].clone();
            entry.label = format!("N{number}");
            menu.entries.push(entry);
        }
        assert_eq!(lead(&menu, "N15"), to("/2>N15"), "in a group");
    }

    #[test]
    fn a_given_address_is_written_down() {
        assert!(render(&plain_menu(), Some("10.0.2.2")).contains(" netroot=nbd:10.0.2.2:F42.iso "));
    }

    #[test]
    fn what_grub_would_change_is_left_out() {
        let text = render(&menu(), None);
        assert!(!text.contains("CDLABEL") && text.contains("set default='.local'\n"), "{text}");
        let refused = |line: &str| {
            let item = Item { args: Args::parse(line), ..menu().entries[0].items[0].clone() };
            refuse(&item, None).map(|refusal| refusal.code())
        };
        for line in ["root=LABEL=a\\x20b", "a='b'", "a=b\"c d\"", "\"\""] {
            assert_eq!(refused(line), Some("argument-backslash"), "{line}");
        }
        assert_eq!(refused("a=\"b c\" d=\"\" \"e=f g\" h=$x;{y}"), None);
    }

    #[test]
    fn foreign_words_stay_words() {
        let word = |word: &str| argument(&said(&Arg::new(word)).unwrap(), None);
        assert_eq!(word("a=$x;{b}"), "'a=$x;{b}'");
        assert_eq!(word("dyndbg=\"file a +p\""), "'dyndbg=file a +p'");
        assert_eq!(word("a=\"b\""), "a=b");
    }

    #[test]
    fn where_firmware_makes_a_difference_the_file_asks_for_it() {
        let mut menu = plain_menu();
        menu.entries[0].items[1].firmware = Firmware::Uefi;
        let text = render(&menu, None);
        let (uefi, bios) = text.split_once("\nelse\n").unwrap();
        assert!(
            uefi.contains("if [ \"$grub_platform\" = efi ]; then\n") && uefi.contains("nomodeset"),
            "{text}"
        );
        assert!(!bios.contains("nomodeset") && bios.contains("\nfi\n"), "{text}");
    }

    #[test]
    fn no_time_out_waits() {
        assert!(render(&Menu { timeout: 0, ..menu() }, None).contains("set timeout=-1\n"));
    }

    #[test]
    fn an_empty_menu_says_so() {
        let empty = Menu { default: super::super::Choice::Local, entries: vec![], ..menu() };
        let text = render(&empty, None);
        assert!(
            text.contains("\nmenuentry 'Boot from the local disk (no ISOs to boot)' --id '.local' {\n"),
            "{text}"
        );
    }

    #[test]
    fn the_reader_of_menus_reads_it_back() {
        struct Tree(String);
        impl crate::image::menu::Files for Tree {
            fn read(&self, path: &str) -> Option<Vec<u8>> {
                (path == "/boot/grub/grub.cfg").then(|| self.0.clone().into_bytes())
            }
            fn exists(&self, path: &str) -> bool {
                path == "/boot/grub/grub.cfg" || path.starts_with("/vmlinuz") || path.starts_with("/initrd")
            }
            fn list(&self, _: &str) -> Vec<String> {
                Vec::new()
            }
        }
        let hostile = "a=$x;{b} \"d e\" f=g";
        let mut menu = menu();
        menu.entries[0].items.truncate(1);
        menu.entries[0].items[0].args = Args::parse(hostile);
        menu.entries[0].title = "x' { y; $z".into();
        let text = render(&menu, Some("h"));
        let read =
            crate::image::menu::grub::read(&Tree(text), "/boot/grub/grub.cfg", &Default::default()).unwrap();
        let entry = &read.entries[0];
        assert_eq!(entry.title, "x' { y; $z");
        assert_eq!(entry.args.to_string().trim_start_matches("BOOTIF=01- "), hostile);
    }
}
