//! systemd-boot's menu: `loader/loader.conf` and `loader/entries/*.conf`.
//!
//! The entries are the Boot Loader Specification's type 1, sorted as it says. Entries that start an EFI program, and
//! those for another processor, are left out; unified kernel images (type 2) are not read.

use super::bounded_files::BoundedFiles;
use super::draft::{self, Draft, MAX_ENTRIES, Passed};
use super::glob;
use super::{Environment, Files, Firmware, Loader, Menu, Reason};
use std::cmp::Ordering;

const CONFIG: &str = "/loader/loader.conf";
const ENTRIES: &str = "/loader/entries";

/// Reads `/loader`; nothing if it holds no entry.
#[must_use]
pub fn read(files: &dyn Files, environment: &Environment) -> Option<Menu> {
    read_from(&mut BoundedFiles::new(files), environment)
}

pub(super) fn read_from(iso: &mut BoundedFiles, environment: &Environment) -> Option<Menu> {
    let names = iso.list(ENTRIES);
    let confs = names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".conf")).take(MAX_ENTRIES);
    let mut items: Vec<Item> = Vec::new();
    for name in confs {
        if let Some(text) = iso.read(&format!("{ENTRIES}/{name}")) {
            items.push(Item::parse(name, &text));
        }
    }
    items.sort_by(Item::order);
    let (items, others): (Vec<Item>, Vec<Item>) =
        items.into_iter().partition(|item| item.is_for(&environment.cpu));

    let mut passed = Passed::default();
    let indices: Vec<_> = items.iter().map(|item| passed.add(item.draft.pass(iso))).collect();
    for mut other in others {
        other.draft.instead = Some(Reason::Architecture);
        passed.add(other.draft.pass(iso));
    }
    if passed.is_empty() {
        return None;
    }
    let settings = iso.read(CONFIG).unwrap_or_default();
    let pattern = fields(&settings).filter(|(key, _)| *key == "default").last().map(|(_, value)| value);
    let chosen = pattern.and_then(|pattern| items.iter().position(|item| item.answers_to(pattern)));
    let default = indices.get(chosen.unwrap_or(0)).copied().flatten();
    let config = iso.locate(CONFIG).or_else(|| iso.locate(ENTRIES)).unwrap_or_else(|| CONFIG.into());
    let Passed { entries, left_out } = passed;
    Some(Menu { config, loader: Loader::SystemdBoot, firmware: Firmware::Uefi, entries, default, left_out })
}

/// One file of `loader/entries`.
#[derive(Default)]
struct Item {
    id: String,
    draft: Draft,
    architecture: Option<String>,
    sort_key: Option<String>,
    machine_id: String,
    version: String,
}

impl Item {
    fn parse(name: &str, text: &str) -> Self {
        let mut item = Self { id: name.to_lowercase(), ..Self::default() };
        item.draft.cwd = "/".into();
        for (key, value) in fields(text) {
            match key {
                "title" => item.draft.title = value.into(),
                "linux" => item.draft.kernel = value.into(),
                "initrd" => item.draft.initrds.push(value.into()),
                "options" => {
                    item.draft.args.push(' ');
                    item.draft.args.push_str(value);
                }
                "efi" | "uki" | "uki-url" => {
                    item.draft.instead = Some(Reason::Chainload);
                    item.draft.files = vec![value.into()];
                }
                "architecture" => item.architecture = Some(value.to_lowercase()),
                "sort-key" => item.sort_key = Some(value.into()),
                "machine-id" => item.machine_id = value.to_lowercase(),
                "version" => item.version = value.into(),
                _ => {}
            }
        }
        if item.draft.title.is_empty() {
            item.draft.title = name.into();
        }
        item.draft.initrds.truncate(draft::MAX_INITRDS + 1);
        item
    }

    /// EFI's names of architectures against GRUB's.
    fn is_for(&self, cpu: &str) -> bool {
        let Some(architecture) = &self.architecture else {
            return true;
        };
        let name = match cpu {
            "x86_64" => "x64",
            "i386" => "ia32",
            "arm64" => "aa64",
            other => other,
        };
        architecture == name || architecture == cpu
    }

    /// With a sort key before those without; by it, by machine, then the newest version; at last the latest name.
    fn order(&self, other: &Self) -> Ordering {
        let newest = |a: &str, b: &str| compare_versions(b, a);
        match (&self.sort_key, &other.sort_key) {
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => newest(&self.id, &other.id),
            (Some(a), Some(b)) => (a.cmp(b))
                .then_with(|| self.machine_id.cmp(&other.machine_id))
                .then_with(|| newest(&self.version, &other.version))
                .then_with(|| newest(&self.id, &other.id)),
        }
    }

    /// True if `loader.conf` means this one by its default: a glob of the file name, with or without `.conf`.
    fn answers_to(&self, pattern: &str) -> bool {
        let pattern = pattern.to_lowercase();
        let stem = self.id.strip_suffix(".conf").unwrap_or(&self.id);
        glob::matches(&pattern, &self.id) || glob::matches(&pattern, stem)
    }
}

/// Lines of a key, blanks and a value; `#` begins a comment line.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(|c: char| c.is_whitespace()))
        .map(|(key, value)| (key, value.trim()))
}

/// The Version Format Specification's order (UAPI.10): digits count as numbers, `~` comes before the end, separators
/// after it, then letters.
fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (number_a, rest_a) = split_digits(a);
        let (number_b, rest_b) = split_digits(b);
        let numbers = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if numbers.is_ne() {
            return numbers;
        }
        let (mut chars_a, mut chars_b) = (rest_a.chars(), rest_b.chars());
        match (chars_a.next(), chars_b.next()) {
            (None, None) => return Ordering::Equal,
            (Some(x), Some(y)) if x == y => (a, b) = (chars_a.as_str(), chars_b.as_str()),
            (x, y) => return (rank(x), x).cmp(&(rank(y), y)),
        }
    }
}

fn rank(c: Option<char>) -> u8 {
    match c {
        Some('~') => 0,
        None => 1,
        Some('-') => 2,
        Some('^') => 3,
        Some('.') => 4,
        Some(_) => 5,
    }
}

/// Leading digits without leading zeros, and what follows.
fn split_digits(text: &str) -> (&str, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.strip_suffix(rest).unwrap_or_default();
    (digits.trim_start_matches('0'), rest)
}

#[cfg(test)]
mod tests;
