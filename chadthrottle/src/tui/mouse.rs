//! What the mouse does.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::{
    columns::columns,
    command::{move_by, run},
    connection_columns,
    effect::Effect,
    footer,
    keymap::{Command, Place},
    layout::Areas,
    menu::sort_by,
    rows::{RowLimit, Sort},
    state::{Mode, State},
    time_axis::moment_at,
    views,
};
use crate::config::View;

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

/// Moves what is under the mouse with the wheel; by a click selects, sorts by a title, opens a limit, marks a moment of a
/// graph or goes to a view.
pub fn event(state: &mut State, event: MouseEvent) -> Vec<Effect> {
    let at = Position::new(event.column, event.row);
    let rows = match event.kind {
        MouseEventKind::ScrollUp => -NOTCH,
        MouseEventKind::ScrollDown => NOTCH,
        MouseEventKind::Down(MouseButton::Left) => return click(state, at),
        _ => return Vec::new(),
    };
    match &mut state.mode {
        Mode::Normal | Mode::Filter => scroll(state, at, rows),
        Mode::Help(help) => help.scroll(rows, &state.keymap, state.size),
        Mode::Palette(palette) => {
            let last = palette.found(&state.keymap).len().saturating_sub(1);
            palette.cursor = palette.cursor.saturating_add_signed(rows).min(last);
        }
        Mode::Sort(cursor) => {
            *cursor = cursor
                .saturating_add_signed(rows.signum())
                .min(Sort::ALL.len() - 1);
        }
        _ => {}
    }
    Vec::new()
}

/// Moves what is there: the marked moment of a graph, connections beside the table, rules, or the selection.
fn scroll(state: &mut State, at: Position, rows: isize) {
    if let Some(cursor) = state.rule_cursor {
        state.select_rule(cursor.saturating_add_signed(rows));
        return;
    }
    if graph_at(state, at).is_some() {
        state.step_in_time(rows.signum());
        return;
    }
    let beside = state.areas().beside;
    match &mut state.beside {
        Some(details) if beside.is_some_and(|area| area.contains(at)) => details.scroll(rows),
        _ => move_by(state, rows),
    }
}

/// The graph that is there.
fn graph_at(state: &State, at: Position) -> Option<Rect> {
    let header = state.areas().graphs;
    if header.contains(at) {
        return Some(header);
    }
    if state.rule_cursor.is_some() || state.details.is_none() && state.view == View::Connections {
        return None;
    }
    let parts = state.detail_parts()?;
    parts.graph.contains(at).then_some(parts.graph)
}

fn click(state: &mut State, at: Position) -> Vec<Effect> {
    if !matches!(state.mode, Mode::Normal | Mode::Filter) {
        return Vec::new();
    }
    let areas = state.areas();
    if areas.footer.contains(at) {
        let view = footer::view_at(state, areas.footer, at);
        return view.map_or_else(Vec::new, |view| views::go(state, view));
    }
    if let Some(graph) = graph_at(state, at) {
        let samples = state.history.samples;
        if let Some(moment) = moment_at(graph, at, samples, state.span, state.style) {
            state.mark(moment);
        }
        return Vec::new();
    }
    if state.place() != Place::Table {
        return Vec::new();
    }
    let sort = sort_at(state, &areas, at);
    if areas.rows.contains(at) {
        let row = state.offset + usize::from(at.y - areas.rows.y);
        let has_limit = match state.rows.get(row) {
            Some(row) => row.limit != RowLimit::None,
            None => return Vec::new(),
        };
        state.select(row);
        if sort == Some(Sort::Limit) && has_limit && state.mode == Mode::Normal {
            return run(state, Command::Limit);
        }
    } else if areas.titles.contains(at)
        && let Some(sort) = sort
    {
        sort_by(state, sort);
    }
    Vec::new()
}

/// What the column there sorts by.
fn sort_at(state: &State, areas: &Areas, at: Position) -> Option<Sort> {
    let titles = areas.titles;
    if state.view == View::Connections {
        let x = at.x.checked_sub(titles.x)?;
        return connection_columns::at(titles.width, x)?.sort;
    }
    let mut columns = columns(areas, state).into_iter();
    let (column, ..) = columns.find(|(_, x, width)| (*x..=x + width).contains(&at.x))?;
    column.sort()
}

#[cfg(test)]
#[path = "mouse_tests.rs"]
mod tests;
