//! The block cache.

#![allow(missing_docs, reason = "the program's own modules, with all that is in them")]

pub use netrootfs::storage::{backing, closing, content, identity, source};

pub mod cache;
pub mod workers;
