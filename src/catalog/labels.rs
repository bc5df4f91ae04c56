//! Which label each file has, kept from one start to the next: clients boot from these names, so a newcomer never gets
//! one, whatever its time says.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::scan::{FileId, Iso};
use crate::image::label::Label;
use crate::storage::state::StateDir;

/// Name of the file in the state directory.
const FILE_NAME: &str = "labels.json";

/// Version of its format.
const VERSION: u32 = 1;

/// Longest file: of tens of thousands of ISOs.
const MAX_LEN: u64 = 64 << 20;

/// Most files that are gone and whose labels are remembered.
const MOST_GONE: usize = 1000;

/// The thing that a label sticks to: the file, whatever its name, as long as its volume id is the same.
pub(super) type Key = (u64, u64, Vec<u8>);

/// Who has which label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels {
    /// By device, inode and volume id.
    pub files: HashMap<Key, Label>,
    /// By file name, with the volume id: for a file that takes the place of another.
    pub names: HashMap<OsString, (Vec<u8>, Label)>,
    /// In which order they came, kept as labels are: by label.
    pub arrived: HashMap<Label, u64>,
    /// Those of files that are gone, the last one at the end: for one that comes back, as with its directory's mount.
    pub gone: Vec<Gone>,
}

/// A label that its file has left, and that anybody may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    pub name: OsString,
    pub volume_id: Vec<u8>,
    pub label: Label,
    pub arrived: u64,
}

impl Labels {
    /// Leaves the labels of all names but these to whoever comes.
    pub fn keep_only(&mut self, present: &HashSet<&OsString>) {
        let mut gone: Vec<_> = self.names.extract_if(|name, _| !present.contains(name)).collect();
        gone.sort();
        for (name, (volume_id, label)) in gone {
            let arrived = self.arrived.get(&label).copied().unwrap_or_default();
            self.gone.push(Gone { name, volume_id, label, arrived });
        }
        let beyond = self.gone.len().saturating_sub(MOST_GONE);
        self.gone.drain(..beyond);
    }

    /// What a file of that name had, which comes back.
    pub fn of_returned(&self, name: &OsStr, volume_id: &[u8]) -> Option<&Gone> {
        self.gone.iter().rev().find(|gone| gone.name == name && gone.volume_id == volume_id)
    }
}

/// What is known of files that were served before the start.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// When they were written to while they were served, by device and inode.
    pub written: HashMap<(u64, u64), i64>,
    /// The files themselves.
    pub files: HashSet<FileId>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    labels: Vec<StoredLabel>,
}

#[derive(Serialize, Deserialize)]
struct StoredLabel {
    label: String,
    /// Bytes, as file names are.
    name: Vec<u8>,
    volume_id: Vec<u8>,
    /// Both are 0 for a file that is being written anew, or can't be reached: then its name alone has the label.
    device: u64,
    inode: u64,
    /// Number of its coming, from 1 on.
    #[serde(default)]
    arrived: u64,
    /// The rest of its [`FileId`], without which it would be another file after the start.
    #[serde(default)]
    written: i64,
    #[serde(default)]
    len: u64,
    #[serde(default)]
    mtime: i64,
    /// Whether there is no such file any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

impl StoredLabel {
    /// One of a file that isn't looked at.
    fn by_name(name: &OsStr, volume_id: &[u8], label: &Label) -> Self {
        Self {
            label: label.to_string(),
            name: name.as_bytes().to_vec(),
            volume_id: volume_id.to_vec(),
            device: 0,
            inode: 0,
            arrived: 0,
            written: 0,
            len: 0,
            mtime: 0,
            gone: false,
        }
    }
}

/// Where they are kept.
pub(super) struct Kept {
    state: Arc<StateDir>,
    last: Vec<u8>,
}

impl Kept {
    /// Reads them. What can't be read is as if it had never been.
    pub fn load(state: Arc<StateDir>) -> (Self, Labels, Before) {
        let last = state.read(FILE_NAME, MAX_LEN).unwrap_or_default();
        let (labels, before) = parse(&last).unwrap_or_default();
        (Self { state, last }, labels, before)
    }

    /// Writes them, if they are others than before: those of ISOs that are served, under these names, and those of `all`
    /// whose files can't be served just now or are gone.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn save(&mut self, isos: &[Iso], names: &[OsString], all: &Labels) -> io::Result<()> {
        let stored = |(iso, name): (&Iso, &OsString)| {
            let FileId { device, inode, len, mtime, written } = iso.disc.id;
            let (label, volume_id) = (iso.label.to_string(), iso.disc.facts.volume_id.clone());
            let (name, arrived) = (name.as_bytes().to_vec(), iso.arrived);
            StoredLabel { label, name, volume_id, device, inode, arrived, written, len, mtime, gone: false }
        };
        let mut labels: Vec<_> = isos.iter().zip(names).map(stored).collect();
        let served: HashSet<&OsString> = names.iter().collect();
        let waiting = all.names.iter().filter(|(name, _)| !served.contains(name));
        labels.extend(waiting.map(|(name, (volume_id, label))| StoredLabel {
            arrived: all.arrived.get(label).copied().unwrap_or_default(),
            ..StoredLabel::by_name(name, volume_id, label)
        }));
        labels.sort_by(|one, other| one.label.cmp(&other.label));
        labels.extend(all.gone.iter().map(|gone| StoredLabel {
            arrived: gone.arrived,
            gone: true,
            ..StoredLabel::by_name(&gone.name, &gone.volume_id, &gone.label)
        }));
        let bytes = serde_json::to_vec(&Stored { version: VERSION, labels })?;
        if bytes == self.last {
            return Ok(());
        }
        // What can't be written is said once.
        self.last.clone_from(&bytes);
        self.state.write(FILE_NAME, &bytes)
    }
}

fn parse(bytes: &[u8]) -> Option<(Labels, Before)> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    let (mut labels, mut before) = (Labels::default(), Before::default());
    for entry in stored.labels.into_iter().filter(|_| stored.version == VERSION) {
        // A label of another version may be none any more.
        let Ok(label) = Label::parse(&entry.label) else { continue };
        if entry.gone {
            let (name, volume_id) = (OsString::from_vec(entry.name), entry.volume_id);
            labels.gone.push(Gone { name, volume_id, label, arrived: entry.arrived });
            continue;
        }
        if entry.written != 0 {
            before.written.insert((entry.device, entry.inode), entry.written);
        }
        if entry.len != 0 {
            let StoredLabel { device, inode, len, mtime, written, .. } = entry;
            before.files.insert(FileId { device, inode, len, mtime, written });
        }
        if entry.arrived != 0 {
            labels.arrived.insert(label.clone(), entry.arrived);
        }
        if entry.inode != 0 {
            labels.files.insert((entry.device, entry.inode, entry.volume_id.clone()), label.clone());
        }
        labels.names.insert(OsString::from_vec(entry.name), (entry.volume_id, label));
    }
    Some((labels, before))
}
