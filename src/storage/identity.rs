//! One number for whatever makes bytes what they are.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

/// The number of a value: the same after a restart and on another machine, because its keys are fixed. Inode numbers and
/// names of kept files are made of it.
pub fn identity(value: &impl Hash) -> u64 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish()
}
