//! Names that an administrator has written and no ISO of the directory has.
//!
//! That is no error, since ISOs come and go: a sentence each, to be said once.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;

use crate::catalog::config::{ByItself, Config};
use crate::catalog::scan::Catalog;
use crate::image::label::Label;

/// A sentence for each name that stands for nothing: of the entry that boots by itself, of `pins` (labels by file name)
/// and in the configuration file.
pub fn sentences(
    catalog: &Catalog,
    default: Option<&Label>,
    pins: &HashMap<OsString, Label>,
    config: &Config,
) -> BTreeSet<String> {
    let has = |label: &Label| catalog.isos.iter().any(|iso| iso.label == *label);
    let served = catalog.isos.iter().map(|iso| &iso.name);
    let names = served.chain(catalog.skipped.iter().map(|skipped| &skipped.name));
    let files: BTreeSet<&str> = names.map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
    let mut found = BTreeSet::new();
    if let Some(label) = default.filter(|label| !has(label)) {
        found.insert(format!("the default '{label}' is no ISO that is served"));
    }
    for file in pins.keys().map(|file| file.to_string_lossy()).filter(|file| !files.contains(file.as_ref())) {
        found.insert(format!("--label: there is no file '{file}'"));
    }
    for key in config.isos.keys().map(ToString::to_string) {
        if !files.contains(key.as_str()) && !catalog.isos.iter().any(|iso| iso.label.as_str() == key) {
            found.insert(format!("[iso.\"{key}\"] in the configuration file is for no ISO that is there"));
        }
    }
    for machine in &config.machines {
        let named = machine
            .default
            .iter()
            .filter_map(ByItself::label)
            .chain(machine.only.iter().flatten())
            .chain(machine.without.iter());
        for label in named.filter(|label| !has(label)) {
            found.insert(format!(
                "a machine of the configuration file names '{label}', which no ISO is called"
            ));
        }
    }
    found
}
