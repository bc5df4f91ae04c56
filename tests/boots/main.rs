//! Diskless machines in QEMU that boot from a mounted netrootfs, a room of machines whose servers die, live ISOs looked into for
//! their drivers, and the packages under real systemds.
//!
//! Needs root, QEMU, the servers and the ISOs of `scripts/live-iso`: `scripts/boot-test [FILTER…]` sees to all of it, and
//! `scripts/boot-matrix [FILTER…]` for the tests of [`matrix`], which the other leaves out. What is missing is an error,
//! never a pass.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support {
    pub mod boot;
    pub mod container;
    pub mod isos;
    pub mod loaders;
    pub mod qemu;
    pub mod report;
    pub mod root;
    pub mod servers;
    pub mod trouble;
}

// They begin in the order of their names, so the longest come first: none is to run alone at the end.
mod alpine;
mod as_they_are;
mod debian_installer;
mod doctor;
mod drivers;
mod kiwi;
mod languages;
mod matrix;
mod netroot_init;
mod nfs;
mod own_initramfs;
mod packages;
mod room;
mod systemd;
mod uefi;
