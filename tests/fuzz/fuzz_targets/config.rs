//! Fuzzes the configuration file.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::config);
