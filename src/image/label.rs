//! The name of an ISO: its label, from the volume id, fit for file names, export names and kernel arguments.
//!
//! Everything that ends up in a path, a section of nbd.conf or an `netroot=` argument is built from a [`Label`], so a
//! volume id can't escape from any of them. [`udev_encode`] is the other way a volume id leaves an ISO: as the name
//! under `/dev/disk/by-label`, which the kernel arguments of live systems ask for.

use std::fmt;
use std::fmt::Write as _;

/// How the file of a root image begins.
pub const ROOT_IMAGE: &str = "liveos_";

/// How the file and the export of a whole ISO end.
pub const WHOLE_ISO: &str = ".iso";

/// The configuration of nbd-server, beside those files.
pub const NBD_CONF: &str = "nbd.conf";

/// A name made of `A-Z a-z 0-9 . _ -`, unique in a catalog.
///
/// It is never empty, never only digits (dracut's `netroot=nbd:` takes a number for a port), never `generic` (the first
/// section of nbd.conf, nbd-server(5)), doesn't begin with `.` or `-`, and is no name of another file in `images/`, where
/// it stands for the root image: it isn't `nbd.conf`, doesn't end in `.iso`, and doesn't begin with `liveos_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Box<str>);

/// Why a string can't be a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no usable label: {fault}")]
pub struct LabelError {
    /// The string.
    pub text: String,
    /// The rule that it breaks.
    pub fault: LabelFault,
}

/// A rule of labels that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelFault {
    /// No character.
    #[error("it is empty")]
    Empty,
    /// More than [`Label::MAX_LEN`].
    #[error("it is longer than {} characters", Label::MAX_LEN)]
    TooLong,
    /// A character that would need quoting somewhere.
    #[error("only A-Z a-z 0-9 . _ - may stand in it")]
    Symbol,
    /// Digits alone.
    #[error("a number is taken for a port by dracut")]
    Number,
    /// A name of nbd-server's own.
    #[error("'generic' is a section of nbd.conf")]
    Generic,
    /// A hidden file, or an option.
    #[error("it begins with '.' or '-'")]
    Beginning,
    /// A file of ours.
    #[error("'{NBD_CONF}' is the configuration of nbd-server")]
    NbdConf,
    /// A file of another ISO's root image.
    #[error("it begins with '{ROOT_IMAGE}', as the files of root images do")]
    RootImage,
    /// The export of another whole ISO.
    #[error("it ends in '{WHOLE_ISO}', as the exports of whole ISOs do")]
    WholeIso,
}

impl Label {
    /// Longest label in bytes. Names built from it must stay below atftpd's limit of 256 for a path.
    pub const MAX_LEN: usize = 128;

    /// The label for a volume id: each byte outside the set becomes `_`; a name that a rule forbids gets a `_` in front.
    /// `None` if the id has nothing but blanks.
    pub fn from_volume_id(id: &[u8]) -> Option<Self> {
        Self::from_bytes(id)
    }

    /// The label for a file that has no volume id: its name without the extension.
    pub fn from_file_stem(stem: &[u8]) -> Self {
        Self::from_bytes(stem).unwrap_or_else(|| Self("_".into()))
    }

    /// Takes a label from a person, as it is.
    ///
    /// # Errors
    /// If it breaks one of the rules.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let fault = |fault| Err(LabelError { text: text.to_owned(), fault });
        if text.is_empty() {
            return fault(LabelFault::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return fault(LabelFault::TooLong);
        }
        if text.bytes().any(|byte| !is_label_byte(byte)) {
            return fault(LabelFault::Symbol);
        }
        match forbidden(text) {
            Some(broken) => fault(broken),
            None => Ok(Self(text.into())),
        }
    }

    /// `<label>-<stem>`: what an ISO is called whose label another ISO has already.
    pub fn joined_with(&self, stem: &[u8]) -> Self {
        let mut bytes = self.0.as_bytes().to_vec();
        bytes.push(b'-');
        bytes.extend_from_slice(stem);
        Self::from_file_stem(&bytes)
    }

    /// `<label>-<number>`, for the third of a name. The end of a long label gives way to the number.
    pub fn numbered(&self, number: u32) -> Self {
        let tail = format!("-{number}");
        let head: String = self.0.chars().take(Self::MAX_LEN - 1 - tail.len()).collect();
        Self::from_file_stem(format!("{head}{tail}").as_bytes())
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.trim_ascii();
        if bytes.iter().all(|&byte| byte == 0) {
            return None;
        }
        let kept = bytes.iter().take(Self::MAX_LEN - 1);
        let mut text: String =
            kept.map(|&byte| if is_label_byte(byte) { char::from(byte) } else { '_' }).collect();
        if let Some(stem) = text.strip_suffix(WHOLE_ISO) {
            text = format!("{stem}_iso");
        }
        if forbidden(&text).is_some() {
            text.insert(0, '_');
        }
        Some(Self(text.into()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A volume id as udev writes it under `/dev/disk/by-label`: letters, digits, `#+-.:=@_` and valid UTF-8 beyond ASCII
/// stay, each other byte becomes `\xHH` (systemd, src/shared/device-nodes.c, `encode_devnode_name`).
pub fn udev_encode(id: &[u8]) -> String {
    let mut out = String::with_capacity(id.len());
    for chunk in id.utf8_chunks() {
        for symbol in chunk.valid().chars() {
            if symbol.is_ascii_alphanumeric() || "#+-.:=@_".contains(symbol) || !symbol.is_ascii() {
                out.push(symbol);
            } else {
                escape(&mut out, symbol as u8);
            }
        }
        chunk.invalid().iter().for_each(|&byte| escape(&mut out, byte));
    }
    out
}

fn escape(out: &mut String, byte: u8) {
    // Writing to a String can't fail.
    let _ = write!(out, "\\x{byte:02x}");
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn forbidden(text: &str) -> Option<LabelFault> {
    let faults = [
        (text.bytes().all(|byte| byte.is_ascii_digit()), LabelFault::Number),
        (text == "generic", LabelFault::Generic),
        (text.starts_with(['.', '-']), LabelFault::Beginning),
        (text == NBD_CONF, LabelFault::NbdConf),
        (text.starts_with(ROOT_IMAGE), LabelFault::RootImage),
        (text.ends_with(WHOLE_ISO), LabelFault::WholeIso),
    ];
    faults.into_iter().find_map(|(broken, fault)| broken.then_some(fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn label(id: &[u8]) -> String {
        Label::from_volume_id(id).unwrap().to_string()
    }

    #[test]
    fn keeps_what_is_allowed_and_replaces_the_rest() {
        assert_eq!(label(b"Fedora-WS-Live-42"), "Fedora-WS-Live-42");
        assert_eq!(label(b"CentOS 7 x86_64"), "CentOS_7_x86_64");
        assert_eq!(label(b"a/../b\n[x]%"), "a_.._b__x__");
        assert_eq!(label(b"caf\xe9"), "caf_");
    }

    #[test]
    fn blanks_alone_are_no_label() {
        assert_eq!(Label::from_volume_id(b""), None);
        assert_eq!(Label::from_volume_id(b"   "), None);
        assert_eq!(Label::from_volume_id(&[0; 32]), None);
    }

    #[test]
    fn forbidden_names_get_an_underscore() {
        assert_eq!(label(b"20240101"), "_20240101");
        assert_eq!(label(b"generic"), "_generic");
        assert_eq!(label(b".."), "_..");
        assert_eq!(label(b"-rf"), "_-rf");
        assert_eq!(label(b"CDROM.iso"), "CDROM_iso");
        assert_eq!(label(b"nbd.conf"), "_nbd.conf");
        assert_eq!(label(b"liveos_F42.img"), "_liveos_F42.img");
    }

    #[test]
    fn a_person_is_told_what_is_wrong() {
        assert_eq!(Label::parse("F42").unwrap().as_str(), "F42");
        assert_eq!(
            Label::parse("42").unwrap_err().to_string(),
            "'42' is no usable label: a number is taken for a port by dracut"
        );
        assert!(Label::parse("a b").is_err());
        assert!(Label::parse(&"x".repeat(129)).is_err());
    }

    #[test]
    fn udev_names_are_escaped() {
        assert_eq!(udev_encode(b"CentOS 7 x86_64"), "CentOS\\x207\\x20x86_64");
        assert_eq!(udev_encode("Käse/1".as_bytes()), "Käse\\x2f1");
        assert_eq!(udev_encode(b"a\xffb\"$"), "a\\xffb\\x22\\x24");
    }

    proptest! {
        #[test]
        fn every_label_keeps_the_rules(id in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(label) = Label::from_volume_id(&id) {
                prop_assert_eq!(Label::parse(label.as_str()), Ok(label.clone()));
            }
            let stem = Label::from_file_stem(&id);
            prop_assert_eq!(Label::parse(stem.as_str()), Ok(stem.clone()));
            let numbered = stem.numbered(u32::MAX);
            prop_assert_eq!(Label::parse(numbered.as_str()), Ok(numbered.clone()));
            prop_assert_ne!(&numbered, &stem.numbered(2));
            let joined = stem.joined_with(&id);
            prop_assert_eq!(Label::parse(joined.as_str()), Ok(joined.clone()));
        }

        #[test]
        fn udev_names_hold_no_blank(id in prop::collection::vec(any::<u8>(), 0..64)) {
            let name = udev_encode(&id);
            prop_assert!(name.bytes().all(|b| b > b' ' && b != b'"' && b != b'/' && b != 0x7f));
        }
    }
}
