//! How the mount fares, gathered when somebody looks: `status.json`, `metrics` and `index.html` in the tree's root.
//!
//! What the catalog is like is put on the [`Board`] by whoever keeps it, which may hang with its file server; all else is
//! asked of counters. So a look waits for nobody. Nothing is written or kept here.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::boot::names;
use crate::catalog::scan::{self, Catalog};
use crate::serve::clients::Clients;
use crate::serve::operations::Operations;
use crate::serve::usage::seconds;
use crate::storage::cache::{BlockCache, Counters};
use crate::storage::content::Content;
use crate::tree::layout::{self, Settings};
use crate::tree::live::{Live, Moment};
use crate::tree::render::status::{self, Cache, File, Iso, LeftOut, Status};

/// Makes a text.
type Render = fn(&Status) -> String;

/// The names in the root, with what makes their texts.
const FILES: [(&str, Render); 3] =
    [(names::STATUS, status::json), (names::METRICS, status::metrics), (names::INDEX, status::page)];

/// How often a text is made anew at most.
const FRESH: Duration = Duration::from_secs(1);

/// How long a process gets the text again that it has got: cp(1), for one, looks at a name first, and refuses a file that
/// is another one when it opens it.
const SAME: Duration = Duration::from_secs(2);

/// All that a status is made of.
pub struct Board {
    about: About,
    cache: Arc<BlockCache>,
    started: SystemTime,
    catalog: Mutex<Facts>,
    served: OnceLock<Served>,
}

/// What never changes.
pub struct About {
    /// Where the tree is mounted.
    pub mountpoint: String,
    /// The directory of ISOs.
    pub iso_directory: String,
    /// The cache's budget in bytes.
    pub cache_limit: u64,
    /// How many processes served the mount before this one.
    pub takeovers: u64,
}

/// What the catalog was like when it was looked at last.
#[derive(Default)]
struct Facts {
    isos: Vec<Iso>,
    left_out: Vec<LeftOut>,
    server: Option<String>,
    readable: bool,
    snapshot: u64,
}

/// What is there once the mount is.
struct Served {
    operations: Weak<Operations>,
    clients: Arc<Clients>,
    data_path: &'static str,
}

impl Board {
    /// Nothing is known yet.
    pub fn new(about: About, cache: &Arc<BlockCache>) -> Arc<Self> {
        let (catalog, served) = (Mutex::default(), OnceLock::new());
        Arc::new(Self { about, cache: cache.clone(), started: SystemTime::now(), catalog, served })
    }

    /// The files that show it, by name.
    pub fn files(self: &Arc<Self>) -> Vec<(&'static str, Arc<dyn Live>)> {
        let file = |render| Arc::new(Text { board: self.clone(), render, given: Mutex::default() });
        FILES.map(|(name, render)| (name, file(render) as Arc<dyn Live>)).into()
    }

    /// Enters what the catalog is like, and whether its directory could be read.
    pub fn catalog(&self, catalog: &Catalog, settings: &Settings, readable: bool) {
        let titles = layout::titles(catalog, settings);
        let isos = catalog.isos.iter().zip(titles).map(|(iso, title)| iso_of(iso, title, settings)).collect();
        let left_out = catalog.skipped.iter().map(|file| LeftOut {
            file: file.name.clone(),
            reason: file.reason.to_string(),
            code: file.reason.code().into(),
            pending: file.pending,
        });
        let left_out = left_out.collect();
        let server = Some(settings.host.clone()).filter(|host| !host.is_empty());
        let mut facts = self.catalog.lock();
        *facts = Facts { isos, left_out, server, readable, snapshot: facts.snapshot };
    }

    /// The tree is another one from now on.
    pub fn shown(&self) {
        self.catalog.lock().snapshot = seconds(SystemTime::now());
    }

    /// Is served by these, and ISOs are read by the kernel if it can.
    pub fn serve(&self, operations: &Arc<Operations>, clients: &Arc<Clients>, by_kernel: bool) {
        let data_path = if by_kernel { "kernel" } else { "cache" };
        let (operations, clients) = (Arc::downgrade(operations), clients.clone());
        // There is one mount.
        let _ = self.served.set(Served { operations, clients, data_path });
    }

    /// All of it as it is now.
    pub fn status(&self) -> Status {
        let facts = self.catalog.lock();
        let mut status = Status {
            schema: status::SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            time: seconds(SystemTime::now()),
            started: seconds(self.started),
            takeovers: self.about.takeovers,
            mountpoint: self.about.mountpoint.clone(),
            iso_directory: self.about.iso_directory.clone(),
            iso_directory_readable: facts.readable,
            server: facts.server.clone(),
            snapshot: facts.snapshot,
            isos: facts.isos.clone(),
            left_out: facts.left_out.clone(),
            cache: self.cache(),
            ..Status::default()
        };
        drop(facts);
        if let Some(Served { operations, clients, data_path }) = self.served.get() {
            status.data_path = (*data_path).into();
            (status.machines, status.boots, status.servers) = clients.shown();
            if let Some(operations) = operations.upgrade() {
                enter_usage(&mut status, &operations);
            }
        }
        status
    }

    /// How the cache fares.
    pub fn counters(&self) -> Counters {
        self.cache.counters()
    }

    fn cache(&self) -> Cache {
        let counters = self.counters();
        Cache {
            limit_bytes: self.about.cache_limit,
            bytes: counters.current_bytes,
            peak_bytes: counters.peak_bytes,
            hits: counters.hits,
            waits: counters.waits,
            misses: counters.misses,
            evictions: counters.evictions,
            source_read_bytes: counters.source_bytes,
            read_aheads: counters.read_aheads_issued,
            read_aheads_used: counters.read_aheads_used,
        }
    }
}

fn iso_of(iso: &scan::Iso, title: String, settings: &Settings) -> Iso {
    let (boots_by, caveat) = match layout::boot(iso, settings) {
        Ok(boot) => (Some(boot.transport.name()), boot.caveat.map(|one| (one.to_string(), one.code()))),
        Err(reason) => (None, Some((reason.to_string(), reason.code()))),
    };
    let initrd = match iso.initrd.as_deref() {
        None => "waiting",
        Some(found) if found.damage.is_some() => "damaged",
        Some(_) => "done",
    };
    Iso {
        label: iso.label.to_string(),
        file: iso.name.clone(),
        title,
        size: iso.disc.len,
        family: iso.disc.facts.family.name.into(),
        boots_by: boots_by.map(str::to_owned),
        caveat_code: caveat.as_ref().map(|(_, code)| (*code).to_owned()),
        caveat: caveat.map(|(sentence, _)| sentence),
        initrd: initrd.into(),
        initrd_can: iso.initrd.as_ref().map(|found| found.to_string()),
    }
}

fn enter_usage(status: &mut Status, operations: &Operations) {
    let usage = operations.usage();
    let files = usage.files(&operations.readings()).into_iter();
    status.files = files
        .map(|(path, counted)| File {
            path,
            open: counted.open,
            opens_kernel: counted.opens_by_kernel,
            opens_cache: counted.opens,
            read_bytes: counted.bytes,
        })
        .collect();
    status.errors = usage.errors().map(|(kind, count)| (kind.to_owned(), count)).collect();
}

/// One of the files.
struct Text {
    board: Arc<Board>,
    render: Render,
    given: Mutex<VecDeque<Given>>,
}

/// What a process was given, when, and when it was made.
struct Given {
    asker: u32,
    at: Instant,
    moment: Moment,
    made: Instant,
}

impl Live for Text {
    fn now(&self, asker: u32) -> io::Result<Moment> {
        let mut given = self.given.lock();
        // They are in the order of their times.
        while given.front().is_some_and(|given| given.at.elapsed() >= SAME) {
            given.pop_front();
        }
        if let Some(before) = given.iter().find(|given| given.asker == asker) {
            return Ok(before.moment.clone());
        }
        let (moment, made) = match given.back().filter(|last| last.made.elapsed() < FRESH) {
            Some(last) => (last.moment.clone(), last.made),
            None => {
                let content = Arc::new(Content::text((self.render)(&self.board.status())));
                (Moment { content, time: SystemTime::now() }, Instant::now())
            }
        };
        given.push_back(Given { asker, at: Instant::now(), moment: moment.clone(), made });
        Ok(moment)
    }
}

/// The same files where nothing is mounted.
pub fn files_of_no_mount() -> Vec<(&'static str, Arc<dyn Live>)> {
    FILES.map(|(name, _)| (name, Arc::new(NoMount) as Arc<dyn Live>)).into()
}

struct NoMount;

impl Live for NoMount {
    fn now(&self, _asker: u32) -> io::Result<Moment> {
        Err(io::Error::other("tells of a mount, and there is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Arc<Board> {
        let about =
            About { mountpoint: "/m".into(), iso_directory: "/i".into(), cache_limit: 1 << 20, takeovers: 0 };
        Board::new(about, &BlockCache::new(1 << 20))
    }

    fn text(file: &dyn Live) -> String {
        let moment = file.now(1).unwrap();
        String::from_utf8(moment.content.read_at(0, usize::MAX).unwrap()).unwrap()
    }

    #[test]
    fn each_file_tells_of_the_same_in_its_own_language() {
        let board = board();
        let texts: Vec<String> = board.files().iter().map(|(_, file)| text(file.as_ref())).collect();
        let status: Status = serde_json::from_str(&texts[0]).unwrap();
        assert_eq!((status.mountpoint.as_str(), status.schema), ("/m", 1));
        assert!(texts[1].ends_with("# EOF\n") && texts[2].contains("<code>/m</code>"));
    }

    #[test]
    fn a_process_gets_again_what_it_has_got_and_others_what_is_new() {
        let board = board();
        let text = Text { board, render: status::json, given: Mutex::default() };
        let content = |asker| text.now(asker).unwrap().content;
        let first = content(1);
        let is_first = |asker| Arc::ptr_eq(&content(asker), &first);
        assert!(is_first(1) && is_first(2), "all within a second");
        let back = |time: Duration, change: fn(&mut Given, Instant)| {
            let before = Instant::now().checked_sub(time).unwrap();
            text.given.lock().iter_mut().for_each(|given| change(given, before));
        };
        back(FRESH, |given, before| given.made = before);
        assert!(!is_first(3));
        assert!(is_first(1) && is_first(2), "that was theirs");
        back(SAME, |given, before| given.at = before);
        assert!(!is_first(1));
        assert_eq!(text.given.lock().len(), 1, "the rest is forgotten");
    }

    #[test]
    fn without_a_mount_there_is_a_sentence() {
        let files = files_of_no_mount();
        let error = files[0].1.now(1).err().unwrap();
        assert_eq!(
            (files[0].0, error.to_string().as_str()),
            ("status.json", "tells of a mount, and there is none")
        );
    }
}
