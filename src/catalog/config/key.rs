//! The keys of machines: cards, UUIDs and addresses, and the names that loaders make of them.
//!
//! pxelinux and GRUB write an address as eight hexadecimal digits and, if there is no such file, ask for it with fewer and
//! fewer of them (syslinux, doc/pxelinux.txt; GRUB, grub-core/net/net.c, `grub_net_search_config_file`). So one short name
//! stands for sixteen addresses, 256, or 4096, and a range needs few names.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::image::label::{Label, LabelError};
use crate::image::mac::Mac;

/// Addresses in a range. Larger ones are a whole site's, which the general menu is for.
const MAX_ADDRESSES: u64 = 1 << 16;

/// Addresses in a range that also get a name each, for loaders that don't shorten: iPXE, and dnsmasq's directories.
const MAX_SINGLE: u64 = 256;

/// Digits of an address in a loader's name.
const DIGITS: u32 = 8;

/// UUID of a machine (SMBIOS reference specification, 7.2.1; DHCP option 97).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; 16]);

/// Addresses from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    first: u32,
    last: u32,
}

/// A server that machines can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port, where it is another than for all.
    pub port: Option<u16>,
}

/// One, or several in a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List<T>(pub Vec<T>);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not five fields of their lengths.
    #[error("'{0}' is no UUID such as 4c4c4544-0042-3510-8052-b4c04f4d3732")]
    Uuid(String),
    /// Nothing that is known.
    #[error("'{0}' is no IPv4 address, range such as 10.0.0.10-10.0.0.20, or network such as 10.0.0.0/24")]
    Range(String),
    /// No address, or no port.
    #[error("'{0}' is no IPv4 address such as 10.0.0.1, or 10.0.0.1:10810")]
    Server(String),
    /// A network with bits of a host.
    #[error("'{text}' is an address in the network {network}/{length}")]
    InNetwork {
        /// The text.
        text: String,
        /// The network that was meant.
        network: Ipv4Addr,
        /// Its prefix length.
        length: u32,
    },
    /// The last before the first.
    #[error("'{0}' ends before it begins")]
    Backwards(String),
    /// More than a menu should be made for.
    #[error("'{0}' has {1} addresses, more than {MAX_ADDRESSES}")]
    Large(String, u64),
}

impl Uuid {
    /// The names that loaders make of it, the same for both ways of writing it: SMBIOS has the first three fields in
    /// little-endian order, DHCP hands them on as they are, and programs that show them may turn them round.
    pub fn names(self) -> [String; 2] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        let mut turned = self.0;
        turned.iter_mut().zip([d, c, b, a, f, e, h, g]).for_each(|(to, from)| *to = from);
        [self.to_string(), Self(turned).to_string()]
    }
}

impl Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let dash = if matches!(position, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let fault = || KeyError::Uuid(text.to_owned());
        let fields: Vec<&str> = text.split('-').collect();
        if fields.iter().map(|field| field.len()).ne([8, 4, 4, 4, 12]) {
            return Err(fault());
        }
        let number: u128 = hex(&fields.concat(), 32).ok_or_else(fault)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Range {
    /// The shortest names that stand for these addresses and no others.
    pub fn names(self) -> Vec<String> {
        let mut names = Vec::new();
        let (mut next, end) = (u64::from(self.first), u64::from(self.last) + 1);
        while next < end {
            let fits = |left_out: &u32| {
                let size = 1_u64 << (4 * left_out);
                next % size == 0 && next + size <= end
            };
            let left_out = (0..DIGITS).rev().find(fits).unwrap_or(0);
            let digits = (DIGITS - left_out) as usize;
            names.push(format!("{:0digits$X}", next >> (4 * left_out)));
            next += 1 << (4 * left_out);
        }
        names
    }

    /// The addresses one by one, if they are few.
    pub fn few(self) -> impl Iterator<Item = Ipv4Addr> {
        let few = u64::from(self.last - self.first) < MAX_SINGLE;
        few.then_some(self.first..=self.last).into_iter().flatten().map(Ipv4Addr::from)
    }
}

impl FromStr for Server {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let fault = || KeyError::Server(text.to_owned());
        let (address, port) = match text.split_once(':') {
            Some((address, port)) => {
                (address, Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(fault)?))
            }
            None => (text, None),
        };
        Ok(Self { address: address.parse().map_err(|_| fault())?, port })
    }
}

impl FromStr for Range {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let fault = || KeyError::Range(text.to_owned());
        let address = |text: &str| text.trim().parse::<Ipv4Addr>().map(u32::from).map_err(|_| fault());
        let (first, last) = if let Some((network, length)) = text.split_once('/') {
            let first = address(network)?;
            let length: u32 = length.parse().ok().filter(|length| *length <= 32).ok_or_else(fault)?;
            let hosts = u32::try_from((1_u64 << (32 - length)) - 1).unwrap_or(u32::MAX);
            if first & hosts != 0 {
                let network = Ipv4Addr::from(first & !hosts);
                return Err(KeyError::InNetwork { text: text.to_owned(), network, length });
            }
            (first, first | hosts)
        } else if let Some((first, last)) = text.split_once('-') {
            (address(first)?, address(last)?)
        } else {
            let one = address(text)?;
            (one, one)
        };
        let count = i64::from(last) - i64::from(first) + 1;
        match u64::try_from(count) {
            Ok(1..=MAX_ADDRESSES) => Ok(Self { first, last }),
            Ok(0) | Err(_) => Err(KeyError::Backwards(text.to_owned())),
            Ok(count) => Err(KeyError::Large(text.to_owned(), count)),
        }
    }
}

/// So many hexadecimal digits and nothing else.
fn hex<T: TryFrom<u128>>(text: &str, digits: usize) -> Option<T> {
    let sound = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    T::try_from(sound.then(|| u128::from_str_radix(text, 16).ok())??).ok()
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Element> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMany<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Element> Visitor<'de> for OneOrMany<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<List<T>, E> {
                T::read(text).map(|one| List(vec![one])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = sequence.next_element()? {
                    list.push(element);
                }
                Ok(List(list))
            }
        }

        from.deserialize_any(OneOrMany(PhantomData))
    }
}

/// A value that is written as one word.
pub trait Element: Sized {
    /// Why a word is none.
    type Error: fmt::Display;

    /// Takes it from a person.
    ///
    /// # Errors
    /// If the word is none.
    fn read(text: &str) -> Result<Self, Self::Error>;
}

impl Element for Label {
    type Error = LabelError;

    fn read(text: &str) -> Result<Self, LabelError> {
        Self::parse(text)
    }
}

macro_rules! element {
    ($($key:ty),*) => {$(
        impl Element for $key {
            type Error = <Self as FromStr>::Err;

            fn read(text: &str) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl<'de> Deserialize<'de> for $key {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                checked(from, Self::read)
            }
        }
    )*};
}

element!(Mac, Uuid, Range, Server);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(from, Self::read)
    }
}

/// A string that passes a gate.
pub fn checked<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    gate: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    gate(&String::deserialize(from)?).map_err(Error::custom)
}

/// What options take as a word, which TOML may have as a number.
pub fn text_or_number<'de, D: Deserializer<'de>, T>(
    from: D,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a word or a number")]
    enum TextOrNumber {
        Text(String),
        Number(u64),
    }
    let text = match TextOrNumber::deserialize(from)? {
        TextOrNumber::Text(text) => text,
        TextOrNumber::Number(number) => number.to_string(),
    };
    read(&text).map(Some).map_err(Error::custom)
}

/// The same, for a key that need not be there; if it is, it has a value.
pub fn checked_option<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    gate: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, D::Error> {
    checked(from, gate).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.parse::<Range>().unwrap().names()
    }

    #[test]
    fn one_address_is_one_name() {
        assert_eq!(names("10.0.2.111"), ["0A00026F"]);
        assert_eq!(names("10.0.2.111/32"), ["0A00026F"]);
    }

    #[test]
    fn networks_have_short_names() {
        assert_eq!(names("10.0.2.0/24"), ["0A0002"]);
        assert_eq!(names("172.16.0.0/16"), ["AC10"]);
        assert_eq!(names("10.0.2.0/26"), ["0A00020", "0A00021", "0A00022", "0A00023"]);
    }

    #[test]
    fn ranges_have_the_names_that_are_exact() {
        assert_eq!(names("10.0.0.14-10.0.0.33"), ["0A00000E", "0A00000F", "0A00001", "0A000020", "0A000021"]);
        let longest = names("10.0.0.1-10.0.255.254");
        assert_eq!(longest.len(), 4 * 15 + 14 + 2 * 15);
    }

    #[test]
    fn names_stand_for_the_range_and_nothing_else() {
        for (first, last) in [(0_u32, 65_535), (1, 65_534), (255, 257), (4095, 4096), (7, 7)] {
            let range = Range { first, last };
            let names = range.names();
            for address in 0..70_000 {
                let asked = format!("{address:08X}");
                let found = names.iter().filter(|name| asked.starts_with(name.as_str())).count();
                assert_eq!(found, usize::from((first..=last).contains(&address)), "{address} in {range:?}");
            }
        }
    }

    #[test]
    fn only_few_addresses_have_names_of_their_own() {
        let few = |text: &str| text.parse::<Range>().unwrap().few().count();
        assert_eq!((few("10.0.2.0/24"), few("10.0.2.0/23"), few("10.0.2.1")), (256, 0, 1));
    }

    #[test]
    fn ranges_have_limits() {
        let refusal = |text: &str| text.parse::<Range>().unwrap_err().to_string();
        assert_eq!(refusal("10.0.0.0/15"), "'10.0.0.0/15' has 131072 addresses, more than 65536");
        assert_eq!(refusal("0.0.0.0/0"), "'0.0.0.0/0' has 4294967296 addresses, more than 65536");
        assert_eq!(refusal("10.0.0.9-10.0.0.8"), "'10.0.0.9-10.0.0.8' ends before it begins");
        assert_eq!(refusal("10.0.2.5/24"), "'10.0.2.5/24' is an address in the network 10.0.2.0/24");
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.1-", "::1", "10.0.0.1-20"] {
            assert!(refusal(text).contains("is no IPv4 address, range such as"), "{text}");
        }
    }

    #[test]
    fn a_uuid_has_two_orders() {
        let uuid: Uuid = "00112233-4455-6677-8899-AABBCCDDEEFF".parse().unwrap();
        let turned = "33221100-5544-7766-8899-aabbccddeeff";
        assert_eq!(uuid.names(), ["00112233-4455-6677-8899-aabbccddeeff", turned]);
        assert_eq!(turned.parse::<Uuid>().unwrap().names()[1], uuid.names()[0]);
        assert!("00112233445566778899aabbccddeeff".parse::<Uuid>().is_err());
        assert!("0011223z-4455-6677-8899-AABBCCDDEEFF".parse::<Uuid>().is_err());
    }
}
