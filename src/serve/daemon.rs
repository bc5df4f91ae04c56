//! The daemon: scans, mounts, tells that it is ready, and from then on follows the directory until it is told to stop.
//!
//! One thread keeps the catalog; all others send it events. Nothing that takes long happens there: initrds are looked
//! into by [`crate::catalog::probe`], the administrator's command runs in a thread of its own. But it may hang, for as long as
//! the file server of the ISOs does; so the main thread only waits for the end.

mod memory;
mod mount;
mod read_ahead;
mod served;
mod times;
mod updater;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fuser::{INodeNo, Notifier};
use signal_hook::consts::{SIGHUP, SIGINT, SIGIO, SIGTERM, SIGUSR1};

use crate::boot::loader;
use crate::boot::netroot::kernel::Arch;
use crate::boot::netroot::program::Programs;
use crate::catalog::config::file::Followed;
use crate::catalog::people::Account;
use crate::catalog::probe::{Place, ProbeResults, Workers};
use crate::catalog::scan::{Opener as _, Scanner};
use crate::image::label::Label;
use crate::serve::broker::Broker;
use crate::serve::clients::kept::{self, Kept};
use crate::serve::fuse::backing::Backings;
use crate::serve::fuse::{Adapter, Owner};
use crate::serve::handover::claims::Claims;
use crate::serve::handover::ledger::{Ledger, Left};
use crate::serve::handover::{queues, settings, store, told, upgrade};
use crate::serve::hook::Hook;
use crate::serve::logging;
use crate::serve::manager::Manager;
use crate::serve::operations::Operations;
use crate::serve::privileges::{self, Bounds};
use crate::serve::status::{About, Board};
use crate::serve::watch::{self, Pace};
use crate::storage::backing::Backing;
use crate::storage::cache::BlockCache;
use crate::storage::closing::Closing;
use crate::storage::descriptors;
use crate::storage::identity::identity;
use crate::storage::late;
use crate::storage::passthrough::DataPath;
use crate::storage::signals;
use crate::storage::state::StateDir;
use crate::tree::layout::Given;

use served::Served;
use times::Times;
use updater::{Change, Shown, Updater};

/// How long to wait for the event loops after unmounting. Clients that still have files open would keep them for ever.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the clients of a process that has ended wait for ISOs that were served and don't answer, if it is these or a menu that
/// they ask for. A disk that slept needs about as long.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(10);

/// How long all others wait for the next one of them.
const HURRY: Duration = Duration::from_millis(200);

/// Descriptors that ISOs leave to all else beside the event loops: a client's second opening of an ISO, files of the state, the
/// administrator's command.
const RESERVE: usize = 16;

/// How often results on initrds get into the menu while more are coming in: each time, all of it is rendered.
const VERDICTS: Duration = Duration::from_millis(500);

/// The daemon's orders.
#[derive(Debug)]
pub struct Config {
    /// Directory with the ISOs; absolute.
    pub iso_dir: PathBuf,
    /// Whether that directory may come later, and the tree is empty until then.
    pub iso_dir_may_come: bool,
    /// Where to mount; absolute.
    pub mountpoint: PathBuf,
    /// The command line's choices for the tree.
    pub given: Given,
    /// Configuration file; absolute.
    pub file: Option<PathBuf>,
    /// Labels by file name.
    pub pins: HashMap<OsString, Label>,
    /// Budget of the block cache in bytes.
    pub cache_size: u64,
    /// Who reads the ISOs.
    pub data_path: DataPath,
    /// Who owns the files.
    pub owner: Owner,
    /// Command to run after a change.
    pub on_change: Option<String>,
    /// Where results are kept.
    pub state_dir: Option<PathBuf>,
    /// Whether to have the kernel send again what a daemon that died has not answered, if it can.
    pub resend: bool,
    /// Directory with the programs for clients, if not the usual ones.
    pub programs: Option<PathBuf>,
    /// Root of the file system in which the host's loaders are looked for; absolute.
    pub loaders: PathBuf,
    /// Who it is to be, if not root.
    pub user: Option<Account>,
    /// The file that is logged to; absolute.
    pub log_file: Option<PathBuf>,
    /// Whether it is to let go of the terminal and the working directory.
    pub background: bool,
}

/// What the other threads tell the one that keeps the catalog.
enum Event {
    /// Something may have changed.
    Look,
    /// More is known of an initrd.
    ProbeResult,
    /// Say how the cache fares.
    Report,
}

/// Why it ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The mount is gone.
    Unmounted,
    /// It was told to.
    Stop,
    /// It can't go on.
    Failed(String),
}

/// Is found by `netrootfs upgrade`, which would end the mount if nobody held it.
fn answer_as_long_as_held(listener: io::Result<UnixListener>, holder: io::Result<Option<store::Parent>>) {
    let held = Arc::new(AtomicBool::new(true));
    let answers = listener.and_then(|listener| {
        let held = held.clone();
        upgrade::answer(listener, move || held.load(Ordering::Relaxed))
    });
    if let Err(error) = answers {
        log::warn!("'netrootfs upgrade' won't find this mount: {error}");
    }
    let gone = move || {
        held.store(false, Ordering::Relaxed);
        log::error!(
            "what would hold the mount has ended: the mount ends with this process now, until both are started anew"
        );
    };
    if let Err(error) = holder.and_then(|holder| holder.map_or(Ok(()), |holder| holder.when_gone(gone))) {
        log::warn!("should what holds the mount end, nobody will say so: {error}");
    }
}

/// Mounts, calls `ready` when the tree is usable, and returns when it has been unmounted.
///
/// # Errors
/// If the tree can't be mounted, with a sentence that says why.
pub fn run(config: Config, ready: impl FnOnce() -> io::Result<()>) -> Result<()> {
    descriptors::raise_limit();
    descriptors::make_room();
    memory::map_large_pieces();
    // Before all else: whoever ends later is missed.
    let holder = store::parent();
    let (before, told) = (settings::last(), told::last());
    let (ledger, mut left) = mount::held(&config.mountpoint)?;
    if left.mount.is_some() {
        // Where a holder has started it that has been so from the beginning.
        signals::put_off()?;
    }
    let (old_queues, claims) = (std::mem::take(&mut left.queues), std::mem::take(&mut left.claims));
    ignore_lease_breaks()?;
    let config = Arc::new(config);
    let (sender, inbox) = channel();
    let (end_sender, end) = channel();
    let state = config.state_dir.as_deref().and_then(|path| take_state(path, claims.lock));
    // As root, whom `netrootfs upgrade` trusts.
    let listener = ledger.as_ref().map(|_| upgrade::listen(&config.mountpoint, claims.listener));
    Claims::hold(
        state.as_ref().map(|state| state.lock()),
        listener.as_ref().and_then(|listener| listener.as_ref().ok()),
    );
    let bounds = Bounds {
        state_dir: state.as_ref().and(config.state_dir.as_deref()),
        log_file: config.log_file.as_deref(),
    };
    let spare = mount::spare_devices(&left, &config.mountpoint)?;
    let broker = give_up(&config, &bounds, &end_sender)?;
    let mapper = served::mapper(config.data_path, broker.clone(), ledger.clone().map(|ledger| ledger as _))?;
    if left.mount.is_some() {
        // There is a mount to clean up from the beginning.
        forward_signals(&sender, &end_sender)?;
    }
    let cache = BlockCache::new(config.cache_size);
    let programs = Programs::find(config.programs.as_deref());
    // The processor of nearly all live ISOs; of others, check tells.
    if let Err(reason) = programs.archive(Arch::X86_64) {
        log::warn!("ISOs whose initrd can't do NBD can't boot over it: {reason}");
    }
    let results = Arc::new(ProbeResults::load(Place::Apart, state.clone(), programs));
    let workers = Workers::new(&results, {
        let sender = sender.clone();
        move || {
            // The daemon may have ended: nobody needs to know any more.
            let _ = sender.send(Event::ProbeResult);
        }
    });
    let pace = Pace::new()?;
    // The watch begins before the first scan, so that nothing falls between them.
    watch::start(queues::open(), &[&config.iso_dir], pace.clone(), {
        let sender = sender.clone();
        move || sender.send(Event::Look).is_ok()
    })?;
    let loaders = loader::directories(&config.loaders);
    let loaders: Vec<&Path> = loaders.iter().map(PathBuf::as_path).collect();
    watch::start(queues::open(), &loaders, Pace::seldom()?, {
        let sender = sender.clone();
        move || sender.send(Event::Look).is_ok()
    })?;
    let file = config.file.as_deref().map(|path| follow_file(path, before, &sender)).transpose()?;
    let text = file.as_ref().map(|(file, _)| file.text().to_owned());
    let wish = mapper.is_some().then_some(config.data_path);
    let opener = Arc::new(Served { cache: cache.clone(), mapper, watch: served::watch(queues::open()) });
    let mut scanner = Scanner::new(config.iso_dir.clone(), config.pins.clone(), opener.clone());
    let kept = state.clone();
    if let Some(state) = state {
        scanner.keep_labels(state);
    }
    if let Some(ledger) = &ledger {
        scanner.tell(ledger.clone(), left.looks.clone());
    }
    // Clients' open files come first: each may need its ISO, also one that has left the directory.
    scanner.leave_descriptors(RESERVE + left.files.len());
    let takeovers = ledger.as_ref().map_or(0, |ledger| ledger.generation());
    let times = Times::load(kept.clone());
    let board = Board::new(about(&config, takeovers), &cache);
    let shown = Shown { board: board.clone(), live: board.files(), times, state: kept.clone() };
    let mut updater = Updater::new(&config, file, scanner, results, workers, pace, shown);
    let until = Instant::now() + TAKEOVER_PATIENCE;
    let hurry = left.mount.is_some().then_some(HURRY);
    let tree = updater.first(hurry).with_context(|| config.iso_dir.display().to_string())?;
    updater.tell();
    board.shown();
    let operations = Arc::new(Operations::with(tree, ledger.clone()));
    let mut late = false;
    if left.mount.is_none() {
        // Up to here a signal does what it always does: a scan may hang, and there is nothing to clean up.
        forward_signals(&sender, &end_sender)?;
    } else if let Some(ledger) = &ledger {
        late = adopt(&operations, ledger, &mut left, &updater, &opener);
        operations.expect(updater.unanswered_labels(), until);
    }
    let backings = Backings::new(broker.clone(), ledger.clone());
    let adapter = Adapter::new(operations.clone(), config.owner, wish, backings, mount::loops());
    let clients = adapter.clients().clone();
    clients.ask({
        let broker = broker.clone();
        move |pid| broker.who(pid)
    });
    if let Some(state) = kept {
        let open = |handle| operations.reading(handle).filter(|_| left.mount.is_some());
        clients.take(Kept::load(&state), open);
        kept::start(&clients, state)?;
    }
    let new = left.mount.is_none();
    let (notifier, mounted) =
        mount::serve(adapter.clone(), &config, &broker, ledger.as_ref(), left, spare, &end_sender)?;
    let by_kernel = wish.is_some() && adapter.agreed().passthrough;
    board.serve(&operations, &clients, by_kernel);
    // Who is late may have mappings.
    if let Some(ledger) = ledger.as_ref().filter(|_| !late) {
        ledger.taken_over();
    }
    // Where there can be no thread they end here, and that takes its time.
    let _ = std::thread::Builder::new().name("queues".into()).spawn(move || drop(old_queues));
    if let Some(text) = text {
        let held = if new { settings::begin(&text) } else { settings::keep(&text) };
        if let Err(error) = held {
            log::warn!("the configuration is not held for the next process: {error}");
        }
    }
    if let Err(error) = settings::keep_people() {
        log::warn!("users and groups are not held for the next process: {error}");
    }
    updater.leave_descriptors(RESERVE);
    // Not before: they would take of the processors and the descriptors that clients wait for.
    updater.look_into_initrds();
    let command = config.on_change.as_deref();
    let told = (!new).then_some(told);
    let mut command =
        command.map(|command| Command::start(command, broker, updater.catalog.number(), told)).transpose()?;
    log::info!("{}: mounted; ISOs: {}", config.mountpoint.display(), updater.catalog.isos.len());
    log::info!(
        "netrootfs {}; ISOs are read {}; {}",
        env!("CARGO_PKG_VERSION"),
        if by_kernel { "by the kernel" } else { "through the block cache" },
        updater.address()
    );
    let manager = Manager::find();
    manager.status(updater.summary());
    manager.watch(config.mountpoint.clone())?;
    std::thread::Builder::new().name("updater".into()).spawn({
        let operations = operations.clone();
        move || follow(&inbox, &mut updater, &operations, &board, &notifier, command.as_mut(), &manager)
    })?;
    ready()?;
    if let Some(ledger) = &ledger {
        ledger.ready();
    }
    if let Some(listener) = listener {
        answer_as_long_as_held(listener, holder);
    }
    match end.recv()? {
        End::Unmounted if mounted.is_dead() => {
            // Nobody can go on with it; the next process makes a new one.
            if let Some(ledger) = &ledger {
                ledger.begin_anew()?;
            }
            mounted.unmount();
            return ended("the event loops ended: the connection with the kernel was cut");
        }
        End::Unmounted => {}
        End::Stop => {
            mounted.unmount();
            let deadline = Instant::now() + FAREWELL;
            while let Ok(End::Stop) = end.recv_timeout(deadline.saturating_duration_since(Instant::now())) {}
        }
        // Whoever holds the mount starts another process for it.
        End::Failed(reason) => return ended(&reason),
    }
    Ok(())
}

/// Starts the broker and gives up the rights that it has from then on. Whoever has none to give up goes on without one.
fn give_up(config: &Config, bounds: &Bounds<'_>, end: &Sender<End>) -> Result<Arc<Broker>> {
    let command = config.on_change.as_deref();
    if !privileges::has_any() {
        return Ok(Arc::new(Broker::here(&config.mountpoint, command)));
    }
    let (broker, mut process) =
        Broker::start(&config.mountpoint, command, config.background).context("the process for mounting")?;
    match (privileges::give_up(bounds, config.user.as_ref()), &config.user) {
        (Ok(()), _) => {}
        (Err(error), None) => log::warn!("rights that aren't needed can't be given up: {error}"),
        (Err(error), Some(_)) => return Err(error).context("--user"),
    }
    if let (Some(directory), Some(_)) = (bounds.state_dir, &config.user) {
        use rustix::fs::{Access, access};
        access(directory, Access::WRITE_OK | Access::EXEC_OK).with_context(|| {
            format!("state directory {}: the user of --user can't write there", directory.display())
        })?;
    }
    let end = end.clone();
    std::thread::Builder::new().name("broker".into()).spawn(move || {
        let status = process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        // Another daemon has another one.
        let _ = end.send(End::Failed(format!("the process for mounting has ended ({status})")));
    })?;
    Ok(Arc::new(broker))
}

fn about(config: &Config, takeovers: u64) -> About {
    About {
        mountpoint: config.mountpoint.display().to_string(),
        iso_directory: config.iso_dir.display().to_string(),
        cache_limit: config.cache_size,
        takeovers,
    }
}

/// Ends with a failure. In the background nobody reads what is said at the end, but in the log.
fn ended(reason: &str) -> Result<()> {
    log::error!("{reason}");
    bail!("{reason}")
}

/// Takes the state directory; without it all works, and the next start knows nothing.
fn take_state(path: &Path, before: Option<OwnedFd>) -> Option<Arc<StateDir>> {
    match StateDir::take_on(path, before) {
        Ok(state) => Some(Arc::new(state)),
        Err(error) => {
            log::warn!("{}: what is found out can't be kept for the next start: {error}", path.display());
            None
        }
    }
}

/// Takes over what was open when the process before this one died. Returns whether there are files that can't be looked at yet.
fn adopt(
    operations: &Operations,
    ledger: &Ledger,
    left: &mut Left,
    updater: &Updater,
    opener: &Arc<Served>,
) -> bool {
    let isos = &updater.catalog.isos;
    let mut sources: HashMap<u64, Backing> =
        isos.iter().map(|iso| (identity(&iso.disc.id), iso.disc.source.clone())).collect();
    // Of others the ISO is no longer in the directory, or isn't one, or its file system doesn't answer.
    let mut missing = std::mem::take(&mut left.needed);
    let there: Vec<_> = missing.extract_if(|identity, _| sources.contains_key(identity)).collect();
    if !there.is_empty() {
        Closing::new().close(there);
    }
    let opener = opener.clone();
    let (opened, late) = late::open_all(missing, move |file| Ok(opener.open(file)?.served), HURRY);
    sources.extend(opened);
    let lost = operations.adopt(left, ledger.generation(), &mut |identity| sources.get(&identity).cloned());
    let (files, directories) = (left.files.len(), left.directories.len());
    log::info!(
        "taken over from a process that has ended: open files {files}, open directories {directories}"
    );
    if lost > 0 {
        log::error!("open files that can't be read any more: {lost}");
    }
    late
}

/// The administrator's command.
struct Command {
    hook: Hook,
    /// For what the process before this one has run it last, until all is there that this may be compared with.
    before: Option<Option<u64>>,
}

impl Command {
    /// Starts what runs it after a change; `told` is what it was run for last, if this process goes on with a mount.
    fn start(command: &str, broker: Arc<Broker>, now: u64, told: Option<Option<u64>>) -> io::Result<Self> {
        let done = |catalog| {
            if let Err(error) = told::keep(catalog) {
                log::warn!("should this process die, the next one will run the command again: {error}");
            }
        };
        let hook = Hook::start(command, move || broker.run(), done)?;
        if told.is_none() {
            done(now);
        }
        Ok(Self { hook, before: told })
    }

    fn changed(&self, now: u64) {
        if self.before.is_none() {
            self.hook.changed(now);
        }
    }

    /// Has it run if the process before this one would have had to.
    fn catch_up(&mut self, now: u64) {
        if self.before.take().is_some_and(|told| told != Some(now)) {
            log::info!("for the ISOs that there are now, the command has not been run to its end");
            self.hook.changed(now);
        }
    }
}

/// Reads the configuration file, and looks at it from now on; what it said before counts where it can't be used.
fn follow_file(path: &Path, before: Option<String>, events: &Sender<Event>) -> Result<(Followed, Pace)> {
    let pace = Pace::new()?;
    let events = events.clone();
    // Editors replace a file: its directory shows every change.
    let directory = path.parent().unwrap_or(Path::new("/"));
    watch::start(queues::open(), &[directory], pace.clone(), move || events.send(Event::Look).is_ok())?;
    let file = Followed::start(path.to_owned()).or_else(|error| {
        // What it says now is said when it is looked at again.
        let before = before.and_then(|text| Followed::start_as_before(path.to_owned(), text).ok());
        before.ok_or(error)
    })?;
    pace.set_often(file.restless());
    Ok((file, pace))
}

/// Deals with events until the end.
fn follow(
    inbox: &Receiver<Event>,
    updater: &mut Updater,
    operations: &Operations,
    board: &Board,
    notifier: &Notifier,
    mut command: Option<&mut Command>,
    manager: &Manager,
) {
    let mut shown = Instant::now();
    let closing = Closing::new();
    updater.keep();
    loop {
        updater.take_gone().into_iter().for_each(|disc| closing.close(disc));
        if !operations.still_expects(&updater.unanswered_labels())
            && let Some(command) = &mut command
        {
            command.catch_up(updater.catalog.number());
        }
        let wait = if updater.owed { VERDICTS.saturating_sub(shown.elapsed()) } else { Duration::MAX };
        // What has come in while a look took its time is answered by one look.
        let events: Vec<Event> = match inbox.recv_timeout(wait) {
            Ok(first) => std::iter::once(first).chain(inbox.try_iter()).collect(),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let any = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
        if any(|event| matches!(event, Event::Report)) {
            log::info!("cache: {:?}", board.counters());
        }
        if any(|event| matches!(event, Event::ProbeResult)) {
            updater.enter_probe_results();
        }
        let looked =
            if any(|event| matches!(event, Event::Look)) { updater.look_again() } else { Change::Nothing };
        let results = updater.owed && shown.elapsed() >= VERDICTS;
        let tree = (looked != Change::Nothing || results).then(|| updater.lay_out());
        // Afterwards, since it may have left out an ISO.
        manager.status(updater.summary());
        updater.tell();
        let Some(tree) = tree else { continue };
        updater.owed = false;
        shown = Instant::now();
        let Ok(tree) = tree else {
            log::error!("what has changed is not shown: the tree stays as it was");
            continue;
        };
        let old = operations.replace(tree);
        board.shown();
        updater.directories.keep_only(&updater.catalog);
        for (directory, name) in old.changed_names(&operations.tree()) {
            // A name that the kernel doesn't know is ENOENT, and just as well.
            let _ = notifier.inval_entry(INodeNo(directory), OsStr::new(name));
        }
        updater.keep();
        if looked == Change::Isos
            && let Some(command) = &command
        {
            command.changed(updater.catalog.number());
        }
    }
}

/// SIGIO comes if somebody opens an ISO for writing while its lease is tried (see settled.rs); its default is death.
fn ignore_lease_breaks() -> io::Result<()> {
    signal_hook::flag::register(SIGIO, Arc::default()).map(drop)
}

fn forward_signals(events: &Sender<Event>, end: &Sender<End>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    signals::take()?;
    let (events, end) = (events.clone(), end.clone());
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Whoever doesn't listen any more has ended.
            let _ = match signal {
                SIGHUP => {
                    logging::open_again();
                    log::info!("told to look again");
                    events.send(Event::Look).is_ok()
                }
                SIGUSR1 => events.send(Event::Report).is_ok(),
                _ => end.send(End::Stop).is_ok(),
            };
        }
    })?;
    Ok(())
}
