//! The command line: one definition makes the help, the man page and the completions, and ends in checked values.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

mod choices;
mod mount_options;

use crate::boot::servers;
use crate::catalog::config::{self, ByItself, Defaults, RootExport};
use crate::catalog::people::Account;
use crate::catalog::{values, written};
use crate::cli::manual::Page;
use crate::image::args::Args as KernelArgs;
use crate::image::label::Label;
use crate::storage::passthrough::DataPath;
use crate::tree::layout::{Given, Settings};
use crate::tree::render::dhcp::{Dialect, Site};

/// Mounts a directory of live ISOs as a netboot tree.
///
/// MOUNTPOINT then has images/ for an NBD server and tftp/ for a TFTP server. Nothing is copied: kernels, initrds and
/// root images are byte ranges of the ISOs, and configuration files are written when they are read. The command returns
/// when the tree is usable and stays in the background; `fusermount3 -u MOUNTPOINT` or SIGTERM ends it.
#[derive(Debug, Parser)]
#[command(
    name = "netrootfs",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
The manual: 'netrootfs man' shows this program's page, 'netrootfs man --list' names the others.
Completions: 'netrootfs completions bash >/etc/bash_completion.d/netrootfs'; also for zsh and fish."
)]
pub struct Cli {
    /// What to do instead of mounting.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The main job.
    #[command(flatten)]
    pub mount: Mount,
}

/// What needs no mount.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say of each ISO what it is and how it boots, or why not; exit with 1 if one can't be served or booted
    Check(Check),
    /// Print the tree as it would be mounted, a line a file
    Tree(Tree),
    /// Print a file of the tree as it would be mounted
    Cat(Cat),
    /// Print what a DHCP server has to say for the tree
    Dhcp(Dhcp),
    /// Print how a mount fares: what it serves, who boots it, what went wrong
    Status {
        /// Where the tree is mounted [default: the one mount that there is]
        mountpoint: Option<PathBuf>,
        /// Print JSON, as status.json has it
        #[arg(long)]
        json: bool,
    },
    /// Show how a mount fares until interrupted, as it changes
    Top {
        /// Where the tree is mounted [default: the one mount that there is]
        mountpoint: Option<PathBuf>,
    },
    /// Read what boots are known to read into memory before many machines boot
    Warm(Warm),
    /// Let the program that is installed now serve a mount; clients wait for that moment
    Upgrade {
        /// Where the tree is mounted
        mountpoint: PathBuf,
    },
    /// Say whether this host has what a netboot needs, and what to do; exit with 1 if something is missing
    Doctor(Doctor),
    /// Show a page of the manual, as roff if not on a terminal
    Man {
        /// Its name, such as netrootfs.toml or netrootfs.7 [default: netrootfs.1]
        #[arg(value_parser = Page::find)]
        page: Option<Page>,
        /// Print what pages there are
        #[arg(long, conflicts_with = "page")]
        list: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of the main job.
#[derive(Debug, Args)]
pub struct Mount {
    /// Directory with the ISOs
    // An Option because the other commands do without, and the configuration file may have it.
    #[arg(required_unless_present = "config")]
    pub iso_dir: Option<PathBuf>,
    /// Directory to mount the tree on
    #[arg(required_unless_present = "config")]
    pub mountpoint: Option<PathBuf>,
    /// What the tree says.
    #[command(flatten)]
    pub tree: TreeOptions,
    /// Mount over a directory that is not empty; its files are hidden until the end
    #[arg(long)]
    pub nonempty: bool,
    /// Stay in the foreground, and log to standard error
    #[arg(short, long)]
    pub foreground: bool,
    /// Memory for blocks of ISOs; K, M and G are powers of 1024 [default: 256M]
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    pub cache_size: Option<u64>,
    /// Who reads the ISOs for clients: the kernel by itself (root, Linux 6.12), or netrootfs through its cache [default:
    /// auto]
    #[arg(long, value_enum)]
    pub data_path: Option<DataPath>,
    /// Run this with `sh -c` after ISOs have come, gone or changed; what takes more than five minutes is ended
    #[arg(long, value_name = "COMMAND")]
    pub on_change: Option<String>,
    /// Serve as this user, without any right; root mounts and runs the command
    #[arg(long, value_name = "USER", value_parser = values::account)]
    pub user: Option<Account>,
    /// Owner of the files [default: who runs this]
    #[arg(long, value_name = "USER", value_parser = values::user)]
    pub uid: Option<u32>,
    /// Group of the files [default: of who runs this]
    #[arg(long, value_name = "GROUP", value_parser = values::group)]
    pub gid: Option<u32>,
    /// Permissions of the files; directories can be searched by whom files can be read by [default: 0444]
    #[arg(long, value_name = "OCTAL", value_parser = values::mode)]
    pub mode: Option<u16>,
    /// Where to remember what initrds can do, and drivers for second ones [default: /var/cache/netrootfs, or below ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Do as on Linux before 6.9, which doesn't send again what a daemon that died has not answered
    #[arg(long, hide = true)]
    pub no_resend: bool,
    /// Log more; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log to this file, and not to the journal
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// What decides about the tree's content.
#[derive(Debug, Args)]
pub struct TreeOptions {
    /// What clients call the NBD host [default: the address of the interface with the default route, or the only one of
    /// this host]
    #[arg(long, value_name = "ADDR", value_parser = written::host)]
    pub server: Option<String>,
    /// Port of the NBD server [default: 10809]
    #[arg(long, value_name = "PORT", value_parser = values::port)]
    pub nbd_port: Option<u16>,
    /// Which export clients attach: the root image, the whole ISO, or what each one's initrd works best with [default:
    /// auto]
    #[arg(long, value_enum)]
    pub root_export: Option<RootExport>,
    /// URL at which an HTTP server shows the tree, for ISOs that can't boot over NBD
    #[arg(long, value_name = "URL", value_parser = written::url)]
    pub http_url: Option<String>,
    /// Where an NFS server shows the tree, for ISOs that can't boot over NBD
    #[arg(long, value_name = "HOST:/PATH", value_parser = written::nfs)]
    pub nfs: Option<String>,
    /// Kernel arguments for every entry, such as `rd.debug console=ttyS0,115200`; a serial console shows the menu too
    #[arg(long, value_name = "ARGS", value_parser = written::args)]
    pub append: Option<KernelArgs>,
    /// What boots by itself: an ISO by its label, `local` for the local disk, or `none` to wait for ever [default: the
    /// live system that was there first, else the local disk]
    #[arg(long, value_name = "LABEL", value_parser = ByItself::parse)]
    pub default: Option<ByItself>,
    /// Seconds until it does; 0 waits for ever [default: 10]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=i64::from(written::MAX_TIMEOUT)))]
    pub timeout: Option<u32>,
    /// Call the ISO in FILE by another label than its volume id; may be given several times
    #[arg(long = "label", value_name = "FILE=LABEL", value_parser = values::pin)]
    pub labels: Vec<(OsString, Label)>,
    /// Configuration file with choices for ISOs and machines; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory with netroot-init-x86_64 [default: beside this program, or ../lib/netrootfs from there]
    #[arg(long, value_name = "DIR", hide = true)]
    pub netroot_init: Option<PathBuf>,
    /// Root of the file system in which this host's loaders are looked for
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub loaders: PathBuf,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// ISOs, or directories of them
    #[arg(required = true, value_name = "ISO_OR_DIR")]
    pub paths: Vec<PathBuf>,
    /// Compare with another server's ISOs, the images/ of its tree, or the tree as its web server shows it (http://...); exit
    /// with 1 if labels, sizes or sampled bytes differ
    #[arg(long, value_name = "DIR_OR_URL")]
    pub against: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Compare the ISOs with the sums implanted in them by isomd5sum, and with SHA256SUMS, *.iso.sha256 and *-CHECKSUM
    /// beside them
    #[arg(long)]
    pub verify: bool,
    /// What the entries would be.
    #[command(flatten)]
    pub tree: TreeOptions,
}

/// Arguments of `warm`.
#[derive(Debug, Args)]
pub struct Warm {
    /// Where the tree is mounted [default: the one mount that there is]
    pub mountpoint: Option<PathBuf>,
    /// Labels of ISOs [default: all of which something is remembered, or is to be]
    #[arg(value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Read nothing, and remember what is in memory of the images now, after a boot
    #[arg(long)]
    pub save: bool,
    /// Where to remember it [default: /var/cache/netrootfs, or below ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Directory with the ISOs
    pub iso_dir: Option<PathBuf>,
    /// Boot a machine in QEMU from what is mounted there, too
    #[arg(long, value_name = "MOUNTPOINT")]
    pub boot: Option<PathBuf>,
    /// Seconds that it may take from loader to menu, kernel, initrd and root, each
    #[arg(long, value_name = "SECONDS", default_value_t = 180, hide = true)]
    pub patience: u64,
    /// Directory with netroot-init-x86_64 [default: beside this program, or ../lib/netrootfs from there]
    #[arg(long, value_name = "DIR", hide = true)]
    pub netroot_init: Option<PathBuf>,
    /// Root of the file system in which this host's loaders are looked for
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub loaders: PathBuf,
}

/// Arguments of `tree`.
#[derive(Debug, Args)]
pub struct Tree {
    /// Directory with the ISOs
    pub iso_dir: PathBuf,
    /// Where the tree would be mounted
    #[arg(long, value_name = "DIR", default_value = "/srv/netboot")]
    pub mountpoint: PathBuf,
    /// What the tree says.
    #[command(flatten)]
    pub tree: TreeOptions,
}

/// Arguments of `cat`.
#[derive(Debug, Args)]
pub struct Cat {
    /// Directory with the ISOs
    pub iso_dir: PathBuf,
    /// File of the tree, such as images/nbd.conf
    pub path: String,
    /// Where the tree would be mounted
    #[arg(long, value_name = "DIR", default_value = "/srv/netboot")]
    pub mountpoint: PathBuf,
    /// What the tree says.
    #[command(flatten)]
    pub tree: TreeOptions,
}

/// Arguments of `dhcp`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("dialect").required(true)))]
pub struct Dhcp {
    /// For dnsmasq, which can be the TFTP server too
    #[arg(long, group = "dialect")]
    pub dnsmasq: bool,
    /// For ISC dhcpd
    #[arg(long, group = "dialect")]
    pub isc: bool,
    /// For Kea
    #[arg(long, group = "dialect")]
    pub kea: bool,
    /// Beside a DHCP server that gives the addresses
    #[arg(long)]
    pub proxy: bool,
    /// Address of the TFTP server [default: the address of the interface with the default route]
    #[arg(long, value_name = "ADDR", value_parser = written::host)]
    pub server: Option<String>,
    /// Where the tree is mounted
    #[arg(long, value_name = "DIR", default_value = "/srv/netboot")]
    pub mountpoint: String,
    /// Network card of the boot network
    #[arg(long, value_name = "NAME", default_value = "eth0", value_parser = values::interface)]
    pub interface: String,
    /// The boot network [default: the 256 addresses around the server's]
    #[arg(long, value_name = "NETWORK/LENGTH", value_parser = values::network)]
    pub network: Option<(Ipv4Addr, u8)>,
    /// URL at which an HTTP server shows the tree, for UEFI machines that boot by HTTP
    #[arg(long, value_name = "URL", value_parser = written::url)]
    pub http_url: Option<String>,
}

impl Dhcp {
    /// What to render.
    ///
    /// # Errors
    /// If it can't be told where the server is, or which network it is in.
    pub fn site(&self) -> Result<(Dialect, Site)> {
        let dialect = match (self.dnsmasq, self.isc) {
            (true, _) => Dialect::Dnsmasq,
            (_, true) => Dialect::Isc,
            _ => Dialect::Kea,
        };
        let own = || servers::own_address().map(|address| address.to_string());
        let server = self.server.clone().or_else(own).with_context(no_address)?;
        let address = server.parse::<Ipv4Addr>().ok();
        if dialect == Dialect::Kea && address.is_none() {
            bail!("--server {server}: Kea takes an IPv4 address only");
        }
        let around = address.map(|address| {
            let [a, b, c, _] = address.octets();
            (Ipv4Addr::new(a, b, c, 0), 24)
        });
        let network = self.network.or(around);
        let network =
            network.with_context(|| format!("--server {server}: say with --network where that is"))?;
        let site = Site {
            server,
            mountpoint: self.mountpoint.clone(),
            interface: self.interface.clone(),
            network,
            proxy: self.proxy,
            http: self.http_url.clone(),
        };
        Ok((dialect, site))
    }
}

/// Why this host doesn't know what clients call it.
fn no_address() -> String {
    let all: Vec<String> = servers::all_addresses().iter().map(Ipv4Addr::to_string).collect();
    let has = if all.is_empty() { "no address".into() } else { all.join(", ") };
    format!("this host has no default route and {has}: say with --server which one clients use")
}

impl Cli {
    /// The command line of this process. A mistake in it ends the process with 2 and a sentence.
    pub fn from_args() -> Self {
        let args = mount_options::written_out(std::env::args_os());
        let cli = Self::try_parse_from(args).unwrap_or_else(|error| explain(error).exit());
        if let Some(Err(error)) = cli.tree_options().map(TreeOptions::pins) {
            Self::command().error(ErrorKind::ValueValidation, format!("{error:#}")).exit();
        }
        cli
    }

    fn tree_options(&self) -> Option<&TreeOptions> {
        match &self.command {
            None => Some(&self.mount.tree),
            Some(Command::Check(args)) => Some(&args.tree),
            Some(Command::Tree(args)) => Some(&args.tree),
            Some(Command::Cat(args)) => Some(&args.tree),
            Some(
                Command::Dhcp(_)
                | Command::Doctor(_)
                | Command::Status { .. }
                | Command::Top { .. }
                | Command::Warm(_)
                | Command::Upgrade { .. }
                | Command::Man { .. }
                | Command::Completions { .. },
            ) => None,
        }
    }
}

/// clap takes a third directory for a command.
fn explain(error: clap::Error) -> clap::Error {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::ArgumentConflict => {
            let sentence =
                format!("unexpected argument '{word}': ISO_DIR and MOUNTPOINT are two directories");
            Cli::command().error(ErrorKind::UnknownArgument, sentence)
        }
        _ => error,
    }
}

/// The command that somebody may have meant by a word that is no directory.
pub fn similar_command(word: &str) -> Option<String> {
    let command = Cli::command();
    let names = command.get_subcommands().map(clap::Command::get_name);
    let distance = |name: &&str| strsim::damerau_levenshtein(name, word);
    names.min_by_key(distance).filter(|name| distance(name) <= 2).map(str::to_owned)
}

impl TreeOptions {
    /// The labels by file name.
    ///
    /// # Errors
    /// If a file or a label is named twice.
    pub fn pins(&self) -> Result<HashMap<OsString, Label>> {
        let mut pins: HashMap<OsString, Label> = HashMap::new();
        for (file, label) in &self.labels {
            if pins.values().any(|other| other == label) {
                bail!("--label: '{label}' is given to two files");
            }
            if pins.insert(file.clone(), label.clone()).is_some() {
                bail!("--label: '{}' is named twice", file.display());
            }
        }
        Ok(pins)
    }

    /// What holds for a tree mounted at `mountpoint`, whatever the configuration file says.
    ///
    /// # Errors
    /// If the path can't stand in nbd.conf.
    pub fn given(&self, mountpoint: &Path) -> Result<Given> {
        let path = mountpoint.to_str().filter(|path| !path.chars().any(char::is_control));
        let path = path.with_context(|| {
            format!(
                "{}: a mount point whose name is not printable UTF-8 can't be written into nbd.conf",
                mountpoint.display()
            )
        })?;
        let options = Defaults {
            default: self.default.clone(),
            timeout: self.timeout,
            append: self.append.clone(),
            server: self.server.clone(),
            servers: None,
            nbd_port: self.nbd_port,
            http_url: self.http_url.clone(),
            nfs: self.nfs.clone(),
            root_export: self.root_export,
        };
        Ok(Given {
            mountpoint: path.to_owned(),
            own_host: servers::own_address().map_or_else(String::new, |own| own.to_string()),
            options,
        })
    }

    /// What the tree is made with, as the configuration file is now.
    ///
    /// # Errors
    /// If the path can't stand in nbd.conf, or the file is broken.
    pub fn settings(&self, mountpoint: &Path) -> Result<Settings> {
        let config = self.config.as_deref().map(config::file::load).transpose()?.unwrap_or_default();
        Ok(self.given(mountpoint)?.settings(&Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(args: &[&str]) -> Mount {
        let cli = Cli::try_parse_from(["netrootfs"].iter().chain(args)).unwrap();
        cli.mount
    }

    fn refusal(args: &[&str]) -> String {
        Cli::try_parse_from(["netrootfs"].iter().chain(args)).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn two_directories_are_enough() {
        let mount = mount(&["/srv/isos", "/srv/netboot"]);
        assert_eq!((mount.cache_size, mount.mode, mount.foreground), (None, None, false));
    }

    #[test]
    fn a_command_needs_no_directories() {
        let cli = Cli::try_parse_from(["netrootfs", "check", "a.iso"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Check(_))));
    }

    #[test]
    fn mistakes_get_a_sentence() {
        assert!(refusal(&["/a"]).contains("<MOUNTPOINT>"));
        assert!(refusal(&["/a", "/b", "--cache-size", "lots"]).contains("not a size such as 64M"));
        assert!(refusal(&["/a", "/b", "--mode", "0644"]).contains("read-only"));
        assert!(refusal(&["/a", "/b", "--append", "a\nb"]).contains("one line"));
        assert!(refusal(&["/a", "/b", "--label", "x.iso=1"]).contains("taken for a port"));
        assert!(refusal(&["/a", "/b", "--server", "a b"]).contains("not an IPv4 address"));
        assert!(refusal(&["/a", "/b", "--timeout", "9999"]).contains("3599"));
    }

    #[test]
    fn a_label_is_given_once() {
        let twice = mount(&["/a", "/b", "--label", "x.iso=X", "--label", "y.iso=X"]);
        assert!(twice.tree.pins().unwrap_err().to_string().contains("two files"));
        let pins = mount(&["/a", "/b", "--label", "a=b.iso=X"]).tree.pins().unwrap();
        assert_eq!(pins.get(&OsString::from("a=b.iso")).unwrap().as_str(), "X");
    }

    #[test]
    fn a_mount_point_must_fit_into_nbd_conf() {
        let tree = mount(&["/a", "/b", "--server", "10.1.1.1"]).tree;
        assert_eq!(tree.settings(Path::new("/srv/n b")).unwrap().mountpoint, "/srv/n b");
        assert!(tree.settings(Path::new("/srv/a\nb")).is_err());
    }
}
