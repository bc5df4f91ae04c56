//! The configuration file as it was read, for the process that comes after this one.
//!
//! A file that is broken, gone or half edited leaves a daemon that runs as it was, so it must not keep the next one from
//! serving what this one did. The text that was read last is held for it; and the one from the start of the mount, since what
//! `[mount]` says holds as long as that does. So do the users and groups that it and the command line name.

use std::io;

use super::store;
use crate::catalog::people;

/// What the text of the start is held as, the one that was read last, and who was named.
pub const NAMES: [&str; 3] = [FIRST, LAST, PEOPLE];
const FIRST: &str = "config-at-start";
const LAST: &str = "config";
const PEOPLE: &str = "people";

/// Users and groups are from now on who they were at the start of the mount; to be called before any is named.
pub fn recall_people() {
    if let Some(answers) = store::text(PEOPLE) {
        people::know(&answers);
    }
}

/// Has them held as they are now.
///
/// # Errors
/// If they can't be held.
pub fn keep_people() -> io::Result<()> {
    store::hold_text(PEOPLE, &people::answers())
}

/// The text that the mount was made by, if one is held; to be called before the ledger is opened.
pub fn first() -> Option<String> {
    store::text(FIRST)
}

/// The text that was read last, if one is held; to be called before the ledger is opened.
pub fn last() -> Option<String> {
    store::text(LAST)
}

/// Has the text held that the mount is made by.
///
/// # Errors
/// If it can't be held.
pub fn begin(text: &str) -> io::Result<()> {
    store::hold_text(FIRST, text)?;
    keep(text)
}

/// Has a text held that was read later.
///
/// # Errors
/// If it can't be held.
pub fn keep(text: &str) -> io::Result<()> {
    store::hold_text(LAST, text)
}
