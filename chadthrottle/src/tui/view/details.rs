//! One row, looked at closely: what it is, its limit and how that is met, its connections.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use super::{Look, arrows, counted, cut, graph::Graph, labelled};
use crate::{
    model::{Direction, Limit, ProcessSample},
    process::unit_of,
    text::escape,
    tui::{
        act,
        held::Use,
        inspect::ConnectionRow,
        rows::{Row, RowKey, RowLimit},
        state::{Details, State},
    },
    units::{format_bytes, format_rate},
};

/// Most ancestors that are told.
const PARENTS: usize = 6;

/// Draws the details in place of the table.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, look: &Look) {
    let Some(details) = &state.details else {
        return;
    };
    let Some(row) = state.details_row(&details.key) else {
        let line = Line::styled(" It has ended: Esc leads back.", look.theme.dim);
        frame.render_widget(Paragraph::new(line), area);
        return;
    };
    let row = row.as_ref();
    let about = about(row, state, area, look);
    let about_rows = u16::try_from(about.len()).unwrap_or(u16::MAX);
    let limits = limit_lines(row, state, look);
    let limit_rows = u16::try_from(limits.len()).unwrap_or(u16::MAX);
    // Connections get what graphs leave; on a low screen there are none.
    let graph_rows = match area.height.saturating_sub(about_rows + limit_rows) {
        ..9 => 0,
        9..20 => 4,
        _ => 7,
    };
    let parts = Layout::vertical([
        Constraint::Length(about_rows),
        Constraint::Length(graph_rows),
        Constraint::Length(limit_rows),
        Constraint::Fill(1),
    ]);
    let [about_area, graphs, limit_area, connections_area] = parts.areas(area);
    frame.render_widget(Paragraph::new(about), about_area);
    draw_graphs(frame, graphs, row, state, look);
    frame.render_widget(Paragraph::new(limits), limit_area);
    draw_connections(frame, connections_area, details, state, look);
}

fn about<'a>(row: &Row, state: &'a State, area: Rect, look: &Look) -> Vec<Line<'a>> {
    let theme = &look.theme;
    let width = usize::from(area.width).saturating_sub(11);
    let mut title = vec![Span::styled(act::who(state, row), theme.title)];
    if row.ended {
        title.push(Span::styled("  ended", theme.error));
    }
    title.push(Span::styled(
        format!(
            "  {} {} {} {}  {}",
            look.symbols.arrows.down,
            format_bytes(row.traffic.down.bytes),
            look.symbols.arrows.up,
            format_bytes(row.traffic.up.bytes),
            counted(row.sockets as usize, "socket", "sockets")
        ),
        theme.dim,
    ));
    let (mut down, mut up) = (0, 0);
    for process in state.processes_of(&row.key) {
        down += process.loopback.down;
        up += process.loopback.up;
    }
    if down + up > 0 {
        title.push(Span::styled(
            format!(
                "  loopback {} {} {} {}",
                look.symbols.arrows.down,
                format_bytes(down),
                look.symbols.arrows.up,
                format_bytes(up)
            ),
            theme.dim,
        ));
    }
    let mut lines = vec![Line::from(title)];
    let Some(lead) = state.lead(row) else {
        return lines;
    };
    let mut tell = |label, text: &str| {
        let text = escape(text);
        let text = if text.is_empty() { "?".into() } else { text };
        let shown = cut(&text, width, look).into_owned();
        lines.push(labelled(label, shown, theme.text, look));
    };
    tell("exe", &lead.exe);
    tell("command", &lead.command);
    let unit = unit_of(&lead.cgroup);
    tell(
        "user",
        &match &unit {
            Some(unit) => format!("{}   {unit}", lead.user),
            None => lead.user.to_string(),
        },
    );
    tell("cgroup", &lead.cgroup);
    match &row.key {
        RowKey::Process(_) | RowKey::Connection(..) => tell("parents", &parents(lead, state, look)),
        RowKey::Group(_) => {
            let pids: Vec<String> = state
                .processes_of(&row.key)
                .map(|process| process.key.pid.to_string())
                .collect();
            tell("processes", &pids.join(" "));
        }
    }
    lines
}

/// From the parent up.
fn parents(process: &ProcessSample, state: &State, look: &Look) -> String {
    let processes = &state.snapshot.processes;
    let mut names = Vec::new();
    let mut at = process;
    while names.len() < PARENTS {
        let parent = at.parent;
        let Some(found) = processes.iter().find(|it| {
            it.key.pid == parent && it.key.start_ticks <= at.key.start_ticks && !it.ended
        }) else {
            break;
        };
        names.push(format!("{} ({parent})", escape(&found.name)));
        at = found;
    }
    names.join(look.symbols.from)
}

fn draw_graphs(frame: &mut Frame, area: Rect, row: &Row, state: &State, look: &Look) {
    if area.height < 2 {
        return;
    }
    let ring = state
        .history
        .of(state.processes_of(&row.key).map(|process| process.key));
    let limit = match row.limit {
        RowLimit::One(_, limit) => limit,
        RowLimit::None | RowLimit::Several => Limit::NONE,
    };
    let halves: [Rect; 2] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(2)
        .areas(area);
    let theme = &look.theme;
    for (direction, half) in Direction::ALL.into_iter().zip(halves) {
        let (symbol, style) = (look.symbols.arrows[direction], theme.traffic[direction]);
        let [title, body] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(half);
        let graph = Graph {
            rates: ring.latest_first(direction),
            samples: state.history.samples,
            limit: limit
                .rate(direction)
                .map(|rate| rate.bytes_per_second() as f64),
            style,
            floor: 1_000.0,
        };
        let full = graph.draw(frame, body, look);
        let now = format_rate(row.traffic[direction].bytes_per_s, state.style);
        let full = format_rate(full, state.style);
        let line = Line::from(vec![
            Span::styled(format!("{symbol} {now}"), style),
            Span::styled(format!("  1 min, peak {full}"), theme.dim),
        ]);
        frame.render_widget(Paragraph::new(line), title);
    }
}

/// Target, achieved, refused, error, and why.
fn limit_lines<'a>(row: &Row, state: &State, look: &Look) -> Vec<Line<'a>> {
    let theme = &look.theme;
    let sample = match row.limit {
        RowLimit::One(id, _) => state.limit(id),
        RowLimit::None => {
            return vec![labelled("limit", "none: Enter sets one", theme.dim, look)];
        }
        RowLimit::Several => {
            let text = "several: Enter sets one for all of them";
            return vec![labelled("limit", text, theme.dim, look)];
        }
    };
    let Some(sample) = sample else {
        return Vec::new();
    };
    let shared = match sample.members {
        0 | 1 => String::new(),
        n => format!(", {n} share it"),
    };
    let children = if sample.children {
        ", with children"
    } else {
        ""
    };
    let text = arrows(&format!("{}{children}{shared}", sample.limit), look);
    let mut lines = vec![labelled("limit", text, theme.limit, look)];
    if let Some(origin) = state
        .origin(sample.id)
        .filter(|origin| origin.pid != state.pid)
    {
        let detached = if origin.detached { ", detached" } else { "" };
        let text = match &origin.rule {
            Some(rule) => format!("rule {}", escape(rule)),
            None => {
                let user = escape(&origin.user);
                format!("{user}, process {}{detached}", origin.pid)
            }
        };
        lines.push(labelled("set by", text, theme.dim, look));
    }
    for (direction, label) in [(Direction::Down, "download"), (Direction::Up, "upload")] {
        let Some(used) = Use::of(sample, direction) else {
            continue;
        };
        let rate = |rate: f64| format_rate(rate, state.style);
        let numbers = format!(
            "{} of {}, {:+.1} %, refused {} ({:.1} %)",
            rate(used.traffic.bytes_per_s),
            sample
                .limit
                .rate(direction)
                .map_or_else(String::new, |rate| rate.shown(state.style)),
            (used.part() - 1.0) * 100.0,
            rate(used.traffic.dropped_bytes_per_s),
            used.refused() * 100.0
        );
        lines.push(labelled(label, numbers, theme.text, look));
        let style = if used.unseen {
            theme.error
        } else if used.holds_back() {
            theme.held
        } else {
            theme.dim
        };
        lines.push(labelled("", used.in_words(), style, look));
    }
    lines
}

fn draw_connections(frame: &mut Frame, area: Rect, details: &Details, state: &State, look: &Look) {
    let title = match &details.connections {
        None => " connections: looking ".to_owned(),
        Some(connections) => {
            let more = if details.more { ", and more" } else { "" };
            let count = counted(connections.len(), "connection", "connections");
            format!(" {count}{more} ")
        }
    };
    let block = Block::new()
        .borders(Borders::TOP)
        .border_set(look.symbols.border)
        .border_style(look.theme.border)
        .title(Span::styled(title, look.theme.title));
    let inside = block.inner(area);
    frame.render_widget(block, area);
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
    let end = |end: Option<std::net::SocketAddr>| {
        end.map_or_else(|| nothing.to_owned(), |end| end.to_string())
    };
    let remote = match (&row.name, it.remote) {
        (Some(name), Some(remote)) => format!("{}:{}", escape(name), remote.port()),
        _ => end(it.remote),
    };
    let rate = |direction: Direction| {
        let rate = row.rates.map(|rates| rates[direction]);
        rate.map_or_else(|| nothing.to_owned(), |rate| format_rate(rate, state.style))
    };
    let rtt = it.round_trip.map_or_else(
        || nothing.to_owned(),
        |rtt| match rtt.as_secs_f64() * 1e3 {
            ms @ ..10.0 => format!("{ms:.2} ms"),
            ms => format!("{ms:.0} ms"),
        },
    );
    [
        it.protocol.clone(),
        end(it.local),
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
        let fixed = [STATE, RATE, RATE, RTT];
        let addresses = 2 * 22;
        let mut widths = [PROTOCOL, 22, 22, STATE, RATE, RATE, RTT];
        // The state leaves first, then the local address.
        let needed = PROTOCOL + addresses + fixed.iter().sum::<usize>() + 7;
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
