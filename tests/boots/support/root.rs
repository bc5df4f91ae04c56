//! Where the root of a machine comes from.

use std::fs;

use anyhow::{Result, ensure};
use testkit::netns::SERVER;
use testkit::netrootfs::Tree;
use testkit::work::Work;

use crate::support::report::Report;
use crate::support::servers::HTTP_PORT;

/// Where the root comes from.
pub enum Root {
    /// `/dev/nbd0` is the root image.
    NbdImage,
    /// `/dev/nbd0` is the whole ISO.
    NbdIso,
    /// `/dev/nbd0` is the whole ISO, attached before the ISO's own initramfs begins.
    Netroot,
    /// A copy in memory of a file that the web server has; its path in the tree.
    Http(&'static str),
}

impl Root {
    /// Options of netrootfs.
    pub fn options(&self) -> &'static [&'static str] {
        match self {
            Self::NbdImage => &["--root-export", "image"],
            Self::NbdIso => &["--root-export", "iso"],
            Self::Netroot | Self::Http(_) => &[],
        }
    }

    /// True if the disk is attached before the ISO's own initramfs begins.
    pub fn is_netroot(&self) -> bool {
        matches!(self, Self::Netroot)
    }

    /// The part of its configuration file on the ISO.
    pub fn config(&self, label: &str) -> String {
        match self {
            Self::NbdImage | Self::NbdIso => String::new(),
            Self::Netroot => format!("[iso.\"{label}\"]\ntransport = \"netroot\"\n"),
            Self::Http(_) => format!("[iso.\"{label}\"]\ntransport = \"http\"\n"),
        }
    }

    /// Files that the loader must ask for, besides itself and its menu.
    pub fn files(&self, label: &str) -> Vec<String> {
        let mut files = vec![format!("vmlinuz_{label}"), format!("initrd_{label}.img")];
        if self.is_netroot() {
            files.push(format!("netroot_{label}.img"));
        }
        files
    }

    /// A piece of the kernel's arguments that must be there.
    pub fn argument(&self, label: &str) -> String {
        match self {
            Self::NbdImage => format!("netroot=nbd:{SERVER}:{label}::ro"),
            Self::NbdIso => format!("netroot=nbd:{SERVER}:{label}.iso::ro"),
            Self::Netroot => format!("rdinit=/netrootfs/init netroot.nbd={SERVER}/{label}.iso"),
            Self::Http(file) => format!("http://{SERVER}:{HTTP_PORT}/{file}"),
        }
    }

    /// The right root, all the way through the network.
    pub fn check(&self, report: &Report, label: &str, tree: &Tree, work: &Work) -> Result<()> {
        let file = match self {
            Self::NbdImage => format!("images/liveos_{label}.img"),
            Self::NbdIso | Self::Netroot => format!("images/{label}.iso"),
            Self::Http(file) => (*file).to_owned(),
        };
        let size = fs::metadata(tree.root.join(&file))?.len();
        // The whole ISO of a hybrid image shows up as a partition too; a nested image lies on a loop device over it.
        let on_nbd = report.mounts.iter().any(|mount| mount.starts_with("/dev/nbd0"))
            || report.loops.iter().any(|line| line.contains(" /dev/nbd0"));
        let nbd = report.nbd_bytes;
        if self.is_netroot() {
            check_keeper(report)?;
        }
        if !matches!(self, Self::Http(_)) {
            ensure!(nbd == size, "/dev/nbd0 has {nbd} bytes, {file} {size}");
            ensure!(on_nbd, "the root doesn't lie on /dev/nbd0: {report:#?}");
            return Ok(());
        }
        ensure!(!on_nbd && nbd == 0, "there is something on /dev/nbd0: {nbd} bytes, {:#?}", report.mounts);
        let copied = report.loops.iter().any(|line| line.starts_with(&format!("{size} ")));
        ensure!(copied, "no copy of {size} bytes: {:#?}", report.loops);
        let log = fs::read_to_string(work.log("python3"))?;
        ensure!(log.contains(&format!("\"GET /{file} HTTP/")), "not fetched: {log}");
        Ok(())
    }
}

/// The keeper runs, and the network manager has left the interface its address.
fn check_keeper(report: &Report) -> Result<()> {
    let keeper = report.spared.iter().any(|name| name.starts_with("@netroot"));
    ensure!(keeper, "no @netroot among the processes that systemd spares: {:?}", report.spared);
    let network = SERVER.rsplit_once('.').map_or(SERVER, |(network, _)| network);
    let addressed = report.addresses.iter().any(|line| line.contains(&format!(" {network}.")));
    ensure!(addressed, "no address of this network: {:?}", report.addresses);
    let (manager, state) = report.manager.split_once(' ').unwrap_or((&report.manager, ""));
    let word = match manager {
        "ifupdown" => "lo=lo",
        "networkd" => " ether ",
        "networkmanager" => ":connected",
        _ => "",
    };
    ensure!(state.contains(word), "{manager} is not done with its interface: {state}");
    Ok(())
}
