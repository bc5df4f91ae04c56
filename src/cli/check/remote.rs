//! Another server's tree as its web server shows it: `status.json` says which ISOs it has, and parts of them come by ranges.
//!
//! It speaks HTTP without TLS. What the other side says is foreign: a label passes its gate before it is in an address.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::boot::names;
use crate::image::label::Label;
use crate::storage::source::ReadAt;
use crate::tree::render::status::SCHEMA;

/// For each answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// 4096 machines, 256 boots and the files of some thousand ISOs are a few MiB.
const LONGEST_STATUS: u64 = 64 << 20;

/// What is compared of `status.json`.
#[derive(Debug, Deserialize)]
pub struct Shown {
    schema: u32,
    /// The ISOs that it serves.
    pub isos: Vec<ShownIso>,
    /// Those that it doesn't.
    pub left_out: Vec<ShownLeftOut>,
}

/// An ISO that it serves.
#[derive(Debug, Deserialize)]
pub struct ShownIso {
    /// Label.
    pub label: String,
    /// File name.
    pub file: String,
    /// Size in bytes.
    pub size: u64,
}

/// A file that it doesn't serve.
#[derive(Debug, Deserialize)]
pub struct ShownLeftOut {
    /// File name.
    pub file: String,
    /// Why: a sentence.
    pub reason: String,
    /// The same as a word that stays.
    pub code: String,
}

/// A tree.
pub struct RemoteTree {
    agent: Agent,
    /// Without a slash at its end.
    root: String,
}

impl RemoteTree {
    /// The tree at that address, if it is one.
    pub fn at(address: &str) -> Option<Self> {
        let address = Some(address).filter(|it| it.starts_with("http://") || it.starts_with("https://"))?;
        let config = Agent::config_builder().timeout_global(Some(PATIENCE)).build();
        Some(Self { agent: config.into(), root: address.trim_end_matches('/').to_owned() })
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// If it can't be reached, or is no tree of netrootfs.
    pub fn shown(&self) -> Result<Shown> {
        ensure!(!self.root.starts_with("https:"), "{}: https is not spoken here, only http", self.root);
        let address = format!("{}/{}", self.root, names::STATUS);
        let mut answer = self.agent.get(&address).call().with_context(|| address.clone())?;
        let body = answer.body_mut().with_config().limit(LONGEST_STATUS).read_to_vec();
        let body = body.with_context(|| address.clone())?;
        let shown: Shown = serde_json::from_slice(&body)
            .with_context(|| format!("{address} is not what netrootfs shows in a tree's root"))?;
        ensure!(
            shown.schema == SCHEMA,
            "{address} has schema {}, and {SCHEMA} is known here: another version of netrootfs",
            shown.schema
        );
        Ok(shown)
    }

    /// Its ISO of that label and size.
    ///
    /// # Errors
    /// If no ISO can have that label.
    pub fn iso(&self, label: &str, len: u64) -> Result<Arc<dyn ReadAt>> {
        let label = Label::parse(label).with_context(|| format!("{}: '{label}'", self.root))?;
        let address = format!("{}/{}/{}", self.root, names::IMAGES, names::whole_iso(&label));
        Ok(Arc::new(RemoteFile { agent: self.agent.clone(), address, len }))
    }
}

struct RemoteFile {
    agent: Agent,
    address: String,
    len: u64,
}

impl ReadAt for RemoteFile {
    /// RFC 9110, 14.2.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(last) = (offset + buf.len() as u64).checked_sub(1) else { return Ok(()) };
        let request = self.agent.get(&self.address).header("Range", format!("bytes={offset}-{last}"));
        let said = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", self.address));
        let mut answer = request.call().map_err(|error| said(&error))?;
        let range = answer.headers().get("Content-Range").and_then(|range| range.to_str().ok());
        let wanted = format!("bytes {offset}-{last}/");
        if answer.status() != StatusCode::PARTIAL_CONTENT || !range.unwrap_or_default().starts_with(&wanted) {
            return Err(said(&"the web server doesn't send parts of files (ranges)"));
        }
        answer.body_mut().as_reader().read_exact(buf).map_err(|error| said(&error))
    }

    fn len(&self) -> u64 {
        self.len
    }
}
