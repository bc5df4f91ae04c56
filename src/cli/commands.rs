//! What the command line asks for, done: the mount, and the commands that need none.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::boot::loader;
use crate::boot::netroot::Netroot;
use crate::boot::netroot::kernel::Arch;
use crate::boot::netroot::program::Programs;
use crate::catalog::config;
use crate::catalog::config::ByItself;
use crate::catalog::people::Account;
use crate::catalog::probe::{Place, ProbeResults};
use crate::catalog::scan::{self, Catalog, Iso, Plain, Scanner, Skipped};
use crate::catalog::unknown;
use crate::cli::check::against::{Both, Comparison};
use crate::cli::check::{Report, verify};
use crate::cli::doctor::{self, Host, State};
use crate::cli::manual;
use crate::cli::options::{self, Cli, Command, TreeOptions};
use crate::cli::places;
use crate::cli::progress::Progress;
use crate::cli::status;
use crate::cli::top;
use crate::cli::warm;
use crate::image::label::Label;
use crate::image::printable;
use crate::serve::fuse::Owner;
use crate::serve::handover::holder::Holder;
use crate::serve::handover::{settings, store, upgrade};
use crate::serve::logging::{self, Sink};
use crate::serve::status::files_of_no_mount;
use crate::serve::{background, daemon};
use crate::storage::passthrough::DataPath;
use crate::tree::arena::{Kind, Tree};
use crate::tree::layout;
use crate::tree::render::dhcp;

/// Memory for blocks of ISOs, in bytes.
const DEFAULT_CACHE_SIZE: u64 = 256 << 20;

/// Permissions of the files.
const DEFAULT_MODE: u16 = 0o444;

/// Does it.
///
/// # Errors
/// With a sentence for the administrator.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Some(Command::Check(args)) => check(&args),
        Some(Command::Tree(args)) => {
            let tree = lay_out(&args.iso_dir, &args.mountpoint, &args.tree)?;
            print(printable::lines(&tree.dump()).as_bytes())
        }
        Some(Command::Cat(args)) => cat(&args),
        Some(Command::Dhcp(args)) => {
            let (dialect, site) = args.site()?;
            print(dhcp::render(dialect, &site).as_bytes())
        }
        Some(Command::Upgrade { mountpoint: path }) => {
            let path = places::served_mountpoint(&path)?;
            let daemon = upgrade::upgrade(&path)?.as_raw_nonzero();
            print(format!("{}: served by process {daemon} now\n", path.display()).as_bytes())
        }
        Some(Command::Status { mountpoint, json }) => {
            let mountpoint = status::meant(mountpoint)?;
            let text = if json { status::text(&mountpoint)? } else { status::lines(&mountpoint)? };
            print(text.as_bytes())
        }
        Some(Command::Top { mountpoint }) => {
            top::follow(&status::meant(mountpoint)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Warm(args)) => warm(args),
        Some(Command::Doctor(args)) => doctor(&args),
        Some(Command::Man { list: true, .. }) => print(manual::list().as_bytes()),
        Some(Command::Man { page, .. }) => finish(page.unwrap_or(manual::PAGES[0]).show()),
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
    let (args, file) = with_file(args, &role)?;
    let sink = match &args.log_file {
        Some(path) => Sink::File(path),
        None if args.foreground => Sink::Stderr,
        None => Sink::Journal,
    };
    match logging::start(sink, args.verbose) {
        Err(error) if store::gives_back() => {
            logging::start(Sink::Journal, args.verbose)?;
            log::error!("{error:#}; the log goes to the journal until there is another process");
        }
        result => result?,
    }
    let in_log = !matches!(sink, Sink::Stderr);
    // In the background there is nobody to tell it to.
    serve(role, args, file).inspect_err(|error| {
        if in_log {
            log::error!("{error:#}")
        }
    })
}

fn serve(role: Role, args: options::Mount, file: config::mount::Mount) -> Result<ExitCode> {
    let foreground = args.foreground;
    match role {
        Role::Command | Role::Holder => {
            if !foreground {
                background::detach();
            }
            let mounted = args.mountpoint.as_deref().unwrap_or(Path::new("/"));
            // If that can't be, the daemon will say so.
            let mounted = places::served_mountpoint(mounted).or_else(|_| std::path::absolute(mounted))?;
            let holder = Holder::new(mounted, foreground)?;
            Ok(ExitCode::from(holder.run(if foreground { || Ok(()) } else { background::ready })?))
        }
        Role::Daemon => {
            background::end_with_parent(true)?;
            daemon::run(configure(args, file, false)?, || {
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
            daemon::run(configure(args, file, true)?, || Ok(()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Roles of the processes that a mount is made of.
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

/// The options, and where they say nothing what the configuration file says of the mount: for who goes on with one what it was
/// made by, or at least what was read last.
fn with_file(mut args: options::Mount, role: &Role) -> Result<(options::Mount, config::mount::Mount)> {
    let parse = |text: Option<String>| config::Config::parse(&text?).ok();
    let made_by = parse(settings::first()).filter(|_| *role == Role::Daemon);
    let load = |path: &Path| config::file::load(path).or_else(|error| parse(settings::last()).ok_or(error));
    let file = match made_by {
        Some(file) => file.mount,
        None => args.tree.config.as_deref().map(load).transpose()?.unwrap_or_default().mount,
    };
    args.iso_dir = args.iso_dir.or_else(|| file.iso_dir.clone());
    args.mountpoint = args.mountpoint.or_else(|| file.mountpoint.clone());
    args.nonempty |= file.nonempty;
    args.cache_size = args.cache_size.or(file.cache_size);
    args.data_path = args.data_path.or(file.data_path);
    args.user = args.user.or_else(|| file.user.clone());
    args.on_change = args.on_change.or_else(|| file.on_change.clone());
    args.uid = args.uid.or(file.uid);
    args.gid = args.gid.or(file.gid);
    args.mode = args.mode.or(file.mode);
    args.state_dir = args.state_dir.or_else(|| file.state_dir.clone());
    args.log_file = args.log_file.or_else(|| file.log_file.clone());
    Ok((args, file))
}

/// As a service, it starts before the file system with the ISOs is there (`supervised`).
fn configure(args: options::Mount, file: config::mount::Mount, supervised: bool) -> Result<daemon::Config> {
    let (Some(iso_dir), Some(mounted)) = (&args.iso_dir, &args.mountpoint) else {
        bail!("say ISO_DIR and MOUNTPOINT, or iso-dir and mountpoint under [mount] in the configuration file")
    };
    if args.user.is_some() && !rustix::process::geteuid().is_root() {
        bail!("--user: only root can become somebody else");
    }
    let data_path = args.data_path.unwrap_or(DataPath::Auto);
    // Where there is a mount to go on with, whatever has gone since may come again, and must not end it.
    let goes_on = store::gives_back();
    let iso_dir_may_come = goes_on || supervised && !iso_dir.try_exists().unwrap_or(true);
    let iso_dir =
        if iso_dir_may_come { std::path::absolute(iso_dir)? } else { places::iso_directory(iso_dir)? };
    // Whoever asks it anything waits for this process.
    let mountpoint = match goes_on {
        true => places::served_mountpoint(mounted)?,
        false => places::mountpoint(mounted, args.nonempty)?,
    };
    // Nor is the directory of ISOs asked then: it may not answer, and has been asked before.
    if !goes_on && iso_dir.canonicalize().is_ok_and(|iso_dir| iso_dir.starts_with(&mountpoint)) {
        bail!("{}: the directory of ISOs would lie under the mount", iso_dir.display());
    }
    let mut pins = args.tree.pins()?;
    for (name, label) in file.labels {
        pins.entry(name.into()).or_insert(label);
    }
    Ok(daemon::Config {
        given: args.tree.given(&mountpoint)?,
        // Going to the background changes the working directory.
        file: args.tree.config.as_deref().map(std::path::absolute).transpose()?,
        pins,
        owner: Owner {
            uid: args.uid.unwrap_or_else(|| rustix::process::getuid().as_raw()),
            gid: args.gid.unwrap_or_else(|| rustix::process::getgid().as_raw()),
            mode: args.mode.unwrap_or(DEFAULT_MODE),
        },
        cache_size: args.cache_size.unwrap_or(DEFAULT_CACHE_SIZE),
        data_path,
        on_change: if goes_on { args.on_change } else { on_change(args.on_change)? },
        resend: !args.no_resend,
        loaders: std::path::absolute(&args.tree.loaders)?,
        programs: args.tree.netroot_init.as_deref().map(std::path::absolute).transpose()?,
        state_dir: match state_dir(args.state_dir, args.user.as_ref()) {
            Err(error) if goes_on => {
                log::error!("{error:#}; what is found out isn't kept");
                None
            }
            directory => directory?,
        },
        user: args.user,
        log_file: args.log_file.as_deref().map(std::path::absolute).transpose()?,
        background: !args.foreground,
        iso_dir,
        iso_dir_may_come,
        mountpoint,
    })
}

/// The state directory, made if it was named: a mistake in it is said at once, and not when something is to be kept.
fn state_dir(named: Option<PathBuf>, user: Option<&Account>) -> Result<Option<PathBuf>> {
    let say = |directory: &Path| format!("state directory {}", directory.display());
    // The background has another working directory.
    let Some(directory) = named else {
        let directory = places::default_state_dir().map(std::path::absolute).transpose()?;
        if let (Some(directory), Some(user)) = (&directory, user) {
            make_for(directory, user).with_context(|| say(directory))?;
        }
        return Ok(directory);
    };
    let directory = std::path::absolute(directory)?;
    let made = match user {
        Some(user) => make_for(&directory, user),
        None => std::fs::create_dir_all(&directory),
    };
    made.and_then(|()| writable(&directory)).with_context(|| say(&directory))?;
    Ok(Some(directory))
}

/// Makes a directory that belongs to a user, if there is none; one that is there stays as it is.
fn make_for(directory: &Path, user: &Account) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(directory)?;
    std::os::unix::fs::chown(directory, Some(user.uid), Some(user.gid)).map_err(|error| {
        // One of root's would be in the way at the next start.
        let _ = std::fs::remove_dir(directory);
        let advice = format!("'install -d -o {} {}' helps", user.uid, directory.display());
        io::Error::new(error.kind(), format!("it can't be given to the user of --user ({error}): {advice}"))
    })
}

/// Whether files can be made there.
fn writable(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Refuses a command that the shell doesn't find. What is more than a plain word at its beginning is the shell's affair.
fn on_change(command: Option<String>) -> Result<Option<String>> {
    let Some(command) = command else { return Ok(None) };
    let word = command.split_whitespace().next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if word.is_empty() {
        bail!("--on-change: there is no command in it");
    }
    if word.bytes().all(plain) {
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", "command -v -- \"$1\"", "sh", word]).stdout(std::process::Stdio::null());
        if !shell.status().context("/bin/sh")?.success() {
            bail!("--on-change: there is no program '{word}'");
        }
    }
    Ok(Some(command))
}

fn check(args: &options::Check) -> Result<ExitCode> {
    let mut catalog = Catalog::default();
    // Where each ISO lies, in the order of the catalog.
    let mut places: Vec<PathBuf> = Vec::new();
    let pins = args.tree.pins()?;
    for path in &args.paths {
        if path.is_dir() {
            let found = Scanner::new(places::iso_directory(path)?, pins.clone(), Arc::new(Plain)).scan();
            let found = found.with_context(|| path.display().to_string())?;
            places.extend(found.isos.iter().map(|iso| path.join(&iso.name)));
            catalog.isos.extend(found.isos);
            catalog.skipped.extend(found.skipped);
        } else {
            check_file(path, &pins, &mut catalog);
            places.resize(catalog.isos.len(), path.clone());
        }
    }
    let against = args.against.as_deref().map(|path| Comparison::new(&catalog, path, &pins)).transpose()?;
    let progress = Progress::start();
    let programs = Programs::find(args.tree.netroot_init.as_deref());
    let mut host: Vec<String> =
        loader::missing(&loader::find(&args.tree.loaders)).into_iter().map(str::to_owned).collect();
    host.extend(no_program(&programs));
    look_into(&mut catalog, programs, &progress);
    let settings = args.tree.settings(Path::new("/"))?;
    let unknown = unknown::sentences(
        &catalog,
        settings.default.as_ref().and_then(ByItself::label),
        &pins,
        &settings.config,
    );
    let mut report = Report::new(&catalog, &settings, host, unknown.into_iter().collect());
    if args.verify {
        for ((iso, path), served) in catalog.isos.iter().zip(&places).zip(&mut report.served) {
            served.verified = Some(verify::verify(path, &*iso.disc.plain, &mut |done| {
                progress.say(format!("comparing {}: {} %", iso.name, done * 100 / iso.disc.len.max(1)));
            }));
        }
    }
    drop(progress);
    let against = against.as_ref();
    let text = match args.json {
        true => printable::json(&serde_json::to_string_pretty(&Both { report: &report, against })?) + "\n",
        false => {
            let compared = against.map(Comparison::to_string).unwrap_or_default();
            printable::lines(&format!("{report}{compared}"))
        }
    };
    print(text.as_bytes())?;
    Ok(if report.is_good() && against.is_none_or(Comparison::is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Why ISOs can't be given netroot-init: for the processor of nearly all of them.
fn no_program(programs: &Programs) -> Option<String> {
    let reason = programs.archive(Arch::X86_64).err()?;
    Some(format!("unmodified ISOs can't boot over NBD: {reason}"))
}

fn warm(args: options::Warm) -> Result<ExitCode> {
    let mountpoint = status::meant(args.mountpoint)?;
    let state = args.state_dir.or_else(places::default_state_dir);
    let state = state.context("say with --state-dir where it is remembered")?;
    let mut say = |line: String| print(printable::lines(&format!("{line}\n")).as_bytes()).map(drop);
    let done = match args.save {
        true => warm::save(&mountpoint, &args.labels, &state, &mut say)?,
        false => warm::read(&mountpoint, &args.labels, &state, warm::available()?, &mut say)?,
    };
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn doctor(args: &options::Doctor) -> Result<ExitCode> {
    let mut findings = Host::this().findings();
    findings.extend(doctor::installed(args.netroot_init.as_deref(), &args.loaders));
    if let Some(path) = &args.iso_dir {
        let mut scanner = Scanner::new(places::iso_directory(path)?, HashMap::new(), Arc::new(Plain));
        let catalog = scanner.scan().with_context(|| path.display().to_string())?;
        findings.push(doctor::isos(&catalog, path));
    }
    if let Some(mountpoint) = &args.boot {
        findings.extend(doctor::boot::findings(mountpoint, Duration::from_secs(args.patience))?);
    }
    let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    print(printable::lines(&text).as_bytes())?;
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
            catalog.isos.push(Iso {
                label,
                name,
                disc,
                arrived: catalog.isos.len() as u64 + 1,
                product: None,
                initrd: None,
                netroot: Netroot::Unknown,
                further: Vec::new(),
            });
        }
        Err(reason) => catalog.skipped.push(Skipped { name, reason, pending: false }),
    }
}

/// Finds out here and now what a mount finds out beside.
fn look_into(catalog: &mut Catalog, programs: Programs, progress: &Progress) {
    let results = ProbeResults::load(Place::Apart, None, programs);
    for (number, iso) in catalog.isos.iter().enumerate() {
        progress.say(format!("looking into {} of {}: {}", number + 1, catalog.isos.len(), iso.name));
        results.look_into(&iso.disc);
    }
    results.enter(catalog);
}

fn lay_out(iso_dir: &Path, mountpoint: &Path, options: &TreeOptions) -> Result<Tree> {
    let mut scanner = Scanner::new(places::iso_directory(iso_dir)?, options.pins()?, Arc::new(Plain));
    let mut catalog = scanner.scan().with_context(|| iso_dir.display().to_string())?;
    let programs = Programs::find(options.netroot_init.as_deref());
    look_into(&mut catalog, programs, &Progress::start());
    let mountpoint = std::path::absolute(mountpoint)?;
    let (settings, loaders) =
        (options.settings(&mountpoint)?, layout::loader_files(loader::find(&options.loaders)));
    let live = files_of_no_mount();
    Ok(layout::lay_out_with(&live, &catalog, &settings, &loaders, &Arc::default()))
}

fn cat(args: &options::Cat) -> Result<ExitCode> {
    let tree = lay_out(&args.iso_dir, &args.mountpoint, &args.tree)?;
    let node = tree.find(&args.path).with_context(|| args.path.clone())?;
    let node =
        node.with_context(|| format!("{}: no such file in the tree; see 'netrootfs tree'", args.path))?;
    let content = match &node.kind {
        Kind::File(content) | Kind::Moment(content) => content.clone(),
        Kind::Live(live) => live.now(0).with_context(|| args.path.clone())?.content,
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
