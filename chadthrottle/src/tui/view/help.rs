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
    let offset = offset.min(last);
    if last > 0 {
        let shown = offset + usize::from(inside.height);
        let (up, down) = (look.symbols.arrows.up, look.symbols.arrows.down);
        let words = format!(" {shown} of {}: {up}{down} ", KEYMAP.len());
        let line = Line::styled(words, look.theme.key);
        frame
            .buffer_mut()
            .set_line(inside.x + 1, inside.bottom(), &line, inside.width - 1);
    }
    let offset = u16::try_from(offset).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(lines).scroll((offset, 0)), inside);
}
