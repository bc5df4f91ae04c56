//! netrootfs mounts a directory of live ISOs as a netboot tree, so that a plain TFTP server and a plain NBD server boot
//! diskless machines from it, and nothing is copied.
//!
//! # Five nouns
//!
//! A directory of ISOs is a **catalog** ([`catalog`]); the catalog is laid out as a **tree** ([`layout`], [`tree`]); a file
//! of the tree has **content** ([`content`]); content is **segments** of a backing file or **rendered** text ([`render`]);
//! a rescan makes a new **snapshot**, swapped in whole ([`fs`]).
//!
//! ```text
//! main → command → daemon → fuse → fs → tree → content → source
//!                   ↘ watch, hook, verdicts       ↑         ↑
//!                    catalog → inspect → iso ───→ source   cache, mapping
//!                       ↘ family, menu, initrd, netroot, boot
//!                        layout → render ─────────┘
//! ```
//!
//! Arrows mean "may use". A byte of an ISO walks it from right to left: [`source`] reads it, [`cache`] keeps it,
//! [`content`] knows where in the file it belongs, [`fs`] finds the file for a handle, [`fuse`] gives it to the kernel.
//! Where the kernel can read the ISO by itself, no byte walks: [`mapping`] makes a file of the ranges, and [`fuse`] hands it
//! over when somebody opens it.
//!
//! # What always holds
//!
//! - Parsers take bytes and never open files; rendering reads no ISO; only [`fuse`] and [`daemon`] know the FUSE library.
//! - The size that is shown is the number of bytes that are served, and the bytes of an inode number never change.
//! - An open file outlives its name. A half-copied ISO does not appear. A short read is an error, never zeros.
//! - One bad ISO costs one line of log; the others are served. A bad option stops the start.
//! - What comes out of an ISO is foreign: it passes a gate ([`label`], or one printable line of limited length) before it
//!   gets into a path or a rendered file.

pub mod args;
pub mod background;
pub mod boot;
pub mod cache;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod content;
pub mod daemon;
pub mod disc_tree;
pub mod efi;
pub mod family;
pub mod fs;
pub mod fuse;
pub mod gate;
pub mod hook;
pub mod initrd;
pub mod inspect;
pub mod iso;
pub mod label;
pub mod lanes;
pub mod layout;
pub mod loader;
pub mod logging;
pub mod mapping;
pub mod menu;
pub mod netroot;
pub mod render;
pub mod settled;
pub mod source;
pub mod steady;
pub mod tree;
pub mod verdicts;
pub mod watch;
