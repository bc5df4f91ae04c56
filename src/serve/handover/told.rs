//! What the administrator's command was run for last, for the process that comes after this one: whoever served before may have
//! died before it was run, or while, and ISOs may have come and gone while nobody served.

use std::io;

use super::store;

/// What it is held as.
pub(super) const NAME: &str = "told";

/// The number of the catalog that the command was run for last, if one is held; to be called before the ledger is opened.
pub fn last() -> Option<u64> {
    store::text(NAME)?.parse().ok()
}

/// Has the number of a catalog held.
///
/// # Errors
/// If it can't be held.
pub fn keep(catalog: u64) -> io::Result<()> {
    store::hold_text(NAME, &catalog.to_string())
}
