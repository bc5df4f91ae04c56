//! boot.ipxe and autoexec.ipxe (ipxe.org, "Scripting").
//!
//! URLs are relative to the script, so one text serves TFTP and HTTP. iPXE has no quoting: what it would take for its own
//! is taken out of an ISO's words.

use std::fmt::{Result, Write as _};

use super::{IsoEntry, Item, LOCAL, Menu};
use crate::image::args::{Arg, Part};

/// iPXE's name for the address of the server that it was told to boot from.
const SERVER: &str = "${next-server}";

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
    let _ = write_menu(&mut text, menu);
    for entry in &menu.entries {
        let _ = write_entry(&mut text, entry, host.unwrap_or(SERVER));
    }
    // Firmware of UEFI goes on with its own list; BIOS wants to be told the first disk.
    let _ =
        write!(text, "\n:{LOCAL}\niseq ${{platform}} efi && exit 1 ||\nsanboot --no-describe --drive 0x80\n");
    text
}

fn write_menu(text: &mut String, menu: &Menu) -> Result {
    writeln!(text, "\n:start\nmenu Network boot")?;
    for entry in &menu.entries {
        writeln!(text, "item {} {}", entry.label, foreign(&entry.full_title()))?;
        if entry.items.len() > 1 {
            writeln!(text, "item .{} {}: more ...", entry.label, entry.label)?;
        }
    }
    writeln!(text, "item {LOCAL} Boot from the local disk")?;
    write_choice(text, &format!("--default {} {}", menu.default_label(), time_out(menu)), LOCAL)
}

fn time_out(menu: &Menu) -> String {
    if menu.timeout == 0 { String::new() } else { format!("--timeout {} ", menu.timeout * 1000) }
}

/// Lets a person choose; who presses Escape goes to `back`.
fn write_choice(text: &mut String, options: &str, back: &str) -> Result {
    writeln!(text, "choose {options}target || goto {back}\ngoto ${{target}}")
}

fn write_entry(text: &mut String, entry: &IsoEntry, host: &str) -> Result {
    let Some((first, more)) = entry.split() else { return Ok(()) };
    write_boot(text, first, &entry.label, host)?;
    if more.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n:.{}\nmenu {}", entry.label, entry.label)?;
    for item in more {
        writeln!(text, "item {} {}", entry.item_label(item), foreign(&item.title))?;
    }
    write_choice(text, "", "start")?;
    more.iter().try_for_each(|item| write_boot(text, item, &entry.item_label(item), host))
}

fn write_boot(text: &mut String, item: &Item, label: &str, host: &str) -> Result {
    write!(text, "\n:{label}\nkernel {}", item.kernel)?;
    // A kernel started by UEFI asks the loader for the files that initrd= names; one started by BIOS is given them.
    item.initrds.iter().try_for_each(|initrd| write!(text, " initrd={initrd}"))?;
    let words: Vec<String> =
        item.args.iter().filter(|arg| !is_separator(arg)).map(|arg| argument(arg, host)).collect();
    writeln!(text, " BOOTIF=01-${{netX/mac:hexhyp}} {}", words.join(" "))?;
    item.initrds.iter().try_for_each(|initrd| writeln!(text, "initrd {initrd}"))?;
    writeln!(text, "boot || goto start")
}

/// A word that would end the command (iPXE, src/core/exec.c).
fn is_separator(arg: &Arg) -> bool {
    let word = arg.to_string();
    matches!(word.as_str(), "&&" | "||" | ";") || word.starts_with('#')
}

fn argument(arg: &Arg, host: &str) -> String {
    let part = |part: &Part| match part {
        Part::Server => host.to_owned(),
        Part::Text(text) => foreign(text),
    };
    arg.parts().iter().map(part).collect()
}

/// Text in which iPXE expands nothing.
fn foreign(text: &str) -> String {
    text.replace("${", "$ {").replace('^', "")
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
            "#!ipxe\n\n:start\nmenu Network boot\nitem F42 F42: Start Fedora\nitem .F42 F42: more ...\n\
             item .local Boot from the local disk\nchoose --default F42 --timeout 5000 target || goto .local\n\
             goto ${target}\n\n\
             :F42\nkernel vmlinuz_F42 initrd=initrd_F42.img BOOTIF=01-${netX/mac:hexhyp} \
             root=live:CDLABEL=Fedora\\x2042 netroot=nbd:${next-server}:F42.iso quiet\n\
             initrd initrd_F42.img\nboot || goto start\n\n\
             :.F42\nmenu F42\nitem .F42.0 Basic graphics\nchoose target || goto start\ngoto ${target}\n\n\
             :.F42.0\nkernel vmlinuz_F42 initrd=initrd_F42.img BOOTIF=01-${netX/mac:hexhyp} nomodeset\n\
             initrd initrd_F42.img\nboot || goto start\n\n\
             :.local\niseq ${platform} efi && exit 1 ||\nsanboot --no-describe --drive 0x80\n"
        );
    }

    #[test]
    fn a_second_initramfs_stands_behind_the_first() {
        let text = render(&netroot_menu(), None, Machines::default());
        assert!(
            text.contains(
                "\n:F42\nkernel vmlinuz_F42 initrd=initrd_F42.img initrd=netroot_F42.img \
                 BOOTIF=01-${netX/mac:hexhyp} rdinit=/netrootfs/init netroot.nbd=${next-server}/F42.iso quiet\n\
                 initrd initrd_F42.img\ninitrd netroot_F42.img\nboot || goto start\n"
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
             chain --autofree --replace ip-${netX/ip}.ipxe ||\n\n:start\n"
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
        menu.entries[0].items[0].args = Args::parse("a ${mac} && reboot ; #x y");
        let text = render(&menu, None, Machines::default());
        assert!(text.contains("/mac:hexhyp} a $ {mac} reboot y\n"), "{text}");
    }
}
