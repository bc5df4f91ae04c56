//! The address that a machine holds, as a value, and as the words that hand it on to the keeper.
//!
//! Pure. What comes in was checked where it was read (kernel arguments, DHCP); the words are the program's own.

use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
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
    /// With the length of its network's prefix.
    pub address: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    /// Of the lease, if there is one that ends.
    pub terms: Option<Terms>,
    /// The NBD servers, which must stay within reach.
    pub disk_servers: Vec<Ipv4Addr>,
}

impl Held {
    /// The network's broadcast address; networks of one or two machines have none (RFC 3021).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        (self.address.prefix_len() <= 30).then(|| self.address.broadcast())
    }

    /// Whether that machine is in the same network.
    pub fn reaches(&self, other: Ipv4Addr) -> bool {
        self.address.contains(&other)
    }

    /// As `key=value` words.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("if={}", self.index),
            format!("mac={}", self.mac),
            format!("address={}", self.address),
        ];
        words.extend(self.gateway.map(|gateway| format!("gateway={gateway}")));
        words.extend(
            self.terms.map(|terms| {
                format!("lease={},{},{},{}", terms.lease, terms.renew, terms.rebind, terms.server)
            }),
        );
        words.extend(self.disk_servers.iter().map(|server| format!("server={server}")));
        words
    }

    /// Reads what [`Held::words`] wrote.
    pub fn from_words(words: &[String]) -> Option<Self> {
        Some(Self {
            index: value(words, "if")?.parse().ok()?,
            mac: value(words, "mac")?.parse().ok()?,
            address: value(words, "address")?.parse().ok()?,
            gateway: optional(words, "gateway")?,
            terms: value(words, "lease").map_or(Some(None), |terms| parse_terms(terms).map(Some))?,
            disk_servers: values(words, "server").map(|value| value.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

/// The value of that key among `key=value` words.
pub fn value<'a>(words: &'a [String], key: &str) -> Option<&'a str> {
    values(words, key).next()
}

/// The values of that key, which may come several times.
pub fn values<'a>(words: &'a [String], key: &str) -> impl Iterator<Item = &'a str> {
    words.iter().filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held() -> Held {
        Held {
            index: 2,
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            address: Ipv4Net::new_assert([10, 0, 2, 15].into(), 24),
            gateway: None,
            terms: None,
            disk_servers: Vec::new(),
        }
    }

    #[test]
    fn a_network_has_an_end_and_a_border() {
        let held = held();
        assert_eq!(held.broadcast(), Some([10, 0, 2, 255].into()));
        assert!(held.reaches([10, 0, 2, 2].into()));
        assert!(!held.reaches([10, 0, 3, 2].into()));
        let alone = Held { address: Ipv4Net::new_assert([10, 0, 2, 15].into(), 32), ..held.clone() };
        assert_eq!(alone.broadcast(), None);
        assert!(!alone.reaches([10, 0, 2, 14].into()));
        assert!(
            Held { address: Ipv4Net::new_assert([10, 0, 2, 15].into(), 0), ..held }
                .reaches([192, 0, 2, 1].into())
        );
    }

    #[test]
    fn bad_words_are_no_address() {
        let mut words = held().words();
        assert!(Held::from_words(&words).is_some());
        words.push("gateway=nowhere".to_owned());
        assert_eq!(Held::from_words(&words), None);
        for address in ["10.0.2.15", "10.0.2.15/33", "10.0.2/24", "2001:db8::1/64"] {
            let words = ["if=2", "mac=52:54:00:12:34:56", &format!("address={address}")].map(str::to_owned);
            assert_eq!(Held::from_words(&words), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn words_carry_everything(
            index: u32, mac: [u8; 6], address: [u8; 4], prefix in 0u8..=32,
            gateway: Option<[u8; 4]>, terms: Option<([u8; 4], u32, u32, u32)>, servers: Vec<[u8; 4]>,
        ) {
            let held = Held {
                index,
                mac: Mac(mac),
                address: Ipv4Net::new_assert(address.into(), prefix),
                gateway: gateway.map(Into::into),
                terms: terms.map(|(server, lease, renew, rebind)| Terms { server: server.into(), lease, renew, rebind }),
                disk_servers: servers.into_iter().map(Into::into).collect(),
            };
            prop_assert_eq!(Held::from_words(&held.words()), Some(held));
        }
    }
}
