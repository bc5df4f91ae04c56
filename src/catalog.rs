//! A directory of ISOs, and what is known and wanted of them.
//!
//! [`scan`] reads the directory and gives each ISO its label; [`probe`] looks into initrds beside it, [`apart`]
//! from all else ([`reexec`]), and remembers what it found; [`config`] is what an administrator says of ISOs and machines,
//! [`written`] and [`values`] what such words must be like, [`people`] whom they name, and [`unknown`] tells which of them stand
//! for nothing.
//!
//! Uses `boot`, `image` and `storage`. One bad ISO is left out with its reason, and nothing else is lost by it. A label
//! that clients boot from never goes to another file.

pub mod apart;
pub mod config;
mod labels;
pub mod people;
pub mod probe;
pub mod reexec;
pub mod scan;
pub mod standing;
pub mod sums;
pub mod unknown;
pub mod values;
pub mod written;
