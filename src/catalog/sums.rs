//! Files with SHA-256 sums beside ISOs, as distributions publish them.
//!
//! `SHA256SUMS` and `SHA256SUM` (Debian, Ubuntu), `NAME.iso.sha256` (openSUSE, Arch), `*-CHECKSUM` (Fedora); lines in GNU's
//! form or BSD's, among others that are passed over: a signature, comments. Nothing here opens a file.

/// Larger files are no lists of sums.
pub const LARGEST: u64 = 1 << 20;

/// Whether a file of this name lists sums of the ISOs beside it.
pub fn is_list(name: &str) -> bool {
    matches!(name, "SHA256SUMS" | "SHA256SUM") || name.ends_with(".iso.sha256") || name.ends_with("-CHECKSUM")
}

/// The sums that a list gives for the ISO `iso`, in lower-case hexadecimal digits; `list` is the list's own name.
pub fn of(iso: &str, list: &str, text: &str) -> Vec<String> {
    let lines: Vec<(Option<String>, String)> = text.lines().filter_map(line).collect();
    // A list that is named after the ISO may call it by another name, that of the build, or not at all.
    if let [(_, sum)] = lines.as_slice()
        && list.strip_suffix(".sha256") == Some(iso)
    {
        return vec![sum.clone()];
    }
    let is_of = |named: &Option<String>| named.as_deref().map(base) == Some(iso);
    lines.into_iter().filter(|(named, _)| is_of(named)).map(|(_, sum)| sum).collect()
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Name and sum of a line (sha256sum(1), `--tag` too).
fn line(line: &str) -> Option<(Option<String>, String)> {
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (name, sum) = rest.rsplit_once(") = ")?;
        return Some((Some(name.to_owned()), hex(sum.trim_end())?));
    }
    // A name with a backslash or a line's end in it is written with a backslash in front of the line.
    let (line, escaped) = line.strip_prefix('\\').map_or((line, false), |line| (line, true));
    let Some((sum, name)) = line.split_once(' ') else { return Some((None, hex(line.trim_end())?)) };
    let name = name.strip_prefix([' ', '*']).unwrap_or(name).trim_end_matches('\r');
    let name = if escaped { unescaped(name) } else { name.to_owned() };
    Some((Some(name).filter(|name| !name.is_empty()), hex(sum)?))
}

fn unescaped(name: &str) -> String {
    let mut rest = name.chars();
    let next = || match rest.next()? {
        '\\' => rest.next().map(|symbol| if symbol == 'n' { '\n' } else { symbol }),
        symbol => Some(symbol),
    };
    std::iter::from_fn(next).collect()
}

fn hex(sum: &str) -> Option<String> {
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sum.then(|| sum.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn lists_are_known_by_their_names() {
        for name in ["SHA256SUMS", "SHA256SUM", "a.iso.sha256", "Fedora-Workstation-42-1.1-x86_64-CHECKSUM"] {
            assert!(is_list(name), "{name}");
        }
        for name in ["MD5SUMS", "a.iso", "SHA256SUMS.gpg", "a.sha256", "CHECKSUM.txt"] {
            assert!(!is_list(name), "{name}");
        }
    }

    #[test]
    fn both_forms_are_read_among_other_lines() {
        let (a, b, c) = (sum('a'), sum('B'), sum('c'));
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a.iso: 12 bytes\nSHA256 (a.iso) = {a}\n\
             {b} *./b (2).iso\r\n{c}  c.iso\nMD5 (c.iso) = 00\nSHA256 (x) = short\n{c}  a.iso.zsync\n"
        );
        assert_eq!(of("a.iso", "SHA256SUMS", &text), [sum('a')]);
        assert_eq!(of("b (2).iso", "SHA256SUMS", &text), [sum('b')]);
        assert_eq!(of("c.iso", "X-CHECKSUM", &text), [sum('c')]);
        assert!(of("x", "X-CHECKSUM", &text).is_empty());
    }

    #[test]
    fn a_list_of_one_that_is_named_after_the_iso_is_for_it() {
        for text in [sum('a'), format!("{}  Leap-Build491.1.iso\n", sum('a'))] {
            assert_eq!(of("Leap.iso", "Leap.iso.sha256", &text), [sum('a')]);
            assert!(of("Leap.iso", "SHA256SUMS", &text).is_empty());
            assert!(of("Other.iso", "Leap.iso.sha256", &text).is_empty());
        }
    }
}
