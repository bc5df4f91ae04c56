//! Waiting until a file that a test has written has no writers left.

use std::fs::File;
use std::path::Path;

use netrootfs::storage::writers::Writers;
use testkit::process::{PATIENCE, wait_for};

/// Waits until nobody has the file open for writing. A child that another test is just starting holds a copy of each
/// descriptor of this process until it becomes another program.
pub fn wait_for_writers(path: &Path) {
    let file = File::open(path).expect("the file");
    let writers = Writers::default();
    let closed = || Ok(writers.check(&file)?.is_none());
    wait_for(&format!("the writers of {}", path.display()), PATIENCE, closed).expect("no writer");
}
