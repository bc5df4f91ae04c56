//! The daemon: scans, mounts, tells that it is ready, and from then on follows the directory until it is told to stop.
//!
//! One thread keeps the catalog; all others send it events. Nothing that takes long happens there: initrds are looked
//! into by [`crate::verdicts`], the administrator's command runs in a thread of its own. But it may hang, for as long as
//! the file server of the ISOs does; so the main thread only waits for the end.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fuser::{INodeNo, MountOption, Notifier, Session, SessionACL, SessionUnmounter};
use rustix::fs::{Access, AtFlags, CWD, StatxFlags, access, statx};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGIO, SIGTERM, SIGUSR1};

use crate::cache::BlockCache;
use crate::catalog::{Catalog, Opener, Scanner};
use crate::cli;
use crate::config::file::{Followed, Look};
use crate::disc_tree::Shelf;
use crate::fs::Fs;
use crate::fuse::{Adapter, Owner};
use crate::hook::Hook;
use crate::label::Label;
use crate::layout::{self, Given, LoaderFile, Settings};
use crate::loader;
use crate::source::{PageCache, ReadAt};
use crate::steady::SteadySource;
use crate::verdicts::{Verdicts, Workers};
use crate::watch::{self, Pace};

/// What mount tables call it.
const NAME: &str = "netrootfs";

/// Event loops: more than cores, because each waits for the disk while it reads.
const MIN_LOOPS: usize = 4;
const MAX_LOOPS: usize = 16;

/// How long to wait for the event loops after unmounting. Clients that still have files open would keep them for ever.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often verdicts on initrds get into the menu while more are coming in: each time, all of it is rendered.
const VERDICTS: Duration = Duration::from_millis(500);

/// What the daemon is to do.
#[derive(Debug)]
pub struct Config {
    /// Directory with the ISOs; absolute.
    pub iso_dir: PathBuf,
    /// Where to mount; absolute.
    pub mountpoint: PathBuf,
    /// What the command line says of the tree.
    pub given: Given,
    /// Configuration file; absolute.
    pub file: Option<PathBuf>,
    /// Labels by file name.
    pub pins: HashMap<OsString, Label>,
    /// Budget of the block cache in bytes.
    pub cache_size: u64,
    /// Who owns the files.
    pub owner: Owner,
    /// Command to run after a change.
    pub on_change: Option<String>,
    /// Where verdicts are kept.
    pub state_dir: Option<PathBuf>,
}

/// What the other threads tell the one that keeps the catalog.
enum Event {
    /// Something may have changed.
    Look,
    /// More is known of an initrd.
    Verdict,
    /// Say how the cache fares.
    Report,
}

/// Why it ends.
#[derive(PartialEq, Eq)]
enum End {
    /// The mount is gone.
    Unmounted,
    /// It was told to.
    Stop,
}

/// Mounts, calls `ready` when the tree is usable, and returns when it has been unmounted.
///
/// # Errors
/// If the tree can't be mounted, with a sentence that says why.
pub fn run(config: Config, ready: impl FnOnce() -> io::Result<()>) -> Result<()> {
    raise_file_limit();
    check_mountpoint(&config.mountpoint)?;
    ignore_lease_breaks()?;
    let config = Arc::new(config);
    let (sender, inbox) = channel();
    let (end_sender, end) = channel();
    let cache = BlockCache::new(config.cache_size);
    let verdicts = Arc::new(Verdicts::load(config.state_dir.as_deref()));
    let workers = Workers::start(&verdicts, {
        let sender = sender.clone();
        move || {
            // The daemon may have ended: nobody needs to know any more.
            let _ = sender.send(Event::Verdict);
        }
    })?;
    let pace = Pace::new()?;
    // The watch begins before the first scan, so that nothing falls between them.
    watch::start(&config.iso_dir, pace.clone(), {
        let sender = sender.clone();
        move || sender.send(Event::Look).is_ok()
    })?;
    let file = config.file.as_deref().map(|path| follow_file(path, &sender)).transpose()?;
    let opener = Arc::new(Cached(cache.clone()));
    let scanner = Scanner::new(config.iso_dir.clone(), config.pins.clone(), opener);
    let mut keeper = Keeper {
        given: config.given.clone(),
        config: config.clone(),
        file,
        scanner,
        verdicts,
        workers,
        pace,
        loaders: open_loaders(),
        shelf: Arc::default(),
        catalog: Catalog::default(),
        reported: Vec::new(),
        unreadable: false,
        owed: false,
    };
    let tree = keeper.first().with_context(|| config.iso_dir.display().to_string())?;
    let fs = Arc::new(Fs::new(tree));
    // Up to here a signal does what it always does: a scan may hang, and there is nothing to clean up.
    forward_signals(&sender, &end_sender)?;
    let (notifier, mut mounted) = mount(&fs, &config, end_sender)?;
    let hook = config.on_change.as_deref().map(Hook::start).transpose()?;
    log::info!("{}: mounted; ISOs: {}", config.mountpoint.display(), keeper.catalog.isos.len());
    std::thread::Builder::new().name("keeper".into()).spawn({
        let fs = fs.clone();
        move || follow(&inbox, &mut keeper, &fs, &notifier, hook.as_ref(), &cache)
    })?;
    ready()?;
    if end.recv()? == End::Stop {
        mounted.unmount();
        let deadline = Instant::now() + FAREWELL;
        while let Ok(End::Stop) = end.recv_timeout(deadline.saturating_duration_since(Instant::now())) {}
    }
    Ok(())
}

/// Reads the configuration file, and looks at it from now on.
fn follow_file(path: &Path, events: &Sender<Event>) -> Result<(Followed, Pace)> {
    let pace = Pace::new()?;
    let events = events.clone();
    // Editors replace a file: its directory shows every change.
    let directory = path.parent().unwrap_or(Path::new("/"));
    watch::start(directory, pace.clone(), move || events.send(Event::Look).is_ok())?;
    let file = Followed::start(path.to_owned())?;
    pace.set_often(file.restless());
    Ok((file, pace))
}

/// Deals with events until the end.
fn follow(
    inbox: &Receiver<Event>,
    keeper: &mut Keeper,
    fs: &Fs,
    notifier: &Notifier,
    hook: Option<&Hook>,
    cache: &BlockCache,
) {
    let mut shown = Instant::now();
    loop {
        let wait = if keeper.owed { VERDICTS.saturating_sub(shown.elapsed()) } else { Duration::MAX };
        // What has come in while a look took its time is answered by one look.
        let events: Vec<Event> = match inbox.recv_timeout(wait) {
            Ok(first) => std::iter::once(first).chain(inbox.try_iter()).collect(),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let any = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
        if any(|event| matches!(event, Event::Report)) {
            log::info!("cache: {:?}", cache.counters());
        }
        if any(|event| matches!(event, Event::Verdict)) {
            keeper.enter_verdicts();
        }
        let looked =
            if any(|event| matches!(event, Event::Look)) { keeper.look_again() } else { Change::Nothing };
        let verdicts = keeper.owed && shown.elapsed() >= VERDICTS;
        if looked == Change::Nothing && !verdicts {
            continue;
        }
        keeper.owed = false;
        shown = Instant::now();
        let old = fs.replace(keeper.lay_out());
        keeper.shelf.keep_only(&keeper.catalog);
        for (directory, name) in old.changed_names(&fs.tree()) {
            // A name that the kernel doesn't know is ENOENT, and just as well.
            let _ = notifier.inval_entry(INodeNo(directory), OsStr::new(name));
        }
        if looked == Change::Isos
            && let Some(hook) = hook
        {
            hook.changed();
        }
    }
}

/// What a look at the directory has found.
#[derive(PartialEq, Eq)]
enum Change {
    Nothing,
    Menu,
    Isos,
}

/// Keeps the catalog.
struct Keeper {
    config: Arc<Config>,
    given: Given,
    file: Option<(Followed, Pace)>,
    scanner: Scanner,
    verdicts: Arc<Verdicts>,
    workers: Workers,
    pace: Pace,
    loaders: Vec<LoaderFile>,
    /// What has been looked into below `trees/`.
    shelf: Arc<Shelf>,
    catalog: Catalog,
    /// What has been said of the files that are not served, so that it is said once.
    reported: Vec<(String, String)>,
    unreadable: bool,
    /// Whether there are verdicts that the tree doesn't show yet.
    owed: bool,
}

impl Keeper {
    fn first(&mut self) -> io::Result<crate::tree::Tree> {
        let catalog = self.scanner.scan()?;
        self.take(catalog);
        Ok(self.lay_out())
    }

    /// Looks at the directory, and at this host's address.
    fn look_again(&mut self) -> Change {
        let configured = self.look_at_file();
        let moved = self.follow_address();
        match self.look_at_isos() {
            Change::Nothing if configured || moved => Change::Menu,
            change => change,
        }
    }

    /// Whether the configuration file says something else than before.
    fn look_at_file(&mut self) -> bool {
        let Some((file, pace)) = &mut self.file else { return false };
        let look = file.look();
        pace.set_often(file.restless());
        match look {
            Look::Same => false,
            Look::New => {
                log::info!("{}: read again", file.path().display());
                true
            }
            Look::Broken(sentence) => {
                log::error!("{sentence}; the configuration stays as it was");
                false
            }
        }
    }

    fn look_at_isos(&mut self) -> Change {
        match self.scanner.scan() {
            Ok(catalog) => {
                self.unreadable = false;
                if self.take(catalog) { Change::Isos } else { Change::Nothing }
            }
            Err(error) => {
                // A file server that is away takes nothing from clients that read what is open.
                if !std::mem::replace(&mut self.unreadable, true) {
                    log::error!("{}: {error}; its ISOs stay as they were", self.config.iso_dir.display());
                }
                self.pace.set_often(true);
                Change::Nothing
            }
        }
    }

    /// Takes this host's address anew, unless one was given: at start the network may not have been up.
    fn follow_address(&mut self) -> bool {
        let host = cli::default_host();
        if host == self.given.own_host {
            return false;
        }
        self.given.own_host = host;
        let used = !self.settings().host_given;
        if used {
            log::info!("the address in the menus is {} now", self.given.own_host);
        }
        used
    }

    fn take(&mut self, mut catalog: Catalog) -> bool {
        let unknown = self.verdicts.enter(&mut catalog);
        self.workers.ask(unknown);
        self.pace.set_often(catalog.remote || catalog.pending());
        self.report(&catalog);
        let same = self.catalog.serves_same(&catalog);
        self.catalog = catalog;
        !same
    }

    /// Enters what is new of initrds, which may change the menu.
    fn enter_verdicts(&mut self) {
        let unknown = self.verdicts.enter(&mut self.catalog);
        if unknown.is_empty()
            && let Err(error) = self.verdicts.save(&self.catalog)
        {
            log::warn!("what is known of the initrds can't be kept for the next start: {error}");
        }
        self.owed = true;
    }

    fn lay_out(&self) -> crate::tree::Tree {
        layout::lay_out(&self.catalog, &self.settings(), &self.loaders, &self.shelf)
    }

    /// What the command line and the configuration file say, as it is now.
    fn settings(&self) -> Settings {
        let empty = Arc::default();
        self.given.settings(self.file.as_ref().map_or(&empty, |(file, _)| file.config()))
    }

    fn report(&mut self, new: &Catalog) {
        let serves = |catalog: &Catalog, iso: &crate::catalog::Iso| {
            catalog.isos.iter().any(|other| other.label == iso.label && other.disc.id == iso.disc.id)
        };
        for iso in self.catalog.isos.iter().filter(|iso| !serves(new, iso)) {
            log::info!("{}: no longer served ({})", iso.label, iso.name);
        }
        for iso in new.isos.iter().filter(|iso| !serves(&self.catalog, iso)) {
            log::info!("{}: {} ({})", iso.label, iso.name, iso.disc.facts.family.name());
        }
        let skipped: Vec<_> =
            new.skipped.iter().map(|file| (file.name.clone(), file.reason.clone())).collect();
        for (name, reason) in skipped.iter().filter(|entry| !self.reported.contains(entry)) {
            log::warn!("{name} is not served: {reason}");
        }
        self.reported = skipped;
    }
}

/// Opens ISOs for serving: through the block cache, which keeps its own copy instead of the kernel's, and only as long as
/// nobody writes another image over them.
struct Cached(Arc<BlockCache>);

impl Opener for Cached {
    fn open(&self, file: Arc<File>) -> io::Result<Arc<dyn ReadAt>> {
        let source = SteadySource::new(file, PageCache::DropBehind)?;
        Ok(Arc::new(self.0.attach(Arc::new(source))))
    }
}

/// The host's loaders, as they are now.
pub fn open_loaders() -> Vec<LoaderFile> {
    let loaders = loader::find();
    for sentence in loader::missing(&loaders) {
        log::warn!("{sentence}");
    }
    layout::loader_files(loaders)
}

fn mount(fs: &Arc<Fs>, config: &Config, end: Sender<End>) -> Result<(Notifier, Mounted)> {
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        // With allow_other, only the kernel's own check keeps others to the mode bits (libfuse, README.md).
        MountOption::DefaultPermissions,
        MountOption::FSName(NAME.into()),
        MountOption::Subtype(NAME.into()),
    ];
    options.acl = SessionACL::All;
    options.n_threads = Some((2 * std::thread::available_parallelism()?.get()).clamp(MIN_LOOPS, MAX_LOOPS));
    options.clone_fd = true;
    let adapter = Adapter::new(fs.clone(), config.owner)?;
    let session = Session::new(adapter, &config.mountpoint, &options);
    let mut session = session.map_err(|error| explain_mount(&error, &config.mountpoint))?;
    let (notifier, session_unmounter) = (session.notifier(), session.unmount_callable());
    std::thread::Builder::new().name("fuse".into()).spawn(move || {
        if let Err(error) = session.run() {
            log::error!("the event loops ended: {error}");
        }
        // Nobody listens if it ends on a signal and this took too long.
        let _ = end.send(End::Unmounted);
    })?;
    let device = device(&config.mountpoint)?;
    Ok((notifier, Mounted { mountpoint: config.mountpoint.clone(), session: session_unmounter, device }))
}

fn explain_mount(error: &io::Error, mountpoint: &Path) -> anyhow::Error {
    let text = error.to_string();
    let hint = if !Path::new("/dev/fuse").exists() {
        "; there is no /dev/fuse: try 'modprobe fuse'"
    } else if access("/dev/fuse", Access::READ_OK | Access::WRITE_OK).is_err() {
        "; this user may not open /dev/fuse: it should have mode 0666, or run as root"
    } else if text.contains("user_allow_other") {
        "; servers run as other users: put user_allow_other into /etc/fuse.conf, or run as root"
    } else if error.kind() == io::ErrorKind::NotFound {
        "; is fusermount3 installed (package fuse3)?"
    } else {
        ""
    };
    anyhow::anyhow!("{}: can't mount: {}{hint}", mountpoint.display(), text.trim_end())
}

/// Checks that the mount point is a directory and that no netrootfs serves it, and takes away a mount whose daemon was
/// killed ("Transport endpoint is not connected").
fn check_mountpoint(mountpoint: &Path) -> Result<()> {
    match std::fs::metadata(mountpoint) {
        // A second one over it would hide the first, and whoever ends one of them would unmount the other.
        Ok(stat) if is_ours(stat.dev()) => {
            bail!("{}: a netrootfs is mounted there already", mountpoint.display())
        }
        Ok(stat) if stat.is_dir() => return Ok(()),
        Ok(_) => bail!("{}: the mount point is not a directory", mountpoint.display()),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {}
        Err(error) => return Err(error).with_context(|| format!("mount point {}", mountpoint.display())),
    }
    log::warn!("{}: cleaning up after a daemon that was killed", mountpoint.display());
    detach(mountpoint)
        .with_context(|| format!("{}: the dead mount can't be removed", mountpoint.display()))?;
    check_mountpoint(mountpoint)
}

/// Whether the file system of that device number is a netrootfs (proc(5), mountinfo: the third field is the device; file
/// system type and source follow a lonely dash).
fn is_ours(device: u64) -> bool {
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| {
        let source = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1));
        line.split(' ').nth(2) == Some(&device) && source == Some(NAME)
    })
}

/// The device number of what is mounted there, without asking who serves it.
fn device(mountpoint: &Path) -> io::Result<(u32, u32)> {
    let stat = statx(CWD, mountpoint, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

/// The mount.
struct Mounted {
    mountpoint: PathBuf,
    session: SessionUnmounter,
    device: (u32, u32),
}

impl Mounted {
    /// Unmounts; files that are still open stay with their readers until the end of this process.
    fn unmount(&mut self) {
        // After `umount -l` another file system may have been mounted there.
        if device(&self.mountpoint).is_ok_and(|device| device != self.device) {
            return;
        }
        if self.session.unmount().is_err()
            && let Err(error) = detach(&self.mountpoint)
        {
            log::error!("{}: can't unmount: {error}", self.mountpoint.display());
        }
    }
}

/// Unmounts lazily, as root or with the help of fusermount3.
fn detach(mountpoint: &Path) -> io::Result<()> {
    use rustix::mount::{UnmountFlags, unmount};
    match unmount(mountpoint, UnmountFlags::DETACH) {
        Err(Errno::PERM) => {}
        result => return Ok(result?),
    }
    let status =
        std::process::Command::new("fusermount3").args(["-u", "-z", "--"]).arg(mountpoint).status()?;
    if status.success() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Each ISO keeps a file open; the limit for a session is often 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What can't be raised is met again, with a sentence, when a file can't be opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// SIGIO comes if somebody opens an ISO for writing while its lease is tried (see settled.rs); its default is death.
fn ignore_lease_breaks() -> io::Result<()> {
    signal_hook::flag::register(SIGIO, Arc::default()).map(drop)
}

fn forward_signals(events: &Sender<Event>, end: &Sender<End>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let (events, end) = (events.clone(), end.clone());
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Whoever doesn't listen any more has ended.
            let _ = match signal {
                SIGHUP => events.send(Event::Look).is_ok(),
                SIGUSR1 => events.send(Event::Report).is_ok(),
                _ => end.send(End::Stop).is_ok(),
            };
        }
    })?;
    Ok(())
}
