//! A directory of ISOs, as it is now: which can be served under which label, and why the others can't.
//!
//! [`Scanner`] remembers between scans what it has looked into, so a rescan costs one `stat` a file, and which label an
//! ISO has, so that clients find under a name what they have booted from. Files are looked at side by side (`look`). One that
//! is bad is left out with its reason, and nothing else is lost by it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::boot::inspect::{self, Facts};
use crate::boot::netroot::Netroot;
use crate::catalog::labels::{self, Kept, Labels};
use crate::catalog::standing::{self, Standing};
use crate::image::initrd::Features;
use crate::image::iso;
use crate::image::label::Label;
use crate::storage::backing::Backing;
use crate::storage::identity::identity;
use crate::storage::source::{FileSource, PageCache, ReadAt};
use crate::storage::spare::Spare;
use crate::storage::state::StateDir;
use crate::storage::workers::{Limits, Workers};
use crate::storage::writers::Writers;

mod look;
mod suspects;

pub use look::{is_iso_name, open_again, open_file};
pub use suspects::{DEADLY, Witness};

use suspects::Suspects;

use look::{Candidate, Listing, Look, Looker, display, nanoseconds};

/// Identity of a file's content, as far as `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub len: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime: i64,
    /// 0, or for a file that was served and then written to in place the time of that (its ctime, in nanoseconds since
    /// 1970): it may have its old size and modification time again.
    #[serde(default)]
    pub written: i64,
}

/// An ISO that has been looked into. It keeps its file open, so that its bytes outlive its name.
pub struct IsoFile {
    /// Identity of its content.
    pub id: FileId,
    /// The file, as it is read when it is served.
    pub source: Backing,
    /// The file, as it is read by what reads it once: past the cache.
    pub plain: Arc<dyn ReadAt>,
    /// Size in bytes.
    pub len: u64,
    /// Modification time.
    pub mtime: SystemTime,
    /// The parts that it boots from.
    pub facts: Facts,
}

/// An ISO of the catalog.
#[derive(Clone)]
pub struct Iso {
    /// Its name.
    pub label: Label,
    /// Name of the file, for people.
    pub name: String,
    /// Its content.
    pub disc: Arc<IsoFile>,
    /// Number of its coming, kept as its label is: whatever was there before has a lower one.
    pub arrived: u64,
    /// The name of the system in its root, if that has been read.
    pub product: Option<String>,
    /// Abilities of its initrd; `None` until they are known.
    pub initrd: Option<Arc<Features>>,
    /// Whether it can boot by a second initramfs.
    pub netroot: Netroot,
    /// Both for its other kernels, in their order; empty until that is known.
    pub further: Vec<(Arc<Features>, Netroot)>,
}

/// A file that is not served.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Name of the file, for people.
    pub name: String,
    /// Why.
    pub reason: Reason,
    /// Whether it may yet become whole by itself.
    pub pending: bool,
}

impl Skipped {
    /// Whether the file is there and can't be looked at just now, so that what is kept for it stays its own.
    pub fn is_waited_for(&self) -> bool {
        let out_of_reach = matches!(self.reason, Reason::Denied | Reason::DanglingLink);
        self.pending || out_of_reach || !self.reason.lasts() && !self.is_gone()
    }

    /// Whether there is nothing under the name any more.
    fn is_gone(&self) -> bool {
        self.reason.error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// Why a file is not served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Reason {
    /// Not for who runs netrootfs.
    #[error("permission denied")]
    Denied,
    /// Nothing is where it leads to.
    #[error("it is a symbolic link to a file that isn't there")]
    DanglingLink,
    /// A directory, or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Somebody writes it, or has only just.
    #[error("{0}")]
    Unfinished(&'static str),
    /// The same file has been found under another name.
    #[error("it is another name of a file that is served")]
    SecondName,
    /// A reader of ISOs gave up in the worst way.
    #[error("looking into it ended in a panic: please report that, with the beginning of the ISO")]
    Panic,
    /// Processes have died of it.
    #[error(
        "netrootfs ended each time that it looked into it: please report that, with the beginning of the ISO"
    )]
    Deadly,
    /// A file server or a disk keeps it waiting.
    #[error("its file system doesn't answer")]
    Unanswered,
    /// It can't be opened or read.
    #[error(transparent)]
    Unreadable(Arc<io::Error>),
    /// It is in it.
    #[error(transparent)]
    Unfit(Arc<inspect::Error>),
}

impl Reason {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied => "permission-denied",
            Self::DanglingLink => "dangling-link",
            Self::NotAFile => "not-a-file",
            Self::Unfinished(_) => "unfinished",
            Self::SecondName => "second-name",
            Self::Panic => "panic",
            Self::Deadly => "deadly",
            Self::Unanswered => "unanswered",
            Self::Unreadable(_) => "unreadable",
            Self::Unfit(error) => error.code(),
        }
    }
}

impl Reason {
    /// Whether it is nothing but a copy under way, which will be served by itself.
    pub fn is_copy_under_way(&self) -> bool {
        matches!(self, Self::Unfinished(_))
    }

    /// Whether it holds until the file is another one, and not only for now.
    fn lasts(&self) -> bool {
        self.error().is_none()
    }

    /// The system's word, if the file could not be read.
    fn error(&self) -> Option<&io::Error> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::Unfit(error) => match &**error {
                inspect::Error::Iso(iso::Error::Io(error)) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(Arc::new(error))
    }
}

impl From<inspect::Error> for Reason {
    fn from(error: inspect::Error) -> Self {
        Self::Unfit(Arc::new(error))
    }
}

/// The outcome of a scan. Both lists are in the order of the label or name.
#[derive(Clone, Default)]
pub struct Catalog {
    /// The ISOs that are served.
    pub isos: Vec<Iso>,
    /// The files that are not.
    pub skipped: Vec<Skipped>,
    /// Set if the directory, or a file in it, lies where changes go unnoticed by inotify.
    pub remote: bool,
    /// The ISO that was chosen to boot by itself where nobody has named one.
    pub standing: Standing,
}

impl Catalog {
    /// Leaves ISOs out, for that reason.
    pub fn leave_out(&mut self, which: impl Fn(&Iso) -> bool, reason: &Reason) {
        for iso in self.isos.extract_if(.., |iso| which(iso)) {
            self.skipped.push(Skipped { name: iso.name, reason: reason.clone(), pending: false });
        }
        self.skipped.sort_by(|one, other| one.name.cmp(&other.name));
    }
}

impl Iso {
    /// The features of the initrds at that position of the ISO's files, and the second initramfs for them.
    pub fn known(&self, files: usize) -> (Option<&Features>, &Netroot) {
        match files.checked_sub(1) {
            None => (self.initrd.as_deref(), &self.netroot),
            Some(further) => match self.further.get(further) {
                Some((initrd, netroot)) => (Some(initrd), netroot),
                None => (None, &Netroot::Unknown),
            },
        }
    }
}

impl Catalog {
    /// Whether a file is there that may become whole by itself.
    pub fn pending(&self) -> bool {
        self.skipped.iter().any(|skipped| skipped.pending)
    }

    /// Whether the other catalog has the same ISOs with the same labels, in files of the same names, by which they are
    /// configured and shown.
    pub fn serves_same(&self, other: &Self) -> bool {
        self.served().eq(other.served())
    }

    /// A number for all that [`Catalog::serves_same`] compares.
    pub fn number(&self) -> u64 {
        identity(&self.served().collect::<Vec<_>>())
    }

    fn served(&self) -> impl Iterator<Item = (FileId, &Label, &str)> {
        self.isos.iter().map(|iso| (iso.disc.id, &iso.label, iso.name.as_str()))
    }
}

/// How the files of ISOs are read when they are served: by a cache, or as they are.
pub trait Opener: Send + Sync {
    /// Wraps an open file.
    ///
    /// # Errors
    /// If its length can't be read.
    fn open(&self, file: Arc<File>) -> io::Result<Opened>;
}

/// An open file, wrapped.
pub struct Opened {
    /// As it is read when it is served.
    pub served: Backing,
    /// As it is read by what reads it once.
    pub plain: Arc<dyn ReadAt>,
}

/// Reads files as they are.
pub struct Plain;

impl Opener for Plain {
    fn open(&self, file: Arc<File>) -> io::Result<Opened> {
        let plain = Arc::new(FileSource::new(file, PageCache::Keep)?);
        Ok(Opened { served: plain.clone().into(), plain })
    }
}

/// Scans a directory again and again.
///
/// ```
/// use std::sync::Arc;
///
/// use netrootfs::catalog::scan::{Plain, Scanner};
///
/// let directory = tempfile::tempdir()?;
/// std::fs::write(directory.path().join("notes.iso"), "not an ISO at all")?;
/// let mut scanner = Scanner::new(directory.path().to_owned(), Default::default(), Arc::new(Plain));
///
/// let catalog = scanner.scan()?;
/// assert!(catalog.isos.is_empty());
/// let [skipped] = catalog.skipped.as_slice() else { panic!() };
/// assert_eq!((skipped.name.as_str(), skipped.reason.code()), ("notes.iso", "not-an-iso"));
/// # std::io::Result::Ok(())
/// ```
pub struct Scanner {
    directory: PathBuf,
    /// Labels that the administrator gave, by file name.
    pinned: HashMap<OsString, Label>,
    labels: Labels,
    /// Where they are kept, if they are.
    kept: Option<Kept>,
    standing: standing::Memory,
    looker: Arc<Looker>,
    workers: Workers,
    /// A listing that has been asked for.
    listing: Option<Receiver<io::Result<Listing>>>,
    /// Names that have been asked for, and what comes in of them.
    asked: HashSet<OsString>,
    answers: (Sender<Look>, Receiver<Look>),
    /// The last answer under a name.
    last: HashMap<OsString, Candidate>,
    /// What was looked into and is no longer of use.
    gone: Vec<Arc<IsoFile>>,
}

/// How long a scan waits for the next answer. Whatever has not answered by then is as it was, and looked at when it does.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a scan lists the directory, where names go all the time.
const MOST_LISTINGS: usize = 4;

/// Each file is looked at by itself, so that one that hangs keeps none of the others out.
const LOOKS: Limits =
    Limits { name: "scan", threads: 256, per_key: 1, waiting: usize::MAX, patience: None, nice: false };

impl Scanner {
    /// Will scan `directory`; `pinned` are labels by file name, each at most once.
    pub fn new(directory: PathBuf, pinned: HashMap<OsString, Label>, opener: Arc<dyn Opener>) -> Self {
        let looker = Looker {
            directory: directory.clone(),
            opener,
            outcomes: Mutex::default(),
            writers: Writers::default(),
            written: Mutex::default(),
            spare: Spare::new(),
            opening: Mutex::default(),
            served: OnceLock::new(),
            suspects: OnceLock::new(),
            left: AtomicUsize::new(0),
        };
        Self {
            directory,
            pinned,
            labels: Labels::default(),
            kept: None,
            standing: standing::Memory::default(),
            looker: Arc::new(looker),
            workers: Workers::new(LOOKS),
            listing: None,
            asked: HashSet::new(),
            answers: channel(),
            last: HashMap::new(),
            gone: Vec::new(),
        }
    }

    /// Gives files the labels that they had before the start, and keeps them from now on; so with the ISO that boots by
    /// itself.
    pub fn keep_labels(&mut self, state: Arc<StateDir>) {
        self.standing = standing::Memory::load(state.clone());
        let (kept, labels, before) = Kept::load(state);
        (self.kept, self.labels) = (Some(kept), labels);
        *self.looker.written.lock() = before.written;
        let _ = self.looker.served.set(before.files);
    }

    /// Tells a witness what is being looked at, so that a process which comes after this one doesn't die of the same; `left` is
    /// what the witness knows of those that came before. To be called once.
    pub fn tell(&mut self, witness: Arc<dyn Witness>, left: HashMap<u64, u8>) {
        let _ = self.looker.suspects.set(Suspects::new(witness, left));
    }

    /// Leaves so many descriptors to others from now on: an ISO that would take one of them waits until there are more.
    pub fn leave_descriptors(&mut self, count: usize) {
        self.looker.left.store(count, Ordering::Relaxed);
    }

    /// Looks at the directory: at each regular file whose name ends in `.iso`, in any case, and doesn't begin with a dot.
    ///
    /// # Errors
    /// If the directory itself can't be read, or doesn't answer.
    pub fn scan(&mut self) -> io::Result<Catalog> {
        self.scan_within(PATIENCE)
    }

    /// The same with so much patience for each next answer, if it is known what was served before the start, so that what is
    /// missing then is [known](Self::unanswered_labels), too.
    ///
    /// # Errors
    /// As for [`Scanner::scan`].
    pub fn scan_within(&mut self, patience: Duration) -> io::Result<Catalog> {
        let patience = if self.labels.names.is_empty() { PATIENCE } else { patience };
        let (Listing { names, remote }, mut looks) = self.list_and_look(patience)?;
        let mut catalog = Catalog { remote, ..Catalog::default() };
        let mut candidates = Vec::new();
        // Whoever can't be looked at just now keeps its label.
        let mut waiting: Vec<OsString> = Vec::new();
        for name in names {
            let look = looks.remove(&name).unwrap_or_else(|| self.unanswered(&name));
            catalog.remote |= look.remote;
            match look.found {
                Ok(candidate) => candidates.extend(candidate),
                Err(skipped) => {
                    waiting.extend(skipped.is_waited_for().then_some(name));
                    catalog.skipped.push(skipped);
                }
            }
        }
        let with_name = |candidate: &Candidate| (candidate.name.clone(), candidate.clone());
        self.last = candidates.iter().map(with_name).collect();
        let present: HashSet<&OsString> = self.last.keys().chain(&waiting).collect();
        self.labels.keep_only(&present);
        self.enter(candidates, &mut catalog);
        catalog.isos.sort_by(|one, other| one.label.cmp(&other.label));
        catalog.standing = self.standing.find(&catalog);
        catalog.skipped.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(catalog)
    }

    /// Keeps an ISO as the one that boots by itself where nobody has named one.
    pub fn let_stand(&mut self, iso: &Iso) {
        if let Err(error) = self.standing.keep(iso) {
            log::warn!("what boots by itself can't be kept for the next start: {error}");
        }
    }

    /// What is no longer in the catalogs from the last one on. Who drops it may be the last to, and has to wait for its file system
    /// then.
    pub fn take_gone(&mut self) -> Vec<Arc<IsoFile>> {
        std::mem::take(&mut self.gone)
    }

    /// The labels of what was served before the start and has not answered yet.
    pub fn unanswered_labels(&self) -> HashSet<Label> {
        let asked = |name: &OsString| self.listing.is_some() || self.asked.contains(name);
        // What has answered once and is asked anew is served as before.
        let waited_for = |name: &OsString| asked(name) && !self.last.contains_key(name);
        let names = self.labels.names.iter().filter(|(name, _)| waited_for(name));
        names.map(|(_, (_, label))| label.clone()).collect()
    }

    /// What is in the directory: a file that is renamed between listing and look is there all the time, so it must not be
    /// missed under both names.
    fn list_and_look(&mut self, patience: Duration) -> io::Result<(Listing, HashMap<OsString, Look>)> {
        let (mut looks, mut listings) = (HashMap::new(), 0);
        loop {
            let listing = self.list(patience)?;
            looks.extend(self.look_at(&listing.names, patience));
            listings += 1;
            let is_gone = |name| looks.get(name).is_some_and(Look::is_gone);
            if listings == MOST_LISTINGS || !listing.names.iter().any(is_gone) {
                return Ok((listing, looks));
            }
        }
    }

    fn list(&mut self, patience: Duration) -> io::Result<Listing> {
        // There may be threads again.
        self.workers.relieve();
        let listing = self.listing.take().unwrap_or_else(|| {
            let (sender, inbox) = channel();
            let looker = self.looker.clone();
            // Whoever has ended doesn't need to know.
            self.workers.run(number_of(&self.directory), move || drop(sender.send(looker.list())));
            inbox
        });
        match listing.recv_timeout(patience) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                self.listing = Some(listing);
                Err(io::Error::new(io::ErrorKind::TimedOut, "its file system doesn't answer"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("it can't be listed")),
        }
    }

    /// Asks for what is under these names, and waits as long as answers come in.
    fn look_at(&mut self, names: &[OsString], patience: Duration) -> HashMap<OsString, Look> {
        let mut open = 0_usize;
        for name in names {
            if self.asked.insert(name.clone()) {
                let (looker, name, sender) = (self.looker.clone(), name.clone(), self.answers.0.clone());
                let number = number_of(&self.directory.join(&name));
                self.workers.run(number, move || drop(sender.send(looker.look(name))));
                open += 1;
            }
        }
        let mut looks = HashMap::new();
        // What comes late, of an earlier scan, comes beside what is waited for.
        while let Some(look) = match open {
            0 => self.answers.1.try_recv().ok(),
            _ => self.answers.1.recv_timeout(patience).ok(),
        } {
            open = open.saturating_sub(1);
            self.asked.remove(&look.name);
            looks.insert(look.name.clone(), look);
        }
        if let Some(suspects) = self.looker.suspects.get().filter(|_| !self.asked.is_empty()) {
            suspects.acquit_who_waits();
        }
        looks
    }

    /// What is known of a name that doesn't answer: it is served as before, or waited for.
    fn unanswered(&self, name: &OsStr) -> Look {
        let skipped = || Skipped { name: display(name), reason: Reason::Unanswered, pending: true };
        let found = self.last.get(name).cloned().map(Some).ok_or_else(skipped);
        Look { name: name.to_owned(), found, remote: true }
    }

    /// Gives the ISOs their labels, and forgets what is gone.
    fn enter(&mut self, mut candidates: Vec<Candidate>, catalog: &mut Catalog) {
        // Whoever has a label keeps it; among the new, the file that is older comes first.
        candidates.sort_by(|one, other| (one.mtime, &one.name).cmp(&(other.mtime, &other.name)));
        let mut outcomes = HashMap::new();
        let mut discs = Vec::new();
        for candidate in candidates {
            self.gone.extend(candidate.outcome.as_ref().ok().cloned());
            // Two names of one file were looked into beside each other.
            match outcomes.entry(candidate.id).or_insert(candidate.outcome).clone() {
                Ok(disc) => discs.push((candidate.name, disc)),
                Err(reason) => {
                    catalog.skipped.push(Skipped { name: display(&candidate.name), reason, pending: false });
                }
            }
        }
        let current: HashSet<_> = outcomes.values().flatten().map(Arc::as_ptr).collect();
        let before = std::mem::replace(&mut *self.looker.outcomes.lock(), outcomes);
        self.gone.extend(before.into_values().flatten());
        self.gone.retain(|disc| !current.contains(&Arc::as_ptr(disc)));
        let mut labels: HashMap<labels::Key, Label> = HashMap::new();
        let mut served = HashSet::new();
        for (name, disc) in &discs {
            if let Some(label) = self.pinned.get(name).or_else(|| self.labels.files.get(&label_key(disc))) {
                // One name in two places, by a link: the first has the label.
                labels.entry(label_key(disc)).or_insert_with(|| label.clone());
            }
        }
        let mut taken: HashSet<Label> = labels.values().chain(self.pinned.values()).cloned().collect();
        for (name, disc) in &discs {
            // Another file under the old name, such as today's build, goes on under the label. One that has only come
            // with it doesn't get that, even if it is older.
            let Some((volume_id, label)) = self.labels.names.remove(name) else { continue };
            let key = label_key(disc);
            let same = volume_id == disc.facts.volume_id && !labels.contains_key(&key);
            if same && taken.insert(label.clone()) {
                labels.insert(key, label);
            }
        }
        // Those that are left are of files that are being written anew or can't be read.
        taken.extend(self.labels.names.values().map(|(_, label)| label.clone()));
        for (name, disc) in &discs {
            let key = label_key(disc);
            if labels.contains_key(&key) {
                continue;
            }
            let Some(before) = self.labels.of_returned(name, &disc.facts.volume_id) else { continue };
            if taken.insert(before.label.clone()) {
                labels.insert(key, before.label.clone());
                self.labels.arrived.insert(before.label.clone(), before.arrived);
            }
        }
        let mut arrivals = self.arrivals(&discs, &labels);
        let gone = self.labels.gone.iter().map(|gone| &gone.arrived);
        let known = self.labels.arrived.values().chain(arrivals.values()).chain(gone);
        let mut last = known.max().copied().unwrap_or_default();
        let mut names = Vec::new();
        for (name, disc) in discs {
            let key = label_key(&disc);
            if !served.insert(disc.id) {
                let reason = Reason::SecondName;
                catalog.skipped.push(Skipped { name: display(&name), reason, pending: false });
                continue;
            }
            let label = labels.get(&key).cloned().unwrap_or_else(|| new_label(&name, &disc, &taken));
            let arrived = *arrivals.entry(label.clone()).or_insert_with(|| {
                last += 1;
                last
            });
            taken.insert(label.clone());
            self.labels.names.insert(name.clone(), (disc.facts.volume_id.clone(), label.clone()));
            labels.insert(key, label.clone());
            names.push(name.clone());
            catalog.isos.push(Iso {
                label,
                name: display(&name),
                disc,
                arrived,
                product: None,
                initrd: None,
                netroot: Netroot::Unknown,
                further: Vec::new(),
            });
        }
        self.labels.files = labels;
        self.labels.arrived = arrivals;
        self.labels.gone.retain(|gone| !taken.contains(&gone.label));
        if let Some(Err(error)) =
            self.kept.as_mut().map(|file| file.save(&catalog.isos, &names, &self.labels))
        {
            log::warn!("the labels can't be kept for the next start: {error}");
        }
    }
}

impl Scanner {
    /// In which order those came that have a label already, and those that wait for their file.
    fn arrivals(
        &self,
        discs: &[(OsString, Arc<IsoFile>)],
        labels: &HashMap<labels::Key, Label>,
    ) -> HashMap<Label, u64> {
        let known = &self.labels.arrived;
        let mut last = known.values().copied().max().unwrap_or_default();
        let waiting = self.labels.names.values();
        let mut arrivals: HashMap<Label, u64> =
            waiting.filter_map(|(_, label)| Some((label.clone(), *known.get(label)?))).collect();
        for (_, disc) in discs {
            let key = label_key(disc);
            let Some(label) = labels.get(&key) else { continue };
            match known.get(label) {
                Some(number) => drop(arrivals.insert(label.clone(), *number)),
                // Kept by a version that kept no numbers: it was there before whatever comes now.
                None if self.labels.files.contains_key(&key) => {
                    last += 1;
                    arrivals.entry(label.clone()).or_insert(last);
                }
                None => {}
            }
        }
        arrivals
    }
}

/// The volume id, else the file's name; whatever is taken or reserved gets the file's name behind it.
fn new_label(name: &OsStr, disc: &IsoFile, taken: &HashSet<Label>) -> Label {
    let stem = Path::new(name).file_stem().unwrap_or(name).as_bytes();
    let first = Label::from_volume_id(&disc.facts.volume_id).unwrap_or_else(|| Label::from_file_stem(stem));
    if !taken.contains(&first) {
        return first;
    }
    let joined = first.joined_with(stem);
    let numbered = (2_u32..).map(|number| joined.numbered(number));
    std::iter::once(joined.clone()).chain(numbered).find(|label| !taken.contains(label)).unwrap_or(first)
}

impl FileId {
    /// From what `stat` says.
    pub fn of(stat: &Metadata) -> Self {
        let mtime = nanoseconds(stat.mtime(), stat.mtime_nsec());
        Self { device: stat.dev(), inode: stat.ino(), len: stat.len(), mtime, written: 0 }
    }

    fn is_of_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// A number for what waits for this path.
fn number_of(path: &Path) -> u64 {
    identity(&path.as_os_str().as_bytes())
}

fn label_key(disc: &IsoFile) -> labels::Key {
    (disc.id.device, disc.id.inode, disc.facts.volume_id.clone())
}
