//! Text in lines.

use ratatui::text::Span;

/// The lines of a text that are at most so many columns wide, broken between words where that can be.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let columns = |text: &str| Span::raw(text.to_owned()).width();
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let gap = usize::from(!line.is_empty());
            if columns(&line) + gap + columns(word) <= width {
                line.push_str(if gap > 0 { " " } else { "" });
                line.push_str(word);
                continue;
            }
            if gap > 0 {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                line.push(c);
                if columns(&line) > width {
                    line.pop();
                    lines.push(std::mem::replace(&mut line, c.to_string()));
                }
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_within_those_that_are_too_long() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two", 7), ["one two"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("one\ntwo", 80), ["one", "two"]);
        assert_eq!(
            wrapped("\u{65e5}\u{672c} x", 3),
            ["\u{65e5}", "\u{672c}", "x"]
        );
        assert_eq!(wrapped("", 5), [""; 0]);
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
        for width in 1..20 {
            let lines = wrapped(
                "a rule holds it: R shows rules, Enter sets one above it",
                width,
            );
            assert!(lines.iter().all(|line| line.len() <= width), "{lines:?}");
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(
                letters(&lines.concat()),
                "aruleholdsit:Rshowsrules,Entersetsoneaboveit"
            );
        }
    }
}
