//! Fuzzes a DHCP server's answer, as netroot-init reads it.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::netroot_init::dhcp);
