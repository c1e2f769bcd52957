//! The help, made from the keymap.

use ratatui::{
    Frame,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::centred;
use crate::tui::{keymap::KEYMAP, theme::Theme};

const WIDTH: u16 = 56;

/// Draws the help over the table.
pub fn draw(frame: &mut Frame, theme: &Theme) {
    let lines: Vec<Line> = KEYMAP
        .iter()
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!(" {:<10}", binding.label), theme.key),
                Span::raw(binding.description),
            ])
        })
        .collect();
    let height = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let area = centred(frame.area(), WIDTH, height.min(frame.area().height));
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" Keys ").border_style(theme.key);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
