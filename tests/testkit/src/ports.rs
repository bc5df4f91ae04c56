//! Ports of this host's own address that are free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where they are looked for: below those that the kernel gives to connections (`net.ipv4.ip_local_port_range`), so that
/// none of the other tests' takes one between here and the server that it is for.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port of the loopback address that nobody listens on, and that no other test of this program gets.
///
/// # Panics
/// If there is none.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs that run beside each other begin at different places.
    let from = std::process::id() % u32::from(COUNT);
    for _ in 0..COUNT {
        let next = (from + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + next as u16;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free from {FIRST} on");
}

/// The loopback address with that port.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
