//! The palette.

use ratatui::{
    Frame,
    layout::Position,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, boxed, cut};
use crate::tui::{command_palette::Palette, keymap::Keymap};

/// Draws what is typed, and the commands that have it.
pub fn draw(frame: &mut Frame, palette: &Palette, keymap: &Keymap, look: &Look) {
    const WIDTH: u16 = 76;
    const NAME: usize = 14;
    const KEYS: usize = 12;
    const MOST_ROWS: u16 = 24;
    let theme = &look.theme;
    let found = palette.found(keymap);
    // As high with few as with many: what is typed keeps its place.
    let height = u16::try_from(keymap.bindings().len()).unwrap_or(u16::MAX);
    let most = frame.area().height.saturating_sub(4).min(MOST_ROWS);
    let height = height.saturating_add(3).min(most);
    let inside = boxed(frame, "Commands", WIDTH, height, look);
    let room = usize::from(inside.width);
    let page = usize::from(inside.height).saturating_sub(1).max(1);
    let first = (palette.cursor + 1).saturating_sub(page);
    let typed = Line::from(vec![
        Span::styled(" : ", theme.title),
        Span::raw(palette.field.text.as_str()),
    ]);
    let mut lines = vec![typed];
    if found.is_empty() {
        lines.push(Line::styled(" no command has that", theme.dim));
    }
    for (at, binding) in found.iter().enumerate().skip(first).take(page) {
        let words = room.saturating_sub(NAME + KEYS + 4);
        let line = Line::from(vec![
            Span::raw(format!(" {:<NAME$} ", binding.name)),
            Span::styled(
                format!("{:<words$} ", cut(binding.description, words, look)),
                theme.dim,
            ),
            Span::styled(
                format!("{:<KEYS$} ", cut(&binding.label(), KEYS, look)),
                theme.key,
            ),
        ]);
        lines.push(match at == palette.cursor {
            true => Line::from(line.to_string()).style(theme.selected),
            false => line,
        });
    }
    frame.render_widget(Paragraph::new(lines), inside);
    let head = Span::raw(palette.field.head()).width() + 3;
    let x = u16::try_from(head).unwrap_or(u16::MAX);
    frame.set_cursor_position(Position {
        x: inside
            .x
            .saturating_add(x)
            .min(inside.right().saturating_sub(1)),
        y: inside.y,
    });
}
