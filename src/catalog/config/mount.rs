//! `[mount]`: what holds for the mount itself. It is read at the start only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::key::{checked_option, text_or_number};
use crate::catalog::people::Account;
use crate::catalog::values;
use crate::image::label::Label;
use crate::storage::passthrough::DataPath;

/// Everything that only options could say otherwise. `None` is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Mount {
    /// Directory with the ISOs.
    pub iso_dir: Option<PathBuf>,
    /// Directory to mount the tree on.
    pub mountpoint: Option<PathBuf>,
    /// Whether that may hold files.
    pub nonempty: bool,
    /// Memory for blocks of ISOs, in bytes.
    #[serde(deserialize_with = "size")]
    pub cache_size: Option<u64>,
    /// Who reads the ISOs.
    pub data_path: Option<DataPath>,
    /// Who it is to be, if not root.
    #[serde(deserialize_with = "account")]
    pub user: Option<Account>,
    /// Command to run after a change.
    pub on_change: Option<String>,
    /// Owner of the files.
    #[serde(deserialize_with = "user")]
    pub uid: Option<u32>,
    /// Group of the files.
    #[serde(deserialize_with = "group")]
    pub gid: Option<u32>,
    /// Permissions of the files, in octal.
    #[serde(deserialize_with = "mode")]
    pub mode: Option<u16>,
    /// Where to remember what initrds can do.
    pub state_dir: Option<PathBuf>,
    /// Log to this file.
    pub log_file: Option<PathBuf>,
    /// Labels by file name.
    pub labels: BTreeMap<String, Label>,
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    text_or_number(from, values::size)
}

fn user<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    text_or_number(from, values::user)
}

fn account<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Account>, D::Error> {
    text_or_number(from, values::account)
}

fn group<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    text_or_number(from, values::group)
}

/// A number would be read as decimal, so it must be a string.
fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    checked_option(from, values::mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::config::Config;

    #[test]
    fn all_that_options_say_can_stand_in_the_file() {
        let text = "[mount]\niso-dir = \"/srv/isos\"\nmountpoint = \"/srv/netboot\"\nnonempty = true\n\
                    cache-size = \"1G\"\ndata-path = \"cache\"\non-change = \"true\"\nuid = \"root\"\ngid = 7\n\
                    mode = \"0440\"\nuser = \"nobody\"\nstate-dir = \"/var/cache/x\"\nlog-file = \"/var/log/x\"\n\
                    labels = { \"a.iso\" = \"A\" }\n";
        let mount = Config::parse(text).unwrap().mount;
        assert_eq!(
            mount,
            Mount {
                iso_dir: Some("/srv/isos".into()),
                mountpoint: Some("/srv/netboot".into()),
                nonempty: true,
                cache_size: Some(1 << 30),
                data_path: Some(DataPath::Cache),
                user: values::account("65534").ok(),
                on_change: Some("true".into()),
                uid: Some(0),
                gid: Some(7),
                mode: Some(0o440),
                state_dir: Some("/var/cache/x".into()),
                log_file: Some("/var/log/x".into()),
                labels: BTreeMap::from([("a.iso".into(), Label::parse("A").unwrap())]),
            }
        );
    }

    #[test]
    fn mistakes_have_the_sentences_of_the_options() {
        let fault = |line: &str| Config::parse(&format!("[mount]\n{line}")).unwrap_err().to_string();
        assert_eq!(fault("cache-size = \"lots\""), "line 2: not a size such as 64M or 1G");
        assert_eq!(fault("mode = \"0644\""), "line 2: the tree is read-only: leave out the write bits");
        assert_eq!(fault("uid = \"no-such-user\""), "line 2: this host has no user of that name");
    }
}
