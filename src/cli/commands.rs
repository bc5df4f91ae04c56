//! What the command line asks for, done: the mount, and the commands that need none.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::boot::loader;
use crate::boot::netroot::Netroot;
use crate::boot::netroot::program::Programs;
use crate::catalog::probe::ProbeResults;
use crate::catalog::scan::{self, Catalog, Iso, Plain, Scanner, Skipped};
use crate::cli::check::Report;
use crate::cli::options::{self, Cli, Command, TreeOptions};
use crate::image::label::Label;
use crate::serve::fuse::Owner;
use crate::serve::handover::holder::Holder;
use crate::serve::handover::{store, upgrade};
use crate::serve::logging::{self, Sink};
use crate::serve::{background, daemon};
use crate::tree::arena::{Kind, Tree};
use crate::tree::layout;
use crate::tree::render::dhcp;

/// Does it.
///
/// # Errors
/// With a sentence for the administrator.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Some(Command::Check(args)) => check(&args),
        Some(Command::Tree(args)) => {
            let tree = lay_out(&args.iso_dir, &args.mountpoint, &args.tree)?;
            print(tree.dump().as_bytes())
        }
        Some(Command::Cat(args)) => cat(&args),
        Some(Command::Dhcp(args)) => {
            let (dialect, site) = args.site();
            print(dhcp::render(dialect, &site).as_bytes())
        }
        Some(Command::Upgrade { mountpoint: path }) => {
            let path = mountpoint(&path)?;
            let daemon = upgrade::upgrade(&path)?.as_raw_nonzero();
            print(format!("{}: served by process {daemon} now\n", path.display()).as_bytes())
        }
        Some(Command::Man) => {
            clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "netrootfs", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        None => mount(cli.mount),
    }
}

fn mount(args: options::Mount) -> Result<ExitCode> {
    let role = Role::of(args.foreground);
    if role == Role::Command {
        return background::start();
    }
    let sink = match &args.log_file {
        Some(path) => Sink::File(path),
        None if args.foreground => Sink::Stderr,
        None => Sink::Journal,
    };
    logging::start(sink, args.verbose)?;
    let foreground = args.foreground;
    match role {
        Role::Command | Role::Holder => {
            if !foreground {
                background::detach();
            }
            let mounted = args.mountpoint.as_deref().unwrap_or(Path::new("/"));
            // If that can't be, the daemon will say so.
            let mounted = mountpoint(mounted).or_else(|_| std::path::absolute(mounted))?;
            let holder = Holder::new(mounted, foreground)?;
            Ok(ExitCode::from(holder.run(if foreground { || Ok(()) } else { background::ready })?))
        }
        Role::Daemon => {
            background::end_with_parent(true)?;
            daemon::run(configure(args)?, || {
                // In front, who ends the holder means both.
                if foreground {
                    return Ok(());
                }
                background::end_with_parent(false)?;
                background::let_go()
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Role::Service => {
            daemon::run(configure(args)?, || Ok(()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What this process is of those that a mount is made of.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// What was called, to return when the tree is usable.
    Command,
    /// What holds for the daemon what it would lose.
    Holder,
    /// The daemon, started by the holder.
    Daemon,
    /// The daemon, started by a service manager that is the holder.
    Service,
}

impl Role {
    fn of(foreground: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some();
        match (set(store::SERVER), foreground) {
            (true, _) => Self::Daemon,
            (false, true) if set("NOTIFY_SOCKET") => Self::Service,
            (false, true) => Self::Holder,
            (false, false) if background::is_child() => Self::Holder,
            (false, false) => Self::Command,
        }
    }
}

fn configure(args: options::Mount) -> Result<daemon::Config> {
    let (Some(iso_dir), Some(mounted)) = (&args.iso_dir, &args.mountpoint) else { bail!("see --help") };
    let (iso_dir, mountpoint) = (directory(iso_dir)?, mountpoint(mounted)?);
    if iso_dir.starts_with(&mountpoint) {
        bail!("{}: the directory of ISOs would lie under the mount", iso_dir.display());
    }
    Ok(daemon::Config {
        given: args.tree.given(&mountpoint)?,
        // Going to the background changes the working directory.
        file: args.tree.config.as_deref().map(std::path::absolute).transpose()?,
        pins: args.tree.pins()?,
        owner: Owner {
            uid: args.uid.unwrap_or_else(|| rustix::process::getuid().as_raw()),
            gid: args.gid.unwrap_or_else(|| rustix::process::getgid().as_raw()),
            mode: args.mode,
        },
        cache_size: args.cache_size,
        data_path: args.data_path,
        on_change: args.on_change,
        resend: !args.no_resend,
        programs: args.tree.netroot_init.as_deref().map(std::path::absolute).transpose()?,
        // The background has another working directory.
        state_dir: args.state_dir.or_else(default_state_dir).map(std::path::absolute).transpose()?,
        iso_dir,
        mountpoint,
    })
}

/// The absolute path of a directory that is there.
fn directory(path: &Path) -> Result<PathBuf> {
    let absolute = path.canonicalize().with_context(|| path.display().to_string())?;
    if !absolute.is_dir() {
        bail!("{}: not a directory", path.display());
    }
    Ok(absolute)
}

/// The absolute path of a mount point, which may be a dead mount: only what lies above it can be asked.
fn mountpoint(path: &Path) -> Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            let absolute = std::path::absolute(path)?;
            let name = absolute.file_name().context("the root directory is no mount point")?;
            Ok(absolute.parent().unwrap_or(Path::new("/")).canonicalize()?.join(name))
        }
        Err(error) => Err(error).with_context(|| format!("mount point {}", path.display())),
    }
}

fn default_state_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/cache/netrootfs".into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Some(cache?.join("netrootfs"))
}

fn check(args: &options::Check) -> Result<ExitCode> {
    let mut catalog = Catalog::default();
    let pins = args.tree.pins()?;
    for path in &args.paths {
        if path.is_dir() {
            let found = Scanner::new(directory(path)?, pins.clone(), Arc::new(Plain)).scan();
            let found = found.with_context(|| path.display().to_string())?;
            catalog.isos.extend(found.isos);
            catalog.skipped.extend(found.skipped);
        } else {
            check_file(path, &pins, &mut catalog);
        }
    }
    look_into(&mut catalog, &args.tree);
    let settings = args.tree.settings(Path::new("/"))?;
    let host = loader::missing(&loader::find()).into_iter().map(str::to_owned).collect();
    let report = Report::new(&catalog, &settings, host);
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    print(text.as_bytes())?;
    Ok(if report.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_file(path: &Path, pins: &HashMap<OsString, Label>, catalog: &mut Catalog) {
    let name = path.display().to_string();
    match scan::open_file(path) {
        Ok(disc) => {
            let stem = path.file_stem().unwrap_or_default().as_encoded_bytes();
            let pinned = path.file_name().and_then(|name| pins.get(name)).cloned();
            let label = pinned
                .or_else(|| Label::from_volume_id(&disc.facts.volume_id))
                .unwrap_or_else(|| Label::from_file_stem(stem));
            catalog.isos.push(Iso { label, name, disc, initrd: None, netroot: Netroot::Unknown });
        }
        Err(reason) => catalog.skipped.push(Skipped { name, reason, pending: false }),
    }
}

/// Finds out here and now what a mount finds out beside.
fn look_into(catalog: &mut Catalog, options: &TreeOptions) {
    let results = ProbeResults::load(None, Programs::find(options.netroot_init.as_deref()));
    catalog.isos.iter().for_each(|iso| results.look_into(&iso.disc));
    results.enter(catalog);
}

fn lay_out(iso_dir: &Path, mountpoint: &Path, options: &TreeOptions) -> Result<Tree> {
    let mut scanner = Scanner::new(directory(iso_dir)?, options.pins()?, Arc::new(Plain));
    let mut catalog = scanner.scan().with_context(|| iso_dir.display().to_string())?;
    look_into(&mut catalog, options);
    let mountpoint = std::path::absolute(mountpoint)?;
    let (settings, loaders) = (options.settings(&mountpoint)?, layout::loader_files(loader::find()));
    Ok(layout::lay_out(&catalog, &settings, &loaders, &Arc::default()))
}

fn cat(args: &options::Cat) -> Result<ExitCode> {
    let tree = lay_out(&args.iso_dir, &args.mountpoint, &args.tree)?;
    let node = tree.find(&args.path).with_context(|| args.path.clone())?;
    let node =
        node.with_context(|| format!("{}: no such file in the tree; see 'netrootfs tree'", args.path))?;
    let content = match &node.kind {
        Kind::File(content) => content.clone(),
        Kind::Unopened(file) => file.open()?,
        Kind::Link(target) => bail!("{}: is a symbolic link to {}", args.path, target.display()),
        Kind::Directory(_) | Kind::Lazy(_) => bail!("{}: is a directory", args.path),
    };
    let copied = io::copy(&mut content.reader(), &mut io::stdout().lock());
    finish(copied.map(drop))
}

fn print(bytes: &[u8]) -> Result<ExitCode> {
    finish(io::stdout().write_all(bytes))
}

/// A reader that has seen enough (`| head`) is no failure.
fn finish(written: io::Result<()>) -> Result<ExitCode> {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
