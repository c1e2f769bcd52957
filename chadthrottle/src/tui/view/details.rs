//! One row, looked at closely: what it is, its limit and how that is met, its connections.

mod connections;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use super::{Look, arrows, counted, cut, edge, graph::Graph, labelled, section};
use crate::{
    model::{Direction, Limit, ProcessSample},
    process::unit_of,
    text::{escape, name_of_process},
    tui::{
        act,
        details_layout::{Parts, beside_label},
        limit_words::{Told, Tone, limit_words},
        rows::{Row, RowKey, RowLimit},
        state::{Details, State},
        time_axis::ago,
        wrap::wrapped,
    },
    units::{format_bytes, format_rate},
};

/// Most ancestors that are told.
const PARENTS: usize = 6;

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
    let words = limit_words(row, state);
    let parts = Parts::of(area, row, &words, state);
    let panel = |frame: &mut Frame, area: Option<Rect>, title: Line<'_>| {
        if let Some(area) = area {
            edge(frame, area, title, Line::default(), look);
        }
    };
    panel(frame, parts.panel, title(row, state, look));
    let mut about = about(row, state, parts.about.width, look);
    if parts.panel.is_none() {
        about.insert(0, title(row, state, look));
    }
    frame.render_widget(Paragraph::new(about), parts.about);
    let limits = limit_lines(&words, parts.limit.width, look);
    frame.render_widget(Paragraph::new(limits), parts.limit);
    let rates = rates(row, state, look);
    match parts.graph_panel {
        Some(_) => panel(frame, parts.graph_panel, rates),
        None => frame.render_widget(Paragraph::new(rates), parts.rates),
    }
    draw_graph(frame, parts.graph, row, state, look);
    let title = Span::styled(connections::title(details), look.theme.title);
    match parts.connections_panel {
        Some(_) => panel(frame, parts.connections_panel, Line::from(title)),
        None => {
            let block = Block::new()
                .borders(Borders::TOP)
                .border_set(look.symbols.border)
                .border_style(look.theme.border)
                .title(Line::from(vec![Span::raw(" "), title, Span::raw(" ")]));
            frame.render_widget(block, parts.connections_edge);
        }
    }
    connections::draw(frame, parts.connections, details, state, look);
}

fn title<'a>(row: &Row, state: &State, look: &Look) -> Line<'a> {
    let theme = &look.theme;
    let all = state.processes_of(&row.key).count();
    let who = match row.key {
        // It is drawn of those that the filter leaves.
        RowKey::Group(_) if row.count < all => {
            format!("{} ({} of {all} processes)", state.name_of(row), row.count)
        }
        _ => act::who(state, row),
    };
    let mut title = vec![Span::styled(who, theme.title)];
    if row.ended {
        title.push(Span::styled("  ended", theme.error));
    }
    Line::from(title)
}

/// What it carries now.
fn rates<'a>(row: &Row, state: &State, look: &Look) -> Line<'a> {
    let then = state.age().map(|age| {
        let processes = state.processes_of(&row.key).map(|process| process.key);
        (age, state.history.at(processes, age))
    });
    let rate = |direction| {
        let arrow = look.symbols.arrows[direction];
        let rate = match then {
            Some((_, point)) => point.rate(direction),
            None => row.traffic[direction].bytes_per_s,
        };
        let rate = format_rate(rate, state.style);
        Span::styled(format!("{arrow} {rate}"), look.theme.traffic[direction])
    };
    let when = match then {
        Some((age, _)) => Span::styled(format!("  {}", ago(age)), look.theme.key),
        None => Span::styled(format!("  {}", state.span.name()), look.theme.dim),
    };
    let mut spans = vec![
        rate(Direction::Down),
        Span::raw("  "),
        rate(Direction::Up),
        when,
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
        names.push(format!(
            "{} ({parent})",
            name_of_process(&found.name, &found.exe)
        ));
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
        moment: state.moment,
    };
    graph.draw(frame, area, look);
}

/// What there is to say of its limit, in as many lines as that takes.
fn limit_lines<'a>(words: &[Told], width: u16, look: &Look) -> Vec<Line<'a>> {
    let theme = &look.theme;
    let lines = words.iter().flat_map(|told| {
        let style = match told.tone {
            Tone::Dim => theme.dim,
            Tone::Text => theme.text,
            Tone::Limit => theme.limit,
            Tone::Held => theme.held,
            Tone::Error => theme.error,
        };
        let labels = std::iter::once(told.label).chain(std::iter::repeat(""));
        let lines = labels.zip(wrapped(&told.text, beside_label(width)));
        lines.map(move |(label, line)| labelled(label, arrows(&line, look), style, look))
    });
    lines.collect()
}
