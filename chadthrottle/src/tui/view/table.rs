//! The table of processes. Columns leave by importance as the screen gets narrower.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    style::Style,
    text::Text,
    widgets::{Cell, Row, Table},
};

use crate::{
    engine::{Limit, ProcessSample},
    tui::{state::State, theme::Theme},
    units::{Rate, Style as UnitStyle, format_bytes, format_rate},
};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Pid,
    Name,
    User,
    Down,
    Up,
    DownTotal,
    UpTotal,
    DownLimit,
    UpLimit,
}

/// In the order of the screen.
const COLUMNS: [Column; 9] = [
    Column::Pid,
    Column::Name,
    Column::User,
    Column::Down,
    Column::Up,
    Column::DownTotal,
    Column::UpTotal,
    Column::DownLimit,
    Column::UpLimit,
];

/// Room that the name needs at least; it takes all that is left over.
const NAME_WIDTH: u16 = 12;

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Pid => "PID",
            Self::Name => "NAME",
            Self::User => "USER",
            Self::Down => "↓",
            Self::Up => "↑",
            Self::DownTotal => "↓ TOTAL",
            Self::UpTotal => "↑ TOTAL",
            Self::DownLimit => "↓ LIMIT",
            Self::UpLimit => "↑ LIMIT",
        }
    }

    fn width(self) -> u16 {
        match self {
            Self::Pid => 7,
            Self::Name => NAME_WIDTH,
            Self::DownTotal | Self::UpTotal => 8,
            Self::User | Self::Down | Self::Up | Self::DownLimit | Self::UpLimit => 10,
        }
    }

    /// The lower, the longer it stays.
    fn rank(self) -> u8 {
        match self {
            Self::Name | Self::Down | Self::Up => 0,
            Self::DownLimit | Self::UpLimit => 1,
            Self::Pid => 2,
            Self::User => 3,
            Self::DownTotal | Self::UpTotal => 4,
        }
    }

    fn alignment(self) -> Alignment {
        match self {
            Self::Name | Self::User => Alignment::Left,
            _ => Alignment::Right,
        }
    }

    fn text(self, process: &ProcessSample, style: UnitStyle) -> String {
        let limit = |rate: fn(Limit) -> Option<Rate>| {
            let rate = process.limit.and_then(|(_, limit)| rate(limit));
            rate.map(|rate| format_rate(rate.bytes_per_second() as f64, style))
                .unwrap_or_default()
        };
        match self {
            Self::Pid => process.key.pid.to_string(),
            Self::Name if process.ended => {
                format!("{} (ended)", crate::text::escape(&process.name))
            }
            Self::Name => crate::text::escape(&process.name).into_owned(),
            Self::User => crate::text::escape(&process.user).into_owned(),
            Self::Down => format_rate(process.down.bytes_per_s, style),
            Self::Up => format_rate(process.up.bytes_per_s, style),
            Self::DownTotal => format_bytes(process.down.bytes),
            Self::UpTotal => format_bytes(process.up.bytes),
            Self::DownLimit => limit(|limit| limit.down),
            Self::UpLimit => limit(|limit| limit.up),
        }
    }

    fn style(self, process: &ProcessSample, theme: &Theme) -> Style {
        let active = |rate: f64, style| if rate > 0.0 { style } else { theme.dim };
        match self {
            _ if process.ended => theme.dim,
            Self::Down => active(process.down.bytes_per_s, theme.down),
            Self::Up => active(process.up.bytes_per_s, theme.up),
            Self::DownLimit | Self::UpLimit => theme.limit,
            Self::Pid | Self::User | Self::DownTotal | Self::UpTotal => theme.dim,
            Self::Name => Style::new(),
        }
    }
}

/// The columns that fit.
fn columns(width: u16) -> Vec<Column> {
    let mut columns: Vec<Column> = COLUMNS.into();
    let needed = |columns: &[Column]| -> u16 { columns.iter().map(|c| c.width() + 1).sum() };
    while needed(&columns) > width + 1 {
        let Some(rank) = columns.iter().map(|column| column.rank()).max() else {
            break;
        };
        columns.retain(|column| column.rank() < rank);
    }
    columns
}

/// Draws the table.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, theme: &Theme) {
    let columns = columns(area.width);
    let widths = columns.iter().map(|column| match column {
        Column::Name => Constraint::Min(NAME_WIDTH),
        column => Constraint::Length(column.width()),
    });
    let cell =
        |text: String, column: Column| Cell::from(Text::from(text).alignment(column.alignment()));
    let titles = columns
        .iter()
        .map(|column| cell(column.title().to_owned(), *column));
    let last = (state.offset + state.page()).min(state.rows.len());
    let rows = (state.offset..last).filter_map(|row| {
        let process = state.row(row)?;
        let selected = state.selected == Some(process.key);
        let cells = columns.iter().map(|column| {
            let style = column.style(process, theme);
            // On the selected row the reversed colours of a dim cell cannot be read.
            let style = if selected { Style::new() } else { style };
            cell(column.text(process, state.style), *column).style(style)
        });
        let style = if selected {
            theme.selected
        } else {
            Style::new()
        };
        Some(Row::new(cells).style(style))
    });
    let table = Table::new(rows, widths).header(Row::new(titles).style(theme.title));
    frame.render_widget(table, area);
}
