//! Fuzzes the menus of syslinux and its relatives in an ISO.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::menus::syslinux);
