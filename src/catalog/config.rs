//! The configuration file: TOML text → a checked [`Config`].
//!
//! Pure: only [`mod@file`] reads a disk. Unknown keys are errors, so that a typing error isn't a silent nothing; labels of
//! ISOs that aren't there are none, since ISOs come and go. Words pass the same gates as those of the command line.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::boot::transport::{Export, Wish};
use crate::catalog::written;
use crate::image::args::Args;
use crate::image::label::{Label, LabelError};
use crate::image::mac::Mac;
use crate::image::printable;

pub mod file;
mod key;
pub mod mount;
pub mod question;

pub use key::{Range, Server, Uuid};

use key::{List, checked, checked_option};

/// Servers of an entry: netroot-init takes no more.
const MAX_SERVERS: usize = 16;

/// Machines in a file: each costs four unlisted names and, once it has booted, the text of its menu.
const MAX_MACHINES: usize = 4096;

/// The configuration of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Choices for the mount itself.
    pub mount: mount::Mount,
    /// Choices that the command line can overrule.
    pub defaults: Defaults,
    /// Choices for ISOs.
    pub isos: BTreeMap<IsoKey, IsoChoice>,
    /// Choices for machines; of two for the same machine, the first counts.
    pub machines: Vec<Arc<Machine>>,
}

/// Choices that options have too. `None` is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Defaults {
    /// What boots by itself.
    #[serde(deserialize_with = "by_itself")]
    pub default: Option<ByItself>,
    /// Seconds until it does; 0 waits for ever.
    #[serde(deserialize_with = "timeout")]
    pub timeout: Option<u32>,
    /// Arguments for every entry.
    #[serde(deserialize_with = "args")]
    pub append: Option<Args>,
    /// What clients call the NBD host.
    #[serde(deserialize_with = "host")]
    pub server: Option<String>,
    /// Several servers with the same ISOs: an address each, and a port where that is another.
    #[serde(deserialize_with = "servers")]
    pub servers: Option<Vec<Server>>,
    /// Its port.
    #[serde(deserialize_with = "port")]
    pub nbd_port: Option<u16>,
    /// URL at which an HTTP server shows the tree.
    #[serde(deserialize_with = "url")]
    pub http_url: Option<String>,
    /// Where an NFS server shows the tree.
    #[serde(deserialize_with = "nfs")]
    pub nfs: Option<String>,
    /// Which export clients attach.
    pub root_export: Option<RootExport>,
}

/// What boots by itself, if somebody has said it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ByItself {
    /// The ISO of that label, as its own menu would.
    Iso(Label),
    /// The local disk.
    Local,
    /// Nothing: the menu waits for ever.
    Nothing,
}

/// The export to use wherever there is a choice; none, where the initrd decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RootExport(pub Option<Export>);

/// How an ISO is named in the file: its label, or the name of its file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IsoKey(String);

/// Choices for an ISO.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IsoChoice {
    /// The title in the menu.
    #[serde(deserialize_with = "title")]
    pub title: Option<String>,
    /// Place in the menu: lower numbers first, then labels.
    pub order: i32,
    /// Arguments besides the others.
    #[serde(deserialize_with = "args")]
    pub append: Option<Args>,
    /// Arguments in the place of those of the ISO's own menu.
    #[serde(deserialize_with = "args")]
    pub args: Option<Args>,
    /// In the tree, but only in menus of machines that name it.
    pub hidden: bool,
    /// How its root comes to the client.
    pub transport: Option<Wish>,
}

/// Choices for a machine, or several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// Addresses of its network cards.
    pub mac: List<Mac>,
    /// Its UUID, as dmidecode(8) shows it or as its firmware says it.
    pub uuid: List<Uuid>,
    /// Addresses that it gets.
    pub address: List<Range>,
    /// What boots by itself.
    #[serde(deserialize_with = "by_itself")]
    pub default: Option<ByItself>,
    /// Seconds until it does.
    #[serde(deserialize_with = "timeout")]
    pub timeout: Option<u32>,
    /// Arguments besides the others.
    #[serde(deserialize_with = "args")]
    pub append: Option<Args>,
    /// The ISOs of its menu, hidden ones too; all that aren't hidden if it is not said.
    #[serde(deserialize_with = "labels")]
    pub only: Option<Vec<Label>>,
    /// ISOs that its menu doesn't have.
    pub without: List<Label>,
}

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Fault {
    /// Line, from 1 on.
    pub line: usize,
    /// The fault, as a sentence.
    pub reason: String,
}

/// The file as TOML has it: machines with their places, for what only shows when they are whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    mount: mount::Mount,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    iso: BTreeMap<IsoKey, IsoChoice>,
    #[serde(default)]
    machine: Vec<Spanned<Machine>>,
}

impl Config {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// At the first thing that is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| Fault {
            line: bytes.iter().take(error.valid_up_to()).filter(|&&byte| byte == b'\n').count() + 1,
            reason: "it is not UTF-8".into(),
        })?;
        Self::parse(text)
    }

    /// Reads a text.
    ///
    /// ```
    /// use netrootfs::catalog::config::Config;
    /// use netrootfs::image::label::Label;
    ///
    /// let config = Config::parse("[defaults]\ntimeout = 5\n[iso.F42]\ntransport = 'http'\n").unwrap();
    /// assert_eq!(config.defaults.timeout, Some(5));
    /// assert!(config.iso(&Label::parse("F42").unwrap(), "fedora.iso").transport.is_some());
    /// assert_eq!(Config::parse("\ntime-out = 5").unwrap_err().line, 2);
    /// ```
    ///
    /// # Errors
    /// At the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let line = |offset: usize| text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1;
        let read: Text = toml::from_str(text).map_err(|error| Fault {
            line: line(error.span().map_or(0, |span| span.start)),
            // One line of log, whatever toml has to say.
            reason: in_words(error.message()),
        })?;
        if let Some(machine) = read.machine.get(MAX_MACHINES) {
            let reason = format!("more than {MAX_MACHINES} machines");
            return Err(Fault { line: line(machine.span().start), reason });
        }
        let nobody = |machine: &&Spanned<Machine>| machine.get_ref().is_nobody();
        if let Some(machine) = read.machine.iter().find(nobody) {
            let reason = "a machine needs a mac, a uuid or an address".into();
            return Err(Fault { line: line(machine.span().start), reason });
        }
        let machines = read.machine.into_iter().map(|machine| Arc::new(machine.into_inner())).collect();
        Ok(Self { mount: read.mount, defaults: read.defaults, isos: read.iso, machines })
    }

    /// The choices for an ISO: those for its label, else those for its file's name.
    pub fn iso(&self, label: &Label, file: &str) -> IsoChoice {
        let choice = |name: &str| self.isos.get(&IsoKey(name.to_owned()));
        let name = file.rsplit('/').next().unwrap_or(file);
        choice(label.as_str()).or_else(|| choice(name)).cloned().unwrap_or_default()
    }
}

/// A message of serde's on one printable line, without its names for Rust's types.
fn in_words(message: &str) -> String {
    let number = |word: &str| matches!(word, "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64");
    let words: Vec<&str> = message.split_whitespace().collect();
    let words = words.iter().enumerate().map(|(place, word)| match place.checked_sub(1) {
        Some(before) if words.get(before) == Some(&"expected") && number(word) => "a number",
        _ => word,
    });
    printable::line(&words.collect::<Vec<_>>().join(" "))
}

impl Defaults {
    /// These, and where they say nothing, the others.
    pub fn or(self, others: &Self) -> Self {
        let others = others.clone();
        Self {
            default: self.default.or(others.default),
            timeout: self.timeout.or(others.timeout),
            append: self.append.or(others.append),
            server: self.server.or(others.server),
            servers: self.servers.or(others.servers),
            nbd_port: self.nbd_port.or(others.nbd_port),
            http_url: self.http_url.or(others.http_url),
            nfs: self.nfs.or(others.nfs),
            root_export: self.root_export.or(others.root_export),
        }
    }
}

impl ByItself {
    /// Takes it from a person: a label, `local` or `none`, which are no labels here.
    ///
    /// ```
    /// use netrootfs::catalog::config::ByItself;
    ///
    /// assert_eq!(ByItself::parse("local"), Ok(ByItself::Local));
    /// assert_eq!(ByItself::parse("none"), Ok(ByItself::Nothing));
    /// assert_eq!(ByItself::parse("F42").unwrap().label().unwrap().as_str(), "F42");
    /// ```
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        match text {
            "local" => Ok(Self::Local),
            "none" => Ok(Self::Nothing),
            label => Label::parse(label).map(Self::Iso),
        }
    }

    /// The ISO's label.
    pub fn label(&self) -> Option<&Label> {
        match self {
            Self::Iso(label) => Some(label),
            Self::Local | Self::Nothing => None,
        }
    }
}

impl RootExport {
    /// All choices, with their words and what they mean.
    pub const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self(None), "auto", "What the initrd works best with"),
        (Self(Some(Export::Image)), "image", "`[LABEL]`"),
        (Self(Some(Export::Iso)), "iso", "`[LABEL.iso]`"),
    ];
}

impl TryFrom<String> for RootExport {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let choice = Self::ALL.into_iter().find(|(_, name, _)| *name == word);
        let fault = || format!("unknown variant `{word}`, expected one of `auto`, `image`, `iso`");
        choice.map(|(choice, _, _)| choice).ok_or_else(fault)
    }
}

impl Machine {
    fn is_nobody(&self) -> bool {
        self.mac.is_empty() && self.uuid.is_empty() && self.address.is_empty()
    }
}

impl<'de> Deserialize<'de> for IsoKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(from, |text| {
            let sound = !text.is_empty() && !text.chars().any(|symbol| symbol == '/' || symbol.is_control());
            let reason =
                || format!("{text:?} is neither a label nor the name of a file in the directory of ISOs");
            if sound { Ok(Self(text.to_owned())) } else { Err(reason()) }
        })
    }
}

impl fmt::Display for IsoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn by_itself<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ByItself>, D::Error> {
    checked_option(from, ByItself::parse)
}

fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Label>>, D::Error> {
    List::deserialize(from).map(|list: List<Label>| Some(list.0))
}

fn args<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Args>, D::Error> {
    checked_option(from, written::args)
}

fn title<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    checked_option(from, written::title)
}

fn host<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    checked_option(from, written::host)
}

fn servers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Server>>, D::Error> {
    let servers = List::deserialize(from)?.0;
    if servers.len() > MAX_SERVERS {
        return Err(serde::de::Error::custom(format!("more than {MAX_SERVERS} servers")));
    }
    Ok(Some(servers))
}

fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    checked_option(from, written::url)
}

fn nfs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    checked_option(from, written::nfs)
}

fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    number(from, 0, written::MAX_TIMEOUT)
}

fn port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    number(from, 1, u16::MAX)
}

fn number<'de, D: Deserializer<'de>, T>(from: D, least: T, most: T) -> Result<Option<T>, D::Error>
where
    T: Copy + Into<i64> + TryFrom<i64> + fmt::Display,
{
    let number = i64::deserialize(from)?;
    let within = (least.into()..=most.into()).contains(&number);
    match T::try_from(number) {
        Ok(number) if within => Ok(Some(number)),
        _ => Err(serde::de::Error::custom(format!("{number} is not in {least} to {most}"))),
    }
}

#[cfg(test)]
mod tests;
