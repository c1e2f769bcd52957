//! The limit dialog: two fields, and under each how it is understood.

use ratatui::{
    Frame,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::centred;
use crate::tui::{
    dialog::{Field, LimitDialog, Reading},
    theme::Theme,
};

const WIDTH: u16 = 58;
const HEIGHT: u16 = 9;
const LABELS: [&str; 2] = ["Download  ", "Upload    "];

/// Draws the dialog over the table.
pub fn draw(frame: &mut Frame, dialog: &LimitDialog, theme: &Theme) {
    let area = centred(frame.area(), WIDTH, HEIGHT);
    let name = crate::text::escape(&dialog.name);
    let block = Block::bordered()
        .title(format!(
            " Limit {name} ({}) and what it starts ",
            dialog.process.pid
        ))
        .border_style(theme.key);
    let inner = block.inner(area);
    let mut lines = Vec::new();
    for (label, field) in LABELS.iter().zip(&dialog.fields) {
        lines.push(Line::from(vec![
            Span::styled(*label, theme.title),
            Span::raw(&field.text),
        ]));
        lines.push(understood(field, theme));
    }
    lines.push(Line::default());
    lines.push(Line::styled(
        "1.5MB  500KB  2MiB  8Mbit  300kbit; empty: no limit",
        theme.dim,
    ));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
    frame.set_cursor_position(cursor(inner, dialog));
}

/// How the field is understood, or why it is not.
fn understood(field: &Field, theme: &Theme) -> Line<'static> {
    let (text, style) = match field.reading() {
        Reading::Unlimited => ("no limit".to_owned(), theme.dim),
        Reading::Rate(rate) => (rate.to_string(), theme.limit),
        Reading::Unreadable(reason) => (format!("! {reason}"), theme.error),
    };
    Line::styled(format!("          {text}"), style)
}

fn cursor(inner: Rect, dialog: &LimitDialog) -> Position {
    let field = dialog.fields.get(dialog.focus).cloned().unwrap_or_default();
    let before: String = field.text.chars().take(field.cursor).collect();
    let column = LABELS[0].len() + Span::raw(before).width();
    let column = u16::try_from(column)
        .unwrap_or(u16::MAX)
        .min(inner.width.saturating_sub(1));
    let row = if dialog.focus == 0 { 0 } else { 2 };
    Position {
        x: inner.x + column,
        y: inner.y + row,
    }
}
