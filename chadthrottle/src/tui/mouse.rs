//! What the mouse does.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::{
    layout::{Areas, columns},
    state::{Mode, State},
    update::{move_by, sort_by},
};

/// Rows that a notch of the wheel is worth.
const NOTCH: isize = 3;

/// Whether the event does anything: most only say that the mouse has moved.
pub fn is_used(event: MouseEvent) -> bool {
    matches!(
        event.kind,
        MouseEventKind::ScrollUp
            | MouseEventKind::ScrollDown
            | MouseEventKind::Down(MouseButton::Left)
    )
}

/// Moves the selection with the wheel, selects by a click, sorts by a click on a title.
pub fn event(state: &mut State, event: MouseEvent) {
    if !matches!(state.mode, Mode::Normal | Mode::Filter) {
        return;
    }
    match event.kind {
        MouseEventKind::ScrollUp => move_by(state, -NOTCH),
        MouseEventKind::ScrollDown => move_by(state, NOTCH),
        MouseEventKind::Down(MouseButton::Left) if state.details.is_none() => {
            click(state, Position::new(event.column, event.row));
        }
        _ => {}
    }
}

fn click(state: &mut State, at: Position) {
    let areas = Areas::of(state.size);
    if areas.rows.contains(at) {
        let row = state.offset + usize::from(at.y - areas.rows.y);
        if row < state.rows.len() {
            state.select(row);
        }
    } else if areas.titles.contains(at) {
        let columns = columns(areas.titles.width, state.style, state.has_rules());
        let clicked = columns
            .iter()
            .find(|(_, x, width)| (*x..=x + width).contains(&at.x));
        if let Some(sort) = clicked.and_then(|(column, ..)| column.sort()) {
            sort_by(state, sort);
        }
    }
}
