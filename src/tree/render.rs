//! Configuration files as text, from plain values. One file a format; none of them does I/O.
//!
//! The menus are all rendered from one [`Menu`], so what boots by one loader boots by the others. Everything foreign that
//! gets in here is a [`crate::image::label::Label`] or has passed the gate of one printable line; what a loader would take for
//! its own language is quoted, so no ISO can add a section, a line or a command to a file of ours.

use crate::image::args::Args;

pub mod dhcp;
pub mod grub;
pub mod ipxe;
pub mod nbd;
pub mod pxelinux;

/// Label of the entry that leaves the network boot. No ISO can have it, since it begins with a dot.
const LOCAL: &str = ".local";

/// What is offered to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// Label that boots by itself; empty for the local disk.
    pub default: String,
    /// Seconds until it does; 0 waits for ever.
    pub timeout: u32,
    /// Arguments that every entry has; a serial console in them is used by the menu too.
    pub append: Args,
    /// One entry an ISO.
    pub entries: Vec<IsoEntry>,
}

/// One ISO in the menu. Files are named as they are in the directory of the loader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IsoEntry {
    /// Name of the entry.
    pub label: String,
    /// What the menu shows.
    pub title: String,
    /// Kernel file.
    pub kernel: String,
    /// Initrd files, in the order in which the kernel unpacks them.
    pub initrds: Vec<String>,
    /// Kernel arguments.
    pub args: Args,
    /// Other ways to boot the same kernel and initrd: title and arguments.
    pub more: Vec<(String, Args)>,
}

impl Menu {
    /// The label that boots by itself.
    fn default_label(&self) -> &str {
        if self.default.is_empty() { LOCAL } else { &self.default }
    }

    /// Port and speed of the serial console that the kernel's messages go to, if that is the last of its consoles.
    fn serial(&self) -> Option<(u32, u32)> {
        let console = self.append.value("console")?.strip_prefix("ttyS")?;
        let (port, options) = console.split_once(',').unwrap_or((console, ""));
        let digits: String = options.chars().take_while(char::is_ascii_digit).collect();
        // 9600 is what the kernel takes (Documentation/admin-guide/serial-console.rst).
        Some((port.parse().ok()?, digits.parse().unwrap_or(9600)))
    }
}

impl IsoEntry {
    /// Name of the variant with that number. It begins with a dot, so no ISO has it.
    fn variant_label(&self, number: usize) -> String {
        format!(".{}.{number}", self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::args::Arg;

    pub(super) fn menu() -> Menu {
        let entry = IsoEntry {
            label: "F42".into(),
            title: "F42: ^Start Fedora".into(),
            kernel: "vmlinuz_F42".into(),
            initrds: vec!["initrd_F42.img".into()],
            args: Args::from_iter([
                Arg::new("root=live:CDLABEL=Fedora\\x2042"),
                Arg::new("netroot=nbd:").server(None).text(":F42.iso"),
                Arg::new("quiet"),
            ]),
            more: vec![("Basic graphics".into(), Args::parse("nomodeset"))],
        };
        Menu { default: "F42".into(), timeout: 5, append: Args::default(), entries: vec![entry] }
    }

    /// A menu whose ISO boots by a second initramfs.
    pub(super) fn netroot_menu() -> Menu {
        let mut menu = menu();
        let entry = menu.entries.first_mut().unwrap();
        entry.initrds.push("netroot_F42.img".into());
        let export = Arg::new("netroot.nbd=").server(None).text("/F42.iso");
        entry.args = Args::from_iter([Arg::new("rdinit=/netrootfs/init"), export, Arg::new("quiet")]);
        menu
    }

    #[test]
    fn a_serial_console_is_the_last_one() {
        let serial = |append: &str| Menu { append: Args::parse(append), ..menu() }.serial();
        assert_eq!(serial("console=tty0 console=ttyS1,115200n8"), Some((1, 115_200)));
        assert_eq!(serial("console=ttyS0"), Some((0, 9600)));
        assert_eq!(serial("console=ttyS0 console=tty0"), None);
        assert_eq!(serial("quiet"), None);
    }
}
