//! boot.ipxe and autoexec.ipxe (ipxe.org, "Scripting").
//!
//! URLs are relative to the script, so one text serves TFTP and HTTP.
//!
//! The language, from src/core/exec.c, src/image/script.c and src/core/settings.c: a line is split at blanks, and a word
//! `&&`, `||` or `;` ends a command, one that begins with `#` the line. Only then `${name}` is expanded in each word, and
//! again in what comes out, and the words are joined by single blanks. There are no quotes. So a word that would end a
//! command gets the name of nothing into it, and one with `${` and a `}` behind it can't be said at all. A backslash
//! at the end of a line joins the next to it.

use std::fmt::{Result, Write as _};

use super::refusal::{BOOTIF, Refusal, arguments, common};
use super::rows::{Boot, Row, Rows, Sub};
use super::{Firmware, Item, LOCAL, Menu, headline};
use crate::image::args::{Arg, Part};

#[cfg(any(test, feature = "models"))]
pub mod model;

/// iPXE's name for the address of the server that it was told to boot from.
const SERVER: &str = "${next-server}";

/// A setting that nobody sets.
const NOTHING: &str = "${netrootfs-nothing}";

/// Milliseconds until the menu boots by itself, and the one behind its row.
const WAIT: [&str; 2] = ["netrootfs-wait", "netrootfs-behind"];

/// Longest wait behind a row: whoever got there by time-out waits a second time.
const MAX_BEHIND: u32 = 3000;

/// By what machines are told from each other that have a script of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Machines {
    /// Some by their UUID.
    pub uuid: bool,
    /// Some by their network card.
    pub mac: bool,
    /// Some by their address.
    pub address: bool,
}

impl Machines {
    /// Names of their scripts, as iPXE puts them together. pxelinux asks in the same order.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let names = [
            self.uuid.then_some("uuid-${uuid}.ipxe"),
            self.mac.then_some("mac-${netX/mac:hexraw}.ipxe"),
            self.address.then_some("ip-${netX/ip}.ipxe"),
        ];
        names.into_iter().flatten()
    }
}

/// Renders the script. `host` is the server's address; `None` leaves it to iPXE. A machine that has a script of its own
/// goes on with that; one that hasn't loses a request for each of `machines`.
pub fn render(menu: &Menu, host: Option<&str>, machines: Machines) -> String {
    let mut text = String::from("#!ipxe\n");
    // Writing to a String can't fail.
    for name in machines.names() {
        // Replaced, this script is not come back to when the other one ends.
        let _ = writeln!(text, "chain --autofree --replace {name} ||");
    }
    let of = |firmware| Rows::new(menu, firmware, |item| refuse(item, host).is_none());
    let script = |firmware, prefix| Script { menu, prefix, host: host.unwrap_or(SERVER) }.text(&of(firmware));
    let bios = script(Firmware::Bios, "");
    if bios != script(Firmware::Uefi, "") {
        // No name of a row begins with it.
        let uefi = script(Firmware::Uefi, "~");
        let _ = write!(text, "iseq ${{platform}} efi || goto .bios\n{uefi}\n:.bios");
    }
    text + &bios
}

/// Why iPXE can't boot an item.
pub fn refuse(item: &Item, host: Option<&str>) -> Option<Refusal> {
    // Started by UEFI, the kernel is given its file's name as its first argument.
    let initrds: usize = item.initrds.iter().map(|name| " initrd=".len() + name.len()).sum();
    let added = item.kernel.len() + initrds + 1 + BOOTIF;
    let args = arguments(item);
    let expands = || args.iter().find(|arg| expands(&arg.to_string()));
    common(item, host, added).or_else(|| Some(Refusal::Expands(expands()?.to_string())))
}

fn expands(text: &str) -> bool {
    text.split_once("${").is_some_and(|(_, rest)| rest.contains('}'))
}

/// What a menu is written with.
struct Script<'a> {
    menu: &'a Menu,
    /// In front of each name of this menu.
    prefix: &'a str,
    host: &'a str,
}

impl Script<'_> {
    fn text(&self, rows: &Rows<'_>) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write_start(&mut text, rows);
        let default = rows.default.as_str();
        let _ = rows.rows.iter().try_for_each(|row| self.write_row(&mut text, row, ".start", default));
        let _ = self.write_end(&mut text);
        text
    }

    fn write_start(&self, text: &mut String, rows: &Rows<'_>) -> Result {
        let wait = self.menu.timeout.saturating_mul(1000);
        let [first, behind] = WAIT;
        writeln!(text, "\nset {first} {wait}\nset {behind} {}", wait.min(MAX_BEHIND))?;
        self.write_menu(text, ".start", headline(rows), &rows.rows)?;
        writeln!(text, "item {}{LOCAL} Boot from the local disk", self.prefix)?;
        // Rows that open a menu have a name of their own.
        let lit = rows.rows.iter().find(|row| row.leads_to(&rows.default)).map_or(LOCAL, name);
        self.write_choice(text, Some((lit, first)), LOCAL)
    }

    fn write_menu(&self, text: &mut String, label: &str, title: &str, rows: &[Row<'_>]) -> Result {
        let prefix = self.prefix;
        writeln!(text, "\n:{prefix}{label}\n{}", line(&format!("menu {}", foreign(title))))?;
        rows.iter().try_for_each(|row| match row {
            Row::Boot(Boot { name, title, .. }) => {
                writeln!(text, "{}", line(&format!("item {prefix}{name} {}", foreign(title))))
            }
            Row::Sub(Sub { name, title, .. }) => {
                writeln!(text, "{}", line(&format!("item {prefix}{name} {} ...", foreign(title))))
            }
        })
    }

    /// Lets a person choose; who presses Escape goes to `back`. A row can be lit, and be taken after a wait.
    fn write_choice(&self, text: &mut String, lit: Option<(&str, &str)>, back: &str) -> Result {
        let prefix = self.prefix;
        let lit = lit.map(|(name, wait)| format!("--default {prefix}{name} --timeout ${{{wait}}} "));
        writeln!(text, "choose {}target || goto {prefix}{back}\ngoto ${{target}}", lit.unwrap_or_default())
    }

    /// Writes what is behind a row. What leads to `default` is come to by time-out.
    fn write_row(&self, text: &mut String, row: &Row<'_>, back: &str, default: &str) -> Result {
        let sub = match row {
            Row::Boot(boot) => return self.write_boot(text, boot),
            Row::Sub(sub) => sub,
        };
        self.write_menu(text, &sub.name, &sub.title, &sub.rows)?;
        writeln!(text, "item {}{back} Back", self.prefix)?;
        let lit = sub.rows.iter().find(|row| row.leads_to(default)).map(|row| (name(row), WAIT[1]));
        self.write_choice(text, lit, back)?;
        sub.rows.iter().try_for_each(|row| self.write_row(text, row, &sub.name, default))
    }

    fn write_boot(&self, text: &mut String, boot: &Boot<'_>) -> Result {
        let Boot { name, title, item } = boot;
        let failed = format!("|| goto {}.failed", self.prefix);
        writeln!(text, "\n:{}{name}\necho Loading {} ...", self.prefix, foreign(title))?;
        // What was loaded for another entry, which failed, would be given to this kernel.
        writeln!(text, "imgfree")?;
        write!(text, "kernel {}", item.kernel)?;
        // A kernel started by UEFI asks the loader for the files that initrd= names; one started by BIOS is given them.
        item.initrds.iter().try_for_each(|initrd| write!(text, " initrd={initrd}"))?;
        write!(text, " BOOTIF=01-${{netX/mac:hexhyp}}")?;
        arguments(item).iter().try_for_each(|arg| write!(text, " {}", argument(arg, self.host)))?;
        writeln!(text, " {failed}")?;
        item.initrds.iter().try_for_each(|initrd| writeln!(text, "initrd {initrd} {failed}"))?;
        writeln!(text, "boot {failed}")
    }

    /// What a failed boot leads to: the message stays until it is read, and nothing is tried a second time by itself.
    fn write_end(&self, text: &mut String) -> Result {
        let prefix = self.prefix;
        writeln!(text, "\n:{prefix}.failed")?;
        WAIT.iter().try_for_each(|wait| writeln!(text, "set {wait} 0"))?;
        writeln!(text, "prompt --timeout 60000 That did not boot. Press a key for the menu. ||")?;
        writeln!(text, "goto {prefix}.start")?;
        // Firmware of UEFI goes on with its own list; BIOS wants to be told the first disk.
        writeln!(text, "\n:{prefix}{LOCAL}\niseq ${{platform}} efi && exit 1 ||")?;
        writeln!(text, "sanboot --no-describe --drive 0x80")
    }
}

fn name<'r>(row: &'r Row<'_>) -> &'r str {
    match row {
        Row::Boot(boot) => &boot.name,
        Row::Sub(sub) => &sub.name,
    }
}

fn argument(arg: &Arg, host: &str) -> String {
    let part = |part: &Part| match part {
        Part::Server => host.to_owned(),
        Part::Text(text) => text.clone(),
    };
    words(&arg.parts().iter().map(part).collect::<String>())
}

/// A title in which iPXE expands nothing. What can't be said gets a blank where it would begin.
fn foreign(title: &str) -> String {
    let word = |word: &str| if expands(word) { word.replace("${", "$ {") } else { word.to_owned() };
    let title: Vec<String> = title.split(' ').map(word).collect();
    words(&title.join(" "))
}

/// Words that are no end of a command and no comment: something of nothing is in them.
fn words(text: &str) -> String {
    let word = |word: &str| match word {
        ";" => format!("{NOTHING};"),
        _ if word.starts_with('#') => format!("{NOTHING}{word}"),
        _ => word.replace("&&", &format!("&{NOTHING}&")).replace("||", &format!("|{NOTHING}|")),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A line that doesn't go on in the next.
fn line(text: &str) -> String {
    if text.ends_with('\\') { format!("{text}{NOTHING}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{menu, netroot_menu};
    use super::*;
    use crate::image::args::Args;

    #[test]
    fn an_entry_and_its_variants() {
        assert_eq!(
            render(&menu(), None, Machines::default()),
            "#!ipxe\n\nset netrootfs-wait 5000\nset netrootfs-behind 3000\n\n:.start\nmenu Network boot\n\
             item F42/ F42: ^Start Fedora ...\nitem .local Boot from the local disk\n\
             choose --default F42/ --timeout ${netrootfs-wait} target || goto .local\ngoto ${target}\n\n\
             :F42/\nmenu F42: ^Start Fedora\nitem F42 ^Start Fedora\nitem F42/0 Basic graphics\nitem .start Back\n\
             choose --default F42 --timeout ${netrootfs-behind} target || goto .start\ngoto ${target}\n\n\
             :F42\necho Loading ^Start Fedora ...\nimgfree\n\
             kernel vmlinuz_F42 initrd=initrd_F42.img BOOTIF=01-${netX/mac:hexhyp} \
             root=live:CDLABEL=Fedora\\x2042 netroot=nbd:${next-server}:F42.iso quiet || goto .failed\n\
             initrd initrd_F42.img || goto .failed\nboot || goto .failed\n\n\
             :F42/0\necho Loading Basic graphics ...\nimgfree\n\
             kernel vmlinuz_F42 initrd=initrd_F42.img BOOTIF=01-${netX/mac:hexhyp} nomodeset || goto .failed\n\
             initrd initrd_F42.img || goto .failed\nboot || goto .failed\n\n\
             :.failed\nset netrootfs-wait 0\nset netrootfs-behind 0\n\
             prompt --timeout 60000 That did not boot. Press a key for the menu. ||\ngoto .start\n\n\
             :.local\niseq ${platform} efi && exit 1 ||\nsanboot --no-describe --drive 0x80\n"
        );
    }

    #[test]
    fn a_second_initramfs_stands_behind_the_first() {
        let text = render(&netroot_menu(), None, Machines::default());
        assert!(
            text.contains(
                "\nkernel vmlinuz_F42 initrd=initrd_F42.img initrd=netroot_F42.img \
                 BOOTIF=01-${netX/mac:hexhyp} rdinit=/netrootfs/init netroot.nbd=${next-server}/F42.iso quiet \
                 || goto .failed\ninitrd initrd_F42.img || goto .failed\n\
                 initrd netroot_F42.img || goto .failed\nboot || goto .failed\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn machines_with_a_script_of_their_own_are_asked_for_it_first() {
        let machines = Machines { uuid: true, mac: true, address: true };
        assert!(render(&menu(), None, machines).starts_with(
            "#!ipxe\nchain --autofree --replace uuid-${uuid}.ipxe ||\n\
             chain --autofree --replace mac-${netX/mac:hexraw}.ipxe ||\n\
             chain --autofree --replace ip-${netX/ip}.ipxe ||\n\nset netrootfs-wait 5000\n"
        ));
    }

    #[test]
    fn a_given_address_is_written_down() {
        assert!(
            render(&menu(), Some("10.0.2.2"), Machines::default()).contains(" netroot=nbd:10.0.2.2:F42.iso ")
        );
    }

    #[test]
    fn an_iso_gives_no_commands() {
        let mut menu = menu();
        menu.entries[0].title = "Rescue && repair # 1 \\".into();
        menu.entries[0].items.truncate(1);
        menu.entries[0].items[0].args = Args::parse("a ${mac && reboot ; #x y");
        let text = render(&menu, None, Machines::default());
        let nothing = "${netrootfs-nothing}";
        let title = format!("\nitem F42 Rescue &{nothing}& repair {nothing}# 1 \\{nothing}\n");
        assert!(text.contains(&title), "{text}");
        let args =
            format!("/mac:hexhyp}} a ${{mac &{nothing}& reboot {nothing}; {nothing}#x y || goto .failed\n");
        assert!(text.contains(&args), "{text}");
    }

    #[test]
    fn what_ipxe_would_expand_is_left_out() {
        let refused = |line: &str| {
            let item = Item { args: Args::parse(line), ..menu().entries[0].items[0].clone() };
            refuse(&item, None).map(|refusal| refusal.code())
        };
        assert_eq!(refused("a=${mac}"), Some("argument-expands"));
        assert_eq!(refused("a=${b c=}"), None);
        assert_eq!(refused("rd.initrd=/x"), Some("argument-names-initrd"));
        assert_eq!(refused("initrd=/x"), None, "the loader's own is taken out");
    }

    #[test]
    fn an_empty_menu_says_so() {
        let empty = Menu { default: super::super::Choice::Local, entries: vec![], ..menu() };
        let text = render(&empty, None, Machines::default());
        assert!(
            text.contains(
                "\n:.start\nmenu Network boot: no ISOs to boot\nitem .local Boot from the local disk\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn where_firmware_makes_a_difference_the_script_has_a_menu_for_each() {
        let mut menu = menu();
        menu.entries[0].items[1].firmware = Firmware::Uefi;
        let text = render(&menu, None, Machines::default());
        let (uefi, bios) = text.split_once("\n:.bios\n").unwrap();
        assert!(uefi.starts_with("#!ipxe\niseq ${platform} efi || goto .bios\n"), "{text}");
        assert!(uefi.contains("\n:~F42/0\n") && uefi.contains("|| goto ~.failed\n"), "{text}");
        assert!(!bios.contains("nomodeset") && bios.contains("\nitem F42 F42: "), "{text}");
    }
}
