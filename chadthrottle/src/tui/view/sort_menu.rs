//! The menu of orders.

use ratatui::{
    Frame,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, boxed};
use crate::tui::{rows::Sort, state::State};

/// Draws the menu with its cursor at that place.
pub fn draw(frame: &mut Frame, cursor: usize, state: &State, look: &Look) {
    let lines: Vec<Line> = Sort::ALL
        .iter()
        .enumerate()
        .map(|(place, sort)| {
            let mark = if *sort == state.sort {
                look.symbols.chosen
            } else {
                " "
            };
            let line = Line::from(Span::raw(format!(" {mark} {:<18}", sort.name())));
            if place == cursor {
                line.style(look.theme.selected)
            } else {
                line
            }
        })
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let inside = boxed(frame, "Sort by", 24, height.saturating_add(2), look);
    // On a low screen the cursor stays in sight.
    let page = usize::from(inside.height).max(1);
    let offset = u16::try_from((cursor + 1).saturating_sub(page)).unwrap_or(0);
    frame.render_widget(Paragraph::new(lines).scroll((offset, 0)), inside);
}
