//! Where cargo has put things: the programs of this build, and the directory for what tests leave behind.
//!
//! Cargo tells only the code of a test itself, by `CARGO_BIN_EXE_…` and `CARGO_TARGET_TMPDIR`. Here both are found from
//! the running program, which lies in `target/PROFILE/deps/`; the suite has a test that they are the same.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of that name, of the same build as this one.
///
/// # Panics
/// If this program doesn't lie where cargo puts tests.
pub fn program(name: &str) -> PathBuf {
    above(2).join(name)
}

/// The directory for what tests leave behind.
///
/// # Panics
/// As for [`program`].
pub fn directory() -> PathBuf {
    above(3).join("tmp")
}

/// The directory so many steps above this program.
fn above(steps: usize) -> PathBuf {
    let program = std::env::current_exe().expect("a name for this program");
    let directory = program.ancestors().nth(steps).map(Path::to_owned);
    directory.unwrap_or_else(|| panic!("{} is not in target/PROFILE/deps", program.display()))
}

/// Copies a program for users who can't reach the directory that cargo builds in. Another process writes it: were it open for
/// writing here while another test starts something, it could not be run ("Text file busy").
pub fn install(program: &Path, to: &Path) {
    let status = Command::new("install").arg(program).arg(to).status().expect("install");
    assert!(status.success(), "install: {status}");
}
