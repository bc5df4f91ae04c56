//! The servers that show the tree to clients: where they are, and on which ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};

use super::transport::Export;

/// The port that IANA gave to NBD; nbd-server's and dracut's default.
pub const NBD_PORT: u16 = 10809;

/// The servers that show the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Address or name of the NBD server, as clients call it; `None` leaves it to their loader, which came from there.
    pub host: Option<String>,
    /// Whether clients are told a name for it, and no address.
    pub by_name: bool,
    /// Its TCP port.
    pub port: u16,
    /// All NBD servers with the same exports, where there are several.
    pub several: Vec<SocketAddrV4>,
    /// The export to use wherever there is a choice.
    pub prefer: Option<Export>,
    /// URL at which an HTTP server shows the tree, without a slash at its end.
    pub http: Option<String>,
    /// `HOST:/PATH` at which an NFS server shows the tree, without a slash at its end.
    pub nfs: Option<String>,
}

impl Servers {
    /// One NBD server of that address, on its usual port, and no other server.
    ///
    /// ```
    /// use netrootfs::boot::servers::{NBD_PORT, Servers};
    ///
    /// let servers = Servers::at("10.0.0.1");
    /// assert_eq!((servers.host.as_deref(), servers.port, servers.http), (Some("10.0.0.1"), NBD_PORT, None));
    /// ```
    pub fn at(host: &str) -> Self {
        let (by_name, host) = (is_name(host), Some(host.to_owned()));
        Self { host, by_name, port: NBD_PORT, several: Vec::new(), prefer: None, http: None, nfs: None }
    }
}

/// Whether it is not an IPv4 address, as netroot-init needs one.
pub fn is_name(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_err()
}

/// The address by which clients reach this host: that of the interface with the default route, else the only one that it
/// has. With several and no default route nobody can tell but an administrator.
pub fn own_address() -> Option<Ipv4Addr> {
    default_route_address().or_else(|| match all_addresses().as_slice() {
        [only] => Some(*only),
        _ => None,
    })
}

/// What this host could be called by its clients, other than itself.
pub fn all_addresses() -> Vec<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.into_iter().filter_map(|interface| match interface.ip() {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_link_local() => Some(address),
        _ => None,
    });
    addresses.collect()
}

fn default_route_address() -> Option<Ipv4Addr> {
    // Connecting a datagram socket sends nothing; it makes the kernel choose a source address (connect(2), ip(7)).
    // The destination is of the block that is reserved for documentation, so only the default route leads there.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
