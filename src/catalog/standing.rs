//! Which ISO boots by itself where nobody has named one, kept from one start to the next: a newcomer never changes what
//! machines boot that nobody touches.
//!
//! It is kept as labels are, by the file, else by the name that another file has come to. Which ISO it may be, the layout
//! of the menu says; here it is only remembered.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::scan::{Catalog, Iso};
use crate::image::label::Label;
use crate::storage::state::StateDir;

/// Name of the file in the state directory.
const FILE_NAME: &str = "by-itself.json";

/// Version of its format.
const VERSION: u32 = 1;

/// Longest file: a name and a volume id.
const MAX_LEN: u64 = 64 << 10;

/// The ISO that was chosen before, as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// None was, or it is gone.
    #[default]
    Open,
    /// It has this label.
    Iso(Label),
    /// It is there, and is being written or can't be reached.
    Away,
}

/// The memory of it.
#[derive(Default)]
pub(super) struct Memory {
    state: Option<Arc<StateDir>>,
    chosen: Option<Stored>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Name of the file, for people.
    name: String,
    volume_id: Vec<u8>,
    device: u64,
    inode: u64,
}

impl Memory {
    /// Reads it. What can't be read is as if it had never been.
    pub fn load(state: Arc<StateDir>) -> Self {
        let bytes = state.read(FILE_NAME, MAX_LEN).unwrap_or_default();
        let chosen: Option<Stored> = serde_json::from_slice(&bytes).ok();
        Self { state: Some(state), chosen: chosen.filter(|stored| stored.version == VERSION) }
    }

    /// The chosen ISO among those of a catalog.
    pub fn find(&self, catalog: &Catalog) -> Standing {
        let Some(stored) = &self.chosen else { return Standing::Open };
        let same_id = |iso: &&Iso| iso.disc.facts.volume_id == stored.volume_id;
        let is_file = |iso: &&Iso| (iso.disc.id.device, iso.disc.id.inode) == (stored.device, stored.inode);
        let isos = || catalog.isos.iter().filter(same_id);
        let found = isos().find(is_file).or_else(|| isos().find(|iso| iso.name == stored.name));
        let is_away = || catalog.skipped.iter().any(|file| file.is_waited_for() && file.name == stored.name);
        match found {
            Some(iso) => Standing::Iso(iso.label.clone()),
            None if is_away() => Standing::Away,
            None => Standing::Open,
        }
    }

    /// Keeps an ISO as the chosen one.
    ///
    /// # Errors
    /// If it can't be written down.
    pub fn keep(&mut self, iso: &Iso) -> io::Result<()> {
        let stored = Stored {
            version: VERSION,
            name: iso.name.clone(),
            volume_id: iso.disc.facts.volume_id.clone(),
            device: iso.disc.id.device,
            inode: iso.disc.id.inode,
        };
        if self.chosen.as_ref() == Some(&stored) {
            return Ok(());
        }
        // What can't be written is said once.
        let stored = self.chosen.insert(stored);
        let Some(state) = &self.state else { return Ok(()) };
        state.write(FILE_NAME, &serde_json::to_vec(stored)?)
    }
}
