//! Fuzzes grub.cfg of any menu, read back as GRUB reads it.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::scripts::grub);
