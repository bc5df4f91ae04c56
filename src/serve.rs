//! The mount, for as long as it lasts.
//!
//! [`daemon`] starts, follows the directory ([`watch`]) and ends; [`fuse`] speaks with the kernel, [`operations`] are
//! what it is answered, on the snapshot of a tree; what would block waits in [`slow_operations`]. [`privileges`] are what
//! the daemon gives up, and [`broker`] does what takes them, such as the administrator's command ([`hook`]).
//! [`background`] and [`logging`] are what a service needs, [`manager`] is who supervises it. The mount outlives its
//! daemon by [`handover`]; [`mountpoint`] is where it is.
//!
//! Uses every room but `cli`. Only [`fuse`] and [`daemon`] know the FUSE library. An open file outlives its name.

pub mod background;
pub mod broker;
pub mod clients;
pub mod daemon;
pub mod failures;
pub mod fuse;
pub mod handover;
pub mod hook;
pub mod logging;
pub mod manager;
pub mod mountpoint;
pub mod operations;
pub mod privileges;
pub mod slow_operations;
pub mod status;
pub mod usage;
pub mod watch;
