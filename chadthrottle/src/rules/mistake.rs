//! What is wrong in a rules file, and where.

use std::{fmt, ops::Range};

use crate::text::is_unsafe;

/// A mistake in a file, with the line that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// How many characters it has, on that line.
    length: usize,
    /// The line, safe to show.
    text: String,
    /// What is wrong.
    pub what: String,
    /// What is allowed there.
    pub allowed: String,
}

/// Of a longer line only the beginning is shown.
const SHOWN: usize = 120;

/// Of what is wrong, which may be a megabyte on one line, likewise.
const LONGEST: usize = 200;

impl Mistake {
    /// At that place of a file.
    pub fn at(file: &str, span: Option<Range<usize>>, what: &str, allowed: &str) -> Self {
        let span = span.unwrap_or(0..0);
        let start = floor(file, span.start);
        let before = &file[..start];
        let begins = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &file[begins..];
        let text = rest.lines().next().unwrap_or_default();
        let end = floor(file, span.end).clamp(start, begins + text.len().max(start - begins));
        Self {
            line: before.matches('\n').count() + 1,
            column: file[begins..start].chars().count() + 1,
            length: file[start..end].chars().count().max(1),
            // Tabs and escapes would move what stands below it.
            text: text
                .chars()
                .take(SHOWN)
                .map(|c| if is_unsafe(c) { ' ' } else { c })
                .collect(),
            what: crate::text::brief(what, LONGEST).into_owned(),
            allowed: allowed.to_owned(),
        }
    }
}

impl Mistake {
    /// What is wrong and what is allowed, without the place.
    pub fn in_words(&self) -> String {
        match self.allowed.is_empty() {
            true => self.what.clone(),
            false => format!("{}; allowed: {}", self.what, self.allowed),
        }
    }
}

/// The beginning of the character there.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Mistake {
    /// Several lines: what is wrong, the line with a mark below the place, and what is allowed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        writeln!(f, "line {number}, column {}: {}", self.column, self.what)?;
        writeln!(f, "  {number} | {}", self.text)?;
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(SHOWN.min(self.column - 1));
        let length = self
            .length
            .min((SHOWN + 1).saturating_sub(self.column))
            .max(1);
        write!(f, "  {margin} | {indent}{}", "^".repeat(length))?;
        if !self.allowed.is_empty() {
            write!(f, "\n  {margin} = allowed: {}", self.allowed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_counted_in_lines_and_characters_and_marked() {
        let file = "a = 1\nb\u{e4} = \"x\ty\"\nc = 2 # \u{202e}";
        let at = file.find("\"x").unwrap();
        let mistake = Mistake::at(file, Some(at..at + 5), "bad\u{1b}", "good");
        assert_eq!(
            mistake.to_string(),
            "line 2, column 6: bad\\u{1b}\n  2 | b\u{e4} = \"x y\"\n    |      ^^^^^\n    = allowed: good"
        );
        // Behind what is shown of a line.
        let long = "x".repeat(100_000);
        let shown = Mistake::at(&long, Some(90_000..90_001), "x", "").to_string();
        assert!(shown.len() < 500, "{shown}");
        // Over several lines, behind the end, in the middle of a character.
        for span in [0..file.len(), 999..1000, 7..8] {
            let shown = Mistake::at(file, Some(span), "x", "").to_string();
            assert_eq!(shown.lines().count(), 3, "{shown}");
        }
        let shown = Mistake::at(file, Some(file.find('c').unwrap()..99), "x", "").to_string();
        assert!(!shown.replace('\n', "").contains(is_unsafe), "{shown:?}");
        assert_eq!(Mistake::at("", None, "x", "").line, 1);
    }
}
