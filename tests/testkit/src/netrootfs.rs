//! netrootfs itself, mounted for a test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::mount::{UnmountFlags, unmount};

use crate::built::program;
use crate::process::{PATIENCE, Process, wait_for};
use crate::work::Work;

/// The directories that servers are pointed at, whoever made them.
pub struct Tree {
    /// Where all of it is mounted.
    pub root: PathBuf,
    /// Root images, ISOs and `nbd.conf`.
    pub images: PathBuf,
    /// Loaders, kernels, initrds and menus.
    pub tftp: PathBuf,
}

/// A running netrootfs; unmounted when the value goes.
pub struct Mounted {
    process: Process,
    mountpoint: PathBuf,
}

impl Mounted {
    /// Mounts the ISOs of a directory, and waits until the tree is there.
    pub fn start(isos: &Path, mountpoint: &Path, options: &[&str], work: &Work) -> Result<Self> {
        let process = Process::spawn(
            Command::new(program("netrootfs"))
                .arg("--foreground")
                .arg("--state-dir")
                .arg(work.scratch("state"))
                .arg(isos)
                .arg(mountpoint)
                .args(options),
            work,
        )?;
        let mut mounted = Self { process, mountpoint: mountpoint.to_owned() };
        let tree = mounted.tree();
        wait_for("netrootfs to mount", PATIENCE, || {
            mounted.process.ensure_runs()?;
            Ok(tree.images.join("nbd.conf").exists())
        })?;
        Ok(mounted)
    }

    /// Where its parts lie.
    pub fn tree(&self) -> Tree {
        let root = self.mountpoint.clone();
        Tree { images: root.join("images"), tftp: root.join("tftp"), root }
    }

    /// Ends it as an administrator would: the mount must go with it.
    pub fn stop(mut self) -> Result<()> {
        self.process.terminate(PATIENCE)?;
        anyhow::ensure!(!self.tree().images.exists(), "netrootfs has ended, and its mount is still there");
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.process.terminate(Duration::from_secs(5));
        // Only if that went wrong is there still something to unmount.
        let _ = unmount(&self.mountpoint, UnmountFlags::DETACH);
    }
}
