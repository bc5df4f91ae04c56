//! netrootfs mounts a directory of live ISOs as a netboot tree, so that a plain TFTP server and a plain NBD server boot
//! diskless machines from it, and nothing is copied.
//!
//! # Five nouns
//!
//! A directory of ISOs is a **catalog** ([`catalog`]); the catalog is laid out as a **tree** ([`tree`]); a file of the
//! tree has **content** ([`storage::content`]); content is **segments** of a backing file or **rendered** text
//! ([`tree::render`]); a rescan makes a new **snapshot**, swapped in whole ([`serve::operations`]).
//!
//! # Seven rooms
//!
//! ```text
//! cli        what is asked for: options, the commands that need no mount, check
//!  serve      the mount: daemon, FUSE adapter, operations, watches, the hook
//!   tree       arena, lazy directories, layout, rendered files, the ISO's own files
//!    catalog    scan of a directory, labels, configuration, the look into initrds
//!     boot       how an ISO boots: families, kernel arguments, servers, the second initramfs, the host's loaders
//!      image      what is in an ISO, from bytes: ISO 9660, menus, initrds, EFI
//!       storage    where bytes come from: sources, content, the block cache, passthrough
//! ```
//!
//! A room uses those below it and none above; `tests/suite/rooms.rs` holds it to that. Beside them stands
//! `bin/netroot-init`, the program of the second initramfs; it shares the words of kernel arguments, cards, and [`boot::step`].
//!
//! A byte of an ISO walks up: [`storage::source`] reads it, [`storage::cache`] keeps it, [`storage::content`] knows where
//! in the file it belongs, [`serve::operations`] finds the file for a handle, [`serve::fuse`] gives it to the kernel.
//! Where the kernel can read the ISO by itself, no byte walks: [`storage::passthrough`] makes a file of the ranges, and
//! [`serve::fuse`] hands it over when somebody opens it.
//!
//! A kernel argument walks down only once: [`image::menu`] makes words of an ISO's text, [`boot::plan`] adds and takes
//! away words, and one of the renderers in [`tree::render`] writes them in its loader's language.
//!
//! # What always holds
//!
//! - Parsers take bytes and never open files; rendering reads no ISO; only [`serve::fuse`] and [`serve::daemon`] know the
//!   FUSE library.
//! - The size that is shown is the number of bytes that are served, and the bytes of an inode number never change.
//! - An open file outlives its name. A half-copied ISO does not appear. A short read is an error, never zeros.
//! - One bad ISO costs one line of log; the others are served. A bad option stops the start.
//! - What comes out of an ISO is foreign: it passes a gate ([`image::label`], or one printable line of limited length)
//!   before it gets into a path or a rendered file.

pub mod boot;
pub mod catalog;
pub mod cli;
pub mod image;
pub mod serve;
pub mod storage;
pub mod tree;
