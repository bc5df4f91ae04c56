//! The names by which loaders ask for the menu of a single machine, read back: whoever asks for one tells who it is. And those
//! by which netroot-init says how far it came.
//!
//! pxelinux, GRUB and iPXE ask whether or not there is such a file. What they ask for with fewer digits of an address
//! stands for many machines and is none of these.

use std::net::Ipv4Addr;

use super::key::Uuid;
use crate::boot::step::Step;
use crate::image::mac::Mac;

/// What a machine is told from others by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The card that it boots from.
    Mac(Mac),
    /// Its UUID.
    Uuid(Uuid),
    /// Its address.
    Address(Ipv4Addr),
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The loader that asks; `None` for dnsmasq, whose directories are for all loaders, and for netroot-init.
    pub loader: Option<&'static str>,
    /// For whom.
    pub key: Key,
    /// What netroot-init has done.
    pub step: Option<Step>,
}

impl Question {
    /// Reads a name that was looked up. It is one only in the [right place](Self::is_asked_in).
    pub fn parse(name: &str) -> Option<Self> {
        let of = |loader, key| Self { loader: Some(loader), key, step: None };
        if let Some((mac, step)) = Step::parse(name) {
            return Some(Self { loader: None, key: Key::Mac(mac), step: Some(step) });
        }
        if let Some(name) = name.strip_prefix("grub.cfg-") {
            return Some(of("GRUB", config(name)?));
        }
        if let Some(name) = name.strip_suffix(".ipxe") {
            let (kind, key) = name.split_once('-')?;
            let key = match kind {
                "mac" => Key::Mac(plain(key)?),
                "uuid" => Key::Uuid(key.parse().ok()?),
                "ip" => Key::Address(key.parse().ok()?),
                _ => return None,
            };
            return Some(of("iPXE", key));
        }
        let root = || name.parse().map(Key::Mac).ok().or_else(|| name.parse().map(Key::Address).ok());
        let pxelinux = config(name).map(|key| of("pxelinux", key));
        pxelinux.or_else(|| Some(Self { loader: None, key: root()?, step: None }))
    }

    /// Whether it is one in a directory, given by its path in the tree.
    pub fn is_asked_in(&self, directory: &str) -> bool {
        match self.loader {
            Some("pxelinux") => directory.starts_with("tftp/") && directory.ends_with("pxelinux.cfg"),
            Some(_) => directory == "tftp" || directory.starts_with("tftp/"),
            None => directory == "tftp",
        }
    }
}

/// As pxelinux names its configurations, and GRUB too.
fn config(name: &str) -> Option<Key> {
    // 01 is Ethernet (RFC 1700, hardware types).
    if let Some(mac) = name.strip_prefix("01-") {
        return mac.parse().map(Key::Mac).ok();
    }
    let is_address = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_address {
        true => Some(Key::Address(u32::from_str_radix(name, 16).ok()?.into())),
        false => name.parse().map(Key::Uuid).ok(),
    }
}

/// Twelve digits.
fn plain(digits: &str) -> Option<Mac> {
    let pairs: Vec<&str> = (0..6).map(|at| digits.get(2 * at..2 * at + 2)).collect::<Option<_>>()?;
    (digits.len() == 12).then(|| pairs.join(":").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loader_names_itself_in_its_own_way() {
        let mac = Key::Mac("52:54:00:12:34:56".parse().unwrap());
        let text = "4c4c4544-0042-3510-8052-b4c04f4d3732";
        let uuid = Key::Uuid(text.parse().unwrap());
        let address = Key::Address(Ipv4Addr::new(10, 0, 2, 111));
        for (name, loader, key) in [
            ("01-52-54-00-12-34-56".to_owned(), Some("pxelinux"), mac),
            (text.to_owned(), Some("pxelinux"), uuid),
            ("0A00026F".to_owned(), Some("pxelinux"), address),
            ("grub.cfg-01-52-54-00-12-34-56".to_owned(), Some("GRUB"), mac),
            (format!("grub.cfg-{text}"), Some("GRUB"), uuid),
            ("grub.cfg-0A00026F".to_owned(), Some("GRUB"), address),
            ("mac-525400123456.ipxe".to_owned(), Some("iPXE"), mac),
            (format!("uuid-{text}.ipxe"), Some("iPXE"), uuid),
            ("ip-10.0.2.111.ipxe".to_owned(), Some("iPXE"), address),
            ("52-54-00-12-34-56".to_owned(), None, mac),
            ("10.0.2.111".to_owned(), None, address),
        ] {
            assert_eq!(Question::parse(&name), Some(Question { loader, key, step: None }), "{name}");
        }
    }

    #[test]
    fn netroot_init_says_its_step_with_its_card() {
        let name = "netroot-init-52-54-00-12-34-56-disk";
        let key = Key::Mac("52:54:00:12:34:56".parse().unwrap());
        let question = Question::parse(name).unwrap();
        assert_eq!(question, Question { loader: None, key, step: Some(Step::Disk) });
        assert!(question.is_asked_in("tftp") && !question.is_asked_in("images"));
    }

    #[test]
    fn other_names_tell_nothing() {
        for name in [
            "",
            "default",
            "0A00026",
            "grub.cfg",
            "grub.cfg-",
            "grub.cfg-0A0002",
            "boot.ipxe",
            "mac-52540012345.ipxe",
            "mac-5254001234567.ipxe",
            "mac-52540012345ä.ipxe",
            "vmlinuz_F42",
            "20-52-54-00-12-34-56",
        ] {
            assert_eq!(Question::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_tells_something_only_where_a_loader_asks_for_it() {
        let asked = |name: &str, directory: &str| Question::parse(name).unwrap().is_asked_in(directory);
        assert!(asked("0A00026F", "tftp/pxelinux.cfg") && asked("0A00026F", "tftp/efi64/pxelinux.cfg"));
        assert!(!asked("0A00026F", "tftp") && !asked("0A00026F", "trees/F42/pxelinux.cfg"));
        assert!(asked("grub.cfg-0A00026F", "tftp/efi/F42") && !asked("grub.cfg-0A00026F", "images"));
        assert!(asked("10.0.2.111", "tftp") && !asked("10.0.2.111", "tftp/efi"));
    }
}
