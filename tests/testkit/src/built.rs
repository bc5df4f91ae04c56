//! Where cargo has put things: the programs of this build, and the directory for what tests leave behind.
//!
//! Cargo tells only the code of a test itself, by `CARGO_BIN_EXE_…` and `CARGO_TARGET_TMPDIR`. Here both are found from
//! the running program, which lies in `target/PROFILE/deps/`; the suite has a test that they are the same.

use std::path::{Path, PathBuf};

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
