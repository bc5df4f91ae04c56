//! The ways to get at the bytes of a root image, and how each is started and ended.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::speed::place::{LABEL, Place, ROOT};

/// A way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Contender {
    /// A copy of the root image on the same disk.
    Plain,
    /// netrootfs, `--data-path kernel`.
    Kernel,
    /// netrootfs, `--data-path cache`.
    Cache,
    /// The ISO mounted by fuseiso.
    Fuseiso,
    /// `nbdkit --filter=offset`, an NBD server and nothing else.
    Nbdkit,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain file",
            Self::Kernel => "kernel path",
            Self::Cache => "cache path",
            Self::Fuseiso => "fuseiso",
            Self::Nbdkit => "nbdkit offset",
        })
    }
}

impl Contender {
    /// Those that show a file.
    pub fn with_files() -> Vec<Self> {
        vec![Self::Plain, Self::Kernel, Self::Cache, Self::Fuseiso]
    }

    /// Starts it, and waits until the file can be opened. With nothing in its caches, if the kernel's are empty.
    pub fn start(self, place: &Place) -> Result<Running> {
        let mountpoint = place.path(&format!("{self:?}"));
        std::fs::create_dir_all(&mountpoint)?;
        let (mut command, file) = match self {
            Self::Plain => return Ok(Running { file: place.plain.clone(), mounted: None }),
            Self::Kernel => (netrootfs(place, &mountpoint, "kernel"), format!("images/liveos_{LABEL}.img")),
            Self::Cache => (netrootfs(place, &mountpoint, "cache"), format!("images/liveos_{LABEL}.img")),
            Self::Fuseiso => {
                let mut command = Command::new("fuseiso");
                command.arg(&place.iso).arg(&mountpoint).arg("-f");
                (command, ROOT.to_owned())
            }
            Self::Nbdkit => bail!("nbdkit has no files"),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{command:?}: is it installed?"))?;
        let file = mountpoint.join(file);
        let mut mounted = Mounted { child, mountpoint };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !file.exists() {
            if let Some(status) = mounted.child.try_wait()? {
                bail!("{self} has ended: {status}");
            }
            anyhow::ensure!(Instant::now() < deadline, "{self} doesn't show {}", file.display());
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Running { file, mounted: Some(mounted) })
    }
}

/// A contender that runs; ended with the value.
pub struct Running {
    /// The root image.
    pub file: PathBuf,
    mounted: Option<Mounted>,
}

impl Running {
    /// Its process, if it needs one.
    pub fn daemon(&self) -> Option<u32> {
        self.mounted.as_ref().map(|mounted| mounted.child.id())
    }
}

struct Mounted {
    child: Child,
    mountpoint: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A server may just be closing the file.
        let _ = unmount(&self.mountpoint, UnmountFlags::DETACH);
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The command that mounts the place's ISOs.
pub fn netrootfs(place: &Place, mountpoint: &Path, data_path: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.args(["--foreground", "--server", "127.0.0.1", "--state-dir"]).arg(place.path("state"));
    command.args(["--data-path", data_path]);
    command.arg(place.iso.parent().unwrap_or(Path::new("/"))).arg(mountpoint);
    command
}
