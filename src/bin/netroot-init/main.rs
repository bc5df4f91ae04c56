//! `netroot-init`: makes an unmodified live ISO boot over NBD.
//!
//! It comes in an initramfs of its own beside the ISO's (`rdinit=/netrootfs/init`), attaches the whole ISO as `/dev/nbd0`, and
//! then becomes the ISO's own `/init`, which finds a disc as if it were in a drive. It speaks netlink, DHCP and NBD itself:
//! the initramfs has no tools to rely on, and each crate for it makes a static program of 1.5 MB larger by more than a tenth
//! (dhcproto 0.15: 228 KB, netlink-packet-route 0.34: 507 KB) or replaces little (neli 0.7: 19 KB, and its own types for nbd's
//! and VLAN's attributes). Run by hand it tries a part:
//!
//! ```text
//! netroot-init nbd SERVER:PORT/EXPORT       what the NBD server says
//! netroot-init read MAC SERVER,…/EXPORT     the disc, from the servers as the machine with that card goes through them
//! netroot-init dhcp INTERFACE               what the DHCP server says
//! netroot-init hold INTERFACE               takes that address, and holds on to it until it is killed
//! ```

mod address;
mod aliases;
mod attach;
mod boot;
mod card;
mod commands;
mod console;
mod dhcp;
mod dial;
mod disk;
mod herald;
mod keeper;
mod lease;
mod link;
mod modules;
mod nbd;
mod netlink;
mod reader;
mod servers;
mod settings;
mod spread;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let name = words.next().unwrap_or_default();
    let words: Vec<_> = words.collect();
    if name == keeper::NAME {
        return keeper::run(&words);
    }
    if console::first_process() {
        boot::run();
    }
    commands::run(&words)
}
