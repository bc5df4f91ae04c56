//! Fuzzes GRUB's menu in an ISO.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::menus::grub);
