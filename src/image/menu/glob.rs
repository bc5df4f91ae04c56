//! Names with `*` and `?` in them, in linear memory and at most `pattern × text` steps; sets in brackets are not known.

use super::bounded_files::MAX_NAME;

/// True if the whole text fits the pattern.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
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

    #[test]
    fn a_glob_of_many_stars_ends() {
        assert!(!matches(&"*a".repeat(250), &"a".repeat(249)));
        assert!(!matches(&"*".repeat(1000), "a"));
    }

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        assert!(matches("*a*", "bab") && matches("?.cfg", "é.cfg") && matches("*", ""));
        assert!(!matches("?", "") && !matches("*.cfg", "a.conf"));
    }
}
