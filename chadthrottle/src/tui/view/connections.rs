//! The connections of the whole machine.

use ratatui::{
    Frame,
    text::{Line, Span},
};

use super::{Look, cut, other_end, round_trip, table};
use crate::{
    model::Direction,
    text::name_of_process,
    tui::{
        connection_columns::{COLUMNS, widths},
        filter::shown_address,
        inspect::ConnectionRow,
        layout::Areas,
        rows::{Row, RowKey, RowLimit, Sort},
        state::State,
    },
    units::format_rate,
};

/// Draws what is shown, titles and rows.
pub fn draw(frame: &mut Frame, areas: &Areas, state: &State, look: &Look) {
    table::status(frame, areas, state, look);
    let theme = &look.theme;
    let widths = widths(usize::from(areas.rows.width));
    let (down, up) = (look.symbols.arrows.down, look.symbols.arrows.up);
    let titles = COLUMNS.map(|column| {
        let title = match column.title {
            "DOWN" => down,
            "UP" => up,
            title => title,
        };
        let is_rate = matches!(column.sort, Some(Sort::Down | Sort::Up));
        let sorts = column.sort == Some(state.sort) || is_rate && state.sort == Sort::Total;
        let mark = if sorts { look.symbols.chosen } else { "" };
        format!("{mark}{title}")
    });
    let title = line(&titles, &widths, look).style(theme.title);
    let titles = areas.titles;
    frame
        .buffer_mut()
        .set_line(titles.x, titles.y, &title, titles.width);
    let Some(connections) = state
        .connections
        .as_ref()
        .filter(|_| !state.rows.is_empty())
    else {
        let words = match &state.connections {
            None => "looking at connections".to_owned(),
            Some(_) if state.filter.text.is_empty() => "no process has a connection".to_owned(),
            Some(_) => table::no_match("connection", state),
        };
        table::instead_of_rows(frame, areas.rows, words, look);
        return;
    };
    let visible = state.rows.iter().skip(state.offset);
    for (row, y) in visible.zip(areas.rows.top()..areas.rows.bottom()) {
        let RowKey::Connection(_, inode) = row.key else {
            continue;
        };
        let mut connections = connections.connections.iter();
        let Some(connection) = connections.find(|it| it.connection.inode == inode) else {
            continue;
        };
        let style = if state.selected.as_ref() == Some(&row.key) {
            theme.selected
        } else if connection.is_busy() {
            theme.text
        } else {
            theme.dim
        };
        let line = line(&texts(row, connection, state, look), &widths, look);
        let area = ratatui::layout::Rect::new(areas.rows.x, y, areas.rows.width, 1);
        let buffer = frame.buffer_mut();
        buffer.set_line(area.x, y, &line, area.width);
        buffer.set_style(area, style);
        buffer.set_line(area.x, y, &table::mark(row, state, look), 1);
    }
    let shown = state.rows.len().saturating_sub(state.offset);
    if connections.more && shown < usize::from(areas.rows.height) {
        let words = "and more, of processes that carry less";
        let y = areas.rows.y + u16::try_from(shown).unwrap_or(0);
        let words = Line::styled(words, theme.dim);
        frame.buffer_mut().set_line(
            areas.rows.x + 1,
            y,
            &words,
            areas.rows.width.saturating_sub(1),
        );
    }
}

fn texts(row: &Row, connection: &ConnectionRow, state: &State, look: &Look) -> [String; 10] {
    let nothing = || look.symbols.dash.to_owned();
    let it = &connection.connection;
    let remote = it.remote.map_or_else(nothing, |remote| {
        other_end(remote, connection.name.as_deref())
    });
    let rate = |direction: Direction| {
        let rate = connection.rates.map(|rates| rates[direction]);
        rate.map_or_else(nothing, |rate| format_rate(rate, state.style))
    };
    let lead = state.lead(row);
    [
        it.protocol.clone(),
        lead.map_or_else(String::new, |lead| {
            name_of_process(&lead.name, &lead.exe).into_owned()
        }),
        lead.map_or_else(String::new, |lead| lead.key.pid.to_string()),
        remote,
        it.local.map_or_else(nothing, shown_address),
        it.state.clone(),
        rate(Direction::Down),
        rate(Direction::Up),
        it.round_trip.map_or_else(nothing, round_trip),
        limit(row, state, look),
    ]
}

/// The limit of the direction that carries, or of the only one that has one.
fn limit(row: &Row, state: &State, look: &Look) -> String {
    let RowLimit::One(_, limit) = row.limit else {
        return String::new();
    };
    let carried = row.traffic.map(|traffic| traffic.bytes_per_s);
    let directions = match carried.up > carried.down {
        true => [Direction::Up, Direction::Down],
        false => [Direction::Down, Direction::Up],
    };
    let mut limits = directions.into_iter().filter_map(|direction| {
        let rate = limit.rate(direction)?.shown(state.style);
        Some(format!("{}{rate}", look.symbols.arrows[direction]))
    });
    limits.next().unwrap_or_default()
}

fn line(texts: &[String; 10], widths: &[usize; 10], look: &Look) -> Line<'static> {
    // The first column is for the mark of a tagged row.
    let mut line = Line::raw(" ");
    let cells = COLUMNS.iter().zip(texts).zip(widths);
    for ((column, text), width) in cells.filter(|(_, width)| **width > 0) {
        let text = cut(text, *width, look);
        let pad = " ".repeat(width.saturating_sub(Span::raw(text.as_ref()).width()));
        line.push_span(Span::raw(match column.right {
            true => format!("{pad}{text} "),
            false => format!("{text}{pad} "),
        }));
    }
    line
}
