//! What an ISO is called in menus, and the order of such names.
//!
//! It is called by its label, which is what `--default` and all files of the tree take. Where a label says nothing (`CDROM`),
//! or nothing that the title of its entry doesn't say, people see the product's name instead.

use crate::tree::render::shown;

/// Volume ids that say nothing about what is on a disc.
const MEANINGLESS: [&str; 18] = [
    "boot", "bootcd", "bootdvd", "cd", "cdimage", "cdrom", "disc", "disk", "dvd", "dvdrom", "image", "iso",
    "isoimage", "live", "livecd", "livedvd", "liveiso", "untitled",
];

/// Name and title of an ISO in a menu: of the disc of that label and volume id with that product on it, whose first entry has
/// that title.
pub fn called(label: &str, volume_id: &[u8], product: Option<&str>, title: &str) -> (String, String) {
    let repeats = |name: &str| !title.is_empty() && letters(title).contains(&letters(name));
    let says_nothing = MEANINGLESS.contains(&letters(&String::from_utf8_lossy(volume_id)).as_str());
    let with = |name: &str| match title {
        "" => name.to_owned(),
        title => format!("{name}: {title}"),
    };
    match product {
        Some(product) if says_nothing || repeats(label) => {
            let title = if repeats(product) { title.to_owned() } else { with(product) };
            (product.to_owned(), title)
        }
        None if !says_nothing && repeats(label) => (label.to_owned(), title.to_owned()),
        _ => (label.to_owned(), with(label)),
    }
}

/// The letters and digits alone, in lower case. ISO 9660 cuts a volume id at 32, and xorriso gives what has none this name.
fn letters(text: &str) -> String {
    shown(text)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|symbol| symbol.to_ascii_lowercase())
        .collect()
}

/// A part of a name as people sort it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Digits by their value: without zeros in front, the longer is the greater.
    Number(usize, String),
    /// All else, in lower case.
    Text(String),
}

/// A name as people sort it: numbers by their value, letters in either case as one.
pub fn as_people_sort(name: &str) -> Vec<Part> {
    let name = shown(name).to_ascii_lowercase();
    let runs = name.as_bytes().chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit());
    let part = |run: &[u8]| {
        let text = String::from_utf8_lossy(run);
        match text.starts_with(|symbol: char| symbol.is_ascii_digit()) {
            true => {
                let digits = text.trim_start_matches('0').to_owned();
                Part::Number(digits.len(), digits)
            }
            false => Part::Text(text.into_owned()),
        }
    };
    runs.map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_sort() {
        let mut names = [
            "debian 12",
            "Debian-12",
            "alpine 3.9",
            "Fedora",
            "Debian 9",
            "Alpine 3.10",
            "3",
            "ubuntu 24.04",
        ];
        names.sort_by_key(|name| as_people_sort(name));
        assert_eq!(
            names,
            [
                "3",
                "alpine 3.9",
                "Alpine 3.10",
                "Debian 9",
                "debian 12",
                "Debian-12",
                "Fedora",
                "ubuntu 24.04"
            ]
        );
        assert_eq!(as_people_sort("a007"), as_people_sort("A7"));
        assert!(as_people_sort("24.04") < as_people_sort("24.10"));
    }

    #[test]
    fn a_label_that_says_something_is_shown() {
        let fedora = called("Fedora-WS-Live-39", b"Fedora-WS-Live-39", None, "Start Fedora");
        assert_eq!(fedora, ("Fedora-WS-Live-39".into(), "Fedora-WS-Live-39: Start Fedora".into()));
        assert_eq!(called("Rescue", b"Rescue", None, ""), ("Rescue".into(), "Rescue".into()));
        // No product says less than a label that is like others.
        assert_eq!(called("CDROM-2", b"CDROM", None, "Live").1, "CDROM-2: Live");
    }

    #[test]
    fn a_label_that_says_nothing_gives_way_to_the_product() {
        for id in ["CDROM", "Live CD", "ISOIMAGE", "cd-rom"] {
            let (name, title) = called("CDROM-x", id.as_bytes(), Some("Ubuntu 24.04"), "Try it");
            assert_eq!((name.as_str(), title.as_str()), ("Ubuntu 24.04", "Ubuntu 24.04: Try it"), "{id}");
        }
        assert_eq!(called("CDROM", b"CDROM", Some("Fedora 39"), "Start Fedora 39").1, "Start Fedora 39");
        assert_eq!(called("CDROM", b"CDROM", Some("Fedora 39"), "").1, "Fedora 39");
    }

    #[test]
    fn a_label_that_the_title_repeats_is_not_shown_twice() {
        let (name, title) = called("Void_Linux", b"Void Linux", None, "Void Linux 6.12 (x86_64)");
        assert_eq!((name.as_str(), title.as_str()), ("Void_Linux", "Void Linux 6.12 (x86_64)"));
        assert_eq!(called("Void", b"Void", Some("Void 2026"), "Void 6.12").1, "Void 2026: Void 6.12");
    }
}
