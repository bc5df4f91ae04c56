//! grub.cfg, for GRUB loaded over the network (GNU GRUB manual, "Writing full configuration files directly").
//!
//! Paths are absolute from the root of the server that GRUB was loaded from. What comes from an ISO stands in single
//! quotes, in which GRUB expands nothing.

use std::fmt::{Result, Write as _};

use super::{IsoEntry, Item, LOCAL, Menu};
use crate::image::args::{Arg, Part};

/// GRUB's name for the address of the server that it was loaded from.
const SERVER: &str = "$net_default_server";

/// Variable that carries the entry to boot by itself from one file to the next.
const CHOICE: &str = "netrootfs_default";

/// Variable with the address of the card as BOOTIF has it.
const MAC: &str = "netrootfs_mac";

/// Writes the card's address with `-` in the place of GRUB's `:`. A GRUB without `regexp` leaves it as it is, which
/// most initramfs take too.
fn write_mac(text: &mut String) -> Result {
    let parts = 1..=6;
    let sets: String = parts.clone().map(|part| format!(" --set={part}:{MAC}{part}")).collect();
    let dashed: Vec<String> = parts.map(|part| format!("${MAC}{part}")).collect();
    writeln!(text, "set {MAC}=$net_default_mac")?;
    writeln!(text, "regexp{sets} '^(..):(..):(..):(..):(..):(..)$' \"${MAC}\"")?;
    // A command that isn't there counts as done: only the last of the parts tells.
    writeln!(text, "if [ -n \"${MAC}6\" ]; then set {MAC}={}; fi", dashed.join("-"))
}

/// A file that leads to the one at `path`, with another entry that boots by itself.
pub fn lead_to(path: &str, label: &str) -> String {
    format!("set {CHOICE}='{label}'\nexport {CHOICE}\nconfigfile {path}\n")
}

/// Renders the file. `host` is the server's address; `None` leaves it to GRUB.
pub fn render(menu: &Menu, host: Option<&str>) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_head(&mut text, menu);
    for entry in &menu.entries {
        let _ = write_entry(&mut text, entry, host);
    }
    let _ = write!(text, "\nmenuentry 'Boot from the local disk' --id '{LOCAL}' {{\n  exit\n}}\n");
    text
}

fn write_head(text: &mut String, menu: &Menu) -> Result {
    if let Some((port, speed)) = menu.serial() {
        writeln!(text, "serial --unit={port} --speed={speed}")?;
        writeln!(text, "terminal_input --append serial\nterminal_output --append serial")?;
    }
    writeln!(text, "set default='{}'", menu.default_label())?;
    writeln!(text, "if [ -n \"${CHOICE}\" ]; then set default=\"${CHOICE}\"; fi")?;
    match menu.timeout {
        0 => writeln!(text, "set timeout=-1")?,
        seconds => writeln!(text, "set timeout={seconds}")?,
    }
    write_mac(text)
}

fn write_entry(text: &mut String, entry: &IsoEntry, host: Option<&str>) -> Result {
    let Some((first, more)) = entry.split() else { return Ok(()) };
    writeln!(text)?;
    write_item(text, "", first, &entry.label, &entry.full_title(), host)?;
    if more.is_empty() {
        return Ok(());
    }
    writeln!(text, "submenu {} {{", quote(&format!("{}: more", entry.label)))?;
    for item in more {
        write_item(text, "  ", item, &entry.item_label(item), &item.title, host)?;
    }
    writeln!(text, "}}")
}

fn write_item(
    text: &mut String,
    indent: &str,
    item: &Item,
    label: &str,
    title: &str,
    host: Option<&str>,
) -> Result {
    let title = quote(&title.replace('^', ""));
    writeln!(text, "{indent}menuentry {title} --id '{label}' {{")?;
    let words: Vec<String> = item.args.iter().map(|arg| argument(arg, host)).collect();
    // BOOTIF tells the system which card it was booted from, as pxelinux does with ipappend. It comes first: what stands
    // behind `---` is taken for the installed system's by some installers.
    writeln!(text, "{indent}  linux /{} BOOTIF=01-${MAC} {}", item.kernel, words.join(" "))?;
    if !item.initrds.is_empty() {
        writeln!(text, "{indent}  initrd /{}", item.initrds.join(" /"))?;
    }
    writeln!(text, "{indent}}}")
}

/// A word of kernel arguments as GRUB hands it on, with the server's address in its place. GRUB puts double quotes around
/// a word with a blank by itself, and a backslash before one that it is given (grub-core/lib/cmdline.c).
fn argument(arg: &Arg, host: Option<&str>) -> String {
    let part = |part: &Part| match part {
        Part::Server => host.unwrap_or(SERVER).to_owned(),
        Part::Text(text) => match text.replace('"', "") {
            text if plain(&text) => text,
            text => quote(&text),
        },
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
    use super::super::tests::{menu, netroot_menu};
    use super::*;
    use crate::image::args::Args;

    #[test]
    fn an_entry_and_its_variants() {
        assert_eq!(
            render(&menu(), None),
            "set default='F42'\nif [ -n \"$netrootfs_default\" ]; then set default=\"$netrootfs_default\"; fi\n\
             set timeout=5\nset netrootfs_mac=$net_default_mac\n\
             regexp --set=1:netrootfs_mac1 --set=2:netrootfs_mac2 --set=3:netrootfs_mac3 --set=4:netrootfs_mac4 \
             --set=5:netrootfs_mac5 --set=6:netrootfs_mac6 '^(..):(..):(..):(..):(..):(..)$' \"$netrootfs_mac\"\n\
             if [ -n \"$netrootfs_mac6\" ]; then set netrootfs_mac=$netrootfs_mac1-$netrootfs_mac2-$netrootfs_mac3-\
             $netrootfs_mac4-$netrootfs_mac5-$netrootfs_mac6; fi\n\n\
             menuentry 'F42: Start Fedora' --id 'F42' {\n  \
             linux /vmlinuz_F42 BOOTIF=01-$netrootfs_mac 'root=live:CDLABEL=Fedora\\x2042' \
             netroot=nbd:$net_default_server:F42.iso quiet\n  initrd /initrd_F42.img\n}\n\
             submenu 'F42: more' {\n  menuentry 'Basic graphics' --id '.F42.0' {\n    \
             linux /vmlinuz_F42 BOOTIF=01-$netrootfs_mac nomodeset\n    initrd /initrd_F42.img\n  }\n}\n\n\
             menuentry 'Boot from the local disk' --id '.local' {\n  exit\n}\n"
        );
    }

    #[test]
    fn a_second_initramfs_stands_behind_the_first() {
        let text = render(&netroot_menu(), None);
        assert!(
            text.contains(
                "  linux /vmlinuz_F42 BOOTIF=01-$netrootfs_mac rdinit=/netrootfs/init \
                 netroot.nbd=$net_default_server/F42.iso quiet\n  initrd /initrd_F42.img /netroot_F42.img\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_file_leads_to_another_with_its_own_default() {
        assert_eq!(
            lead_to("/grub.cfg", "F42"),
            "set netrootfs_default='F42'\nexport netrootfs_default\nconfigfile /grub.cfg\n"
        );
    }

    #[test]
    fn a_given_address_is_written_down() {
        assert!(render(&menu(), Some("10.0.2.2")).contains(" netroot=nbd:10.0.2.2:F42.iso "));
    }

    #[test]
    fn foreign_words_stay_words() {
        assert_eq!(argument(&Arg::new("a=$x;{b}'c'"), None), "'a=$x;{b}'\\''c'\\'''");
        assert_eq!(argument(&Arg::new("dyndbg=\"file a +p\""), None), "'dyndbg=file a +p'");
    }

    #[test]
    fn no_time_out_waits() {
        assert!(render(&Menu { timeout: 0, ..menu() }, None).contains("set timeout=-1\n"));
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
        let hostile = "a=$x;{b} \"d e\" root=\\x20";
        let mut menu = menu();
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
