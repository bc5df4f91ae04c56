//! The name of the product on a disc, as it says itself: `.disk/info` of Debian, Ubuntu and their relatives, `.treeinfo` of
//! Fedora and EL (productmd, doc/treeinfo-1.x.rst), and os-release(5) of the system that is booted from it.
//!
//! It is for people only. What comes out is one line without control characters, of limited length.

/// Longest file that is read.
pub const MAX_FILE: u64 = 64 << 10;

/// A file that may have it.
pub struct Place {
    /// Its path.
    pub path: &'static str,
    /// Its reader.
    pub parse: fn(&[u8]) -> Option<String>,
}

/// The files that may have it, the better first.
pub const PLACES: [Place; 2] = [
    Place { path: "/.disk/info", parse: from_disk_info },
    Place { path: "/.treeinfo", parse: from_tree_info },
];

/// Longest name in characters.
const MAX_NAME: usize = 60;

/// From the one line of `.disk/info`: what stands before ` - `, where release, processor and date come.
///
/// ```
/// use netrootfs::image::product;
///
/// let info = b"Ubuntu 24.04.1 LTS \"Noble Numbat\" - Release amd64 (20240827)";
/// assert_eq!(product::from_disk_info(info).as_deref(), Some("Ubuntu 24.04.1 LTS \"Noble Numbat\""));
/// ```
pub fn from_disk_info(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    clean(line.split(" - ").next().unwrap_or(line))
}

/// From the section `[general]` of `.treeinfo`.
pub fn from_tree_info(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).skip_while(|line| *line != "[general]").skip(1);
    let pairs: Vec<(&str, &str)> =
        lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('=')).collect();
    let value = |key: &str| {
        let found = pairs.iter().find(|(name, value)| name.trim() == key && !value.trim().is_empty());
        found.map(|(_, value)| value.trim())
    };
    let by_family = || Some(format!("{} {}", value("family")?, value("version")?));
    let name = value("name").map(str::to_owned).or_else(by_family)?;
    match value("variant").filter(|variant| !name.contains(variant)) {
        Some(variant) => clean(&format!("{name} {variant}")),
        None => clean(&name),
    }
}

/// Where a system has its os-release(5). The one in `/etc` often is a link to the other.
pub const OS_RELEASE: [&str; 2] = ["usr/lib/os-release", "etc/os-release"];

/// From os-release(5): `PRETTY_NAME`, which a shell would read.
///
/// ```
/// use netrootfs::image::product;
///
/// let text = b"NAME=Slackware\nPRETTY_NAME=\"Slackware 15.0 \\\"live\\\"\"\n";
/// assert_eq!(product::from_os_release(text).as_deref(), Some("Slackware 15.0 \"live\""));
/// ```
pub fn from_os_release(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let value = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?.trim();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let between = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    let inner = quote.map_or(Some(value), between)?;
    let mut name = String::new();
    let mut symbols = inner.chars();
    while let Some(symbol) = symbols.next() {
        match symbol {
            '\\' if quote != Some('\'') => name.extend(symbols.next()),
            other => name.push(other),
        }
    }
    clean(&name)
}

fn clean(text: &str) -> Option<String> {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    let name: String = line.chars().take(MAX_NAME).collect();
    (!name.trim_end().is_empty()).then(|| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_says_more_than_its_name() {
        let info = |text: &str| from_disk_info(text.as_bytes());
        assert_eq!(
            info("Debian GNU/Linux 12.13.0 \"Bookworm\" - Official amd64 NETINST 20260110-10:18\n")
                .as_deref(),
            Some("Debian GNU/Linux 12.13.0 \"Bookworm\"")
        );
        assert_eq!(info("\n  One\t two \x1b[2J\n x").as_deref(), Some("One two [2J"));
        assert_eq!(info(" - 12"), None);
        assert_eq!(info(" \n\n"), None);
        assert_eq!(info(&"é".repeat(100)).unwrap().chars().count(), MAX_NAME);
    }

    #[test]
    fn a_system_says_its_name_in_a_shell_s_quotes_or_in_none() {
        let info = |text: &str| from_os_release(text.as_bytes());
        assert_eq!(info("PRETTY_NAME=\"Arch Linux\"\nNAME=x").as_deref(), Some("Arch Linux"));
        assert_eq!(info("NAME=x\nPRETTY_NAME='Void \\ \"x\"'\r\n").as_deref(), Some("Void \\ \"x\""));
        assert_eq!(info(" PRETTY_NAME=Alpine\n").as_deref(), Some("Alpine"));
        assert_eq!(info("PRETTY_NAME=\"a\\$b \\`c\\` \\\\\"").as_deref(), Some("a$b `c` \\"));
        for nothing in ["", "NAME=x", "PRETTY_NAME=", "PRETTY_NAME=\"\"", "PRETTY_NAME=\"", "#PRETTY_NAME=x"]
        {
            assert_eq!(info(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_tree_says_its_name_or_family_and_version_and_its_variant() {
        let info = |text: &str| from_tree_info(text.as_bytes());
        let fedora = "[checksums]\nname = x\n[general]\nfamily = Fedora\nname = Fedora 31\nvariant = Server\n\
                      version = 31\n[header]\nvariant = y\n";
        assert_eq!(info(fedora).as_deref(), Some("Fedora 31 Server"));
        assert_eq!(
            info("[general]\nfamily = CentOS\nversion = 6.10\nvariant =\n").as_deref(),
            Some("CentOS 6.10")
        );
        assert_eq!(info("[general]\nversion = 7\n"), None);
        assert_eq!(info("[release]\nname = Fedora\n"), None);
    }
}
