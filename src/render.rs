//! Configuration files as text, from plain values. One file a format; none of them does I/O.
//!
//! Everything foreign that gets in here is a [`crate::label::Label`] or has passed the gate of one printable line, so
//! no ISO can add a section or a line to a file of ours.

pub mod nbd;
pub mod pxelinux;
