//! The loaders between firmware and kernel: what DHCP tells a machine, and which of them then ask for which files.

use std::fs;

use anyhow::{Result, ensure};
use testkit::work::Work;

use crate::support::qemu::{Firmware, MAC};
use crate::support::servers::Dhcp;

/// The loaders of one way from firmware to kernel.
pub struct Loaders {
    /// The firmware that starts them.
    pub firmware: Firmware,
    /// DHCP's answer.
    pub dhcp: Dhcp,
    /// Its name for people.
    pub name: &'static str,
    /// True if the machine has a menu of its own, and the others another default.
    pub own_menu: bool,
    /// Files of which each is asked for after the one before: the loaders and their menu.
    asks_for: Vec<String>,
}

impl Loaders {
    /// pxelinux, as it always was.
    pub fn pxelinux() -> Self {
        Self::new(
            Firmware::Bios,
            "pxelinux",
            Dhcp::file("pxelinux.0"),
            &["pxelinux.0", "ldlinux.c32", "pxelinux.cfg/default", "menu.c32"],
        )
    }

    /// pxelinux, which asks for the menu of its machine before that of all.
    pub fn pxelinux_of_a_machine() -> Self {
        let menu = format!("pxelinux.cfg/01-{}", MAC.replace(':', "-"));
        let asks_for = ["pxelinux.0", "ldlinux.c32", &menu, "menu.c32", &menu];
        Self { own_menu: true, ..Self::new(Firmware::Bios, "pxelinux", Dhcp::file("pxelinux.0"), &asks_for) }
    }

    /// The iPXE of a network card's ROM, which DHCP gives the script, by `netrootfs dhcp`.
    pub fn ipxe() -> Self {
        Self::new(Firmware::Bios, "iPXE", Dhcp::Snippet, &["boot.ipxe"])
    }

    /// iPXE, loaded by a UEFI machine's PXE.
    pub fn uefi_ipxe() -> Self {
        let dhcp = Dhcp::Files { firmware: "snponly.efi".into(), ipxe: "boot.ipxe".into() };
        Self::new(Firmware::Uefi, "iPXE", dhcp, &["snponly.efi", "boot.ipxe"])
    }

    /// The iPXE in a card's ROM, of a UEFI machine.
    pub fn uefi_ipxe_of_the_card() -> Self {
        Self::new(Firmware::Uefi, "iPXE", Dhcp::Snippet, &["boot.ipxe"])
    }

    /// This host's shim and GRUB, which a UEFI machine is given by `netrootfs dhcp`.
    pub fn grub() -> Self {
        Self::new(Firmware::Uefi, "GRUB", Dhcp::Snippet, &["bootx64.efi", "grubx64.efi", "grub/grub.cfg"])
    }

    /// Secure Boot with the shim and the GRUB that an ISO carries.
    pub fn shim_of(label: &str) -> Self {
        let [shim, grub] = ["bootx64.efi", "grubx64.efi"].map(|name| format!("efi/{label}/{name}"));
        Self::new(Firmware::SecureBoot, "GRUB", Dhcp::file(&shim), &[&shim, &grub, "grub/grub.cfg"])
    }

    fn new(firmware: Firmware, name: &'static str, dhcp: Dhcp, asks_for: &[&str]) -> Self {
        let own_menu = false;
        Self {
            firmware,
            name,
            dhcp,
            own_menu,
            asks_for: asks_for.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// An error if the loaders of another way were at work: the names in the log of requests, in their order, up to
    /// kernel and initrds.
    pub fn check(&self, files: &[String], work: &Work) -> Result<()> {
        let asked = asked_for(&fs::read_to_string(work.log("tcpdump"))?);
        let mut left = asked.iter();
        for name in self.asks_for.iter().chain(files) {
            ensure!(left.any(|other| is_of(other, name)), "nobody asked for {name} in its turn: {asked:?}");
        }
        Ok(())
    }
}

/// Whether a file is that one, or the same of another kernel of the ISO: BIOS machines have that of the BIOS menu.
fn is_of(file: &str, name: &str) -> bool {
    let first = match file.split_once('+') {
        Some((head, further)) if further.ends_with(".img") => format!("{head}.img"),
        Some((head, _)) => head.to_owned(),
        None => file.to_owned(),
    };
    first == name
}

/// The names of TFTP read requests in what tcpdump prints. GRUB puts a slash before them.
fn asked_for(log: &str) -> Vec<String> {
    let name = |line: &str| {
        let (_, request) = line.split_once("RRQ \"")?;
        Some(request.split_once('"')?.0.trim_start_matches('/').to_owned())
    };
    log.lines().filter_map(name).collect()
}

#[test]
fn requests_are_read_from_tcpdump() {
    let log = "12:00:01.1 IP 10.0.2.100.2070 > 10.0.2.2.69: TFTP, length 41, RRQ \"pxelinux.0\" octet tsize 0\n\
        12:00:01.2 IP 10.0.2.100.1 > 10.0.2.2.10809: Flags [S]\n\
        12:00:01.3 IP 10.0.2.100.2071 > 10.0.2.2.69:  35 RRQ \"/grub/grub.cfg\" octet blksize 1024";
    assert_eq!(asked_for(log), ["pxelinux.0", "grub/grub.cfg"]);
}
