//! The first lines: totals and their last minute, limits, how it is attached, warnings.

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, counted, cut, graph::Graph};
use crate::{
    config::View,
    model::Direction,
    tui::{
        layout::Areas,
        rows::Show,
        state::{Mode, State},
    },
    units::format_rate,
};

/// What the full height of the graphs stands for at least, in bytes a second: silence looks like
/// silence.
const FLOOR: f64 = 10_000.0;

/// Draws the header.
pub fn draw(frame: &mut Frame, areas: &Areas, state: &State, look: &Look) {
    let theme = &look.theme;
    let total = |direction| {
        let rate = state.history.total.latest_first(direction).next();
        format_rate(rate.unwrap_or_default(), state.style)
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
        Span::raw("  "),
        Span::styled(
            limits,
            if state.snapshot.limits.is_empty() {
                theme.dim
            } else {
                theme.limit
            },
        ),
    ];
    if state.paused.is_some() {
        summary.push(Span::styled(
            "  PAUSED: the view stands still, limits go on",
            theme.error,
        ));
    }
    frame.render_widget(Paragraph::new(Line::from(summary)), areas.summary);

    let [down, up] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(2)
        .areas(areas.graphs);
    for (direction, area) in [(Direction::Down, down), (Direction::Up, up)] {
        let graph = Graph {
            rates: state.history.total.latest_first(direction),
            samples: state.history.samples,
            limit: None,
            style: theme.traffic[direction],
            floor: FLOOR,
        };
        graph.draw(frame, area, look);
    }
    let line = match state.snapshot.warnings.last() {
        Some(warning) => Line::styled(format!("! {warning}"), theme.error),
        None => status(state, look),
    };
    frame.render_widget(Paragraph::new(line), areas.status);
}

/// What is shown, in which order, and how limits are held.
fn status(state: &State, look: &Look) -> Line<'static> {
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
    let levers = if state.info.levers.levers {
        "pacing, window, policer"
    } else {
        "policer"
    };
    spans.push(Span::styled(
        format!("  {}: {levers}", state.info.attach),
        theme.dim,
    ));
    Line::from(spans)
}
