//! pxelinux.cfg/default, for pxelinux and syslinux.efi (syslinux, doc/syslinux.txt and doc/menu.txt).
//!
//! With `menu.c32` at hand it is a menu; without it, a prompt where a name can be typed. Paths are relative to
//! pxelinux.0, so the tree may lie anywhere below the TFTP server's root.
//!
//! The language, from com32/menu/readconfig.c and com32/elflink/ldlinux: a line is a keyword and the rest of the line,
//! without quotes; `^` in a title marks a key and isn't shown, and there is no other way to write one. What is behind 4095
//! bytes is a line of its own, and a command of 2048 bytes is refused: a kernel keeps less. `kernel` goes by the ending of
//! the file's name (`.0`, `.bin`, `.c32`), `linux` doesn't. The first `initrd=` anywhere in the line names the initrds.

use std::fmt::{Result, Write as _};

use super::refusal::{BOOTIF, Refusal, arguments, common};
use super::rows::{Boot, Row, Rows, Sub};
use super::{Firmware, Item, LOCAL, Menu, headline};
use crate::catalog::written::MAX_TIMEOUT;
use crate::image::args::{Arg, Part};

#[cfg(any(test, feature = "models"))]
pub mod model;

/// menu.c32 as wide as the screen and with more rows than it has by itself, so that the first screen has no need to scroll;
/// the lines below it move down.
const LAYOUT: [(&str, u32); 5] =
    [("margin", 0), ("rows", 16), ("tabmsgrow", 21), ("cmdlinerow", 21), ("timeoutrow", 22)];

/// Renders the file. `graphical`: menu.c32 can be loaded. `host` is the server's address: pxelinux has no name for it.
pub fn render(menu: &Menu, firmware: Firmware, graphical: bool, host: &str) -> String {
    let rows = Rows::new(menu, firmware, |item| refuse(item, host).is_none());
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_head(&mut text, menu, &rows, graphical);
    let _ = match graphical {
        true => write_menu(&mut text, &rows, host),
        false => rows.boots().try_for_each(|boot| write_boot(&mut text, boot, host)),
    };
    let _ = write!(text, "\nlabel {LOCAL}\n  menu label Boot from the local disk\n  localboot 0\n");
    text
}

/// Why pxelinux can't boot an item.
pub fn refuse(item: &Item, host: &str) -> Option<Refusal> {
    // netroot-init asks the TFTP server then, which DHCP has named.
    let needs = |arg: &&Arg| arg.key() != "netroot.nbd" && arg.parts().contains(&Part::Server);
    if let Some(arg) = item.args.iter().find(needs).filter(|_| host.is_empty()) {
        return Some(Refusal::NoAddress(arg.to_string()));
    }
    let initrds = item.initrds.join(",").len();
    let image = "BOOT_IMAGE=".len() + item.kernel.len();
    common(item, Some(host), image + " initrd=".len() + initrds + 1 + BOOTIF)
}

fn write_head(text: &mut String, menu: &Menu, rows: &Rows<'_>, graphical: bool) -> Result {
    let default = &rows.default;
    // syslinux wants the serial line first.
    if let Some((port, speed)) = menu.serial() {
        writeln!(text, "serial {port} {speed}")?;
    }
    if graphical {
        writeln!(text, "ui menu.c32\nmenu title {}", headline(rows))?;
        LAYOUT.iter().try_for_each(|(name, value)| writeln!(text, "menu {name} {value}"))?;
    } else {
        writeln!(text, "prompt 1")?;
        if rows.rows.is_empty() {
            writeln!(text, "say {}", headline(rows))?;
        }
        writeln!(text, "say Type a name, or press Enter to boot {default}.")?;
    }
    writeln!(text, "default {default}\ntimeout {}", menu.timeout.min(MAX_TIMEOUT) * 10)
}

fn write_menu(text: &mut String, rows: &Rows<'_>, host: &str) -> Result {
    let is_default = |sub: &Sub<'_>| sub.rows.iter().any(|row| row.leads_to(&rows.default));
    // A row that opens a menu can be the one that is lit, but not the one that boots.
    let behind = rows.rows.iter().any(|row| matches!(row, Row::Sub(sub) if is_default(sub)));
    if let Some(boot) = rows.boots().find(|boot| behind && boot.name == rows.default) {
        writeln!(text, "ontimeout {}", boot.name)?;
        // menu.c32 opens the menu that the default is in. A hidden entry is in none, and the first of a name counts.
        writeln!(text, "\nlabel {}\n  menu hide", boot.name)?;
        write_kernel(text, boot.item, host)?;
    }
    rows.rows.iter().try_for_each(|row| write_row(text, row, &is_default, host))
}

fn write_row(text: &mut String, row: &Row<'_>, lit: &dyn Fn(&Sub<'_>) -> bool, host: &str) -> Result {
    let sub = match row {
        Row::Boot(boot) => return write_boot(text, boot, host),
        Row::Sub(sub) => sub,
    };
    writeln!(text, "\nmenu begin {}\n  menu label {}", sub.name, written(&sub.title))?;
    if lit(sub) {
        writeln!(text, "  menu default")?;
    }
    sub.rows.iter().try_for_each(|row| write_row(text, row, lit, host))?;
    write!(text, "\nlabel {}/back\n  menu label Back\n  menu exit\nmenu end\n", sub.name)
}

fn write_boot(text: &mut String, boot: &Boot<'_>, host: &str) -> Result {
    writeln!(text, "\nlabel {}\n  menu label {}", boot.name, written(&boot.title))?;
    write_kernel(text, boot.item, host)
}

fn write_kernel(text: &mut String, item: &Item, host: &str) -> Result {
    writeln!(text, "  linux {}", item.kernel)?;
    if !item.initrds.is_empty() {
        writeln!(text, "  initrd {}", item.initrds.join(","))?;
    }
    let args = arguments(item).with_server(host).to_string();
    // `append -` means no arguments at all; with a blank behind it, it is one.
    let blank = if args == "-" { " " } else { "" };
    // 2: tell the kernel which card it was booted from (BOOTIF=), for machines with several.
    writeln!(text, "  append {args}{blank}\n  ipappend 2")
}

/// A title without what marks a key.
fn written(title: &str) -> String {
    title.replace('^', "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{menu, netroot_menu};
    use super::*;
    use crate::image::args::Args;

    #[test]
    fn with_menu_c32_it_is_a_menu() {
        assert_eq!(
            render(&menu(), Firmware::Bios, true, "10.0.2.2"),
            "ui menu.c32\nmenu title Network boot\nmenu margin 0\nmenu rows 16\nmenu tabmsgrow 21\n\
             menu cmdlinerow 21\nmenu timeoutrow 22\ndefault F42\ntimeout 50\nontimeout F42\n\n\
             label F42\n  menu hide\n  linux vmlinuz_F42\n  initrd initrd_F42.img\n  \
             append root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso quiet\n  ipappend 2\n\n\
             menu begin F42/\n  menu label F42: Start Fedora\n  menu default\n\n\
             label F42\n  menu label Start Fedora\n  linux vmlinuz_F42\n  initrd initrd_F42.img\n  \
             append root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso quiet\n  ipappend 2\n\n\
             label F42/0\n  menu label Basic graphics\n  linux vmlinuz_F42\n  initrd initrd_F42.img\n  \
             append nomodeset\n  ipappend 2\n\n\
             label F42//back\n  menu label Back\n  menu exit\nmenu end\n\n\
             label .local\n  menu label Boot from the local disk\n  localboot 0\n"
        );
    }

    #[test]
    fn a_second_initramfs_stands_behind_the_first() {
        let text = render(&netroot_menu(), Firmware::Bios, true, "10.0.2.2");
        assert!(
            text.contains(
                "\n  linux vmlinuz_F42\n  initrd initrd_F42.img,netroot_F42.img\n  \
                 append rdinit=/netrootfs/init netroot.nbd=10.0.2.2/F42.iso quiet\n  ipappend 2\n"
            ),
            "{text}"
        );
        assert_eq!(text.matches("netroot_F42.img").count(), 3, "for the variant too: {text}");
    }

    #[test]
    fn without_it_a_name_can_be_typed() {
        let text = render(&menu(), Firmware::Bios, false, "10.0.2.2");
        assert!(
            text.starts_with("prompt 1\nsay Type a name, or press Enter to boot F42.\ndefault F42\n"),
            "{text}"
        );
        assert!(!text.contains("menu begin"), "{text}");
    }

    #[test]
    fn an_entry_that_can_not_be_written_is_left_out_and_nothing_takes_its_place() {
        let mut menu = menu();
        menu.entries[0].items[0].args = Args::parse(&"a".repeat(2000));
        let text = render(&menu, Firmware::Bios, true, "10.0.2.2");
        assert!(text.contains("\ndefault .local\n") && !text.contains("\nlabel F42\n"), "{text}");
        assert!(text.contains("\nlabel F42/0\n  menu label F42: Basic graphics\n"), "{text}");
        assert!(matches!(refuse(&menu.entries[0].items[0], "h"), Some(Refusal::TooLong(2073))));
    }

    #[test]
    fn an_address_that_nobody_knows_is_not_made_up() {
        let text = render(&menu(), Firmware::Bios, true, "");
        assert!(!text.contains("netroot=") && text.contains("append nomodeset"), "{text}");
        assert!(matches!(refuse(&menu().entries[0].items[0], ""), Some(Refusal::NoAddress(_))));
        // The second initramfs finds it by itself.
        assert!(render(&netroot_menu(), Firmware::Bios, true, "").contains(" netroot.nbd=/F42.iso "));
    }

    #[test]
    fn a_single_dash_is_an_argument() {
        let mut menu = menu();
        menu.entries[0].items[0].args = Args::parse("-");
        assert!(render(&menu, Firmware::Bios, true, "").contains("\n  append - \n"));
    }

    #[test]
    fn machines_of_a_firmware_get_its_items() {
        let mut menu = menu();
        menu.entries[0].items[0].firmware = Firmware::Uefi;
        menu.entries[0].items[1].firmware = Firmware::Bios;
        let bios = render(&menu, Firmware::Bios, true, "h");
        assert!(bios.contains("\nlabel F42\n  menu label F42: Start Fedora\n"), "{bios}");
        assert!(bios.contains("append nomodeset") && !bios.contains("netroot="), "{bios}");
        assert!(!render(&menu, Firmware::Uefi, true, "h").contains("nomodeset"));
    }

    #[test]
    fn an_empty_menu_says_so_and_boots_the_disk() {
        let empty = Menu { default: super::super::Choice::Local, entries: vec![], ..menu() };
        let [shown, typed] = [true, false].map(|menu_c32| render(&empty, Firmware::Bios, menu_c32, ""));
        assert!(shown.contains("\nmenu title Network boot: no ISOs to boot\n"), "{shown}");
        assert!(typed.contains("\nsay Network boot: no ISOs to boot\n"), "{typed}");
        assert!(shown.contains("default .local\n") && shown.contains("localboot 0\n"), "{shown}");
    }

    #[test]
    fn a_serial_console_shows_the_menu_too() {
        let text =
            render(&Menu { append: Args::parse("console=ttyS1,115200"), ..menu() }, Firmware::Bios, true, "");
        assert!(text.starts_with("serial 1 115200\nui menu.c32\n"), "{text}");
    }
}
