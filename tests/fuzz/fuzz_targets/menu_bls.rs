//! Fuzzes entries of systemd-boot in an ISO.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::menus::bls);
