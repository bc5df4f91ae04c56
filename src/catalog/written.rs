//! The gates of an administrator's words, on the command line and in the configuration file alike.
//!
//! Each function takes text as it was written and returns it as it is used, or the rule that it breaks. What has passed can stand in
//! kernel arguments and in every rendered file.

use crate::image::args::Args;

/// A kernel takes 2048 bytes of arguments on x86 (COMMAND_LINE_SIZE); half of them is left to the network boot.
const MAX_ARGS: usize = 1024;

/// Longest time-out that syslinux takes, in seconds (its unit is a tenth, its limit 35996).
pub const MAX_TIMEOUT: u32 = 3599;

/// Wider than any text screen that shows a menu.
const MAX_TITLE: usize = 200;

/// A rule that a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Of [`host`].
    #[error("not an IPv4 address or a host name")]
    Host,
    /// Loaders, dracut and netroot-init would each want it written in another way, and none of them is tried with it.
    #[error("an IPv6 address; machines boot by IPv4 only, so give an IPv4 address")]
    Ipv6,
    /// A host with a port behind it.
    #[error("an address without a port; --nbd-port says the port of the NBD server")]
    Port,
    /// Of [`url`].
    #[error("not a URL such as http://192.168.50.1/netboot")]
    Url,
    /// Of [`nfs`].
    #[error("not HOST:/PATH such as 192.168.50.1:/srv/netboot")]
    Nfs,
    /// More than fit beside those of the network boot.
    #[error("longer than {MAX_ARGS} bytes")]
    LongArgs,
    /// A line break, or a code for a terminal.
    #[error("kernel arguments are one line without control characters")]
    ControlInArgs,
    /// The kernel would take all that follows for one word.
    #[error("a double quote has no partner")]
    OpenQuote,
    /// Blanks alone.
    #[error("a title is not empty")]
    EmptyTitle,
    /// More than any screen shows.
    #[error("longer than {MAX_TITLE} characters")]
    LongTitle,
    /// A line break, or a code for a terminal.
    #[error("a title is one line without control characters")]
    ControlInTitle,
}

/// An address or name of a host.
///
/// # Errors
/// At the first rule that it breaks.
pub fn host(text: &str) -> Result<String, Fault> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if unbracketed.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(Fault::Ipv6);
    }
    if text.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return Err(Fault::Port);
    }
    // What is all digits and dots is meant for an IPv4 address.
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let named = plain(text) && (!numeric || text.parse::<std::net::Ipv4Addr>().is_ok());
    if !text.is_empty() && named { Ok(text.to_owned()) } else { Err(Fault::Host) }
}

/// A URL, without the slash at its end.
///
/// # Errors
/// At the first rule that it breaks.
pub fn url(text: &str) -> Result<String, Fault> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest.filter(|rest| !rest.is_empty() && rest.bytes().all(is_url_byte)) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(Fault::Url),
    }
}

/// `HOST:/PATH`, without the slash at its end.
///
/// # Errors
/// At the first rule that it breaks.
pub fn nfs(text: &str) -> Result<String, Fault> {
    match text.split_once(":/") {
        Some((host, path)) if self::host(host).is_ok() && path.bytes().all(is_url_byte) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(Fault::Nfs),
    }
}

/// Kernel arguments.
///
/// # Errors
/// At the first rule that it breaks.
pub fn args(text: &str) -> Result<Args, Fault> {
    if text.len() > MAX_ARGS {
        return Err(Fault::LongArgs);
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::ControlInArgs);
    }
    if text.bytes().filter(|&byte| byte == b'"').count() % 2 == 1 {
        return Err(Fault::OpenQuote);
    }
    Ok(Args::parse(text))
}

/// The title of a menu entry.
///
/// # Errors
/// At the first rule that it breaks.
pub fn title(text: &str) -> Result<String, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::EmptyTitle);
    }
    if text.chars().count() > MAX_TITLE {
        return Err(Fault::LongTitle);
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::ControlInTitle);
    }
    Ok(text.to_owned())
}

/// A byte that may stand in a kernel argument, and doesn't expand in GRUB or iPXE.
fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/:.-_~%[]@+".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for text in ["192.168.50.1", "server", "boot-1.example.org", "1host"] {
            assert_eq!(host(text), Ok(text.into()));
        }
        for text in ["", "a b", "192.168.50.300", "1.2.3", "1.2.3.4.5", "[x]", "a/b"] {
            assert_eq!(host(text), Err(Fault::Host), "{text}");
        }
        for text in ["2001:db8::1", "[2001:db8::1]", "::1"] {
            assert_eq!(host(text), Err(Fault::Ipv6), "{text}");
        }
    }

    #[test]
    fn a_port_has_an_option_of_its_own() {
        assert_eq!(host("192.168.50.1:10809"), Err(Fault::Port));
        assert_eq!(host("server:80"), Err(Fault::Port));
    }
}
