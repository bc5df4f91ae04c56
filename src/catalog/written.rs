//! What an administrator's words must be like, on the command line and in the configuration file alike.
//!
//! Each function takes text as it was written and returns it as it is used, or a sentence. What has passed can stand in
//! kernel arguments and in every rendered file.

use crate::image::args::Args;

/// A kernel takes 2048 bytes of arguments on x86 (COMMAND_LINE_SIZE); half of them is left to the network boot.
const MAX_ARGS: usize = 1024;

/// Longest time-out that syslinux takes, in seconds (its unit is a tenth, its limit 35996).
pub const MAX_TIMEOUT: u32 = 3599;

/// Wider than any text screen that shows a menu.
const MAX_TITLE: usize = 200;

/// An address or name of a host.
///
/// # Errors
/// With a sentence.
pub fn host(text: &str) -> Result<String, String> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bracketed.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    if text.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return Err("an address without a port; --nbd-port says the port of the NBD server".into());
    }
    // What is all digits and dots is meant for an IPv4 address.
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let named = plain(text) && (!numeric || text.parse::<std::net::Ipv4Addr>().is_ok());
    if !text.is_empty() && (named || address) {
        Ok(text.to_owned())
    } else {
        Err("not an IPv4 address, a host name, or an IPv6 address in brackets".into())
    }
}

/// A URL, without the slash at its end.
///
/// # Errors
/// With a sentence.
pub fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest.filter(|rest| !rest.is_empty() && rest.bytes().all(is_url_byte)) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("not a URL such as http://192.168.50.1/netboot".into()),
    }
}

/// `HOST:/PATH`, without the slash at its end.
///
/// # Errors
/// With a sentence.
pub fn nfs(text: &str) -> Result<String, String> {
    match text.split_once(":/") {
        Some((host, path)) if self::host(host).is_ok() && path.bytes().all(is_url_byte) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("not HOST:/PATH such as 192.168.50.1:/srv/netboot".into()),
    }
}

/// Kernel arguments.
///
/// # Errors
/// With a sentence.
pub fn args(text: &str) -> Result<Args, String> {
    if text.len() > MAX_ARGS {
        return Err(format!("longer than {MAX_ARGS} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("kernel arguments are one line without control characters".into());
    }
    if text.bytes().filter(|&byte| byte == b'"').count() % 2 == 1 {
        return Err("a double quote has no partner".into());
    }
    Ok(Args::parse(text))
}

/// The title of a menu entry.
///
/// # Errors
/// With a sentence.
pub fn title(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a title is not empty".into());
    }
    if text.chars().count() > MAX_TITLE {
        return Err(format!("longer than {MAX_TITLE} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("a title is one line without control characters".into());
    }
    Ok(text.to_owned())
}

/// What may stand in a kernel argument, and doesn't expand in GRUB or iPXE.
fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/:.-_~%[]@+".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for text in ["192.168.50.1", "server", "boot-1.example.org", "[2001:db8::1]", "1host"] {
            assert_eq!(host(text), Ok(text.into()));
        }
        for text in ["", "a b", "192.168.50.300", "1.2.3", "1.2.3.4.5", "2001:db8::1", "[x]", "a/b"] {
            assert_eq!(
                host(text),
                Err("not an IPv4 address, a host name, or an IPv6 address in brackets".into()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_port_has_an_option_of_its_own() {
        let sentence = "an address without a port; --nbd-port says the port of the NBD server";
        assert_eq!(host("192.168.50.1:10809"), Err(sentence.into()));
        assert_eq!(host("server:80"), Err(sentence.into()));
    }
}
