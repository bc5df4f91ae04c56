//! Values of options as people write them.
//!
//! Each function takes the text of one option and gives its value, or a sentence that says what is expected.

use std::ffi::OsString;
use std::net::Ipv4Addr;

use crate::catalog::people::{self, Account};
use crate::image::label::Label;

/// Bytes, with a unit that is a power of 1024: `256M`, `256MB` and `256MiB` are the same.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|symbol: char| !symbol.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase();
    let power = match unit.strip_suffix("IB").or(unit.strip_suffix('B')).unwrap_or(&unit) {
        "" if unit != "IB" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err("not a size such as 64M or 1G".into()),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1024_u64.pow(power)));
    bytes.ok_or_else(|| "not a size such as 64M or 1G".into())
}

/// A TCP port.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| "not a port number between 1 and 65535".into())
}

/// A user by name or number.
pub fn user(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .or_else(|| people::user(text))
        .ok_or_else(|| "this host has no user of that name".into())
}

/// An account other than root's by name or number.
pub fn account(text: &str) -> Result<Account, String> {
    match people::account(user(text)?) {
        None => Err("this host has no user of that number".into()),
        Some(account) if account.uid == 0 => Err("root is who it is without this option".into()),
        Some(account) => Ok(account),
    }
}

/// A group by name or number.
pub fn group(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .or_else(|| people::group(text))
        .ok_or_else(|| "this host has no group of that name".into())
}

/// Permissions in octal.
pub fn mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let mode = mode.ok_or("not an octal mode such as 0444")?;
    // The tree is read-only whatever the mode says; a mode that says otherwise would only mislead.
    if mode & 0o222 != 0 { Err("the tree is read-only: leave out the write bits".into()) } else { Ok(mode) }
}

/// A network and its prefix length.
pub fn network(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parsed = text.split_once('/').and_then(|(network, length)| {
        Some((
            network.parse::<Ipv4Addr>().ok()?,
            length.parse::<u8>().ok().filter(|length| (1..=30).contains(length))?,
        ))
    });
    parsed.ok_or_else(|| "not a network such as 192.168.50.0/24".into())
}

/// A network card, as Linux names them (net/core/dev.c, `dev_valid_name`).
pub fn interface(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if (1..16).contains(&text.len()) && text.bytes().all(fits) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("not a network card such as eth0".into())
    }
}

/// A file of ISO_DIR and the label that it is to have.
pub fn pin(text: &str) -> Result<(OsString, Label), String> {
    let (file, label) = text.rsplit_once('=').ok_or("not FILE=LABEL")?;
    if file.is_empty() || file.contains('/') {
        return Err("FILE is the name of a file in ISO_DIR, without a path".into());
    }
    Ok((file.into(), Label::parse(label).map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("64M", 64 << 20), ("1g", 1 << 30), ("512", 512), ("8KB", 8192), ("0", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!((size("256MB"), size("256MiB"), size("1T")), (Ok(256 << 20), Ok(256 << 20), Ok(1 << 40)));
        assert_eq!(size("12B"), Ok(12));
        for text in ["", "M", "99999999999G", "1.5G", "-1", "1X", "1iB", "1 G", "M1"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn owners_have_names() {
        assert_eq!((user("0"), user("root"), group("root"), user("12345")), (Ok(0), Ok(0), Ok(0), Ok(12345)));
        assert_eq!(user("no-such-user"), Err("this host has no user of that name".into()));
        assert_eq!(group("no-such-group"), Err("this host has no group of that name".into()));
    }

    #[test]
    fn a_port_is_a_number_that_can_be_dialled() {
        assert_eq!(port("10809"), Ok(10809));
        for text in ["0", "abc", "65536", "-1", ""] {
            assert_eq!(port(text), Err("not a port number between 1 and 65535".into()), "{text}");
        }
    }

    #[test]
    fn cards_have_names_that_linux_takes() {
        assert_eq!(interface("enp1s0.50"), Ok("enp1s0.50".into()));
        for text in ["eth 0", "", ".", "a/b", "sixteen-letters-", "eth0\n", "eth0:1"] {
            assert!(interface(text).is_err(), "{text}");
        }
    }
}
