//! The first lines: totals and what was carried of late, limits, how it is attached, warnings.

use ratatui::{
    Frame,
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

use super::{Look, counted, cut, edge, graph::Graph};
use crate::{
    config::View,
    model::{Direction, Limit},
    tui::{
        keymap::Command,
        layout::Areas,
        rows::Show,
        state::{Mode, State},
        time_axis::ago,
    },
    units::format_rate,
};

/// What the full height of the graphs stands for at least, in bytes a second: silence looks like
/// silence.
const FLOOR: f64 = 10_000.0;

/// Draws the header.
pub fn draw(frame: &mut Frame, areas: &Areas, state: &State, look: &Look) {
    let summary = summary(state, look);
    match areas.header_panel {
        Some(panel) => edge(frame, panel, summary, attached(state, look), look),
        None => frame.render_widget(Paragraph::new(summary), areas.summary),
    }
    let graph = Graph {
        ring: &state.history.total,
        samples: state.history.samples,
        span: state.span,
        limit: Limit::NONE,
        floor: FLOOR,
        style: state.style,
        moment: state.moment,
    };
    graph.draw(frame, areas.graphs, look);
    if let Some(warning) = state.warning() {
        let warning = Paragraph::new(Line::styled(warning, look.theme.error));
        frame.render_widget(warning.wrap(Wrap { trim: false }), areas.warning);
    }
}

/// The program, its totals, its limits.
fn summary(state: &State, look: &Look) -> Line<'static> {
    let theme = &look.theme;
    let total = |direction| {
        let point = state.history.total.at(state.age().unwrap_or(0));
        let rate = point.map_or(0.0, |point| point.rate(direction));
        format_rate(rate, state.style)
    };
    let limits = match state.limits_in_use() {
        0 => "no limits".to_owned(),
        count => counted(count, "limit", "limits"),
    };
    let mut summary = vec![
        Span::styled("ChadThrottle", theme.title),
        Span::raw("  "),
        Span::styled(
            format!("{} {}", look.symbols.arrows.down, total(Direction::Down)),
            theme.traffic.down,
        ),
        Span::raw("  "),
        Span::styled(
            format!("{} {}", look.symbols.arrows.up, total(Direction::Up)),
            theme.traffic.up,
        ),
        Span::styled(
            state
                .age()
                .map_or_else(String::new, |age| format!("  {}", ago(age))),
            theme.key,
        ),
    ];
    if state.paused.is_some() {
        let key = state.keymap.key_of(Command::Pause);
        let words = format!("  PAUSED: {key} goes on");
        summary.push(Span::styled(words, theme.error));
    }
    summary.extend([
        Span::raw("  "),
        Span::styled(
            limits,
            if state.snapshot.limits.is_empty() {
                theme.dim
            } else {
                theme.limit
            },
        ),
    ]);
    Line::from(summary)
}

/// How limits are held.
fn attached(state: &State, look: &Look) -> Line<'static> {
    let levers = if state.info.levers.levers {
        "pacing, window, policer"
    } else {
        "policer"
    };
    Line::styled(format!("{}: {levers}", state.info.attach), look.theme.dim)
}

/// What the table shows, in which order; without panels also how limits are held.
pub fn status(state: &State, look: &Look) -> Line<'static> {
    let theme = &look.theme;
    let (one, several) = state.view.nouns();
    let what = counted(state.rows.len(), one, several);
    let tree = match state.view {
        View::Tree => " as a tree",
        _ => "",
    };
    let show = match state.show {
        Show::All => String::new(),
        other => format!(" {}", other.name()),
    };
    let order = if state.reversed { ", reversed" } else { "" };
    let mut spans = vec![Span::styled(
        format!("{what}{tree}{show} by {}{order}", state.sort.name()),
        theme.dim,
    )];
    if let Some(age) = state.age() {
        let words = format!("  rates of now, graphs of {}", ago(age));
        spans.push(Span::styled(words, theme.key));
    }
    if !state.filter.text.is_empty() && state.mode != Mode::Filter {
        let text = crate::text::escape(&state.filter.text);
        let text = cut(&text, 20, look).into_owned();
        spans.push(Span::styled(format!("  /{text}"), theme.key));
    }
    if !state.tagged.is_empty() {
        let count = state.tagged.len();
        spans.push(Span::styled(
            format!("  {} {count} tagged", look.symbols.tag),
            theme.tag,
        ));
    }
    if state.areas().table_panel.is_none() {
        spans.push(Span::raw("  "));
        let attached = attached(state, look);
        let style = attached.style;
        spans.extend(attached.spans.into_iter().map(|span| span.style(style)));
    }
    Line::from(spans)
}
