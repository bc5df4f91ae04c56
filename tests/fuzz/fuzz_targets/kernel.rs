//! Fuzzes a kernel's own version.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::images::kernel);
