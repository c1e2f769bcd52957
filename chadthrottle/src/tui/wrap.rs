//! Text in lines.

use ratatui::text::Span;

/// The lines of a text that are at most so many columns wide, broken between words where that can be. What a line begins
/// with stays: of a file and the mark below it, one is right by the other.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let columns = |text: &str| Span::raw(text.to_owned()).width();
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let text = paragraph.trim_start_matches(' ');
        let indent = paragraph.len() - text.len();
        let mut line = " ".repeat(if indent < width { indent } else { 0 });
        for word in &words(text) {
            let gap = usize::from(!line.trim_start().is_empty());
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

/// The words of a line; a number and its unit are one.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        match words.last_mut() {
            Some(last) if is_number(last) && is_unit(word) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

fn is_number(word: &str) -> bool {
    let number = word.trim_start_matches(['(', '+', '-']);
    !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit() || it == b'.')
}

fn is_unit(word: &str) -> bool {
    const UNITS: [&str; 15] = [
        "B", "KB", "MB", "GB", "TB", "PB", "EB", "bit", "kbit", "Mbit", "Gbit", "Tbit", "s", "ms",
        "%",
    ];
    let unit = word.trim_end_matches([',', ';', '.', ':', ')']);
    UNITS.contains(&unit.strip_suffix("/s").unwrap_or(unit))
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
        // A number stays with its unit.
        assert_eq!(wrapped("up 500 KB/s", 8), ["up", "500 KB/s"]);
        assert_eq!(wrapped("at 2 (4 Mbit/s)", 11), ["at 2", "(4 Mbit/s)"]);
        assert_eq!(wrapped("+1.5 % more", 9), ["+1.5 %", "more"]);
        assert_eq!(wrapped("", 5), [""; 0]);
        // What points at something stays below it.
        assert_eq!(
            wrapped("  3 | x = [\n    |     ^", 80),
            ["  3 | x = [", "    |     ^"]
        );
        assert_eq!(wrapped("   one two", 6), ["   one", "two"]);
        assert_eq!(wrapped("   one", 3), ["one"]);
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
