//! Fuzzes a loader in an ISO's tree.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::images::pe);
