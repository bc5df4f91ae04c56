//! The operations of the file system.

#![allow(missing_docs, reason = "the program's own modules, with all that is in them")]

pub use netrootfs::serve::{handover, usage};

pub mod operations;
