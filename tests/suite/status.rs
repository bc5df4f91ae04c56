//! How a mount tells of itself: `status.json`, `metrics` and `index.html` in the tree's root, and the commands that show it.
//!
//! Needs root, /dev/fuse, fuse3 and xorriso; `machines` also nbd-server, nbdkit, tftpd-hpa and dnsmasq; `web` nginx-light,
//! and `browser` chromium, too.

mod browser;
mod files;
mod machines;
mod manual;
mod top;
mod web;

use netrootfs::tree::render::status::{File, Status};

use crate::support::place::Place;

/// What `status.json` says, once it says something that is made after now.
fn status(place: &Place) -> Status {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut status = Status::default();
    place.eventually("a new status", || {
        status = serde_json::from_slice(&place.read("status.json")).unwrap();
        status.time > now
    });
    status
}

/// What it says of a file.
fn file(status: &Status, path: &str) -> File {
    status.files.iter().find(|file| file.path == path).cloned().unwrap_or_default()
}
