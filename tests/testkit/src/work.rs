//! Where one test keeps its files.

use std::fs::{self, Permissions, create_dir_all};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use crate::built::directory;

/// A scratch directory, and a directory for logs that stays until the test's next run.
pub struct Work {
    scratch: TempDir,
    logs: PathBuf,
}

impl Work {
    /// Directories for the test of this name.
    pub fn new(test: &str) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("netrootfs-boot.").tempdir()?;
        // The servers run as users of their own and must get through.
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755))?;
        let logs = directory().join(test);
        if logs.exists() {
            fs::remove_dir_all(&logs)?;
        }
        create_dir_all(&logs)?;
        Ok(Self { scratch, logs })
    }

    /// A file of the test, gone with it.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A log; what programs say is `PROGRAM.log`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Prints the end of each log.
    pub fn print_logs(&self) {
        const LINES: usize = 40;
        let mut paths = fs::read_dir(&self.logs)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>();
        paths.sort();
        for path in paths {
            println!("== the end of {}", path.display());
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().collect::<Vec<_>>();
            for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
                println!("{}", line.trim_end());
            }
        }
    }
}
