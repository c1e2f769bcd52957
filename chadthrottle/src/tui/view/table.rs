//! The table.

use ratatui::{
    Frame,
    layout::{Alignment, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

use super::{Look, cut, edge, graph::trend, header, other_end, round_trip};
use crate::{
    model::{Direction, LimitId},
    process::unit_of,
    text::escape,
    tui::{
        columns::{Column, columns},
        filter::{WORDS, unknown_word},
        held::Use,
        layout::Areas,
        remotes::Remote,
        rows::{Branch, Row, RowKey, RowLimit, Sort},
        state::State,
    },
    units::{format_bytes, format_rate},
};

/// Draws what is shown: on the edge of the panel, or where there are none on a line of its own.
pub fn status(frame: &mut Frame, areas: &Areas, state: &State, look: &Look) {
    let status = header::status(state, look);
    match areas.table_panel {
        Some(panel) => edge(frame, panel, status, Line::default(), look),
        None => frame.render_widget(Paragraph::new(status), areas.status),
    }
}

/// Draws what is shown, titles and rows.
pub fn draw(frame: &mut Frame, areas: &Areas, state: &State, look: &Look) {
    status(frame, areas, state, look);
    let columns = columns(areas, state);
    for (column, x, width) in &columns {
        let title = title(*column, state, look);
        let line = Line::styled(title, look.theme.title);
        put(frame, &line, *column, *x, areas.titles, *width);
    }
    if state.rows.is_empty() {
        instead_of_rows(frame, areas.rows, nothing(state), look);
        return;
    }
    let visible = state.rows.iter().skip(state.offset);
    for (row, y) in visible.zip(areas.rows.top()..areas.rows.bottom()) {
        let selected = state.selected.as_ref() == Some(&row.key);
        let mark = mark(row, state, look);
        frame.buffer_mut().set_line(areas.rows.x, y, &mark, 1);
        for (column, x, width) in &columns {
            let mut line = cell(*column, row, usize::from(*width), state, look);
            // The selected row is of one colour: what is dim could not be read there.
            if selected {
                line.style = Style::new();
                for span in &mut line.spans {
                    span.style = Style::new();
                }
            }
            let area = Rect {
                y,
                height: 1,
                ..areas.rows
            };
            put(frame, &line, *column, *x, area, *width);
        }
        if selected {
            let line = Rect::new(areas.rows.x, y, areas.rows.width, 1);
            frame.buffer_mut().set_style(line, look.theme.selected);
        }
    }
}

/// Says why there are no rows where they would be.
pub fn instead_of_rows(frame: &mut Frame, rows: Rect, words: String, look: &Look) {
    let area = Rect {
        x: rows.x + 1,
        width: rows.width.saturating_sub(1),
        ..rows
    };
    let words = Paragraph::new(Line::styled(words, look.theme.dim));
    frame.render_widget(words.wrap(Wrap { trim: true }), area);
}

/// That the filter leaves nothing, and where a word of it is none, that.
pub fn no_match(noun: &str, state: &State) -> String {
    match unknown_word(&state.filter.text) {
        Some(word) => format!("{}: is no word of the filter: {WORDS}", escape(word)),
        None => format!("no {noun} matches the filter: Esc clears it"),
    }
}

/// That the engine has not answered what was asked of it for the row, or that it is tagged.
pub fn mark(row: &Row, state: &State, look: &Look) -> Line<'static> {
    if state.is_pending(row) {
        Line::styled(look.symbols.pending, look.theme.held)
    } else if state.tagged.contains(&row.key) {
        Line::styled(look.symbols.tag, look.theme.tag)
    } else {
        Line::default()
    }
}

/// Puts a line into its column of an area.
fn put(frame: &mut Frame, line: &Line<'_>, column: Column, x: u16, area: Rect, width: u16) {
    let used = u16::try_from(line.width()).unwrap_or(u16::MAX);
    let indent = match alignment(column) {
        Alignment::Right => width.saturating_sub(used),
        _ => 0,
    };
    // An area narrower than the columns that always stay.
    let room = area.right().saturating_sub(x + indent);
    let width = width.saturating_sub(indent).min(room);
    frame.buffer_mut().set_line(x + indent, area.y, line, width);
}

fn alignment(column: Column) -> Alignment {
    match column {
        Column::Name
        | Column::User
        | Column::Trend
        | Column::DownGauge
        | Column::UpGauge
        | Column::Held
        | Column::Rule
        | Column::Remote
        | Column::Unit
        | Column::Command => Alignment::Left,
        _ => Alignment::Right,
    }
}

/// Why there is nothing to see.
fn nothing(state: &State) -> String {
    if state.snapshot.sequence == 0 {
        "reading processes".to_owned()
    } else if state.filter.text.is_empty() {
        format!("no processes {}: f shows others", state.show.name())
    } else {
        no_match("process", state)
    }
}

/// The column's title, with a mark on what the rows are sorted by.
fn title(column: Column, state: &State, look: &Look) -> String {
    let (down, up) = (look.symbols.arrows.down, look.symbols.arrows.up);
    let title = match column {
        Column::Pid if state.view.is_of_groups() => "COUNT".to_owned(),
        Column::Pid => "PID".to_owned(),
        Column::Name => "NAME".to_owned(),
        Column::User => "USER".to_owned(),
        Column::Sockets => "SOCKS".to_owned(),
        Column::Down => down.to_owned(),
        Column::Up => up.to_owned(),
        Column::Trend => "TREND".to_owned(),
        Column::DownTotal => format!("{down} TOTAL"),
        Column::UpTotal => format!("{up} TOTAL"),
        Column::DownLimit => format!("{down} LIMIT"),
        Column::UpLimit => format!("{up} LIMIT"),
        Column::DownGauge | Column::UpGauge => "USED".to_owned(),
        Column::Held => "HELD".to_owned(),
        Column::Rule => "RULE".to_owned(),
        Column::Remote => "REMOTE".to_owned(),
        Column::RoundTrip => "RTT".to_owned(),
        Column::Unit => "UNIT".to_owned(),
        Column::Command => "COMMAND".to_owned(),
    };
    let sorted = column.sort() == Some(state.sort)
        && !matches!(column, Column::DownGauge | Column::UpGauge | Column::Trend)
        || state.sort == Sort::Total && matches!(column, Column::Down | Column::Up);
    match sorted {
        true => format!("{}{title}", look.symbols.chosen),
        false => title,
    }
}

fn cell<'a>(column: Column, row: &'a Row, width: usize, state: &'a State, look: &Look) -> Line<'a> {
    let theme = &look.theme;
    let lead = state.lead(row);
    let rate = |rate: f64, style| {
        let style = if rate > 0.0 && !row.ended {
            style
        } else {
            theme.dim
        };
        Line::styled(format_rate(rate, state.style), style)
    };
    let dim = |text: String| Line::styled(text, theme.dim);
    match column {
        Column::Pid => dim(match row.key {
            RowKey::Process(key) | RowKey::Connection(key, _) => key.pid.to_string(),
            RowKey::Group(_) => format!("x{}", row.count),
        }),
        Column::Name => name(row, width, state, look),
        Column::User => {
            let user = lead.map(|lead| escape(&lead.user));
            dim(cut(&user.unwrap_or_default(), width, look).into_owned())
        }
        Column::Sockets => dim(row.sockets.to_string()),
        Column::Down => rate(row.traffic.down.bytes_per_s, theme.traffic.down),
        Column::Up => rate(row.traffic.up.bytes_per_s, theme.traffic.up),
        Column::Trend => {
            let processes = state.members_of(row).map(|process| process.key);
            let ring = state.history.of(processes, state.span);
            let text = trend(&ring, state.history.samples, state.span, width, look);
            let traffic = row.traffic.map(|traffic| traffic.bytes_per_s);
            Line::styled(
                text,
                if traffic.up > traffic.down {
                    theme.traffic.up
                } else {
                    theme.traffic.down
                },
            )
        }
        Column::DownTotal => dim(format_bytes(row.traffic.down.bytes)),
        Column::UpTotal => dim(format_bytes(row.traffic.up.bytes)),
        Column::DownLimit => limit(row, Direction::Down, state, look),
        Column::UpLimit => limit(row, Direction::Up, state, look),
        Column::DownGauge => gauge(row, Direction::Down, width, state, look),
        Column::UpGauge => gauge(row, Direction::Up, width, state, look),
        Column::Held => held(row, width, state, look),
        Column::Rule => dim(cut(&rule(row, state), width, look).into_owned()),
        Column::Remote => {
            let text = remote(row, state)
                .map_or_else(String::new, |it| other_end(it.end, it.name.as_deref()));
            Line::raw(cut(&text, width, look).into_owned())
        }
        Column::RoundTrip => {
            let time = remote(row, state).and_then(|remote| remote.round_trip);
            dim(time.map_or_else(String::new, round_trip))
        }
        Column::Unit => dim(lead.map_or_else(String::new, |lead| unit(&lead.cgroup, width, look))),
        Column::Command => {
            let style = if row.ended { theme.dim } else { theme.text };
            let command = lead.map_or_else(String::new, |lead| begin(&lead.command, width, look));
            Line::styled(command, style)
        }
    }
}

/// The other end that the row carries most to and from.
fn remote<'a>(row: &Row, state: &'a State) -> Option<&'a Remote> {
    let processes = state.members_of(row).filter(|process| !process.ended);
    state.remotes.of(processes.map(|process| process.key))
}

/// Branches of the tree, and the name, of the selected program's processes with their number.
fn name<'a>(row: &Row, width: usize, state: &State, look: &Look) -> Line<'a> {
    let symbols = &look.symbols;
    let mut branches: String = row
        .branches
        .iter()
        .map(|branch| {
            let index = match branch {
                Branch::Middle => 0,
                Branch::Last => 1,
                Branch::Passing => 2,
                Branch::Blank => 3,
            };
            symbols.branches.get(index).copied().unwrap_or_default()
        })
        .collect();
    if let Some(folded) = row.folded {
        branches.push_str(symbols.folds[usize::from(!folded)]);
        branches.push(' ');
    }
    // A deep tree leaves room for the name; what is cut on the left is said.
    let room = width.saturating_sub(9);
    let over = branches.chars().count().saturating_sub(room);
    if over > 0 {
        let kept: String = branches.chars().skip(over + 1).collect();
        branches = format!("{}{kept}", symbols.ellipsis);
    }
    let mut name = state.name_of(row);
    if row.folded == Some(true) {
        name.push_str(&format!(" (+{})", row.count - 1));
    }
    let style = if row.ended {
        name.push_str(" (ended)");
        look.theme.dim
    } else {
        look.theme.text
    };
    let left = width.saturating_sub(Span::raw(branches.as_str()).width());
    Line::from(vec![
        Span::styled(branches, look.theme.border),
        Span::styled(cut(&name, left, look).into_owned(), style),
    ])
}

fn used(row: &Row, direction: Direction, state: &State) -> Option<Use> {
    match row.limit {
        RowLimit::One(id, _) => Use::of(state.limit(id)?, direction),
        RowLimit::None | RowLimit::Several => None,
    }
}

fn limit<'a>(row: &Row, direction: Direction, state: &State, look: &Look) -> Line<'a> {
    let text = match row.limit {
        RowLimit::None => String::new(),
        RowLimit::Several => "mixed".to_owned(),
        RowLimit::One(_, limit) => {
            let rate = limit.rate(direction);
            rate.map(|rate| rate.shown(state.style)).unwrap_or_default()
        }
    };
    Line::styled(text, look.theme.limit)
}

/// How much of the limit is used, by all that share it.
fn gauge<'a>(
    row: &Row,
    direction: Direction,
    width: usize,
    state: &State,
    look: &Look,
) -> Line<'a> {
    /// From this width on there is room for the percentage: " 100%".
    const WITH_PERCENTAGE: usize = 9;
    let Some(used) = used(row, direction, state) else {
        return Line::default();
    };
    if used.is_quiet() {
        return Line::styled("idle", look.theme.dim);
    }
    let percentage = if width >= WITH_PERCENTAGE {
        format!("{:>4.0}%", (used.part() * 100.0).min(999.0))
    } else {
        String::new()
    };
    let width = width - percentage.len();
    let steps = look.symbols.gauge.len() - 1;
    let filled = (used.part().min(1.0) * (width * steps) as f64).round() as usize;
    let text: String = (0..width)
        .map(|cell| {
            let part = filled.saturating_sub(cell * steps).min(steps);
            look.symbols.gauge.get(part).copied().unwrap_or(" ")
        })
        .collect();
    Line::styled(text + &percentage, look.theme.limit)
}

/// The container or unit of a cgroup.
fn unit(cgroup: &str, width: usize, look: &Look) -> String {
    let unit = unit_of(cgroup).unwrap_or_default();
    begin(unit.strip_prefix("unit ").unwrap_or(&unit), width, look)
}

/// What fits of a text that may be very long, and hold anything.
fn begin(text: &str, width: usize, look: &Look) -> String {
    let end = text.char_indices().nth(width + 1);
    let text = end.and_then(|(end, _)| text.get(..end)).unwrap_or(text);
    cut(&escape(text), width, look).into_owned()
}

/// The rule that a row's limit comes from.
fn rule(row: &Row, state: &State) -> String {
    let rule = match row.limit {
        RowLimit::One(id, _) => state.origin(id).and_then(|origin| origin.rule.as_ref()),
        RowLimit::None | RowLimit::Several => None,
    };
    rule.map_or_else(String::new, |rule| escape(rule).into_owned())
}

/// The directions that are held back right now, and where there is room how; also of what is below in the tree.
fn held<'a>(row: &Row, width: usize, state: &State, look: &Look) -> Line<'a> {
    let mut limits: Vec<LimitId> = state.limits_of(row);
    limits.extend(&row.limits_below);
    let holds_back = |direction: Direction| {
        // Of those that share a limit, who carries nothing is not held back.
        let own = row.traffic[direction];
        if own.bytes_per_s + own.dropped_bytes_per_s == 0.0 {
            return None;
        }
        let samples = limits.iter().filter_map(|id| state.limit(*id));
        let mut uses = samples.filter_map(|sample| Use::of(sample, direction));
        uses.find(Use::holds_back)
    };
    let held: Vec<(Direction, Use)> = Direction::ALL
        .into_iter()
        .filter_map(|direction| Some((direction, holds_back(direction)?)))
        .collect();
    let mut text: String = held
        .iter()
        .map(|(direction, _)| look.symbols.arrows[*direction])
        .collect();
    // How, where it is the same in all directions and there is room for it.
    let mut hows = held.iter().map(|(_, used)| used.by());
    if let Some(how) = hows.next()
        && hows.all(|other| other == how)
        && !how.is_empty()
        && held.len() + 1 + how.len() <= width
    {
        text.push_str(&format!(" {how}"));
    }
    Line::styled(text, look.theme.held)
}
