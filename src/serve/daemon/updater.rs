//! The updater of the catalog: looks at the directory, at the configuration file and at this host's address, and lays out the
//! tree anew when one of them has changed.
//!
//! It says in the log what has come, gone or is left out, each once. It knows nothing of mounts.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::boot::loader;
use crate::boot::servers;
use crate::catalog::config::ByItself;
use crate::catalog::config::file::{Followed, Look};
use crate::catalog::probe::{ProbeResults, Workers};
use crate::catalog::scan::{Catalog, FileId, Iso, IsoFile, Reason, Scanner, Skipped};
use crate::catalog::standing::Standing;
use crate::catalog::unknown;
use crate::image::label::Label;
use crate::serve::handover::settings;
use crate::serve::status::Board;
use crate::serve::watch::Pace;
use crate::storage::state::StateDir;
use crate::tree::arena::Tree;
use crate::tree::iso_files::DirectoryCache;
use crate::tree::layout::{self, Given, LoaderFile, Settings};
use crate::tree::live::Live;

use super::Config;
use super::times::Times;

/// A variable that makes the layout panic for the ISO of a label. For tests, of builds for these.
const FAULT: &str = "NETROOTFS_LAYOUT_FAULT";

/// The outcome of a look at the directory.
#[derive(PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Menu,
    Isos,
}

/// What a tree shows besides the catalog.
pub(super) struct Shown {
    /// Where it is told what is served.
    pub board: Arc<Board>,
    /// Its files: the same in each tree, so that a process gets again what it has got.
    pub live: Vec<(&'static str, Arc<dyn Live>)>,
    /// The times of rendered files.
    pub times: Times,
    /// Where what is found out is kept, if it is.
    pub state: Option<Arc<StateDir>>,
}

/// Keeps the catalog.
pub(super) struct Updater {
    config: Arc<Config>,
    given: Given,
    file: Option<(Followed, Pace)>,
    scanner: Scanner,
    results: Arc<ProbeResults>,
    workers: Workers,
    pace: Pace,
    loaders: Vec<LoaderFile>,
    /// The files that they are, by name.
    installed: Vec<(String, FileId)>,
    /// What was said of loaders that aren't installed; `None` before the first look.
    lacking: Option<Vec<&'static str>>,
    /// What has been looked into below `trees/`.
    pub(super) directories: Arc<DirectoryCache>,
    pub(super) catalog: Catalog,
    /// What has been said of the files that are not served, so that it is said once.
    reported: Vec<(String, String)>,
    /// What was said of names that stand for no ISO, and of ISOs that are in no menu.
    said: BTreeSet<String>,
    /// ISOs that can't be laid out.
    unfit: HashSet<FileId>,
    unreadable: bool,
    shown: Shown,
    /// Whether the board has not been told yet of what is served now.
    untold: bool,
    /// Whether there are results that the tree doesn't show yet.
    pub(super) owed: bool,
}

impl Updater {
    /// Has looked at nothing yet.
    pub(super) fn new(
        config: &Arc<Config>,
        file: Option<(Followed, Pace)>,
        scanner: Scanner,
        results: Arc<ProbeResults>,
        workers: Workers,
        pace: Pace,
        shown: Shown,
    ) -> Self {
        Self {
            given: config.given.clone(),
            config: config.clone(),
            file,
            scanner,
            results,
            workers,
            pace,
            loaders: Vec::new(),
            installed: Vec::new(),
            lacking: None,
            directories: Arc::default(),
            catalog: Catalog::default(),
            reported: Vec::new(),
            said: BTreeSet::new(),
            unfit: HashSet::new(),
            unreadable: false,
            shown,
            untold: true,
            owed: false,
        }
    }

    /// The first tree; where clients of a process before this one wait for it, with so much patience for each ISO.
    pub(super) fn first(&mut self, hurry: Option<Duration>) -> io::Result<Tree> {
        self.look_at_loaders();
        let looked = match hurry {
            Some(patience) => self.scanner.scan_within(patience),
            None => self.scanner.scan(),
        };
        match looked {
            Ok(catalog) => {
                self.take(catalog);
            }
            Err(error) if self.config.iso_dir_may_come || hurry.is_some() => self.say_unreadable(&error),
            Err(error) => return Err(error),
        }
        self.lay_out()
    }

    /// ISOs that are no longer in the catalog. They are not to be dropped where anybody waits.
    pub(super) fn take_gone(&mut self) -> Vec<Arc<IsoFile>> {
        self.scanner.take_gone()
    }

    /// The labels of ISOs that were served before the start and have not answered yet.
    pub(super) fn unanswered_labels(&self) -> HashSet<Label> {
        self.scanner.unanswered_labels()
    }

    /// Leaves so many descriptors to others than ISOs from now on.
    pub(super) fn leave_descriptors(&mut self, count: usize) {
        self.scanner.leave_descriptors(count);
    }

    /// Looks at the directory, at this host's loaders and at its address.
    pub(super) fn look_again(&mut self) -> Change {
        self.shown.state.iter().for_each(|state| state.write_owed());
        let configured = self.look_at_file();
        let moved = self.follow_address();
        let loaders = self.look_at_loaders();
        self.untold |= configured || moved;
        match self.look_at_isos() {
            Change::Nothing if configured || moved || loaders => Change::Menu,
            change => change,
        }
    }

    /// Whether the configuration file says something else than before.
    fn look_at_file(&mut self) -> bool {
        let Some((file, pace)) = &mut self.file else { return false };
        let before = file.config().clone();
        let look = file.look();
        pace.set_often(file.restless());
        match look {
            Look::Same => false,
            Look::New => {
                log::info!("{}: read again", file.path().display());
                if let Err(error) = settings::keep(file.text()) {
                    log::warn!("{}: not held for the next process: {error}", file.path().display());
                }
                if before.mount != file.config().mount {
                    log::warn!("[mount]: what has changed there holds from the next start on");
                }
                true
            }
            Look::Broken(sentence) => {
                log::error!("{sentence}; the configuration stays as it was");
                false
            }
        }
    }

    /// Whether this host's loaders are others than before: a package has come, gone or been upgraded.
    fn look_at_loaders(&mut self) -> bool {
        let id = |(name, path): (String, PathBuf)| Some((name, FileId::of(&path.metadata().ok()?)));
        let installed: Vec<_> = loader::installed(&self.config.loaders).into_iter().filter_map(id).collect();
        if self.lacking.is_some() && installed == self.installed {
            return false;
        }
        let found = loader::find(&self.config.loaders);
        // Where descriptors have run out, the next look tries again.
        self.installed = if found.len() == installed.len() { installed } else { Vec::new() };
        let missing = loader::missing(&found);
        let now = layout::loader_files(found);
        let known = |file: &LoaderFile| (file.name.clone(), file.identity);
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (self.loaders.iter().map(known).collect(), now.iter().map(known).collect());
        self.loaders = now;
        let before = self.lacking.replace(missing.clone());
        if before.is_some() && old != new {
            let changed: BTreeSet<&str> = old.symmetric_difference(&new).map(|(name, _)| &**name).collect();
            log::info!("loaders of this host have changed: {}", Vec::from_iter(changed).join(", "));
        }
        let said = before.unwrap_or_default();
        missing
            .iter()
            .filter(|sentence| !said.contains(sentence))
            .for_each(|sentence| log::warn!("{sentence}"));
        old != new
    }

    fn look_at_isos(&mut self) -> Change {
        match self.scanner.scan() {
            Ok(catalog) => {
                self.untold |= std::mem::replace(&mut self.unreadable, false);
                let (changed, unknown) = self.take(catalog);
                self.workers.ask(unknown);
                if changed { Change::Isos } else { Change::Nothing }
            }
            Err(error) => {
                // A file server that is away takes nothing from clients that read what is open.
                self.say_unreadable(&error);
                Change::Nothing
            }
        }
    }

    /// Says it once, and looks often.
    fn say_unreadable(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.unreadable, true) {
            self.untold = true;
            log::error!("{}: {error}; its ISOs stay as they were", self.config.iso_dir.display());
        }
        self.pace.set_often(true);
    }

    /// Takes this host's address anew, unless one was given: at start the network may not have been up.
    fn follow_address(&mut self) -> bool {
        let host = servers::own_address().map_or_else(String::new, |own| own.to_string());
        if host == self.given.own_host {
            return false;
        }
        self.given.own_host = host;
        let used = !self.settings().host_given;
        match self.given.own_host.as_str() {
            _ if !used => {}
            "" => log::warn!(
                "this host has no address that is its own alone: say with --server what clients call it"
            ),
            host => log::info!("the address in the menus is {host} now"),
        }
        used
    }

    /// Whether it is another one than before, and the ISOs whose initrds are to be looked into.
    fn take(&mut self, mut catalog: Catalog) -> (bool, Vec<Arc<IsoFile>>) {
        catalog.leave_out(|iso| self.unfit.contains(&iso.disc.id), &Reason::Panic);
        let unknown = self.results.enter(&mut catalog);
        self.pace.set_often(catalog.remote || catalog.pending());
        self.report(&catalog);
        let same = self.catalog.serves_same(&catalog);
        self.untold |= !same;
        self.catalog = catalog;
        (!same, unknown)
    }

    /// Has the initrds looked into of which nothing was known at the start.
    pub(super) fn look_into_initrds(&mut self) {
        let unknown = self.results.enter(&mut self.catalog);
        self.workers.ask(unknown);
    }

    /// Enters what is new of initrds, which may change the menu.
    pub(super) fn enter_probe_results(&mut self) {
        let unknown = self.results.enter(&mut self.catalog);
        if unknown.is_empty()
            && let Err(error) = self.results.save(&self.catalog)
        {
            log::warn!("what is known of the initrds can't be kept for the next start: {error}");
        }
        (self.owed, self.untold) = (true, true);
    }

    /// The address in the menus, in a sentence.
    pub(super) fn address(&self) -> String {
        match self.settings().host.as_str() {
            "" => "no address is known for the menus".into(),
            host => format!("the address in the menus is {host}"),
        }
    }

    /// What is served, in a line.
    pub(super) fn summary(&self) -> String {
        let count = |number: usize| match number {
            0 => "no ISOs".to_owned(),
            1 => "1 ISO".to_owned(),
            more => format!("{more} ISOs"),
        };
        let served = count(self.catalog.isos.len());
        match self.catalog.skipped.len() {
            _ if self.unreadable => format!("{served}; the directory can't be read"),
            0 => served,
            left_out => format!("{served}, {left_out} left out"),
        }
    }

    /// The tree of what is known now. An ISO for which there can't be one is left out.
    ///
    /// # Errors
    /// If there is none even then.
    pub(super) fn lay_out(&mut self) -> io::Result<Tree> {
        if let Some(tree) = caught(|| self.try_to_lay_out()) {
            return Ok(tree);
        }
        for iso in &self.catalog.isos {
            let alone = Catalog { isos: vec![iso.clone()], ..Catalog::default() };
            if caught(|| self.tree_of(&alone)).is_none() {
                self.unfit.insert(iso.disc.id);
            }
        }
        let mut catalog = self.catalog.clone();
        catalog.leave_out(|iso| self.unfit.contains(&iso.disc.id), &Reason::Panic);
        self.report(&catalog);
        self.catalog = catalog;
        self.untold = true;
        caught(|| self.try_to_lay_out()).ok_or_else(|| io::Error::other("the tree can't be laid out"))
    }

    fn try_to_lay_out(&mut self) -> Tree {
        self.say_what_is_missing();
        self.let_stand();
        let mut tree = self.tree_of(&self.catalog);
        self.shown.times.date(&mut tree);
        tree
    }

    fn tree_of(&self, catalog: &Catalog) -> Tree {
        fail_as_asked(catalog);
        let settings = self.settings();
        layout::lay_out_with(&self.shown.live, catalog, &settings, &self.loaders, &self.directories)
    }

    /// Keeps for the next start what is known of the files that are shown.
    pub(super) fn keep(&mut self) {
        self.shown.times.save();
    }

    /// Tells the board what is served, if it is anything new.
    pub(super) fn tell(&mut self) {
        if std::mem::take(&mut self.untold) {
            self.shown.board.catalog(&self.catalog, &self.settings(), !self.unreadable);
        }
    }

    /// Chooses what boots by itself where nobody says it, and stays with it.
    fn let_stand(&mut self) {
        let chosen = layout::choose(&self.catalog, &self.settings());
        let Some(label) = chosen.label.filter(|_| chosen.is_final) else { return };
        if let Some(iso) = self.catalog.isos.iter().find(|iso| iso.label == label) {
            self.scanner.let_stand(iso);
        }
        let standing = Standing::Iso(label.clone());
        if std::mem::replace(&mut self.catalog.standing, standing.clone()) != standing {
            log::info!("{label} boots by itself from now on, unless another is named");
        }
    }

    /// Says once which names stand for nothing, and which ISOs nothing can be booted from.
    fn say_what_is_missing(&mut self) {
        let settings = self.settings();
        let mut now = unknown::sentences(
            &self.catalog,
            settings.default.as_ref().and_then(ByItself::label),
            &self.config.pins,
            &settings.config,
        );
        // Until its initrd has been looked into, nothing is final.
        for iso in self.catalog.isos.iter().filter(|iso| iso.initrd.is_some()) {
            if let Err(reason) = layout::boot(iso, &settings) {
                now.insert(format!("{}: it is in no menu: {reason}", iso.label));
            }
        }
        now.difference(&self.said).for_each(|sentence| log::warn!("{sentence}"));
        self.said = now;
    }

    /// What the command line and the configuration file say, as it is now.
    fn settings(&self) -> Settings {
        let empty = Arc::default();
        self.given.settings(self.file.as_ref().map_or(&empty, |(file, _)| file.config()))
    }

    fn report(&mut self, new: &Catalog) {
        let serves = |catalog: &Catalog, iso: &Iso| {
            catalog.isos.iter().any(|other| other.label == iso.label && other.disc.id == iso.disc.id)
        };
        for iso in self.catalog.isos.iter().filter(|iso| !serves(new, iso)) {
            log::info!("{}: no longer served ({})", iso.label, iso.name);
        }
        for iso in new.isos.iter().filter(|iso| !serves(&self.catalog, iso)) {
            log::info!("{}: {} ({})", iso.label, iso.name, iso.disc.facts.family.name);
        }
        let said = |file: &Skipped| (file.name.clone(), file.reason.to_string());
        for file in new.skipped.iter().filter(|file| !self.reported.contains(&said(file))) {
            let Skipped { name, reason, .. } = file;
            match reason.is_copy_under_way() {
                true => log::info!("{name} is not served yet: {reason}"),
                false => log::warn!("{name} is not served: {reason}"),
            }
        }
        let reported: Vec<_> = new.skipped.iter().map(said).collect();
        self.untold |= reported != self.reported;
        self.reported = reported;
    }
}

/// `None` if it panics, which the log says.
fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

fn fail_as_asked(catalog: &Catalog) {
    let Some(fault) = std::env::var(FAULT).ok().filter(|_| cfg!(debug_assertions)) else { return };
    assert!(catalog.isos.iter().all(|iso| iso.label.as_str() != fault), "as {FAULT} says");
}
