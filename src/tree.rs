//! The tree that is served, as values: nothing here knows FUSE.
//!
//! [`layout`] decides what a catalog looks like as files; [`render`] writes each loader's and server's configuration;
//! [`iso_files`] shows the ISO's own files, read when somebody looks ([`lazy`]); all of it stands in an [`arena`].
//!
//! Uses `catalog` and what is below it. A tree never changes: a rescan makes a new one. The size that is shown is the
//! number of bytes that are served, and other bytes have another inode number; what is made at each look-up ([`live`]) is
//! another inode each time.

pub mod arena;
pub mod iso_files;
pub mod layout;
pub mod lazy;
pub mod live;
pub mod render;
