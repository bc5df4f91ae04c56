//! Anything whose own boot menu names a kernel, and that is of no family.

use super::{Family, Otherwise};
use crate::boot::reasons::Caveat;

/// No family: it isn't in the table.
pub static FAMILY: Family = Family {
    name: "generic",
    attached_caveat: Some(Caveat::UnknownDisc),
    otherwise: Otherwise::AsItIs(Some(Caveat::UnknownNetwork)),
    ..Family::UNKNOWN
};
