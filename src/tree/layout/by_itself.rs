//! Which ISO boots by itself where nobody has named one, and which of its entries may.
//!
//! What was chosen before stays as long as it is offered, or may be again; memory is the catalog's.

use super::machines::Offer;
use super::{Settings, added_args, found, has_initrd, own_args};
use crate::boot::inspect::Entry;
use crate::boot::live::{Question, is_live};
use crate::catalog::config::IsoChoice;
use crate::catalog::scan::{Catalog, Iso};
use crate::catalog::standing::Standing;
use crate::image::label::Label;

/// The ISO that boots by itself where nobody has named one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its label; `None` is the local disk.
    pub label: Option<Label>,
    /// Whether it is to stay. It isn't as long as nobody knows yet whether an older one can be booted.
    pub is_final: bool,
}

/// Chooses the ISO that boots by itself where nobody has named one: the one that was chosen before, else the live system of
/// the menu that was there first.
pub fn choose(catalog: &Catalog, settings: &Settings) -> Chosen {
    chosen(catalog, settings, &found(catalog, settings))
}

pub(super) fn chosen(catalog: &Catalog, settings: &Settings, found: &[Offer]) -> Chosen {
    let offered = || found.iter().filter(|offer| !offer.hidden && offer.is_live());
    let is_offered = |label: &Label| offered().any(|offer| offer.entry.label == label.as_str());
    let is_undecided = |iso: &&Iso| iso.initrd.is_none() && has_live(iso, settings);
    let undecided = || catalog.isos.iter().filter(is_undecided);
    match &catalog.standing {
        // What is written anew or looked into comes back.
        Standing::Away => return Chosen { label: None, is_final: false },
        Standing::Iso(label) if is_offered(label) || undecided().any(|iso| iso.label == *label) => {
            return Chosen { label: Some(label.clone()), is_final: true };
        }
        Standing::Iso(_) | Standing::Open => {}
    }
    let oldest = offered().min_by_key(|offer| offer.arrived);
    let is_final = oldest.is_some_and(|oldest| undecided().all(|iso| iso.arrived >= oldest.arrived));
    Chosen { label: oldest.and_then(|offer| Label::parse(&offer.entry.label).ok()), is_final }
}

/// Whether one of its entries would be a live system, if it can be booted.
fn has_live(iso: &Iso, settings: &Settings) -> bool {
    let choice = settings.config.iso(&iso.label, &iso.name);
    !choice.hidden
        && iso.disc.facts.entries.iter().any(|entry| leaves_disks_alone(iso, entry, &choice, settings))
}

/// Whether an entry is a live system, with the arguments that it gets.
pub(super) fn leaves_disks_alone(iso: &Iso, entry: &Entry, choice: &IsoChoice, settings: &Settings) -> bool {
    let facts = &iso.disc.facts;
    is_live(Question {
        family: facts.family,
        found: &facts.found,
        title: &entry.title,
        args: &own_args(iso, entry, choice).append(added_args(choice, settings)),
        has_initrd: has_initrd(iso, entry),
        checks_media: entry.checks_media,
    })
}
