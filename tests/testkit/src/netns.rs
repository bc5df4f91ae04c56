//! A network of the test's own: bridge, tap, nothing else; ports are free and nothing leaks out. Further networks hang on its
//! bridge by a cable each.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::thread;

use anyhow::{Context, Result, anyhow};
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
/// The card of a [`Network`].
pub const CARD: &str = "eth0";

/// Puts the calling thread, and what it starts from now on, into a new network namespace.
///
/// The namespace lives as long as a thread or process is in it, so there is nothing to clean up.
pub fn enter() -> Result<()> {
    unshare()?;
    let address = format!("{SERVER}/24");
    ip("link set lo up")?;
    ip(&format!("link add {BRIDGE} type bridge"))?;
    ip(&format!("address add {address} dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    add_tap(TAP)
}

/// Puts one more tap on the bridge.
pub fn add_tap(name: &str) -> Result<()> {
    ip(&format!("tuntap add dev {name} mode tap"))?;
    ip(&format!("link set {name} master {BRIDGE} up"))
}

/// Runs ip(8) in the calling thread's network.
pub fn ip(words: &str) -> Result<()> {
    run(Command::new("ip").args(words.split(' ')))
}

fn unshare() -> Result<()> {
    // SAFETY: NEWNET leaves the table of file descriptors shared with the other threads.
    #[allow(unsafe_code)]
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("a network namespace of its own needs root")
}

/// One more network, which lives as long as the value.
pub struct Network(File);

impl Network {
    /// A network with that address on its one card, whose cable's other end has that name on the calling thread's bridge.
    pub fn on_bridge(address: &str, cable: &str) -> Result<Self> {
        let open = || -> Result<Self> {
            unshare()?;
            Ok(Self(File::open("/proc/thread-self/ns/net")?))
        };
        // Of another thread, as this one is to stay where it is.
        let network = thread::spawn(open).join().map_err(|_| anyhow!("a panic in another network"))??;
        ip(&format!("link add {cable} type veth peer name {CARD} netns {}", network.place()))?;
        ip(&format!("link set {cable} master {BRIDGE} up"))?;
        network.run("ip link set lo up")?;
        network.run(&format!("ip address add {address} dev {CARD}"))?;
        network.run(&format!("ip link set {CARD} up"))?;
        Ok(network)
    }

    /// A command line for a program in that network.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.place())).arg(program);
        command
    }

    /// Runs a line of words to its end in that network.
    pub fn run(&self, line: &str) -> Result<()> {
        let (program, words) = line.split_once(' ').unwrap_or((line, ""));
        run(self.command(program).args(words.split(' ')))
    }

    fn place(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }
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
