//! All tests of netrootfs that need no machine to boot: `scripts/check` runs them, `cargo test --test suite FILTER` some.
//!
//! Each says at its top what it needs. What is missing is an error, never a pass.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support {
    pub mod hanging;
    pub mod isos;
    pub mod memory;
    pub mod nginx;
    pub mod patch;
    pub mod place;
    pub mod readers;
    pub mod writers;
}

mod against;
mod catalog;
mod check;
mod config;
mod data_path;
mod dhcp;
mod doctor;
mod efi;
mod hadris;
mod handover;
mod hostile;
mod isos;
mod kickstarts;
mod manual;
mod menus;
mod mistakes;
mod model;
mod mounted;
mod nbd_reload;
mod netroot_init;
mod rooms;
mod serving;
mod status;
mod terminal;
mod trees;
mod warm;

#[global_allocator]
static MEMORY: support::memory::Counted = support::memory::Counted;

#[test]
fn the_programs_of_this_build_are_found() {
    assert_eq!(testkit::built::program("netrootfs").to_str(), Some(env!("CARGO_BIN_EXE_netrootfs")));
    assert_eq!(testkit::built::directory().to_str(), Some(env!("CARGO_TARGET_TMPDIR")));
}
