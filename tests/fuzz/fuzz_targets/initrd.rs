//! Fuzzes the walk through an initrd.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::images::initrd);
