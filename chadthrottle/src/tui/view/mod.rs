//! Drawing, from a read-only state: one file a widget.

mod footer;
mod header;
mod help;
mod limit_dialog;
mod table;

use ratatui::{
    Frame,
    layout::{Constraint, Flex, Layout, Rect},
    widgets::Paragraph,
};

use super::{
    state::{MIN_SIZE, Mode, State},
    theme::Theme,
};

/// Draws the whole screen.
pub fn draw(frame: &mut Frame, state: &State, theme: &Theme) {
    let area = frame.area();
    if area.width < MIN_SIZE.width || area.height < MIN_SIZE.height {
        let text = format!(
            "ChadThrottle needs {} × {}, and this terminal has {} × {}.",
            MIN_SIZE.width, MIN_SIZE.height, area.width, area.height
        );
        frame.render_widget(
            Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }),
            area,
        );
        return;
    }
    let rows = [
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(2),
    ];
    let [top, middle, bottom] = Layout::vertical(rows).areas(area);
    header::draw(frame, top, state, theme);
    table::draw(frame, middle, state, theme);
    footer::draw(frame, bottom, state, theme);
    match &state.mode {
        Mode::Normal => {}
        Mode::Dialog(dialog) => limit_dialog::draw(frame, dialog, theme),
        Mode::Help => help::draw(frame, theme),
    }
}

/// A box of that size in the middle of the screen.
fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let [row] = Layout::vertical([Constraint::Length(height)])
        .flex(Flex::Center)
        .areas(area);
    let [cell] = Layout::horizontal([Constraint::Length(width)])
        .flex(Flex::Center)
        .areas(row);
    cell
}

#[cfg(test)]
mod tests;
