//! The promises of a mount, asked of the real program: how it starts and ends, what is in its files, and
//! how they follow the directory of ISOs.
//!
//! Needs root, /dev/fuse, fuse3, xorriso, squashfs-tools, cpio and util-linux. What is missing is an error, never a pass.

mod apart;
mod broker;
mod by_itself;
mod changes;
mod descriptors;
mod end;
mod files;
mod fstab;
mod hangs;
mod installer;
mod loaders;
mod logs;
mod manager;
mod netroot;
mod people;
mod privileges;
mod start;
mod state;
mod text;
