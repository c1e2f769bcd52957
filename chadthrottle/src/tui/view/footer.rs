//! The last lines: a message, and the keys that matter here.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::tui::{
    keymap::KEYMAP,
    state::{Mode, State},
    theme::Theme,
};

/// Draws the footer.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, theme: &Theme) {
    let message = match &state.message {
        Some(message) if message.error => Line::styled(format!("! {}", message.text), theme.error),
        Some(message) => Line::raw(message.text.as_str()),
        None => Line::default(),
    };
    let keys: Vec<(&str, &str)> = match state.mode {
        Mode::Normal => KEYMAP
            .iter()
            .filter_map(|binding| Some((binding.label.split(' ').next()?, binding.footer?)))
            .collect(),
        Mode::Dialog(_) => vec![("Enter", "apply"), ("Tab", "next field"), ("Esc", "cancel")],
        Mode::Help => vec![("Esc", "close")],
    };
    let keys = keys.into_iter().flat_map(|(key, word)| {
        [
            Span::styled(key, theme.key),
            Span::raw(format!(" {word}   ")),
        ]
    });
    frame.render_widget(Paragraph::new(vec![message, keys.collect()]), area);
}
