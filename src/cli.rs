//! What is asked for on the command line.
//!
//! [`options`] is the one definition of it, for help, manual and completions; [`commands`] does it; [`check`] says of
//! ISOs how they boot, without a mount, and [`doctor`] of this host what it lacks; [`manual`] has the man pages.
//!
//! [`places`] says what is wrong with a directory, [`status`] and [`top`] how a mount fares, and a line on the terminal what takes
//! long. [`warm`] reads what boots are known to read.
//!
//! Uses every other room, and none uses it. A mistake in an option ends the program with 2 and a sentence.

pub mod check;
pub mod commands;
pub mod doctor;
pub mod manual;
pub mod options;
pub mod places;
mod progress;
pub mod status;
pub mod top;
pub mod warm;
