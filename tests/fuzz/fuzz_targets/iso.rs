//! Fuzzes a directory with one ISO in it becomes a tree, and every byte of that is read.

#![no_main]

netrootfs_fuzz::target!(netrootfs_fuzz::iso::tree);
