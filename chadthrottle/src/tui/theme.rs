//! Colours. Colour never carries a meaning alone.

use ratatui::style::{Color, Modifier, Style};

use super::colours::Colours;
use crate::{config::ThemeName, model::Both};

/// The styles of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// All that has no style of its own.
    pub text: Style,
    /// Name of the program, titles of columns and boxes.
    pub title: Style,
    /// The selected row.
    pub selected: Style,
    /// The mark of a tagged row.
    pub tag: Style,
    /// Rates of each direction.
    pub traffic: Both<Style>,
    /// A limit.
    pub limit: Style,
    /// What is held back right now.
    pub held: Style,
    /// What matters less: idle, ended, explanations.
    pub dim: Style,
    /// A key in the footer and the help.
    pub key: Style,
    /// Frames of boxes.
    pub border: Style,
    /// Something failed, or needs to be known.
    pub error: Style,
}

impl Theme {
    /// The theme of that name, or the nearest for which the terminal has the colours.
    pub fn new(name: ThemeName, colours: Colours) -> Self {
        match (name, colours) {
            (ThemeName::Mono, _) | (_, Colours::None) => Self::mono(),
            (ThemeName::Terminal, _) | (_, Colours::Sixteen) => Self::terminal(),
            (ThemeName::Dark, Colours::Many) => {
                Self::coloured([114, 176, 221, 215, 245, 81, 240, 203], 252)
            }
            (ThemeName::Light, Colours::Many) => {
                Self::coloured([28, 90, 94, 166, 244, 25, 248, 160], 235)
            }
        }
    }

    /// Of the 256 colours: for download, upload, limit, held, dim, key, border and error, and for
    /// text.
    fn coloured(colours: [u8; 8], text: u8) -> Self {
        let [down, up, limit, held, dim, key, border, error] =
            colours.map(|colour| Style::new().fg(Color::Indexed(colour)));
        Self {
            text: Style::new().fg(Color::Indexed(text)),
            title: key.add_modifier(Modifier::BOLD),
            selected: Style::new().add_modifier(Modifier::REVERSED),
            tag: held.add_modifier(Modifier::BOLD),
            traffic: Both { down, up },
            limit,
            held: held.add_modifier(Modifier::BOLD),
            dim,
            key: key.add_modifier(Modifier::BOLD),
            border,
            error: error.add_modifier(Modifier::BOLD),
        }
    }

    fn terminal() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            text: plain,
            title: bold.fg(Color::Cyan),
            selected: plain.add_modifier(Modifier::REVERSED),
            tag: bold.fg(Color::Yellow),
            traffic: Both {
                down: plain.fg(Color::Green),
                up: plain.fg(Color::Magenta),
            },
            limit: plain.fg(Color::Yellow),
            held: bold.fg(Color::Yellow),
            dim: plain.fg(Color::DarkGray),
            key: bold.fg(Color::Cyan),
            border: plain.fg(Color::DarkGray),
            error: bold.fg(Color::Red),
        }
    }

    fn mono() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            text: plain,
            title: bold,
            selected: plain.add_modifier(Modifier::REVERSED),
            tag: bold,
            traffic: Both {
                down: plain,
                up: plain,
            },
            limit: bold,
            held: bold,
            dim: plain.add_modifier(Modifier::DIM),
            key: bold,
            border: plain,
            error: bold,
        }
    }
}
