//! The look into initrds, and for what a second one would need: beside the mount, and remembered across restarts.
//!
//! Unpacking an initrd takes a second or more, so nobody waits for it: threads of low priority do it one after the other,
//! and tell when something new is known. The results are kept in a small file; one that can't be read is thrown away,
//! and one that can't be written costs the work at the next start, nothing more.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::boot::families;
use crate::boot::inspect::{self, BootFiles};
use crate::boot::netroot::program::Programs;
use crate::boot::netroot::store::Store;
use crate::boot::netroot::{self, Finding};
use crate::catalog::apart;
use crate::catalog::scan::{Catalog, FileId, IsoFile};
use crate::image::initrd::{self, Features, Limits};
use crate::image::iso;
use crate::storage::content::Content;
use crate::storage::content::Segments;
use crate::storage::identity::identity;
use crate::storage::source::ReadAt;
use crate::storage::state::StateDir;
use crate::storage::workers;

/// Read at a time from the ISO.
const READ_SIZE: usize = 256 << 10;

/// Initrds that are unpacked at once: each needs a core and some megabytes, and clients come first. One that takes a
/// minute waits for its disk, and others go on.
const THREADS: workers::Limits = workers::Limits {
    name: "initrd",
    threads: 2,
    per_key: 1,
    waiting: usize::MAX,
    patience: Some(Duration::from_secs(60)),
    nice: true,
};

/// The first pause before another look where one ended by something of the moment, and the longest.
const SOON: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(3600);

/// Name of the file in the state directory.
const FILE_NAME: &str = "initrds.json";

/// Version of its format.
const VERSION: u32 = 3;

/// Longest file: of tens of thousands of ISOs.
const MAX_LEN: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// The program's version: another one may see other things in an initrd.
    program: String,
    results: Vec<(FileId, ProbeResult)>,
    /// Those of other versions.
    #[serde(default)]
    earlier: Vec<(FileId, ProbeResult)>,
}

/// The outcome for an ISO.
#[derive(Clone, Serialize, Deserialize)]
struct ProbeResult {
    initrd: Arc<Features>,
    netroot: Finding,
    /// The packed drivers that the finding names.
    #[serde(skip)]
    pack: Option<Arc<Content>>,
    /// The name of the system on it, if that has been read.
    #[serde(default)]
    product: Option<String>,
    /// The same for the ISO's other kernels, in their order.
    #[serde(default)]
    further: Vec<ProbeResult>,
}

impl ProbeResult {
    /// With the drivers that it names; `None` if they are gone.
    fn with_pack(mut self, store: &Store) -> Option<Self> {
        if let Some(pack) = self.netroot.pack() {
            self.pack = Some(Arc::new(store.open(pack)?));
        }
        self.further =
            self.further.into_iter().map(|result| result.with_pack(store)).collect::<Option<_>>()?;
        Some(self)
    }

    /// This one and those for other kernels.
    fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.further)
    }
}

/// A look into one kernel of an ISO and its initrds.
#[derive(Serialize, Deserialize)]
pub struct Looked {
    /// Abilities of the initrds.
    pub initrd: Features,
    /// Needs of a second initramfs.
    pub netroot: Finding,
    /// The name of the system in its root, if that was read.
    pub product: Option<String>,
    /// The packed drivers that the finding names.
    #[serde(skip)]
    pub packed: Option<Vec<u8>>,
}

/// Where ISOs are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this process.
    Here,
    /// In a process for each, by [`apart`].
    Apart,
}

/// The results, shared with the threads that add to them.
pub struct ProbeResults {
    place: Place,
    state: Option<Arc<StateDir>>,
    known: Mutex<HashMap<FileId, ProbeResult>>,
    /// These are to be looked into again.
    again: Mutex<HashMap<FileId, Again>>,
    programs: Programs,
    store: Store,
}

impl ProbeResults {
    /// Reads what was known at the end of the last run; `None` remembers nothing. What another version of the program has
    /// found counts until this one has looked: clients boot by it.
    pub fn load(place: Place, state: Option<Arc<StateDir>>, programs: Programs) -> Self {
        let (results, earlier) = state.as_deref().and_then(|state| read(state).ok()).unwrap_or_default();
        let store = Store::new(state.clone());
        let again = earlier.iter().map(|(id, _)| (*id, Again::earlier())).collect();
        let stored = results.into_iter().chain(earlier);
        let known = stored.filter_map(|(id, result)| Some((id, result.with_pack(&store)?)));
        Self { place, state, known: Mutex::new(known.collect()), again: Mutex::new(again), programs, store }
    }

    /// Enters what is known into a catalog, and returns the ISOs of which nothing is known, and after them those that are
    /// worth another look by now.
    pub fn enter(&self, catalog: &mut Catalog) -> Vec<Arc<IsoFile>> {
        let known = self.known.lock();
        let again = self.again.lock();
        let (mut unknown, mut due) = (Vec::new(), Vec::new());
        for iso in &mut catalog.isos {
            match known.get(&iso.disc.id) {
                None => unknown.push(iso.disc.clone()),
                Some(result) => {
                    if again.get(&iso.disc.id).is_some_and(Again::is_due) {
                        due.push(iso.disc.clone());
                    }
                    let known = |result: &ProbeResult| {
                        let archive = result.netroot.archive(&self.programs, result.pack.as_ref());
                        (result.initrd.clone(), archive)
                    };
                    let (initrd, netroot) = known(result);
                    (iso.initrd, iso.netroot) = (Some(initrd), netroot);
                    iso.product = result.all().find_map(|result| result.product.clone());
                    iso.further = result.further.iter().map(known).collect();
                }
            }
        }
        unknown.extend(due);
        unknown
    }

    /// Looks into an ISO's initrds and kernels, unless its result is known.
    pub fn look_into(&self, disc: &IsoFile) {
        let before = self.again.lock().get(&disc.id).copied();
        if self.known.lock().contains_key(&disc.id) && !before.is_some_and(|again| again.is_due()) {
            return;
        }
        if disc.facts.files.is_empty() {
            let netroot = Finding::Refused("it has no kernel".into());
            let initrd = Arc::default();
            let nothing = ProbeResult { initrd, netroot, pack: None, product: None, further: Vec::new() };
            self.known.lock().insert(disc.id, nothing);
            return;
        }
        let found = match self.place {
            Place::Here => Ok(look(disc)),
            Place::Apart => apart::look(disc),
        };
        // By what an earlier version has found it boots.
        let earlier = before.is_some_and(|again| again.earlier) && self.known.lock().contains_key(&disc.id);
        let again = found.as_ref().is_err_and(|error| earlier || error.is_of_this_moment());
        if let Err(error) = &found
            && before.is_none_or(|again| again.pause.is_zero())
        {
            let later = if again { "; tried again later" } else { "" };
            log::warn!("{}: {error}{later}", apart::path_of(disc));
        }
        if found.is_err() && earlier {
            self.again.lock().insert(disc.id, Again { earlier, ..Again::after(before) });
            return;
        }
        let found = found.unwrap_or_else(|error| not_looked_into(disc, &error.to_string()));
        let mut results = found.into_iter().map(|looked| self.keep(looked));
        let Some(first) = results.next() else { return };
        let result = ProbeResult { further: results.collect(), ..first };
        // Of a file that was written to meanwhile, nothing of it need be true.
        if disc.source.check().is_err() {
            return;
        }
        self.known.lock().insert(disc.id, result);
        if again {
            self.again.lock().insert(disc.id, Again::after(before));
        } else if self.again.lock().remove(&disc.id).is_some_and(|again| !again.pause.is_zero()) {
            log::info!("{}: could be looked into now", apart::path_of(disc));
        }
    }

    fn keep(&self, looked: Looked) -> ProbeResult {
        let Looked { initrd, netroot, product, packed } = looked;
        let pack = netroot.pack().zip(packed).map(|(pack, bytes)| Arc::new(self.store.keep(pack, bytes)));
        ProbeResult { initrd: Arc::new(initrd), netroot, pack, product, further: Vec::new() }
    }

    /// Writes down what is known of the ISOs of a catalog, and forgets the others.
    ///
    /// # Errors
    /// If the state directory can't be made or written.
    pub fn save(&self, catalog: &Catalog) -> io::Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        let served: HashSet<FileId> = catalog.isos.iter().map(|iso| iso.disc.id).collect();
        let mut known = self.known.lock();
        known.retain(|id, _| served.contains(id));
        let packs =
            known.values().flat_map(ProbeResult::all).filter_map(|result| Some(result.netroot.pack()?.sum));
        self.store.keep_only(&packs.collect());
        let mut again = self.again.lock();
        again.retain(|id, _| served.contains(id));
        let those = |wanted: fn(Option<&Again>) -> bool| {
            let results = known.iter().filter(|(id, _)| wanted(again.get(id)));
            results.map(|(id, result)| (*id, result.clone())).collect()
        };
        let results = those(|again| again.is_none());
        let earlier = those(|again| again.is_some_and(|again| again.earlier));
        drop((known, again));
        let program = env!("CARGO_PKG_VERSION").into();
        let stored = Stored { version: VERSION, program, results, earlier };
        state.write(FILE_NAME, &serde_json::to_vec(&stored)?)
    }
}

/// When something is worth another look: at once what an earlier version has found; after ten seconds what is of the moment,
/// and each time after twice as long, up to an hour.
#[derive(Clone, Copy)]
struct Again {
    pause: Duration,
    from: Instant,
    /// Whether what is known until then is of an earlier version.
    earlier: bool,
}

impl Again {
    fn earlier() -> Self {
        Self { pause: Duration::ZERO, from: Instant::now(), earlier: true }
    }

    fn after(before: Option<Self>) -> Self {
        let pause = before.map_or(SOON, |before| (before.pause * 2).clamp(SOON, LATE));
        Self { pause, from: Instant::now() + pause, earlier: false }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.from
    }
}

/// The threads that look into initrds. They end when this is dropped and their work is done.
pub struct Workers {
    threads: workers::Workers,
    results: Arc<ProbeResults>,
    done: Arc<dyn Fn() + Send + Sync>,
    /// What is waiting or being looked into; who waits holds no file open, so that one that goes is gone at once. A result
    /// may be forgotten, and is then asked for again.
    asked: Arc<Mutex<HashMap<FileId, Weak<IsoFile>>>>,
}

impl Workers {
    /// There are none yet; `done` is called each time that a result has come in.
    pub fn new(results: &Arc<ProbeResults>, done: impl Fn() + Send + Sync + 'static) -> Self {
        let threads = workers::Workers::new(THREADS);
        Self { threads, results: results.clone(), done: Arc::new(done), asked: Arc::default() }
    }

    /// Has these looked into, unless they are waiting for it.
    pub fn ask(&self, discs: Vec<Arc<IsoFile>>) {
        for disc in discs {
            let id = disc.id;
            if self.asked.lock().insert(id, Arc::downgrade(&disc)).is_none() {
                let (results, done, asked) = (self.results.clone(), self.done.clone(), self.asked.clone());
                self.threads.run(identity(&id), move || {
                    let disc = still_there(&mut asked.lock(), id);
                    if let Some(disc) = disc {
                        results.look_into(&disc);
                        asked.lock().remove(&id);
                    }
                    // Of one that has gone, too: what is known may be whole by that, and is kept then.
                    done();
                });
            }
        }
        self.threads.relieve();
    }
}

/// An ISO whose turn has come. One that has gone meanwhile waits no longer.
fn still_there(asked: &mut HashMap<FileId, Weak<IsoFile>>, id: FileId) -> Option<Arc<IsoFile>> {
    let disc = asked.get(&id)?.upgrade();
    if disc.is_none() {
        asked.remove(&id);
    }
    disc
}

/// Looks into each kernel of an ISO, here and now.
pub fn look(disc: &IsoFile) -> Vec<Looked> {
    let mut nameless = disc.facts.product.is_none();
    let look = |files| {
        let looked = look_at(disc, files, nameless);
        nameless &= looked.product.is_none();
        looked
    };
    disc.facts.files.iter().map(look).collect()
}

/// Of what is `nameless` the name is looked for, too.
fn look_at(disc: &IsoFile, files: &BootFiles, nameless: bool) -> Looked {
    let initrd = probe(disc, files);
    let mut product = None;
    let roots = || {
        let roots = plain_roots(disc);
        if nameless {
            product = netroot::product_of(&roots);
        }
        roots
    };
    let (netroot, packed) = match files.initrds.is_empty() {
        true => (Finding::Refused("its kernel has no initrd beside it".into()), None),
        false => Finding::of(kernel_of(disc, files).reader(), &initrd, roots),
    };
    Looked { initrd, netroot, product, packed }
}

/// The outcome where there is none: nothing is known of its initrds.
fn not_looked_into(disc: &IsoFile, reason: &str) -> Vec<Looked> {
    let looked = |_: &BootFiles| Looked {
        initrd: Features { damage: Some(reason.to_owned()), ..Features::default() },
        netroot: Finding::Refused(reason.to_owned()),
        product: None,
        packed: None,
    };
    disc.facts.files.iter().map(looked).collect()
}

fn probe(disc: &IsoFile, files: &BootFiles) -> Features {
    if files.initrds.is_empty() {
        return Features::default();
    }
    let content = initrd_of(disc, files);
    let reader = BufReader::with_capacity(READ_SIZE, content.reader());
    // What may be unpacked for nothing is for an ISO, however many kernels it has.
    let limits = Limits::default();
    let limits = Limits { free: limits.free / disc.facts.files.len().max(1) as u64, ..limits };
    initrd::probe_for(reader, limits, &families::marks())
        .unwrap_or_else(|error| Features { damage: Some(error.to_string()), ..Features::default() })
}

/// The initrds of an ISO's first entry as the one file that they are served as, for who reads it once.
pub fn plain_initrd(disc: &IsoFile) -> Content {
    disc.facts.main_files().map_or_else(nothing, |files| initrd_of(disc, files))
}

fn initrd_of(disc: &IsoFile, files: &BootFiles) -> Content {
    Content::Segments(
        Segments::new(disc.plain.clone(), identity(&disc.id))
            .archives(files.initrds.iter().map(|file| file.extents.as_slice())),
    )
}

fn nothing() -> Content {
    Content::text(String::new())
}

/// The images of an ISO that may be its root, for who reads them once.
pub fn plain_roots(disc: &IsoFile) -> Vec<(String, Arc<dyn ReadAt>)> {
    let with_bytes = |file: iso::File| {
        let content = Segments::new(disc.plain.clone(), identity(&disc.id)).extents(&file.extents);
        (file.path, Arc::new(Content::Segments(content)) as Arc<dyn ReadAt>)
    };
    // What can't be read now could be when the ISO was looked into, so there is nothing new to say.
    let images = inspect::roots(&disc.plain).unwrap_or_default();
    let packages = inspect::packages(&disc.plain).unwrap_or_default();
    images.into_iter().chain(packages).map(with_bytes).collect()
}

/// The kernel of an ISO's first entry, for who reads it once.
pub fn plain_kernel(disc: &IsoFile) -> Content {
    disc.facts.main_files().map_or_else(nothing, |files| kernel_of(disc, files))
}

fn kernel_of(disc: &IsoFile, files: &BootFiles) -> Content {
    Content::Segments(Segments::new(disc.plain.clone(), identity(&disc.id)).extents(&files.kernel.extents))
}

type Results = Vec<(FileId, ProbeResult)>;

/// The results of this version of the program, and those of others.
fn read(state: &StateDir) -> io::Result<(Results, Results)> {
    let stored: Stored = serde_json::from_slice(&state.read(FILE_NAME, MAX_LEN)?)?;
    let Stored { version, program, results, mut earlier } = stored;
    if version != VERSION {
        return Ok(Default::default());
    }
    if program == env!("CARGO_PKG_VERSION") {
        return Ok((results, earlier));
    }
    earlier.extend(results);
    Ok((Vec::new(), earlier))
}
