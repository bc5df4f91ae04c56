//! Links, addresses and routes, over rtnetlink; always by the card's number, because names change.
//!
//! Everything can be done again: what is there already is no error.

use std::io;
use std::net::Ipv4Addr;

use crate::address::Held;
use crate::netlink::{
    Attributes, NLA_F_NESTED, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Request, Socket, attribute,
};

/// A default route of last resort, so that the live system's own wins.
const METRIC: u32 = 4096;
/// The prefix length of an address without a network.
const ALONE: u8 = 32;
const ANYWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`.
const EVENTS: u32 = 0x1 | 0x10 | 0x40;

// uapi/linux/if_link.h, if_addr.h, rtnetlink.h
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;

const FAMILY: u8 = libc::AF_INET as u8;
const UP: u32 = libc::IFF_UP as u32;

/// A socket that becomes readable when a link, an address or a route changes.
pub fn events() -> io::Result<Socket> {
    Socket::route(EVENTS)
}

/// Switches a card on.
pub fn set_up(index: u32, mtu: Option<u16>) -> io::Result<()> {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &link_head(index, UP, UP));
    if let Some(mtu) = mtu {
        request = request.with(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    }
    Socket::route(0)?.ask(request).map(drop)
}

/// Makes the VLAN's own link on a card, if it isn't there: `name`.
pub fn add_vlan(parent: u32, name: &str, id: u16) -> io::Result<()> {
    let data = attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
    let info = [attribute(IFLA_INFO_KIND, b"vlan"), attribute(IFLA_INFO_DATA | NLA_F_NESTED, &data)].concat();
    let request = Request::new(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_head(0, 0, 0))
        .with(IFLA_LINK, &parent.to_ne_bytes())
        .with(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat())
        .with(IFLA_LINKINFO | NLA_F_NESTED, &info);
    there(Socket::route(0)?.ask(request))
}

/// The card's name, as it is now.
pub fn name(index: u32) -> io::Result<String> {
    let answer = Socket::route(0)?.ask(Request::new(libc::RTM_GETLINK, 0, &link_head(index, 0, 0)))?;
    let name = answer.iter().find_map(|body| name_in(body.get(16..)?));
    name.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn name_in(attributes: &[u8]) -> Option<String> {
    let (_, name) = Attributes(attributes).find(|(kind, _)| *kind == IFLA_IFNAME)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

/// Sees to it that the card is up and has the address, the default route, and a way to the NBD server.
pub fn hold(held: &Held) -> io::Result<()> {
    set_up(held.index, None)?;
    let socket = Socket::route(0)?;
    there(socket.ask(address(
        held,
        held.address.prefix_len(),
        libc::RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_EXCL,
    )))?;
    add_routes(held, &socket)
}

/// The same after somebody has taken the address: alone, with a way into its network. A DHCP client that has flushed the card is
/// about to add the address with its prefix, and Debian's installer's gives up where that is there already.
pub fn restore(held: &Held) -> io::Result<()> {
    set_up(held.index, None)?;
    let socket = Socket::route(0)?;
    let prefixes = prefixes(held, &socket)?;
    if prefixes.is_empty() {
        there(socket.ask(address(held, ALONE, libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL)))?;
    }
    let network = held.address.trunc();
    if !prefixes.contains(&network.prefix_len()) && (1..ALONE).contains(&network.prefix_len()) {
        there(socket.ask(route(held.index, network.addr(), network.prefix_len(), None)))?;
    }
    add_routes(held, &socket)
}

/// The prefix lengths that the card has the address with.
fn prefixes(held: &Held, socket: &Socket) -> io::Result<Vec<u8>> {
    let request = Request::new(libc::RTM_GETADDR, NLM_F_DUMP, &[FAMILY, 0, 0, 0, 0, 0, 0, 0]);
    let ours = |body: &Vec<u8>| {
        let (head, attributes) = body.split_at_checked(8)?;
        let local = Attributes(attributes).find(|(kind, _)| *kind == IFA_LOCAL)?.1;
        let ours = head.get(4..)? == held.index.to_ne_bytes() && local == held.address.addr().octets();
        ours.then(|| head.get(1).copied())?
    };
    Ok(socket.ask(request)?.iter().filter_map(ours).collect())
}

fn add_routes(held: &Held, socket: &Socket) -> io::Result<()> {
    let Some(gateway) = held.gateway else { return Ok(()) };
    if !held.reaches(gateway) {
        // Some networks give a single address, and a gateway outside it.
        there(socket.ask(route(held.index, gateway, 32, None)))?;
    }
    there(socket.ask(route(held.index, ANYWHERE, 0, Some(gateway))))?;
    let far = held.disk_servers.iter().filter(|server| !held.reaches(**server));
    far.into_iter().try_for_each(|server| there(socket.ask(route(held.index, *server, 32, Some(gateway)))))
}

/// Takes the address away, and its routes with it.
pub fn release(held: &Held) -> io::Result<()> {
    Socket::route(0)?.ask(address(held, held.address.prefix_len(), libc::RTM_DELADDR, 0)).map(drop)
}

fn there(answer: io::Result<Vec<Vec<u8>>>) -> io::Result<()> {
    match answer {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

/// `ifinfomsg`: family, type, index, flags, mask of flags.
fn link_head(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut head = [0; 16];
    for (place, word) in head.chunks_exact_mut(4).skip(1).zip([index, flags, change]) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    head
}

fn address(held: &Held, prefix: u8, kind: u16, flags: u16) -> Request {
    let address = held.address.addr().octets();
    // `ifaddrmsg`: family, prefix, flags, scope (universe), index.
    let head = [&[FAMILY, prefix, 0, 0][..], &held.index.to_ne_bytes()].concat();
    let request = Request::new(kind, flags, &head).with(IFA_LOCAL, &address).with(IFA_ADDRESS, &address);
    match held.broadcast().filter(|_| prefix != ALONE) {
        Some(broadcast) => request.with(IFA_BROADCAST, &broadcast.octets()),
        None => request,
    }
}

fn route(index: u32, to: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> Request {
    let scope = if gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    // `rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
    let head =
        [FAMILY, prefix, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, scope, libc::RTN_UNICAST, 0, 0, 0, 0];
    let mut request = Request::new(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &head)
        .with(RTA_OIF, &index.to_ne_bytes())
        .with(RTA_PRIORITY, &METRIC.to_ne_bytes());
    if let Some(gateway) = gateway {
        request = request.with(RTA_GATEWAY, &gateway.octets());
    }
    if prefix > 0 {
        request = request.with(RTA_DST, &to.octets());
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_name() {
        assert_eq!(name(1).unwrap(), "lo");
        assert_eq!(name(0x7fff_ffff).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn a_link_is_named_by_its_number() {
        assert_eq!(link_head(7, 1, 1)[4..8], 7u32.to_ne_bytes());
        assert_eq!(link_head(7, 1, 1)[..4], [0; 4]);
    }
}
