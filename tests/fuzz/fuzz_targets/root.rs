//! Fuzzes drivers out of a squashfs, an EROFS or an ext4.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::images::root);
