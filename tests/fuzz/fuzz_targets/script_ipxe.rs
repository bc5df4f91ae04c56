//! Fuzzes boot.ipxe of any menu, read back as iPXE reads it.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::scripts::ipxe);
