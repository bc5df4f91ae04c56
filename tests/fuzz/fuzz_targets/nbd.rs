//! Fuzzes an NBD server's side of the talk with netroot-init.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::netroot_init::nbd);
