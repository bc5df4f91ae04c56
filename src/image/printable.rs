//! Foreign text made fit for a terminal: what an ISO, a file name or a damaged structure says is only ever shown.
//!
//! A terminal obeys control characters, and shows a line in another order than it is written in if a mark says so. Text
//! that has passed here has neither. It says nothing of what is fit for a menu or a path.

/// Whether a terminal does something else than show it. Besides Unicode's controls, which have the escape character and
/// the one-character form of its sequences (CSI, U+009B) among them, these are the line and paragraph separators, the
/// marks that reorder a line, and characters that can't be seen at all.
pub fn is_control(symbol: char) -> bool {
    symbol.is_control()
        || matches!(
            symbol,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// One line, with a question mark for each such character.
pub fn line(text: &str) -> String {
    text.chars().map(|symbol| if is_control(symbol) { '?' } else { symbol }).collect()
}

/// The same for text whose lines are ours.
pub fn lines(text: &str) -> String {
    text.chars().map(|symbol| if is_control(symbol) && symbol != '\n' { '?' } else { symbol }).collect()
}

/// JSON with the same value, in which each such character is written as its number (RFC 8259, section 7).
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for symbol in text.chars() {
        if is_control(symbol) && symbol != '\n' {
            let mut units = [0; 2];
            let escaped = symbol.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}"));
            out.extend(escaped);
        } else {
            out.push(symbol);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\u{7}b\u{9b}31m\u{202e}c\u{2066}\u{200f}\r\n\u{e0041}é漢";

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(line(HOSTILE), "a?[2J?b?31m?c?????é漢");
        assert_eq!(lines("one\ntwo\u{1b}c\n"), "one\ntwo?c\n");
    }

    #[test]
    fn json_keeps_its_value() {
        let text = serde_json::to_string_pretty(&vec![HOSTILE]).unwrap();
        let safe = json(&text);
        assert!(!safe.chars().any(|symbol| is_control(symbol) && symbol != '\n'), "{safe:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), [HOSTILE]);
    }
}
