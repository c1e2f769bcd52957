//! The characters that are drawn with: all of Unicode's, or those of ASCII.

use std::ffi::OsString;

use crate::model::{Both, Direction};
use ratatui::symbols::border;

/// A set of characters.
#[derive(Clone, Copy, Debug)]
pub struct Symbols {
    /// Of each direction.
    pub arrows: Both<&'static str>,
    /// Whether graphs are drawn with the dots of braille.
    braille: bool,
    /// From nothing to a full cell, from the left, for gauges.
    pub gauge: [&'static str; 5],
    /// The axis of a graph: nothing held back, downloads, uploads, both.
    pub axis: [&'static str; 4],
    /// A tagged row.
    pub tag: &'static str,
    /// A row or rule that waits for the engine.
    pub pending: &'static str,
    /// The moment that a graph marks.
    pub moment: &'static str,
    /// The chosen one of several.
    pub chosen: &'static str,
    /// Before a child that others follow, before the last one, below the first, below the last.
    pub branches: [&'static str; 4],
    /// Before a row with children: folded, and open.
    pub folds: [&'static str; 2],
    /// Where text was cut.
    pub ellipsis: &'static str,
    /// From a child to its parent.
    pub from: &'static str,
    /// A dash between two things.
    pub dash: &'static str,
    /// The frame of boxes.
    pub border: border::Set<'static>,
}

impl Symbols {
    /// The set to draw with.
    pub fn new(ascii: bool) -> Self {
        if ascii { ASCII } else { UNICODE }
    }

    /// A cell of a graph whose two columns are filled so many quarters, downloads from below and uploads from above,
    /// with a line at one of these quarters.
    pub fn bars(&self, columns: [u8; 2], direction: Direction, line: Option<u8>) -> char {
        let fills = |filled: u8, quarter: u8| quarter < filled || line == Some(quarter);
        if !self.braille {
            let filled = columns[0].max(columns[1]);
            return match (filled, direction) {
                (0, _) if line.is_some() => '-',
                (0, _) => ' ',
                (1, Direction::Down) => '.',
                (1, Direction::Up) => '\'',
                (2, Direction::Down) => ':',
                (2, Direction::Up) => '"',
                (3, _) => '|',
                (_, _) => '#',
            };
        }
        /// The dots of both columns, from the top.
        const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let mut dots = 0;
        for quarter in 0..4 {
            let from_top = match direction {
                Direction::Down => 3 - quarter,
                Direction::Up => quarter,
            };
            for (column, dot) in DOTS[usize::from(from_top)].into_iter().enumerate() {
                if fills(columns[column], quarter) {
                    dots |= dot;
                }
            }
        }
        match dots {
            0 => ' ',
            dots => char::from_u32(0x2800 + dots).unwrap_or(' '),
        }
    }
}

const UNICODE: Symbols = Symbols {
    arrows: Both {
        down: "↓", up: "↑"
    },
    braille: true,
    gauge: ["·", "▎", "▌", "▊", "█"],
    axis: ["─", "┴", "┬", "┼"],
    tag: "●",
    pending: "◌",
    moment: "◆",
    chosen: "▸",
    branches: ["├─", "└─", "│ ", "  "],
    folds: ["▸", "▾"],
    ellipsis: "…",
    from: " ← ",
    dash: "–",
    border: border::ROUNDED,
};

const ASCII: Symbols = Symbols {
    arrows: Both { down: "v", up: "^" },
    braille: false,
    gauge: [".", ".", "-", "=", "#"],
    axis: ["-", "v", "^", "x"],
    tag: "*",
    pending: "?",
    moment: "@",
    chosen: ">",
    branches: ["|-", "`-", "| ", "  "],
    folds: ["+", "-"],
    ellipsis: "~",
    from: " < ",
    dash: "-",
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
};

/// Whether the locale is one whose characters are other than those of UTF-8. Where none is set,
/// nobody has said so.
pub fn only_ascii(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty())
        .is_some_and(|locale| {
            let locale = locale.to_string_lossy().to_ascii_lowercase();
            !(locale.contains("utf-8") || locale.contains("utf8"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::text::Span;

    #[test]
    fn the_set_of_ascii_is_that_and_every_character_takes_its_place() {
        for symbols in [UNICODE, ASCII] {
            let ones = symbols.axis.iter().chain(&symbols.gauge);
            let ones = ones.chain([&symbols.tag, &symbols.ellipsis, &symbols.chosen]);
            let width = |text: &&str| Span::raw(text.to_string()).width();
            assert!(ones.chain(&symbols.folds).all(|one| width(one) == 1));
            assert!(symbols.branches.iter().all(|branch| width(branch) == 2));
        }
        for filled in 0..=4 {
            for direction in Direction::ALL {
                for line in [None, Some(2)] {
                    assert!(ASCII.bars([filled, 0], direction, line).is_ascii());
                }
            }
        }
        let debug = format!("{ASCII:?}");
        assert!(debug.is_ascii(), "{debug}");
    }

    #[test]
    fn downloads_grow_from_below_and_uploads_from_above() {
        let of = |columns, direction| UNICODE.bars(columns, direction, None);
        assert_eq!(of([0, 0], Direction::Down), ' ');
        assert_eq!(of([1, 4], Direction::Down), '⣸');
        assert_eq!(of([1, 4], Direction::Up), '⢹');
        assert_eq!(UNICODE.bars([0, 0], Direction::Down, Some(3)), '⠉');
        assert_eq!(UNICODE.bars([1, 0], Direction::Up, Some(3)), '⣁');
    }

    #[test]
    fn only_a_locale_that_says_so_is_without_unicode() {
        let of = |set: &[(&str, &str)]| {
            only_ascii(|name| {
                let value = set.iter().find(|(other, _)| *other == name);
                value.map(|(_, value)| value.into())
            })
        };
        assert!(!of(&[]));
        assert!(!of(&[("LANG", "de_DE.UTF-8")]));
        assert!(!of(&[
            ("LC_ALL", ""),
            ("LC_CTYPE", "C.utf8"),
            ("LANG", "C")
        ]));
        assert!(of(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(of(&[("LANG", "de_DE.ISO-8859-1")]));
    }
}
