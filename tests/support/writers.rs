//! Waiting until a file that a test has written has no writers left.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use netrootfs::storage::writers::Writers;

/// Waits until nobody has the file open for writing. A child that another test is just starting holds a copy of each
/// descriptor of this process until it becomes another program.
pub fn wait_for_writers(path: &Path) {
    let file = File::open(path).expect("the file");
    let writers = Writers::default();
    let deadline = Instant::now() + Duration::from_secs(20);
    while writers.check(&file).expect("the file's state").is_some() {
        assert!(Instant::now() < deadline, "{} is open for writing", path.display());
        std::thread::yield_now();
    }
}
