//! One row, looked at closely: what it is, its limit and how that is met, its connections.

use std::net::{IpAddr, SocketAddr};

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use super::{Look, arrows, counted, cut, graph::Graph, labelled, section};
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

/// From this width on what it is and its graph stand beside each other.
const WIDE: u16 = 120;

/// Draws the details in place of the table, or beside it.
pub fn draw(frame: &mut Frame, area: Rect, details: &Details, state: &State, look: &Look) {
    let Some(row) = state.details_row(&details.key) else {
        let inside = section(frame, area, Line::default(), state, look);
        let words = match state.details {
            Some(_) => " It has ended: Esc leads back.",
            None => " It has ended.",
        };
        let line = Line::styled(words, look.theme.dim);
        frame.render_widget(Paragraph::new(line), inside);
        return;
    };
    let row = row.as_ref();
    let panels = state.areas().table_panel.is_some();
    if panels && area.width >= WIDE {
        draw_wide(frame, area, row, details, state, look);
        return;
    }
    let title = title(row, state, look);
    let inside = section(frame, area, title.clone(), state, look);
    let mut about = about(row, state, inside.width, look);
    if !panels {
        about.insert(0, title);
    }
    let about_rows = rows_of(&about);
    let limits = limit_lines(row, state, inside.width, look);
    let limit_rows = rows_of(&limits);
    // Connections get what graphs leave; on a low screen there are none.
    let graph_rows = match inside.height.saturating_sub(about_rows + limit_rows) {
        ..9 => 0,
        9..13 => 4,
        13..20 => 8,
        _ => 12,
    };
    let parts = Layout::vertical([
        Constraint::Length(about_rows),
        Constraint::Length(graph_rows),
        Constraint::Length(limit_rows),
        Constraint::Fill(1),
    ]);
    let [about_area, graph_area, limit_area, connections_area] = parts.areas(inside);
    frame.render_widget(Paragraph::new(about), about_area);
    if graph_rows > 0 {
        let [words, graph] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(graph_area);
        frame.render_widget(Paragraph::new(rates(row, state, look)), words);
        draw_graph(frame, graph, row, state, look);
    }
    frame.render_widget(Paragraph::new(limits), limit_area);
    let block = Block::new()
        .borders(Borders::TOP)
        .border_set(look.symbols.border)
        .border_style(look.theme.border)
        .title(Span::styled(
            format!(" {} ", connections_title(details)),
            look.theme.title,
        ));
    let inside = block.inner(connections_area);
    frame.render_widget(block, connections_area);
    draw_connections(frame, inside, details, state, look);
}

/// What it is and its graph beside each other, its connections below, each in a panel.
fn draw_wide(
    frame: &mut Frame,
    area: Rect,
    row: &Row,
    details: &Details,
    state: &State,
    look: &Look,
) {
    let left = area.width * 2 / 5;
    let mut lines = about(row, state, left - 2, look);
    lines.push(Line::default());
    lines.extend(limit_lines(row, state, left - 2, look));
    // Connections have a place, too.
    let needed = (rows_of(&lines) + 2).max(13).max(area.height / 2);
    let top_rows = needed.min(area.height * 2 / 3);
    let [top, bottom] =
        Layout::vertical([Constraint::Length(top_rows), Constraint::Fill(1)]).areas(area);
    let [left, right] =
        Layout::horizontal([Constraint::Length(left), Constraint::Fill(1)]).areas(top);
    let inside = section(frame, left, title(row, state, look), state, look);
    frame.render_widget(Paragraph::new(lines), inside);
    let inside = section(frame, right, rates(row, state, look), state, look);
    draw_graph(frame, inside, row, state, look);
    let title = Line::styled(connections_title(details), look.theme.title);
    let inside = section(frame, bottom, title, state, look);
    draw_connections(frame, inside, details, state, look);
}

fn rows_of(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}

fn title<'a>(row: &Row, state: &State, look: &Look) -> Line<'a> {
    let theme = &look.theme;
    let mut title = vec![Span::styled(act::who(state, row), theme.title)];
    if row.ended {
        title.push(Span::styled("  ended", theme.error));
    }
    Line::from(title)
}

/// What it carries now.
fn rates<'a>(row: &Row, state: &State, look: &Look) -> Line<'a> {
    let rate = |direction| {
        let arrow = look.symbols.arrows[direction];
        let rate = format_rate(row.traffic[direction].bytes_per_s, state.style);
        Span::styled(format!("{arrow} {rate}"), look.theme.traffic[direction])
    };
    let mut spans = vec![
        rate(Direction::Down),
        Span::raw("  "),
        rate(Direction::Up),
        Span::styled(format!("  {}", state.span.name()), look.theme.dim),
    ];
    if limit_of(row) != Limit::NONE {
        let [_, down, up, _] = look.symbols.axis;
        let words = format!("  {down}{up} held back");
        spans.push(Span::styled(words, look.theme.held));
    }
    Line::from(spans)
}

fn about<'a>(row: &Row, state: &'a State, width: u16, look: &Look) -> Vec<Line<'a>> {
    let theme = &look.theme;
    let width = usize::from(width).saturating_sub(11);
    let both = |down, up| {
        format!(
            "{} {} {} {}",
            look.symbols.arrows.down,
            format_bytes(down),
            look.symbols.arrows.up,
            format_bytes(up)
        )
    };
    let mut carried = format!(
        "{}  {}",
        both(row.traffic.down.bytes, row.traffic.up.bytes),
        counted(row.sockets as usize, "socket", "sockets")
    );
    let (mut down, mut up) = (0, 0);
    for process in state.processes_of(&row.key) {
        down += process.loopback.down;
        up += process.loopback.up;
    }
    if down + up > 0 {
        carried.push_str(&format!("  loopback {}", both(down, up)));
    }
    let mut lines = Vec::new();
    let mut tell = |label, text: &str| {
        let text = escape(text);
        let text = if text.is_empty() { "?".into() } else { text };
        let shown = cut(&text, width, look).into_owned();
        lines.push(labelled(label, shown, theme.text, look));
    };
    tell("carried", &carried);
    let Some(lead) = state.lead(row) else {
        return lines;
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

fn limit_of(row: &Row) -> Limit {
    match row.limit {
        RowLimit::One(_, limit) => limit,
        RowLimit::None | RowLimit::Several => Limit::NONE,
    }
}

fn draw_graph(frame: &mut Frame, area: Rect, row: &Row, state: &State, look: &Look) {
    let processes = state.processes_of(&row.key).map(|process| process.key);
    let graph = Graph {
        ring: &state.history.of(processes, state.span),
        samples: state.history.samples,
        span: state.span,
        limit: limit_of(row),
        floor: 1_000.0,
        style: state.style,
    };
    graph.draw(frame, area, look);
}

/// Target, achieved, refused, error, and why.
fn limit_lines<'a>(row: &Row, state: &State, width: u16, look: &Look) -> Vec<Line<'a>> {
    let theme = &look.theme;
    let told = |label, text: &str, style| wrapped(label, text, style, width, look);
    let sample = match row.limit {
        RowLimit::One(id, _) => state.limit(id),
        RowLimit::None => {
            return told("limit", "none: Enter sets one", theme.dim);
        }
        RowLimit::Several => {
            let text = "several: Enter sets one for all of them";
            return told("limit", text, theme.dim);
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
    let mut lines = told("limit", &text, theme.limit);
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
        lines.extend(told("set by", &text, theme.dim));
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
        lines.extend(told(label, &numbers, theme.text));
        let style = if used.unseen {
            theme.error
        } else if used.holds_back() {
            theme.held
        } else {
            theme.dim
        };
        lines.extend(told("", used.in_words(), style));
    }
    lines
}

/// A word and what it says, in as many lines as that takes.
fn wrapped<'a>(
    label: &'static str,
    text: &str,
    style: Style,
    width: u16,
    look: &Look,
) -> Vec<Line<'a>> {
    const LABEL: usize = 10;
    let room = usize::from(width).saturating_sub(LABEL).max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if Span::raw(format!("{line} {word}")).width() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    let lines = labels.zip(lines);
    lines
        .map(|(label, line)| labelled(label, line, style, look))
        .collect()
}

fn connections_title(details: &Details) -> String {
    match &details.connections {
        None => "connections: looking".to_owned(),
        Some(connections) => {
            let more = if details.more { ", and more" } else { "" };
            let count = counted(connections.len(), "connection", "connections");
            format!("{count}{more}")
        }
    }
}

fn draw_connections(
    frame: &mut Frame,
    inside: Rect,
    details: &Details,
    state: &State,
    look: &Look,
) {
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

/// An address and its port; of an IPv4 connection as that, also where its socket is one of IPv6.
fn shown(end: SocketAddr) -> String {
    match end.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, end.port())).to_string(),
        IpAddr::V6(_) => end.to_string(),
    }
}

fn texts(row: &ConnectionRow, state: &State, look: &Look) -> [String; 7] {
    let it = &row.connection;
    let nothing = look.symbols.dash;
    let end = |end: Option<SocketAddr>| end.map_or_else(|| nothing.to_owned(), shown);
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
