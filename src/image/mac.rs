//! The address of a network card, as the `BOOTIF=` of loaders, the names of their files, the kernel and people write it.

use std::fmt;
use std::str::FromStr;

/// Address of an Ethernet card.
///
/// ```
/// use netrootfs::image::mac::Mac;
///
/// let mac: Mac = "52-54-00-AB-cd-01".parse()?;
/// assert_eq!(mac.to_string(), "52:54:00:ab:cd:01");
/// # Ok::<(), netrootfs::image::mac::NoMac>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no MAC address such as 52:54:00:12:34:56")]
pub struct NoMac(String);

impl Mac {
    /// `aa-bb-cc-dd-ee-ff`.
    pub fn dashed(self) -> String {
        self.with("-")
    }

    /// `aabbccddeeff`.
    pub fn plain(self) -> String {
        self.with("")
    }

    fn with(self, separator: &str) -> String {
        self.0.map(|byte| format!("{byte:02x}")).join(separator)
    }
}

/// `aa:bb:cc:dd:ee:ff`.
impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(":"))
    }
}

/// Six bytes of two hexadecimal digits each, with `:` between them or with `-`.
impl FromStr for Mac {
    type Err = NoMac;

    fn from_str(text: &str) -> Result<Self, NoMac> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let bytes: Option<Vec<u8>> = text.split(separator).map(byte).collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| NoMac(text.to_owned()))
    }
}

fn byte(digits: &str) -> Option<u8> {
    // A number may have a sign for the standard library.
    let sound = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    sound.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_written_with_colons_or_dashes() {
        let mac: Mac = "52:54:00:AB:cd:01".parse().unwrap();
        assert_eq!((mac.dashed().as_str(), mac.plain().as_str()), ("52-54-00-ab-cd-01", "525400abcd01"));
        assert_eq!((mac.to_string().as_str(), mac.0[5]), ("52:54:00:ab:cd:01", 1));
        assert_eq!("52-54-00-ab-cd-01".parse(), Ok(mac));
    }

    #[test]
    fn what_is_no_six_bytes_is_no_card() {
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:1",
            "52:54-00:ab:cd:01",
            "52:54:00:ab:cd:+1",
            "52:54:00:ab:cd:0g",
            "01-52-54-00-ab-cd-01",
            "152:54:00:ab:cd:01",
        ] {
            let sentence = format!("'{text}' is no MAC address such as 52:54:00:12:34:56");
            assert_eq!(text.parse::<Mac>().unwrap_err().to_string(), sentence);
        }
    }
}
