//! The mount outlives its daemon: what clients see while it is killed and another one goes on.
//!
//! Needs root, /dev/fuse, fuse3, xorriso, nbd-server, tftpd-hpa and Linux 6.12. What is missing is an error, never a pass.

mod broken;
mod clients;
mod ends;
pub mod kept;
mod service;
