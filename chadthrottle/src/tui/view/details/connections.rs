//! The connections of one row.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::{
    model::Direction,
    tui::{
        filter::shown_address,
        inspect::ConnectionRow,
        state::{Details, State},
        view::{Look, counted, cut, other_end, round_trip},
    },
    units::format_rate,
};

/// How many there are.
pub fn title(details: &Details) -> String {
    match &details.connections {
        None => "connections: looking".to_owned(),
        Some(connections) => {
            let more = if details.more { ", and more" } else { "" };
            let count = counted(connections.len(), "connection", "connections");
            format!("{count}{more}")
        }
    }
}

/// Draws them.
pub fn draw(frame: &mut Frame, inside: Rect, details: &Details, state: &State, look: &Look) {
    let widths = Widths::of(usize::from(inside.width));
    let (down, up) = (look.symbols.arrows.down, look.symbols.arrows.up);
    let mut lines = vec![widths.line(
        &["PROTO", "LOCAL", "REMOTE", "STATE", down, up, "RTT"].map(str::to_owned),
        look.theme.title,
        look,
    )];
    let connections = details.connections.iter().flatten().skip(details.offset);
    for row in connections.take(usize::from(inside.height).saturating_sub(1)) {
        lines.push(widths.line(&texts(row, state, look), look.theme.text, look));
    }
    frame.render_widget(Paragraph::new(lines), inside);
}

fn texts(row: &ConnectionRow, state: &State, look: &Look) -> [String; 7] {
    let it = &row.connection;
    let nothing = look.symbols.dash;
    let local = it.local.map_or_else(|| nothing.to_owned(), shown_address);
    let remote = it.remote.map_or_else(
        || nothing.to_owned(),
        |remote| other_end(remote, row.name.as_deref()),
    );
    let rate = |direction: Direction| {
        let rate = row.rates.map(|rates| rates[direction]);
        rate.map_or_else(|| nothing.to_owned(), |rate| format_rate(rate, state.style))
    };
    let rtt = it.round_trip.map_or_else(|| nothing.to_owned(), round_trip);
    [
        it.protocol.clone(),
        local,
        remote,
        it.state.clone(),
        rate(Direction::Down),
        rate(Direction::Up),
        rtt,
    ]
}

/// Columns of the connections; what does not fit leaves from the right.
struct Widths([usize; 7]);

impl Widths {
    fn of(width: usize) -> Self {
        const PROTOCOL: usize = 5;
        const STATE: usize = 11;
        const RATE: usize = 10;
        const RTT: usize = 8;
        const LOCAL: usize = 22;
        /// Those of IPv4 fit but for the longest.
        const REMOTE: usize = 18;
        let fixed = [STATE, RATE, RATE, RTT];
        let mut widths = [PROTOCOL, LOCAL, REMOTE, STATE, RATE, RATE, RTT];
        // The state leaves first, then the local address.
        let needed = PROTOCOL + LOCAL + REMOTE + fixed.iter().sum::<usize>() + 7;
        let mut over = needed.saturating_sub(width);
        for index in [3, 1, 6] {
            if over > 0
                && let Some(column) = widths.get_mut(index)
            {
                over = over.saturating_sub(*column + 1);
                *column = 0;
            }
        }
        let used: usize = widths.iter().filter(|it| **it > 0).map(|it| it + 1).sum();
        let left = width.saturating_sub(used);
        let [_, local, remote, ..] = &mut widths;
        let share = if *local > 0 { left / 2 } else { 0 };
        *local += share.min(25);
        *remote += (left - share).min(40);
        Self(widths)
    }

    fn line(&self, texts: &[String; 7], style: Style, look: &Look) -> Line<'static> {
        let cells = texts.iter().zip(self.0).enumerate();
        let spans = cells
            .filter(|(_, (_, width))| *width > 0)
            .map(|(index, (text, width))| {
                let text = cut(text, width, look);
                let pad = " ".repeat(width.saturating_sub(Span::raw(text.as_ref()).width()));
                let text = if index >= 4 {
                    format!("{pad}{text} ")
                } else {
                    format!("{text}{pad} ")
                };
                Span::styled(text, style)
            });
        Line::from(spans.collect::<Vec<_>>())
    }
}
