//! systemd-boot's menu: `loader/loader.conf` and `loader/entries/*.conf`.
//!
//! The entries are the Boot Loader Specification's type 1, sorted as it says. Entries that start an EFI program, and
//! those for another architecture, are left out; unified kernel images (type 2) are not read.

use super::bounded_files::{BoundedFiles, MAX_NAME};
use super::draft::{self, Draft, MAX_ENTRIES};
use super::{Environment, Files, Loader, Menu};
use std::cmp::Ordering;

const CONFIG: &str = "/loader/loader.conf";
const ENTRIES: &str = "/loader/entries";

/// Reads `/loader`; nothing if it holds no entry that boots a kernel with an initrd.
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
    items.retain(|item| item.is_for(&environment.cpu));
    items.sort_by(Item::order);

    let mut entries = Vec::new();
    let mut indices = Vec::new();
    for item in &items {
        let entry = if item.is_linux { item.draft.pass(iso) } else { None };
        indices.push(entry.as_ref().map(|_| entries.len()));
        entries.extend(entry);
    }
    if entries.is_empty() {
        return None;
    }
    let settings = iso.read(CONFIG).unwrap_or_default();
    let pattern = fields(&settings).filter(|(key, _)| *key == "default").last().map(|(_, value)| value);
    let chosen = pattern.and_then(|pattern| items.iter().position(|item| item.answers_to(pattern)));
    let default = indices.get(chosen.unwrap_or(0)).copied().flatten();
    let config = iso.locate(CONFIG).or_else(|| iso.locate(ENTRIES)).unwrap_or_else(|| CONFIG.into());
    Some(Menu { config, loader: Loader::SystemdBoot, entries, default })
}

/// One file of `loader/entries`.
#[derive(Default)]
struct Item {
    id: String,
    draft: Draft,
    is_linux: bool,
    architecture: Option<String>,
    sort_key: Option<String>,
    machine_id: String,
    version: String,
}

impl Item {
    fn parse(name: &str, text: &str) -> Self {
        let mut item = Self { id: name.to_lowercase(), ..Self::default() };
        item.draft.cwd = "/".into();
        let mut other = false;
        for (key, value) in fields(text) {
            match key {
                "title" => item.draft.title = value.into(),
                "linux" => item.draft.kernel = value.into(),
                "initrd" => item.draft.initrds.push(value.into()),
                "options" => {
                    item.draft.args.push(' ');
                    item.draft.args.push_str(value);
                }
                "efi" | "uki" | "uki-url" => other = true,
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
        item.is_linux = !other && !item.draft.kernel.is_empty();
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

    /// Whether `loader.conf` means this one by its default: a glob of the file name, with or without `.conf`.
    fn answers_to(&self, pattern: &str) -> bool {
        let pattern = pattern.to_lowercase();
        let stem = self.id.strip_suffix(".conf").unwrap_or(&self.id);
        matches_glob(&pattern, &self.id) || matches_glob(&pattern, stem)
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

/// `*` and `?` of a glob, in linear memory and at most `pattern × text` steps; sets in brackets are not known.
fn matches_glob(pattern: &str, text: &str) -> bool {
    // A name with a star around each of its characters is no longer than that.
    if pattern.len() > 2 * MAX_NAME + 1 {
        return false;
    }
    let mut row: Vec<bool> = vec![false; text.chars().count() + 1];
    if let Some(first) = row.first_mut() {
        *first = true;
    }
    for p in pattern.chars() {
        let mut next = Vec::with_capacity(row.len());
        next.push(p == '*' && row.first() == Some(&true));
        for (c, pair) in text.chars().zip(row.windows(2)) {
            let [before, above] = pair else { break };
            let taken = *before && (p == '?' || p == c);
            let star = p == '*' && (*above || next.last() == Some(&true));
            next.push((p != '*' && taken) || star);
        }
        row = next;
    }
    row.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    fn menu(settings: &str, entries: &[(&str, &str)]) -> Option<Menu> {
        let mut files = Memory::of(&[(CONFIG, settings)]);
        for (name, text) in entries {
            files.0.insert(format!("{ENTRIES}/{name}"), text.as_bytes().to_vec());
        }
        read(&files, &Environment::default())
    }

    fn titles(menu: &Menu) -> Vec<&str> {
        menu.entries.iter().map(|entry| entry.title.as_str()).collect()
    }

    #[test]
    fn initrds_and_options_may_repeat() {
        let text =
            "# c\r\ntitle\tLive  One\r\nlinux /k\ninitrd /ucode\ninitrd /initrd\noptions a\noptions b  c";
        let menu = menu("", &[("a.conf", text)]).unwrap();
        let entry = &menu.entries[0];
        assert_eq!((entry.title.as_str(), entry.args.to_string().as_str()), ("Live One", "a b c"));
        assert_eq!(entry.initrds, ["/ucode", "/initrd"]);
    }

    #[test]
    fn efi_programs_and_other_architectures_are_left_out() {
        let entries = [
            ("a.conf", "title A\nlinux /k\ninitrd /i\narchitecture aa64"),
            ("b.conf", "title B\nefi /shell.efi"),
            ("c.conf", "title C\nlinux /k\ninitrd /i\narchitecture x64"),
            ("d.txt", "title D\nlinux /k\ninitrd /i"),
        ];
        assert_eq!(titles(&menu("", &entries).unwrap()), ["C"]);
    }

    #[test]
    fn the_default_is_named_with_or_without_suffix_or_by_a_glob() {
        let text = "linux /k\ninitrd /i";
        let entries = [("aa.conf", text), ("bb.conf", text), ("cc.conf", text)];
        let default = |settings: &str| menu(settings, &entries).unwrap().default.unwrap();
        assert_eq!(titles(&menu("", &entries).unwrap()), ["cc.conf", "bb.conf", "aa.conf"]);
        assert_eq!(default("timeout 3\ndefault bb\n"), 1);
        assert_eq!(default("default AA.conf"), 2);
        assert_eq!(default("default b*"), 1);
        assert_eq!(default("default ?a.conf"), 2);
        assert_eq!(default("default nothing*"), 0);
        assert_eq!(default(""), 0);
    }

    #[test]
    fn a_default_that_boots_no_linux_is_none() {
        let entries = [("a.conf", "linux /k\ninitrd /i"), ("b.conf", "efi /shell.efi")];
        assert_eq!(menu("default b.conf", &entries).unwrap().default, None);
    }

    #[test]
    fn sort_keys_come_first_and_newer_versions_before_older() {
        let text = |title: &str, rest: &str| format!("title {title}\nlinux /k\ninitrd /i\n{rest}");
        let (a, b) = (text("none", ""), text("old", "sort-key x\nversion 6.9"));
        let (c, d) = (text("new", "sort-key x\nversion 6.10"), text("first", "sort-key a"));
        let entries = [("z.conf", a.as_str()), ("b.conf", &b), ("c.conf", &c), ("d.conf", &d)];
        assert_eq!(titles(&menu("", &entries).unwrap()), ["first", "new", "old", "none"]);
    }

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(compare_versions("6.10", "6.9"), Ordering::Greater);
        assert_eq!(compare_versions("6.1~rc1", "6.1"), Ordering::Less);
        assert_eq!(compare_versions("a-x", "a"), Ordering::Greater);
        assert_eq!(compare_versions("a-x.conf", "a.conf"), Ordering::Less);
        assert_eq!(compare_versions("007", "7"), Ordering::Equal);
    }

    #[test]
    fn a_glob_of_many_stars_ends() {
        assert!(!matches_glob(&"*a".repeat(250), &"a".repeat(249)));
        assert!(matches_glob("*a*", "bab"));
        assert!(!matches_glob(&"*".repeat(1000), "a"));
    }

    #[test]
    fn nothing_to_boot_is_no_menu() {
        assert!(menu("default x", &[("x.conf", "title X\nlinux /memtest")]).is_none());
    }
}
