//! How near a pattern that matches nothing comes to what there is: as a part of it, or but for a typo.

/// Longer words are not compared letter by letter: everybody may send patterns, and it takes as long as the product of
/// both lengths.
const LONGEST: usize = 64;

/// How many letters are wrong, missing, too many or in each other's place; 0 where the text has the pattern in it.
/// `None` where something else was meant.
pub fn typos(pattern: &str, text: &str) -> Option<usize> {
    let (wanted, text) = (literal(pattern), text.to_lowercase());
    if wanted.is_empty() {
        return None;
    }
    if text.contains(&wanted) {
        return Some(0);
    }
    let (length, other) = (wanted.chars().count(), text.chars().count());
    let most = match length {
        // Most words are as near to one that is shorter.
        0..=2 => return None,
        3..=5 => 1,
        _ => 2,
    };
    if length.abs_diff(other) > most || length.max(other) > LONGEST {
        return None;
    }
    let typos = strsim::osa_distance(&wanted, &text);
    (typos <= most).then_some(typos)
}

/// What a pattern has beside wildcards, where it may be compared.
fn literal(pattern: &str) -> String {
    pattern.to_lowercase().replace(['*', '?', '[', ']'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_nearer_than_a_typo_and_other_words_are_not_near() {
        for (pattern, text, expected) in [
            ("fox", "Firefox", Some(0)),
            ("*FIRE*", "firefox", Some(0)),
            ("firefx", "firefox", Some(1)),
            ("firefpx", "firefox", Some(1)),
            ("firrefox", "firefox", Some(1)),
            ("fierfox", "firefox", Some(1)),
            ("*Firefx", "firefox", Some(1)),
            ("frefx", "firefox", None),
            ("chorme", "chrome", Some(1)),
            ("chromuim", "chromium", Some(1)),
            ("crl", "curl", Some(1)),
            ("wgets", "curl", None),
            ("wg", "wc", None),
            ("*", "firefox", None),
        ] {
            assert_eq!(typos(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_long_is_not_compared_letter_by_letter() {
        let (one, other) = ("a".repeat(LONGEST), "b".repeat(LONGEST - 1));
        assert_eq!(typos(&one, &one[1..]), Some(1));
        assert_eq!(typos(&format!("{one}a"), &one), None);
        assert_eq!(typos(&one, &other), None);
    }
}
