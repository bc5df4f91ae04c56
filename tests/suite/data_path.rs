//! The two ways that the bytes of ISOs take, through the kernel alone and through the block cache: that they give the same
//! bytes, and what holds when files are opened, ISOs change and the daemon ends.
//!
//! Needs root, /dev/fuse, fuse3, xorriso, util-linux and Linux 6.12. What is missing is an error, never a pass.

mod bytes;
mod changes;
mod open;
