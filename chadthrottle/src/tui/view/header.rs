//! The first lines: totals, limits, how it is attached, warnings.

use std::collections::HashSet;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::{
    engine::ProcessSample,
    tui::{state::State, theme::Theme},
    units::format_rate,
};

/// Draws the header.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, theme: &Theme) {
    let processes = &state.snapshot.processes;
    let sum = |rate: fn(&ProcessSample) -> f64| {
        format_rate(processes.iter().map(rate).sum::<f64>(), state.style)
    };
    let limits: HashSet<_> = processes
        .iter()
        .filter_map(|process| process.limit.map(|(id, _)| id))
        .collect();
    let limits = match limits.len() {
        0 => "no limits".to_owned(),
        1 => "1 limit".to_owned(),
        n => format!("{n} limits"),
    };
    let order = if state.reversed { ", reversed" } else { "" };
    let first = Line::from(vec![
        Span::styled("ChadThrottle", theme.title),
        Span::raw("  "),
        Span::styled(
            format!("↓ {}", sum(|process| process.down.bytes_per_s)),
            theme.down,
        ),
        Span::raw("  "),
        Span::styled(
            format!("↑ {}", sum(|process| process.up.bytes_per_s)),
            theme.up,
        ),
        Span::raw(format!("  {limits}")),
    ]);
    let second = match state.snapshot.warnings.last() {
        Some(warning) => Line::styled(format!("! {warning}"), theme.error),
        None => {
            let (count, sort) = (processes.len(), state.sort.name());
            let attach = state.info.attach;
            let text = format!("{count} processes by {sort}{order}, attached by {attach}");
            Line::styled(text, theme.dim)
        }
    };
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}
