//! Netrootfs beside a plain model of it: whatever is done to the directory of ISOs, and whatever clients do meanwhile, names
//! and bytes are those that the model has.
//!
//! The same steps are done to the operations of the library, without a mount, and on a real mount, whose daemon is killed
//! between them. `NETROOTFS_MODEL_CASES` says how many sequences of steps each of them goes through.

mod library;
mod mounted;
mod reference;
mod small;
mod steps;

/// The number of sequences: what was asked for, or a few.
fn cases(few: u32) -> u32 {
    let asked = std::env::var("NETROOTFS_MODEL_CASES").ok();
    asked.map_or(few, |text| text.parse().expect("NETROOTFS_MODEL_CASES is a number"))
}
