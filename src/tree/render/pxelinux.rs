//! pxelinux.cfg/default (syslinux, doc/syslinux.txt and doc/menu.txt).
//!
//! With `menu.c32` at hand it is a menu; without it, a prompt where a name can be typed. Paths are relative to
//! pxelinux.0, so the tree may lie anywhere below the TFTP server's root.

use std::fmt::{Result, Write as _};

use super::{IsoEntry, Item, LOCAL, Menu};
use crate::catalog::written::MAX_TIMEOUT;

/// Renders the file. `graphical`: menu.c32 can be loaded. `host` is the server's address: pxelinux has no name for it.
pub fn render(menu: &Menu, graphical: bool, host: &str) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_head(&mut text, menu, graphical);
    for entry in &menu.entries {
        let _ = write_entry(&mut text, entry, graphical, host);
    }
    let _ = write!(text, "\nlabel {LOCAL}\n  menu label Boot from the local disk\n  localboot 0\n");
    text
}

fn write_head(text: &mut String, menu: &Menu, graphical: bool) -> Result {
    let default = menu.default_label();
    // syslinux wants the serial line first.
    if let Some((port, speed)) = menu.serial() {
        writeln!(text, "serial {port} {speed}")?;
    }
    match graphical {
        true => writeln!(text, "ui menu.c32\nmenu title Network boot")?,
        false => writeln!(text, "prompt 1\nsay Type a name, or press Enter to boot {default}.")?,
    }
    writeln!(text, "default {default}\ntimeout {}", menu.timeout.min(MAX_TIMEOUT) * 10)
}

fn write_entry(text: &mut String, entry: &IsoEntry, graphical: bool, host: &str) -> Result {
    let Some((first, more)) = entry.split() else { return Ok(()) };
    write_item(text, first, &entry.label, &entry.full_title(), host)?;
    if more.is_empty() || !graphical {
        return Ok(());
    }
    writeln!(text, "\nmenu begin .{}\n  menu label {}: more", entry.label, entry.label)?;
    for item in more {
        write_item(text, item, &entry.item_label(item), &item.title, host)?;
    }
    write!(text, "\nlabel .{}.back\n  menu label Back\n  menu exit\nmenu end\n", entry.label)
}

fn write_item(text: &mut String, item: &Item, label: &str, title: &str, host: &str) -> Result {
    // A ^ marks a shortcut key in a menu label.
    writeln!(text, "\nlabel {label}\n  menu label {}", title.replace('^', ""))?;
    writeln!(text, "  kernel {}", item.kernel)?;
    if !item.initrds.is_empty() {
        writeln!(text, "  initrd {}", item.initrds.join(","))?;
    }
    // 2: tell the kernel which card it was booted from (BOOTIF=), for machines with several.
    writeln!(text, "  append {}\n  ipappend 2", item.args.with_server(host))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{menu, netroot_menu};
    use super::*;
    use crate::image::args::Args;

    #[test]
    fn with_menu_c32_it_is_a_menu() {
        assert_eq!(
            render(&menu(), true, "10.0.2.2"),
            "ui menu.c32\nmenu title Network boot\ndefault F42\ntimeout 50\n\n\
             label F42\n  menu label F42: Start Fedora\n  kernel vmlinuz_F42\n  initrd initrd_F42.img\n  \
             append root=live:CDLABEL=Fedora\\x2042 netroot=nbd:10.0.2.2:F42.iso quiet\n  ipappend 2\n\n\
             menu begin .F42\n  menu label F42: more\n\n\
             label .F42.0\n  menu label Basic graphics\n  kernel vmlinuz_F42\n  initrd initrd_F42.img\n  \
             append nomodeset\n  ipappend 2\n\n\
             label .F42.back\n  menu label Back\n  menu exit\nmenu end\n\n\
             label .local\n  menu label Boot from the local disk\n  localboot 0\n"
        );
    }

    #[test]
    fn a_second_initramfs_stands_behind_the_first() {
        let text = render(&netroot_menu(), true, "10.0.2.2");
        assert!(
            text.contains(
                "\n  kernel vmlinuz_F42\n  initrd initrd_F42.img,netroot_F42.img\n  \
                 append rdinit=/netrootfs/init netroot.nbd=10.0.2.2/F42.iso quiet\n  ipappend 2\n"
            ),
            "{text}"
        );
        assert_eq!(text.matches("netroot_F42.img").count(), 2, "for the variant too: {text}");
    }

    #[test]
    fn without_it_a_name_can_be_typed() {
        let text = render(&menu(), false, "10.0.2.2");
        assert!(
            text.starts_with("prompt 1\nsay Type a name, or press Enter to boot F42.\ndefault F42\n"),
            "{text}"
        );
        assert!(!text.contains("menu begin"), "{text}");
    }

    #[test]
    fn an_empty_menu_boots_the_disk() {
        let text = render(&Menu { default: String::new(), entries: vec![], ..menu() }, true, "");
        assert!(text.contains("default .local\n") && text.contains("localboot 0\n"), "{text}");
    }

    #[test]
    fn a_serial_console_shows_the_menu_too() {
        let text = render(&Menu { append: Args::parse("console=ttyS1,115200"), ..menu() }, true, "");
        assert!(text.starts_with("serial 1 115200\nui menu.c32\n"), "{text}");
    }
}
