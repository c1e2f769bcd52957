//! The limit dialog: two rates, and under each how it is understood; scope, and children.

use ratatui::{
    Frame,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, boxed, cut, labelled, typed};
use crate::{
    text::escape,
    tui::{
        dialog::{Focus, LimitDialog, Reading, SCOPES},
        field::Field,
        state::State,
    },
    units::format_rate,
};

const WIDTH: u16 = 72;
const HEIGHT: u16 = 10;
/// Columns before what is typed.
const LABEL: u16 = 12;

/// Draws the dialog over the table.
pub fn draw(frame: &mut Frame, dialog: &LimitDialog, state: &State, look: &Look) {
    let theme = &look.theme;
    let inside = boxed(
        frame,
        &format!("Limit {}", dialog.subject.who),
        WIDTH,
        HEIGHT,
        look,
    );
    let mark = |focus| {
        if dialog.focus == focus {
            Span::styled(look.symbols.chosen, theme.key)
        } else {
            Span::raw(" ")
        }
    };
    let styled = |focus, label, text: String, style| {
        let mut line = labelled(label, text, style, look);
        line.spans.insert(0, Span::raw(" "));
        line.spans.insert(0, mark(focus));
        line
    };
    let line = |focus, label, text| styled(focus, label, text, theme.text);
    let rate = |focus, label, field: &Field| {
        let style = match dialog.focus == focus {
            true => typed(field, look),
            false => theme.text,
        };
        styled(focus, label, field.text.clone(), style)
    };
    let subject = &dialog.subject;
    let shared = match (&subject.held_by, subject.present) {
        (Some(rule), _) => format!("Rule '{}' holds it; this stands above it.", escape(rule)),
        (None, Some(present)) if present.members > 1 => {
            format!("It is one limit for {} processes.", present.members)
        }
        _ if subject.rows.len() > 1 => "They will share one limit.".to_owned(),
        _ => String::new(),
    };
    let children = if dialog.children {
        "yes, what it starts is limited with it"
    } else {
        "no, only itself"
    };
    let scope = SCOPES.get(dialog.scope).map_or("", |it| it.1);
    let presets: Vec<String> = state
        .presets
        .iter()
        .map(|rate| format_rate(rate.bytes_per_second() as f64, state.style))
        .collect();
    let presets = format!("  {}", presets.join("  "));
    let width = usize::from(inside.width);
    let lines = vec![
        rate(Focus::Download, "Download", &dialog.download),
        understood(&dialog.download, look),
        rate(Focus::Upload, "Upload", &dialog.upload),
        understood(&dialog.upload, look),
        line(Focus::Scope, "Scope", scope.to_owned()),
        match dialog.subject.rule {
            None => line(Focus::Children, "Children", children.to_owned()),
            Some(_) => Line::default(),
        },
        Line::styled(
            cut(&format!("  {shared}"), width, look).into_owned(),
            theme.limit,
        ),
        Line::styled(
            match dialog.focus {
                Focus::Download | Focus::Upload => cut(&presets, width, look).into_owned(),
                Focus::Scope | Focus::Children => String::new(),
            },
            theme.dim,
        ),
    ];
    frame.render_widget(Paragraph::new(lines), inside);
    if let Some(position) = cursor(inside, dialog) {
        frame.set_cursor_position(position);
    }
}

/// How the field is understood, or why it is not.
fn understood(field: &Field, look: &Look) -> Line<'static> {
    // A reason is long.
    let mut indent = usize::from(LABEL);
    let (text, style) = match Reading::of(field) {
        Reading::Unlimited => (
            "no limit; say 1.5MB, 500KB, 8mbit, 300kbit or block".to_owned(),
            look.theme.dim,
        ),
        Reading::Rate(rate) => (format!("= {rate}"), look.theme.limit),
        Reading::Unreadable(reason) => {
            indent = 2;
            (format!("! {reason}"), look.theme.error)
        }
    };
    Line::from(vec![
        Span::raw(" ".repeat(indent)),
        Span::styled(text, style),
    ])
}

fn cursor(inside: Rect, dialog: &LimitDialog) -> Option<Position> {
    let (field, row) = match dialog.focus {
        Focus::Download => (&dialog.download, 0),
        Focus::Upload => (&dialog.upload, 2),
        Focus::Scope | Focus::Children => return None,
    };
    let before = u16::try_from(Span::raw(field.head()).width()).unwrap_or(u16::MAX);
    let column = LABEL
        .saturating_add(before)
        .min(inside.width.saturating_sub(1));
    Some(Position {
        x: inside.x + column,
        y: inside.y + row,
    })
}
