//! The characters that are drawn with: all of Unicode's, or those of ASCII.

use std::ffi::OsString;

use crate::model::Both;
use ratatui::symbols::border;

/// A set of characters.
#[derive(Clone, Copy, Debug)]
pub struct Symbols {
    /// Of each direction.
    pub arrows: Both<&'static str>,
    /// From nothing to a full cell, for graphs.
    pub levels: [&'static str; 9],
    /// From nothing to a full cell, from the left, for gauges.
    pub gauge: [&'static str; 5],
    /// The height of a limit in a graph.
    pub line: &'static str,
    /// A tagged row.
    pub tag: &'static str,
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
}

const UNICODE: Symbols = Symbols {
    arrows: Both {
        down: "↓", up: "↑"
    },
    levels: [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    gauge: ["·", "▎", "▌", "▊", "█"],
    line: "─",
    tag: "●",
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
    levels: [" ", "_", "_", ".", ".", ":", "|", "|", "#"],
    gauge: [".", ".", "-", "=", "#"],
    line: "-",
    tag: "*",
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
            let ones = symbols.levels.iter().chain(&symbols.gauge);
            let ones = ones.chain([
                &symbols.line,
                &symbols.tag,
                &symbols.ellipsis,
                &symbols.chosen,
            ]);
            let width = |text: &&str| Span::raw(text.to_string()).width();
            assert!(ones.chain(&symbols.folds).all(|one| width(one) == 1));
            assert!(symbols.branches.iter().all(|branch| width(branch) == 2));
        }
        let debug = format!("{ASCII:?}");
        assert!(debug.is_ascii(), "{debug}");
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
