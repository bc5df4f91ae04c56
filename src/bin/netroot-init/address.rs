//! The address that a machine holds, as a value, and as the words that hand it on to the keeper.
//!
//! Pure. What comes in was checked where it was read (kernel arguments, DHCP); the words are the program's own.

use std::net::Ipv4Addr;
use std::str::FromStr;

use netrootfs::image::mac::Mac;

/// Until when an address is ours: seconds from when the server gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Who gave it.
    pub server: Ipv4Addr,
    /// When it ends.
    pub lease: u32,
    /// When to ask that server for more (T1).
    pub renew: u32,
    /// When to ask any server (T2).
    pub rebind: u32,
}

/// An address on a card, and the ways out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The card, by its number: its name may change.
    pub index: u32,
    pub mac: Mac,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    /// Of the lease, if there is one that ends.
    pub terms: Option<Terms>,
    /// The NBD server, which must stay within reach.
    pub disk_server: Option<Ipv4Addr>,
}

impl Held {
    /// The network's broadcast address; networks of one or two machines have none (RFC 3021).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        (self.prefix <= 30).then(|| (u32::from(self.address) | !mask(self.prefix)).into())
    }

    /// Whether that machine is in the same network.
    pub fn reaches(&self, other: Ipv4Addr) -> bool {
        (u32::from(self.address) ^ u32::from(other)) & mask(self.prefix) == 0
    }

    /// As `key=value` words.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("if={}", self.index),
            format!("mac={}", self.mac),
            format!("address={}/{}", self.address, self.prefix),
        ];
        words.extend(self.gateway.map(|gateway| format!("gateway={gateway}")));
        words.extend(
            self.terms.map(|terms| {
                format!("lease={},{},{},{}", terms.lease, terms.renew, terms.rebind, terms.server)
            }),
        );
        words.extend(self.disk_server.map(|server| format!("server={server}")));
        words
    }

    /// Reads what [`Held::words`] wrote.
    pub fn from_words(words: &[String]) -> Option<Self> {
        let (address, prefix) = value(words, "address")?.split_once('/')?;
        Some(Self {
            index: value(words, "if")?.parse().ok()?,
            mac: value(words, "mac")?.parse().ok()?,
            address: address.parse().ok()?,
            prefix: prefix.parse().ok().filter(|prefix| *prefix <= 32)?,
            gateway: optional(words, "gateway")?,
            terms: value(words, "lease").map_or(Some(None), |terms| parse_terms(terms).map(Some))?,
            disk_server: optional(words, "server")?,
        })
    }
}

/// The value of that key among `key=value` words.
pub fn value<'a>(words: &'a [String], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// `Some(None)` without that key, `None` if its value is a bad one.
fn optional<T: FromStr>(words: &[String], key: &str) -> Option<Option<T>> {
    value(words, key).map_or(Some(None), |value| value.parse().ok().map(Some))
}

fn parse_terms(text: &str) -> Option<Terms> {
    let mut fields = text.split(',');
    let mut number = || fields.next()?.parse().ok();
    let (lease, renew, rebind) = (number()?, number()?, number()?);
    Some(Terms { server: fields.next()?.parse().ok()?, lease, renew, rebind })
}

fn mask(prefix: u8) -> u32 {
    !u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

/// The prefix length of a netmask without holes.
pub fn prefix_of(netmask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(netmask);
    let prefix = u8::try_from(bits.leading_ones()).ok()?;
    (bits == mask(prefix)).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held() -> Held {
        Held {
            index: 2,
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            address: [10, 0, 2, 15].into(),
            prefix: 24,
            gateway: None,
            terms: None,
            disk_server: None,
        }
    }

    #[test]
    fn a_network_has_an_end_and_a_border() {
        let held = held();
        assert_eq!(held.broadcast(), Some([10, 0, 2, 255].into()));
        assert!(held.reaches([10, 0, 2, 2].into()));
        assert!(!held.reaches([10, 0, 3, 2].into()));
        let alone = Held { prefix: 32, ..held.clone() };
        assert_eq!(alone.broadcast(), None);
        assert!(!alone.reaches([10, 0, 2, 14].into()));
        assert!(Held { prefix: 0, ..held }.reaches([192, 0, 2, 1].into()));
    }

    #[test]
    fn a_netmask_has_no_holes() {
        assert_eq!(prefix_of([255, 255, 254, 0].into()), Some(23));
        assert_eq!(prefix_of([255, 255, 255, 255].into()), Some(32));
        assert_eq!(prefix_of([0, 0, 0, 0].into()), Some(0));
        assert_eq!(prefix_of([255, 0, 255, 0].into()), None);
    }

    #[test]
    fn bad_words_are_no_address() {
        let mut words = held().words();
        assert!(Held::from_words(&words).is_some());
        words.push("gateway=nowhere".to_owned());
        assert_eq!(Held::from_words(&words), None);
    }

    proptest! {
        #[test]
        fn words_carry_everything(
            index: u32, mac: [u8; 6], address: [u8; 4], prefix in 0u8..=32,
            gateway: Option<[u8; 4]>, terms: Option<([u8; 4], u32, u32, u32)>, server: Option<[u8; 4]>,
        ) {
            let held = Held {
                index, prefix,
                mac: Mac(mac),
                address: address.into(),
                gateway: gateway.map(Into::into),
                terms: terms.map(|(server, lease, renew, rebind)| Terms { server: server.into(), lease, renew, rebind }),
                disk_server: server.map(Into::into),
            };
            prop_assert_eq!(Held::from_words(&held.words()), Some(held));
        }
    }
}
