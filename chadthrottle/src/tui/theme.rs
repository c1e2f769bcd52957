//! Colours. Colour never carries a meaning alone.

use ratatui::style::{Color, Modifier, Style};

/// The styles of the screen.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Name of the program, titles of columns.
    pub title: Style,
    /// The selected row.
    pub selected: Style,
    /// Download.
    pub down: Style,
    /// Upload.
    pub up: Style,
    /// A limit.
    pub limit: Style,
    /// What matters less: idle, ended, explanations.
    pub dim: Style,
    /// A key in the footer and the help.
    pub key: Style,
    /// Something failed, or needs to be known.
    pub error: Style,
}

impl Theme {
    /// The dark theme, or the one without colours.
    pub fn new(monochrome: bool) -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let dim = plain.add_modifier(Modifier::DIM);
        let selected = plain.add_modifier(Modifier::REVERSED);
        if monochrome {
            return Self {
                title: bold,
                selected,
                down: plain,
                up: plain,
                limit: bold,
                dim,
                key: bold,
                error: bold,
            };
        }
        Self {
            title: bold.fg(Color::Cyan),
            selected,
            down: plain.fg(Color::Green),
            up: plain.fg(Color::Magenta),
            limit: plain.fg(Color::Yellow),
            dim: plain.fg(Color::DarkGray),
            key: bold.fg(Color::Cyan),
            error: bold.fg(Color::Red),
        }
    }
}
