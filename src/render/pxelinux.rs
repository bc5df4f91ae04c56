//! pxelinux.cfg/default (syslinux, doc/syslinux.txt and doc/menu.txt).
//!
//! With `menu.c32` at hand it is a menu; without it, a prompt where a name can be typed. Paths are relative to
//! pxelinux.0, so the tree may lie anywhere below the TFTP server's root.

use std::fmt::Write as _;

use crate::args::Args;

/// One entry of the menu.
pub struct Entry {
    /// What is typed at the prompt, and what `default` names.
    pub label: String,
    /// What the menu shows.
    pub title: String,
    /// Kernel file.
    pub kernel: String,
    /// Initrd file.
    pub initrd: String,
    /// Kernel arguments.
    pub args: String,
}

/// What holds for the whole menu.
pub struct Menu<'a> {
    /// Whether menu.c32 can be loaded.
    pub graphical: bool,
    /// Label that boots by itself.
    pub default: &'a str,
    /// Seconds until it does; 0 waits for ever.
    pub timeout: u32,
    /// Arguments that every entry has; a serial console in them is used by the menu too.
    pub append: &'a str,
}

/// Longest time-out that syslinux takes, in seconds (its unit is a tenth, its limit 35996).
pub const MAX_TIMEOUT: u32 = 3599;

/// Label of the entry that leaves the network boot. No ISO can have it, since it begins with a dot.
const LOCAL: &str = ".local";

/// Renders the file.
pub fn render(menu: &Menu<'_>, entries: impl IntoIterator<Item = Entry>) -> String {
    let mut text = String::new();
    let default = if menu.default.is_empty() { LOCAL } else { menu.default };
    // Writing to a String can't fail.
    let _ = write_head(&mut text, menu, default);
    for entry in entries {
        let _ = write_entry(&mut text, &entry);
    }
    let _ = write!(text, "\nlabel {LOCAL}\n  menu label Boot from the local disk\n  localboot 0\n");
    text
}

fn write_head(text: &mut String, menu: &Menu<'_>, default: &str) -> std::fmt::Result {
    // syslinux wants the serial line first.
    if let Some((port, speed)) = serial(menu.append) {
        writeln!(text, "serial {port} {speed}")?;
    }
    match menu.graphical {
        true => writeln!(text, "ui menu.c32\nmenu title Network boot")?,
        false => writeln!(text, "prompt 1\nsay Type a name, or press Enter to boot {default}.")?,
    }
    writeln!(text, "default {default}\ntimeout {}", menu.timeout.min(MAX_TIMEOUT) * 10)
}

fn write_entry(text: &mut String, entry: &Entry) -> std::fmt::Result {
    // A ^ marks a shortcut key in a menu label.
    writeln!(text, "\nlabel {}\n  menu label {}", entry.label, entry.title.replace('^', ""))?;
    writeln!(text, "  kernel {}\n  initrd {}", entry.kernel, entry.initrd)?;
    // 2: tell the kernel which card it was booted from (BOOTIF=), for machines with several.
    writeln!(text, "  append {}\n  ipappend 2", entry.args)
}

/// Port and speed of the last serial console among kernel arguments.
fn serial(append: &str) -> Option<(u32, u32)> {
    let args = Args::parse(append);
    let (port, options) = match args.value("console")?.strip_prefix("ttyS")?.split_once(',') {
        Some((port, options)) => (port, options),
        None => (args.value("console")?.strip_prefix("ttyS")?, ""),
    };
    let digits: String = options.chars().take_while(char::is_ascii_digit).collect();
    Some((port.parse().ok()?, digits.parse().unwrap_or(9600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            label: "F42".into(),
            title: "F42: ^Start Fedora".into(),
            kernel: "vmlinuz_F42".into(),
            initrd: "initrd_F42.img".into(),
            args: "root=live:/dev/nbd0 quiet".into(),
        }
    }

    fn menu(graphical: bool, append: &str) -> Menu<'_> {
        Menu { graphical, default: "F42", timeout: 5, append }
    }

    #[test]
    fn with_menu_c32_it_is_a_menu() {
        assert_eq!(
            render(&menu(true, ""), [entry()]),
            "ui menu.c32\nmenu title Network boot\ndefault F42\ntimeout 50\n\n\
             label F42\n  menu label F42: Start Fedora\n  kernel vmlinuz_F42\n  initrd initrd_F42.img\n  \
             append root=live:/dev/nbd0 quiet\n  ipappend 2\n\n\
             label .local\n  menu label Boot from the local disk\n  localboot 0\n"
        );
    }

    #[test]
    fn without_it_a_name_can_be_typed() {
        let text = render(&menu(false, ""), [entry()]);
        assert!(
            text.starts_with("prompt 1\nsay Type a name, or press Enter to boot F42.\ndefault F42\n"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_menu_boots_the_disk() {
        let text = render(&Menu { default: "", ..menu(true, "") }, []);
        assert!(text.contains("default .local\n") && text.contains("localboot 0\n"), "{text}");
    }

    #[test]
    fn a_serial_console_shows_the_menu_too() {
        assert!(
            render(&menu(true, "console=tty0 console=ttyS1,115200n8"), []).starts_with("serial 1 115200\n")
        );
        assert!(render(&menu(true, "console=ttyS0"), []).starts_with("serial 0 9600\n"));
        assert!(render(&menu(true, "console=ttyS0 console=tty0"), []).starts_with("ui "));
    }
}
