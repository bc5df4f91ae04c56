//! Where the root of a machine comes from.

use std::fs;

use anyhow::{Result, ensure};

use crate::support::netns::SERVER;
use crate::support::report::Report;
use crate::support::servers::{HTTP_PORT, Tree};
use crate::support::work::Work;

/// Where the root comes from.
pub enum Root {
    /// `/dev/nbd0` is the root image.
    NbdImage,
    /// `/dev/nbd0` is the whole ISO.
    NbdIso,
    /// A copy in memory of a file that the web server has; its path in the tree.
    Http(&'static str),
}

impl Root {
    /// What netrootfs is told.
    pub fn options(&self) -> &'static [&'static str] {
        match self {
            Self::NbdImage => &["--root-export", "image"],
            Self::NbdIso => &["--root-export", "iso"],
            Self::Http(_) => &[],
        }
    }

    /// What must stand in the kernel's arguments.
    pub fn argument(&self, label: &str) -> String {
        match self {
            Self::NbdImage => format!("netroot=nbd:{SERVER}:{label}::ro"),
            Self::NbdIso => format!("netroot=nbd:{SERVER}:{label}.iso::ro"),
            Self::Http(file) => format!("http://{SERVER}:{HTTP_PORT}/{file}"),
        }
    }

    /// The right root, all the way through the network.
    pub fn check(&self, report: &Report, label: &str, tree: &Tree, work: &Work) -> Result<()> {
        let file = match self {
            Self::NbdImage => format!("images/liveos_{label}.img"),
            Self::NbdIso => format!("images/{label}.iso"),
            Self::Http(file) => (*file).to_owned(),
        };
        let size = fs::metadata(tree.root.join(&file))?.len();
        // The whole ISO of a hybrid image shows up as a partition too; a nested image lies on a loop device over it.
        let on_nbd = report.mounts.iter().any(|mount| mount.starts_with("/dev/nbd0"))
            || report.loops.iter().any(|line| line.contains(" /dev/nbd0"));
        let nbd = report.nbd_bytes;
        if !matches!(self, Self::Http(_)) {
            ensure!(nbd == size, "/dev/nbd0 has {nbd} bytes, {file} {size}");
            return Ok(ensure!(on_nbd, "the root doesn't lie on /dev/nbd0: {report:#?}"));
        }
        ensure!(!on_nbd && nbd == 0, "there is something on /dev/nbd0: {nbd} bytes, {:#?}", report.mounts);
        let copied = report.loops.iter().any(|line| line.starts_with(&format!("{size} ")));
        ensure!(copied, "no copy of {size} bytes: {:#?}", report.loops);
        let log = fs::read_to_string(work.log("python3"))?;
        Ok(ensure!(log.contains(&format!("\"GET /{file} HTTP/")), "not fetched: {log}"))
    }
}
