//! DHCP messages: encoded, and decoded with every length checked. No sockets, no clock.
//!
//! RFC 2131 has the message, RFC 2132 the options, RFC 3396 what it means when an option comes in pieces. Numbers are
//! big-endian. No client identifier is sent: by the card's address alone the server gives the address that the loader had.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, ipv4_mask_to_prefix};
use netrootfs::image::mac::Mac;

use crate::address::Terms;

/// `op` to `file`: what stands before the options.
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// RFC 1542, 2.1: relays may drop what is shorter.
const SHORTEST: usize = 300;
/// Ethernet's payload without the IP and UDP headers; longer ones we ask not to be sent.
pub const LONGEST: usize = 1472;
/// A lease without a time: for ever.
const FOREVER: u32 = u32::MAX;

const NETMASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS: u8 = 6;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const REQUESTED: u8 = 50;
const LEASE: u8 = 51;
const OVERLOAD: u8 = 52;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const TEXT: u8 = 56;
const MAX_SIZE: u8 = 57;
const RENEW: u8 = 58;
const REBIND: u8 = 59;
const CLASS: u8 = 60;
const TFTP_SERVER: u8 = 66;
const TFTP_ADDRESSES: u8 = 150;

/// Option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
}

/// A message of the client.
#[derive(Debug, Clone)]
pub struct Question {
    pub kind: Kind,
    pub xid: u32,
    pub mac: Mac,
    /// Seconds since it began; some relays and servers wait for it to grow.
    pub secs: u16,
    /// The address that the client has and answers on; unspecified as long as it has none.
    pub own: Ipv4Addr,
    /// The address that it would like.
    pub requested: Option<Ipv4Addr>,
    /// The server that it takes an offer of.
    pub server: Option<Ipv4Addr>,
}

impl Question {
    /// The bytes of the UDP packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0]; // BOOTREQUEST by Ethernet
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        // Without an address only a broadcast reaches a UDP socket.
        bytes.extend(if self.own.is_unspecified() { [0x80, 0] } else { [0, 0] });
        bytes.extend(self.own.octets());
        bytes.resize(28, 0);
        bytes.extend(self.mac.0);
        bytes.resize(FIXED, 0);
        bytes.extend(COOKIE);
        let longest = u16::try_from(LONGEST).unwrap_or(u16::MAX).to_be_bytes();
        push(&mut bytes, KIND, &[self.kind as u8]);
        push(&mut bytes, MAX_SIZE, &longest);
        let wanted =
            [NETMASK, ROUTER, DNS, DOMAIN, MTU, LEASE, SERVER, RENEW, REBIND, TFTP_SERVER, TFTP_ADDRESSES];
        push(&mut bytes, WANTED, &wanted);
        push(&mut bytes, CLASS, b"netroot");
        for (code, address) in [(REQUESTED, self.requested), (SERVER, self.server)] {
            if let Some(address) = address {
                push(&mut bytes, code, &address.octets());
            }
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

fn push(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    bytes.push(code);
    bytes.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
    bytes.extend(value);
}

/// A message of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub kind: Kind,
    /// The address given; unspecified in a refusal.
    pub yours: Ipv4Addr,
    next_server: Ipv4Addr,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Answer {
    /// Reads an answer to that question, and nothing else.
    pub fn parse(bytes: &[u8], question: &Question) -> Option<Self> {
        let fixed = bytes.get(..FIXED)?;
        let ours = fixed.starts_with(&[2, 1, 6])
            && fixed.get(4..8)? == question.xid.to_be_bytes()
            && fixed.get(28..34)? == question.mac.0;
        let field = bytes.get(FIXED..)?.strip_prefix(&COOKIE)?;
        if !ours {
            return None;
        }
        let mut options = BTreeMap::new();
        collect(field, &mut options);
        // Option 52: the fields for the boot file (1) and the server's name (2) hold options too, in that order.
        let overload = options.get(&OVERLOAD).and_then(|value: &Vec<u8>| value.first().copied()).unwrap_or(0);
        if overload & 1 != 0 {
            collect(fixed.get(108..FIXED)?, &mut options);
        }
        if overload & 2 != 0 {
            collect(fixed.get(44..108)?, &mut options);
        }
        let kind = match options.get(&KIND)?.as_slice() {
            [2] => Kind::Offer,
            [5] => Kind::Ack,
            [6] => Kind::Nak,
            _ => return None,
        };
        Some(Self {
            kind,
            yours: address(fixed.get(16..)?)?,
            next_server: address(fixed.get(20..)?)?,
            options,
        })
    }

    /// The server that sends it; none in a BOOTP answer.
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.addresses(SERVER).next()
    }

    /// An error message, for people.
    pub fn text(&self) -> Option<String> {
        self.options.get(&TEXT).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// The lease that it grants; `None` if the address can't be a machine's.
    pub fn lease(&self) -> Option<Lease> {
        let address = self.yours;
        let usable = !(address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast());
        if !usable {
            return None;
        }
        let server = self.server();
        let seconds = self.number(LEASE).unwrap_or(FOREVER);
        // RFC 2131, 4.4.5: half of it, and 7/8; what a server names must keep that order.
        let rebind = self.number(REBIND).filter(|at| *at < seconds).unwrap_or(seconds - seconds / 8);
        let renew = self.number(RENEW).filter(|at| *at <= rebind).unwrap_or(seconds / 2).min(rebind);
        let terms = server.filter(|_| seconds != FOREVER).map(|server| Terms {
            server,
            lease: seconds,
            renew,
            rebind,
        });
        let netmask = self.addresses(NETMASK).next();
        let prefix = netmask.and_then(|mask| ipv4_mask_to_prefix(mask).ok()).unwrap_or(24);
        Some(Lease {
            address: Ipv4Net::new(address, prefix).ok()?,
            gateway: self.addresses(ROUTER).next().filter(|gateway| !gateway.is_unspecified()),
            mtu: self.mtu(),
            dns: self.addresses(DNS).take(3).collect(), // resolv.conf(5): MAXNS
            domain: self.options.get(&DOMAIN).and_then(|name| domain(name)),
            boot_server: self.boot_server().or(server),
            server,
            terms,
        })
    }

    /// The server to boot from: the header's, else the options'.
    fn boot_server(&self) -> Option<Ipv4Addr> {
        let named =
            || std::str::from_utf8(self.options.get(&TFTP_SERVER)?).ok()?.trim_end_matches('\0').parse().ok();
        Some(self.next_server)
            .filter(|server| !server.is_unspecified())
            .or_else(named)
            .or_else(|| self.addresses(TFTP_ADDRESSES).next())
    }

    fn addresses(&self, code: u8) -> impl Iterator<Item = Ipv4Addr> {
        self.options.get(&code).map_or(&[][..], Vec::as_slice).chunks_exact(4).filter_map(address)
    }

    fn number(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.options.get(&code)?.as_slice().try_into().ok()?))
    }

    fn mtu(&self) -> Option<u16> {
        let mtu = u16::from_be_bytes(self.options.get(&MTU)?.as_slice().try_into().ok()?);
        // RFC 791: every machine takes 576 bytes; NBD would not get far with less.
        (mtu >= 576).then_some(mtu)
    }
}

/// An address and its surroundings, as a server grants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    pub mtu: Option<u16>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    /// The server to boot from.
    pub boot_server: Option<Ipv4Addr>,
    /// The DHCP server.
    pub server: Option<Ipv4Addr>,
    /// Until when; `None` is for ever.
    pub terms: Option<Terms>,
}

/// Reads a field of options; one that comes in pieces is put together. Ends at the first that doesn't fit.
fn collect(mut field: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    while let Some((&code, rest)) = field.split_first() {
        match code {
            0 => field = rest,
            255 => return,
            code => {
                let Some((&length, rest)) = rest.split_first() else { return };
                let Some((value, rest)) = rest.split_at_checked(usize::from(length)) else { return };
                options.entry(code).or_default().extend(value);
                field = rest;
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// A domain name as it may stand in resolv.conf.
fn domain(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0');
    let good = |symbol: char| symbol.is_ascii_alphanumeric() || matches!(symbol, '.' | '-' | '_');
    (!name.is_empty() && name.len() <= 253 && name.chars().all(good)).then(|| name.to_owned())
}

// By its path, as this module is one of the fuzz targets too, under another name.
#[cfg(test)]
#[path = "dhcp/tests.rs"]
mod tests;
