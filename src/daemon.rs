//! The daemon: scans, mounts, tells that it is ready, and from then on follows the directory until it is told to stop.
//!
//! One thread, this one, decides; all others send it [`Event`]s. Nothing that takes long happens here: initrds are looked
//! into by [`crate::verdicts`], the administrator's command runs in a thread of its own.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fuser::{INodeNo, MountOption, Notifier, Session, SessionACL, SessionUnmounter};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGIO, SIGTERM, SIGUSR1};

use crate::cache::BlockCache;
use crate::catalog::{Catalog, Opener, Scanner};
use crate::config::file::{Followed, Look};
use crate::fs::Fs;
use crate::fuse::{Adapter, Owner};
use crate::hook::Hook;
use crate::label::Label;
use crate::layout::{self, Given, LoaderFile};
use crate::loader;
use crate::source::{FileSource, PageCache, ReadAt};
use crate::verdicts::{Verdicts, Workers};
use crate::watch::{self, Pace};

/// Event loops: more than cores, because each waits for the disk while it reads.
const MIN_LOOPS: usize = 4;
const MAX_LOOPS: usize = 16;

/// How long to wait for the event loops after unmounting. Clients that still have files open would keep them for ever.
const FAREWELL: Duration = Duration::from_secs(2);

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

/// What the other threads tell.
enum Event {
    /// Something may have changed.
    Look,
    /// More is known of an initrd.
    Verdict,
    /// Say how the cache fares.
    Report,
    /// The mount is gone.
    Unmounted,
    /// Unmount and end.
    Stop,
}

/// Mounts, calls `ready` when the tree is usable, and returns when it has been unmounted.
///
/// # Errors
/// If the tree can't be mounted, with a sentence that says why.
pub fn run(config: &Config, ready: impl FnOnce() -> io::Result<()>) -> Result<()> {
    raise_file_limit();
    clear_stale_mount(&config.mountpoint)?;
    let (sender, inbox) = channel();
    forward_signals(&sender)?;
    let cache = BlockCache::new(config.cache_size);
    let verdicts = Arc::new(Verdicts::load(config.state_dir.as_deref()));
    let workers = Workers::start(&verdicts, forward(&sender, || Event::Verdict))?;
    let pace = Pace::default();
    let look = forward(&sender, || Event::Look);
    // The watch begins before the first scan, so that nothing falls between them.
    watch::start(&config.iso_dir, pace.clone(), {
        let sender = sender.clone();
        move || sender.send(Event::Look).is_ok()
    })?;
    let file = config.file.as_deref().map(|path| follow_file(path, &sender)).transpose()?;
    let opener = Arc::new(Cached(cache.clone()));
    let scanner = Scanner::new(config.iso_dir.clone(), config.pins.clone(), opener);
    let mut keeper = Keeper {
        config,
        file,
        scanner,
        verdicts,
        workers,
        pace,
        loaders: open_loaders(),
        catalog: Catalog::default(),
        reported: Vec::new(),
        unreadable: false,
    };
    let tree = keeper.first().with_context(|| config.iso_dir.display().to_string())?;
    let fs = Arc::new(Fs::new(tree));
    let (notifier, mut unmounter) = mount(&fs, config, sender)?;
    let hook = config.on_change.as_deref().map(Hook::start).transpose()?;
    log::info!("{}: mounted; ISOs: {}", config.mountpoint.display(), keeper.catalog.isos.len());
    ready()?;
    drop(look);
    follow(&inbox, &mut keeper, &fs, &notifier, hook.as_ref(), &cache);
    unmount(&mut unmounter, &config.mountpoint);
    let _ = inbox.recv_timeout(FAREWELL);
    Ok(())
}

/// Reads the configuration file, and looks at it from now on.
fn follow_file(path: &Path, events: &Sender<Event>) -> Result<(Followed, Pace)> {
    let pace = Pace::default();
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
    keeper: &mut Keeper<'_>,
    fs: &Fs,
    notifier: &Notifier,
    hook: Option<&Hook>,
    cache: &BlockCache,
) {
    while let Ok(event) = inbox.recv() {
        let change = match event {
            Event::Look => keeper.look_again(),
            Event::Verdict => keeper.enter_verdicts(),
            Event::Report => {
                log::info!("cache: {:?}", cache.counters());
                continue;
            }
            Event::Unmounted | Event::Stop => return,
        };
        if let Change::Nothing = change {
            continue;
        }
        let old = fs.replace(keeper.lay_out());
        for (directory, name) in old.changed_names(&fs.tree()) {
            // A name that the kernel doesn't know is ENOENT, and just as well.
            let _ = notifier.inval_entry(INodeNo(directory), OsStr::new(name));
        }
        if let (Change::Isos, Some(hook)) = (change, hook) {
            hook.changed();
        }
    }
}

/// What a look at the directory, or at an initrd, has changed.
enum Change {
    Nothing,
    Menu,
    Isos,
}

/// Keeps the catalog.
struct Keeper<'a> {
    config: &'a Config,
    file: Option<(Followed, Pace)>,
    scanner: Scanner,
    verdicts: Arc<Verdicts>,
    workers: Workers,
    pace: Pace,
    loaders: Vec<LoaderFile>,
    catalog: Catalog,
    /// What has been said of the files that are not served, so that it is said once.
    reported: Vec<(String, String)>,
    unreadable: bool,
}

impl Keeper<'_> {
    fn first(&mut self) -> io::Result<crate::tree::Tree> {
        let catalog = self.scanner.scan()?;
        self.take(catalog);
        Ok(self.lay_out())
    }

    fn look_again(&mut self) -> Change {
        let configured = self.look_at_file();
        match self.look_at_isos() {
            Change::Nothing if configured => Change::Menu,
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
                self.take(catalog)
            }
            Err(error) => {
                // A file server that is away takes nothing from clients that read what is open.
                if !std::mem::replace(&mut self.unreadable, true) {
                    log::error!("{}: {error}; its ISOs stay as they were", self.config.iso_dir.display());
                }
                Change::Nothing
            }
        }
    }

    fn take(&mut self, mut catalog: Catalog) -> Change {
        let unknown = self.verdicts.enter(&mut catalog);
        self.workers.ask(unknown);
        self.pace.set_often(catalog.remote || catalog.pending());
        self.report(&catalog);
        let same = self.catalog.serves_same(&catalog);
        self.catalog = catalog;
        if same { Change::Nothing } else { Change::Isos }
    }

    fn enter_verdicts(&mut self) -> Change {
        let unknown = self.verdicts.enter(&mut self.catalog);
        if unknown.is_empty()
            && let Err(error) = self.verdicts.save(&self.catalog)
        {
            log::warn!("what is known of the initrds can't be kept for the next start: {error}");
        }
        Change::Menu
    }

    fn lay_out(&self) -> crate::tree::Tree {
        let empty = Arc::default();
        let config = self.file.as_ref().map_or(&empty, |(file, _)| file.config());
        layout::lay_out(&self.catalog, &self.config.given.settings(config), &self.loaders)
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

/// Opens ISOs for serving: through the block cache, which keeps its own copy instead of the kernel's.
struct Cached(Arc<BlockCache>);

impl Opener for Cached {
    fn open(&self, file: Arc<File>) -> io::Result<Arc<dyn ReadAt>> {
        let source = FileSource::new(file, PageCache::DropBehind)?;
        Ok(Arc::new(self.0.attach(Arc::new(source))))
    }
}

/// The host's loaders, as they are now.
pub fn open_loaders() -> Vec<LoaderFile> {
    let loaders = loader::find();
    if let Some(sentence) = loader::missing(&loaders) {
        log::warn!("{sentence}");
    }
    layout::loader_files(loaders)
}

fn mount(fs: &Arc<Fs>, config: &Config, events: Sender<Event>) -> Result<(Notifier, SessionUnmounter)> {
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        // With allow_other, only the kernel's own check keeps others to the mode bits (libfuse, README.md).
        MountOption::DefaultPermissions,
        MountOption::FSName("netrootfs".into()),
        MountOption::Subtype("netrootfs".into()),
    ];
    options.acl = SessionACL::All;
    options.n_threads = Some((2 * std::thread::available_parallelism()?.get()).clamp(MIN_LOOPS, MAX_LOOPS));
    options.clone_fd = true;
    let adapter = Adapter::new(fs.clone(), config.owner);
    let session = Session::new(adapter, &config.mountpoint, &options);
    let mut session = session.map_err(|error| explain_mount(&error, &config.mountpoint))?;
    let (notifier, unmounter) = (session.notifier(), session.unmount_callable());
    std::thread::Builder::new().name("fuse".into()).spawn(move || {
        if let Err(error) = session.run() {
            log::error!("the event loops ended: {error}");
        }
        let _ = events.send(Event::Unmounted);
    })?;
    Ok((notifier, unmounter))
}

fn explain_mount(error: &io::Error, mountpoint: &Path) -> anyhow::Error {
    let text = error.to_string();
    let hint = if !Path::new("/dev/fuse").exists() {
        "; there is no /dev/fuse: try 'modprobe fuse'"
    } else if text.contains("user_allow_other") {
        "; servers run as other users: put user_allow_other into /etc/fuse.conf, or run as root"
    } else if error.kind() == io::ErrorKind::NotFound {
        "; is fusermount3 installed (package fuse3)?"
    } else {
        ""
    };
    anyhow::anyhow!("{}: can't mount: {}{hint}", mountpoint.display(), text.trim_end())
}

/// Takes away a mount whose daemon was killed ("Transport endpoint is not connected"), and checks that the mount point is
/// a directory.
fn clear_stale_mount(mountpoint: &Path) -> Result<()> {
    match std::fs::metadata(mountpoint) {
        Ok(stat) if stat.is_dir() => return Ok(()),
        Ok(_) => bail!("{}: the mount point is not a directory", mountpoint.display()),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {}
        Err(error) => return Err(error).with_context(|| format!("mount point {}", mountpoint.display())),
    }
    log::warn!("{}: cleaning up after a daemon that was killed", mountpoint.display());
    detach(mountpoint)
        .with_context(|| format!("{}: the dead mount can't be removed", mountpoint.display()))?;
    clear_stale_mount(mountpoint)
}

/// Unmounts; files that are still open stay with their readers until the end of this process.
fn unmount(unmounter: &mut SessionUnmounter, mountpoint: &Path) {
    if unmounter.unmount().is_err()
        && let Err(error) = detach(mountpoint)
    {
        log::error!("{}: can't unmount: {error}", mountpoint.display());
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

fn forward_signals(sender: &Sender<Event>) -> Result<()> {
    // SIGIO comes if somebody opens an ISO for writing while its lease is tried (see settled.rs); its default is death.
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGIO])?;
    let sender = sender.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Look,
                SIGUSR1 => Event::Report,
                SIGIO => continue,
                _ => Event::Stop,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

fn forward(sender: &Sender<Event>, event: fn() -> Event) -> impl Fn() + Clone + Send + 'static {
    let sender = sender.clone();
    move || {
        // The daemon has ended: nobody needs to know any more.
        let _ = sender.send(event());
    }
}
