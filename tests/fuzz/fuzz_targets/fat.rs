//! Fuzzes loaders in the FAT of an ISO's boot image.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::images::fat);
