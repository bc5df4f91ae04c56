//! The servers that show the tree to clients: where they are, and on which ports.

use std::net::{Ipv4Addr, UdpSocket};

use super::transport::Export;

/// The port that IANA gave to NBD; nbd-server's and dracut's default.
pub const NBD_PORT: u16 = 10809;

/// QEMU's name for its host in a user network.
pub const QEMU_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The servers that show the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Address or name of the NBD server, as clients call it; `None` leaves it to their loader, which came from there.
    pub host: Option<String>,
    /// Its TCP port.
    pub port: u16,
    /// The export to use wherever there is a choice.
    pub prefer: Option<Export>,
    /// URL at which an HTTP server shows the tree, without a slash at its end.
    pub http: Option<String>,
    /// `HOST:/PATH` at which an NFS server shows the tree, without a slash at its end.
    pub nfs: Option<String>,
}

/// The address that this host has on the interface of its default route.
pub fn own_address() -> String {
    // Connecting a datagram socket sends nothing; it makes the kernel choose a source address (connect(2), ip(7)).
    // The destination is of the block that is reserved for documentation, so only the default route leads there.
    let address = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9))?;
        socket.local_addr()
    });
    address.map_or_else(|_| QEMU_HOST.to_string(), |address| address.ip().to_string())
}
