//! Fuzzes the kernel's answers to netroot-init.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::netroot_init::netlink);
