//! Configuration files as text, from plain values. One file a format; none of them does I/O.
//!
//! The menus are all rendered from one [`Menu`], so what boots by one loader boots by the others. Each loader has a module
//! that knows its language: how it splits lines and words, what it quotes, and what can't be said in it. That is left out
//! of this loader's menu, and [`left_out`] tells; no ISO can add a section, a line or a command to a file of ours.

use crate::image::args::Args;

pub mod dhcp;
pub mod grub;
#[cfg(any(test, feature = "models"))]
mod hostile;
pub mod ipxe;
pub mod nbd;
pub mod pxelinux;
mod refusal;
mod rows;
pub mod status;
mod title;

pub use refusal::{LeftOut, Refusal, left_out};
pub use title::shown;

/// Label of the entry that leaves the network boot. No ISO can have it, since it begins with a dot.
const LOCAL: &str = ".local";

/// The title of a menu with these rows.
fn headline(rows: &rows::Rows<'_>) -> &'static str {
    if rows.rows.is_empty() { "Network boot: no ISOs to boot" } else { "Network boot" }
}

/// The offers of a loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// What boots by itself.
    pub default: Choice,
    /// Seconds until it does; 0 waits for ever.
    pub timeout: u32,
    /// Arguments that every entry has; a serial console in them is used by the menu too.
    pub append: Args,
    /// One entry an ISO.
    pub entries: Vec<IsoEntry>,
}

/// What boots by itself. Where a loader can't say that, the local disk does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The local disk.
    Local,
    /// The ISO of that label, as its own menu would.
    Iso(String),
    /// The first of its items that is a live system.
    Live(String),
}

/// One ISO in the menu.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IsoEntry {
    /// Name of the entry.
    pub label: String,
    /// What it is called in short: it is sorted by that, and groups are named by it.
    pub name: String,
    /// The title in the menu.
    pub title: String,
    /// How its root comes to the machine, if the menu is to show that too.
    pub way: Option<&'static str>,
    /// What can be booted of it, in order. The first that a machine's firmware can boot is what the entry stands for.
    pub items: Vec<Item>,
}

/// One way to boot an ISO. Files are named as they are in the directory of the loader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Item {
    /// Name of the item, unique in its ISO and of the characters of a label; the first may have none.
    pub name: String,
    /// The title in the menu.
    pub title: String,
    /// Titles of the submenus of the ISO's own menu that it lies in, outermost first.
    pub submenu: Vec<String>,
    /// Kernel file.
    pub kernel: String,
    /// Initrd files, in the order in which the kernel unpacks them; there may be none.
    pub initrds: Vec<String>,
    /// Kernel arguments.
    pub args: Args,
    /// The machines that it is for.
    pub firmware: Firmware,
    /// Whether it leaves the disks of a machine alone until somebody at it says otherwise.
    pub live: bool,
}

/// Machines by what starts their loader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// All of them.
    #[default]
    Both,
    /// BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

impl Firmware {
    fn fits(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

impl Menu {
    /// Port and speed of the serial console that the kernel's messages go to, if that is the last of its consoles.
    fn serial(&self) -> Option<(u32, u32)> {
        let console = self.append.value("console")?.strip_prefix("ttyS")?;
        let (port, options) = console.split_once(',').unwrap_or((console, ""));
        let digits: String = options.chars().take_while(char::is_ascii_digit).collect();
        // 9600 is what the kernel takes (Documentation/admin-guide/serial-console.rst).
        Some((port.parse().ok()?, digits.parse().unwrap_or(9600)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::args::Arg;

    pub(super) fn menu() -> Menu {
        let first = Item {
            name: String::new(),
            title: "^Start Fedora".into(),
            submenu: Vec::new(),
            kernel: "vmlinuz_F42".into(),
            initrds: vec!["initrd_F42.img".into()],
            args: Args::from_iter([
                Arg::new("root=live:CDLABEL=Fedora\\x2042"),
                Arg::new("netroot=nbd:").server(None).text(":F42.iso"),
                Arg::new("quiet"),
            ]),
            firmware: Firmware::Both,
            live: true,
        };
        let second = Item {
            name: "0".into(),
            title: "Basic graphics".into(),
            args: Args::parse("nomodeset"),
            ..first.clone()
        };
        let entry = IsoEntry {
            label: "F42".into(),
            name: "F42".into(),
            title: "F42: ^Start Fedora".into(),
            way: None,
            items: vec![first, second],
        };
        Menu { default: Choice::Iso("F42".into()), timeout: 5, append: Args::default(), entries: vec![entry] }
    }

    /// A menu that every loader can write.
    pub(super) fn plain_menu() -> Menu {
        let mut menu = menu();
        let args = menu.entries[0].items[0].args.clone().without(&["root"]);
        menu.entries[0].items[0].args = args.prepend([Arg::new("root=live:/dev/nbd0")]);
        menu
    }

    /// A menu whose ISO boots by a second initramfs.
    pub(super) fn netroot_menu() -> Menu {
        let mut menu = menu();
        let entry = menu.entries.first_mut().unwrap();
        for item in &mut entry.items {
            item.initrds.push("netroot_F42.img".into());
        }
        let export = Arg::new("netroot.nbd=").server(None).text("/F42.iso");
        entry.items[0].args =
            Args::from_iter([Arg::new("rdinit=/netrootfs/init"), export, Arg::new("quiet")]);
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
