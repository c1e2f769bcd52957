//! The colours of a theme, as its file has them.

use std::str::FromStr;

use ratatui::style::Color;
use serde::Deserialize;

use super::rgb::Rgb;

/// Those that come with ChadThrottle, by name.
pub const SHIPPED: [(&str, &str); 6] = [
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("catppuccin", include_str!("../../themes/catppuccin.toml")),
    ("dracula", include_str!("../../themes/dracula.toml")),
    ("gruvbox", include_str!("../../themes/gruvbox.toml")),
    ("tokyo-night", include_str!("../../themes/tokyo-night.toml")),
];

/// A theme's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Palette {
    /// Behind everything; the terminal's own where it is left out.
    pub background: Option<Paint>,
    /// All that has no colour of its own.
    pub text: Paint,
    /// What matters less: idle, ended, explanations.
    pub dim: Paint,
    /// Titles of columns, panels and boxes.
    pub title: Paint,
    /// Keys in the footer and the help, frames of boxes.
    pub key: Paint,
    /// Edges of panels, axes of graphs, branches of the tree.
    pub border: Paint,
    /// Downloads.
    pub down: Paint,
    /// Uploads.
    pub up: Paint,
    /// Limits.
    pub limit: Paint,
    /// What is held back right now.
    pub held: Paint,
    /// What failed or needs to be known.
    pub error: Paint,
    /// Behind the graph of time that was held back.
    pub shade: Paint,
    /// The selected row.
    pub selected: Selected,
}

impl Palette {
    /// Whether it is for a light background: its text is dark.
    pub fn is_for_light(&self) -> bool {
        let Paint(text) = self.text;
        text == Color::Black || Rgb::of(text).is_some_and(|rgb| !rgb.is_light())
    }
}

/// The selected row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// Its text.
    pub text: Paint,
    /// Behind it.
    pub background: Paint,
}

/// A colour: `#rrggbb`, a number of the terminal's 256, or a name of its 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Paint(pub Color);

impl TryFrom<String> for Paint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let colour = Color::from_str(&text);
        let words = "a colour is '#rrggbb', a number up to 255, or a name such as 'red'";
        colour.map(Self).map_err(|_| words)
    }
}
