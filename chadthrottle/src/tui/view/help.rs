//! The help, made from the keymap.

use ratatui::{
    Frame,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, boxed};
use crate::tui::keymap::KEYMAP;

const WIDTH: u16 = 60;

/// Draws the help over the table, from line `offset` on.
pub fn draw(frame: &mut Frame, offset: usize, look: &Look) {
    let lines: Vec<Line> = KEYMAP
        .iter()
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!(" {:<14}", binding.label()), look.theme.key),
                Span::raw(binding.description),
            ])
        })
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let inside = boxed(frame, "Keys", WIDTH, height.saturating_add(2), look);
    let last = lines.len().saturating_sub(usize::from(inside.height));
    let offset = u16::try_from(offset.min(last)).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(lines).scroll((offset, 0)), inside);
}
