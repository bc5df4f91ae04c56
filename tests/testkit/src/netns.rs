//! A network of the test's own: bridge, tap, nothing else; ports are free and nothing leaks out.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::process::{PATIENCE, run, wait_for};

/// The address of the bridge, where the servers listen.
pub const SERVER: &str = "10.0.2.2";
/// The network of that address.
pub const NETWORK: &str = "10.0.2.0/24";
/// The addresses that dnsmasq gives to guests.
pub const GUESTS: &str = "10.0.2.100,10.0.2.150";
/// The bridge.
pub const BRIDGE: &str = "br0";
/// The tap on that bridge, for one guest.
pub const TAP: &str = "tap0";

/// Puts the calling thread, and what it starts from now on, into a new network namespace.
///
/// The namespace lives as long as a thread or process is in it, so there is nothing to clean up.
pub fn enter() -> Result<()> {
    // SAFETY: NEWNET leaves the table of file descriptors shared with the other threads.
    #[allow(unsafe_code)]
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("a network namespace of its own needs root")?;
    let address = format!("{SERVER}/24");
    for line in [
        "link set lo up",
        &format!("link add {BRIDGE} type bridge"),
        &format!("address add {address} dev {BRIDGE}"),
        &format!("link set {BRIDGE} up"),
        &format!("tuntap add dev {TAP} mode tap"),
        &format!("link set {TAP} master {BRIDGE} up"),
    ] {
        run(Command::new("ip").args(line.split(' ')))?;
    }
    Ok(())
}

/// Waits until somebody in this thread's network listens on the port; `kind` is `tcp` or `udp`.
pub fn wait_for_listener(kind: &str, port: u16) -> Result<()> {
    let what = format!("a listener on {kind} port {port}");
    wait_for(&what, PATIENCE, || listens(kind, port))
}

/// True if somebody in this thread's network listens on the port.
pub fn listens(kind: &str, port: u16) -> Result<bool> {
    // proc(5), /proc/net/tcp: "sl local_address rem_address st", hexadecimal; state 0A is a listening TCP socket and
    // 07 an unconnected UDP one.
    let state = if kind == "tcp" { "0A" } else { "07" };
    let local = format!(":{port:04X}");
    for table in [kind.to_owned(), format!("{kind}6")] {
        let sockets = fs::read_to_string(format!("/proc/thread-self/net/{table}"))?;
        let found = sockets.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.next().is_some_and(|field| field.ends_with(&local)) && fields.nth(1) == Some(state)
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
