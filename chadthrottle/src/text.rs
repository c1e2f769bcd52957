//! Text from elsewhere, made safe to show.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Write},
};

/// Shows control characters, and characters that turn the direction of text, as escapes.
///
/// Names and command lines come from other people's programs: an escape sequence in one must
/// never reach the terminal, nor a direction mark reorder what we print.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Says something to the user on standard error, after our name.
///
/// Standard error may be a full disk or a pipe that nobody reads any more, and `eprintln!` would
/// panic: a limit must not end because nobody hears of it.
pub fn say(words: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "chadthrottle: {words}");
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}'                  // Arabic letter mark
            | '\u{200b}'..='\u{200f}'   // zero widths, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'   // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'   // word joiner, isolates, deprecated format characters
            | '\u{feff}'                // byte order mark
            | '\u{fff9}'..='\u{fffb}'   // interlinear annotation
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(
            escape("Web Content (3) – naïve 日本"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escape("a\nb\tc\r"), "a\\nb\\tc\\r");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escape("exe\u{202e}gpj"), "exe\\u{202e}gpj");
        assert_eq!(escape("\u{200f}x\u{2066}"), "\\u{200f}x\\u{2066}");
    }
}
