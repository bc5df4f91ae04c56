//! Titles as every loader's screen can show them.
//!
//! pxelinux writes code page 437, iPXE and GRUB's text console what the firmware has: only ASCII is the same on all of
//! them. What a person wrote becomes its nearest letters, in one line with single blanks. A `-` in front is left out, since
//! GRUB and iPXE would take the title for an option.

/// Longest title in characters: wider than any screen.
const MAX: usize = 200;

/// Characters that are seen of a row on the narrowest screen: iPXE shows 74, pxelinux 76, GRUB 70 and a few, pxelinux with
/// a menu of its own width 56.
const SEEN: usize = 56;

/// A title in ASCII; empty if nothing is left of it.
pub fn shown(text: &str) -> String {
    let ascii = deunicode::deunicode_with_tofu(text, "?");
    let printable: String =
        ascii.chars().map(|symbol| if symbol.is_ascii_graphic() { symbol } else { ' ' }).collect();
    let line = printable.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_start_matches(['-', ' ']);
    line.get(..MAX).unwrap_or(line).trim_end().to_owned()
}

/// A title with the way in brackets: behind it, or in front where it would not be seen there.
pub fn with_way(title: &str, way: Option<&str>) -> String {
    match way {
        None => title.to_owned(),
        Some(way) if shown(title).len() + way.len() + 3 <= SEEN => format!("{title} [{way}]"),
        Some(way) => format!("[{way}] {title}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_become_their_nearest() {
        assert_eq!(shown("Käse – Пример «x»"), "Kase - Primer <<x>>");
        assert_eq!(shown(" a\t\u{1b}[2J\u{a0}b  c "), "a [2J b c");
        assert_eq!(shown("--gap - x"), "gap - x");
        assert_eq!(shown("\u{e000}"), "?");
        assert_eq!(shown(" -- "), "");
        assert_eq!(shown(&"é".repeat(300)).len(), MAX);
    }

    #[test]
    fn the_way_is_always_seen() {
        assert_eq!(with_way("F42: Fedora", Some("HTTP")), "F42: Fedora [HTTP]");
        assert_eq!(with_way("F42: Fedora", None), "F42: Fedora");
        let long = "F42: ".to_owned() + &"a".repeat(60);
        assert_eq!(with_way(&long, Some("HTTP")), format!("[HTTP] {long}"));
    }
}
