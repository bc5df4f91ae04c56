//! Fuzzes pxelinux.cfg of any menu, read back as menu.c32 reads it.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::scripts::pxelinux);
