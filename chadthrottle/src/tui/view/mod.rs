//! Draws the state. Nothing here changes anything.

mod command_palette;
mod confirm;
mod connections;
mod details;
mod footer;
mod graph;
mod header;
mod help;
mod limit_dialog;
mod menu;
mod rules;
mod table;

use std::{net::SocketAddr, time::Duration};

use ratatui::{
    Frame,
    layout::{Constraint, Flex, Layout, Margin, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Wrap},
};

use crate::{config::View, text::escape};

use super::{
    field::Field,
    filter::shown_address,
    layout::{MIN_SIZE, fits},
    state::{Mode, State},
    symbols::Symbols,
    theme::Theme,
};

/// What it is drawn with.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours.
    pub theme: Theme,
    /// Characters.
    pub symbols: Symbols,
}

/// Draws the whole screen.
pub fn draw(frame: &mut Frame, state: &State, look: &Look) {
    let area = frame.area();
    frame.buffer_mut().set_style(area, look.theme.text);
    if !fits(area.as_size()) {
        let text = format!(
            "ChadThrottle needs {} x {}: this is {} x {}. Limits hold. Ctrl-C ends them.",
            MIN_SIZE.width, MIN_SIZE.height, area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let areas = state.areas_on(area.as_size());
    header::draw(frame, &areas, state, look);
    if let Some(cursor) = state.rule_cursor {
        let title = Line::styled("Rules", look.theme.title);
        let inside = section(frame, areas.body(), title, state, look);
        rules::draw(frame, inside, cursor, state, look);
    } else if let Some(details) = &state.details {
        details::draw(frame, areas.body(), details, state, look);
    } else if state.view == View::Connections {
        connections::draw(frame, &areas, state, look);
    } else {
        table::draw(frame, &areas, state, look);
        if let (Some(area), Some(details)) = (areas.beside, &state.beside) {
            details::draw(frame, area, details, state, look);
        }
    }
    footer::draw(frame, areas.footer, state, look);
    match &state.mode {
        Mode::Normal | Mode::Filter => {}
        Mode::Keep(dialog) => rules::draw_keep(frame, dialog, look),
        Mode::Dialog(dialog) => limit_dialog::draw(frame, dialog, state, look),
        Mode::Sort(cursor) => menu::draw_orders(frame, *cursor, state, look),
        Mode::Profiles(cursor) => menu::draw_profiles(frame, *cursor, state, look),
        Mode::Palette(palette) => command_palette::draw(frame, palette, &state.keymap, look),
        Mode::Confirm(question) => confirm::draw(frame, question, state, look),
        Mode::Help(help) => help::draw(frame, *help, &state.keymap, look),
    }
}

/// The edge of a panel, with a title on it and what there is room for on the right.
fn edge(frame: &mut Frame, area: Rect, title: Line<'_>, right: Line<'_>, look: &Look) {
    let padded = |mut line: Line<'static>| {
        line.spans.insert(0, Span::raw(" "));
        line.spans.push(Span::raw(" "));
        line
    };
    let owned = |line: Line<'_>| {
        let spans = line.spans.into_iter();
        let spans =
            spans.map(|span| Span::styled(span.content.into_owned(), span.style.patch(line.style)));
        Line::from(spans.collect::<Vec<_>>())
    };
    let room = usize::from(area.width).saturating_sub(6);
    let mut block = Block::bordered()
        .border_set(look.symbols.border)
        .border_style(look.theme.border);
    let used = title.width();
    if used > 0 {
        block = block.title_top(padded(owned(title)));
    }
    if right.width() > 0 && used + right.width() + 4 <= room {
        block = block.title_top(padded(owned(right)).right_aligned());
    }
    frame.render_widget(block, area);
}

/// A part of the screen with a title: a panel, or where there are none the title on a line of its own, if it has any.
/// Gives what is inside.
fn section(frame: &mut Frame, area: Rect, title: Line<'_>, state: &State, look: &Look) -> Rect {
    if state.areas().table_panel.is_some() {
        edge(frame, area, title, Line::default(), look);
        return area.inner(Margin::new(1, 1));
    }
    area
}

/// A box in the middle of the screen, of that size as far as there is room, and its inside.
fn boxed(frame: &mut Frame, title: &str, width: u16, height: u16, look: &Look) -> Rect {
    let screen = frame.area();
    let [row] = Layout::vertical([Constraint::Length(height.min(screen.height))])
        .flex(Flex::Center)
        .areas(screen);
    let [area] = Layout::horizontal([Constraint::Length(width.min(screen.width))])
        .flex(Flex::Center)
        .areas(row);
    let room = usize::from(area.width).saturating_sub(4);
    let block = Block::bordered()
        .border_set(look.symbols.border)
        .border_style(look.theme.key)
        .title(Span::styled(
            format!(" {} ", cut(title, room, look)),
            look.theme.title,
        ));
    let inside = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    frame.buffer_mut().set_style(inside, look.theme.text);
    inside
}

/// The text, or what of it fits into so many columns and a mark that it was cut.
fn cut<'a>(text: &'a str, width: usize, look: &Look) -> std::borrow::Cow<'a, str> {
    if text.is_ascii() && text.len() > width {
        // As most are: no width of a character needs to be looked up.
        let kept = text.get(..width.saturating_sub(1)).unwrap_or_default();
        let mark = if width > 0 { look.symbols.ellipsis } else { "" };
        return format!("{kept}{mark}").into();
    }
    if Span::raw(text).width() <= width {
        return text.into();
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if Span::raw(cut.as_str()).width() + 1 > width {
            cut.pop();
            break;
        }
    }
    if width > 0 {
        cut.push_str(look.symbols.ellipsis);
    }
    cut.into()
}

/// The other end of a connection: by its name where that is known, and its port.
fn other_end(end: SocketAddr, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{}:{}", escape(name), end.port()),
        None => shown_address(end),
    }
}

/// A round-trip time.
fn round_trip(time: Duration) -> String {
    match time.as_secs_f64() * 1e3 {
        ms @ ..10.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// A number and the word for so many.
fn counted(count: usize, one: &str, several: &str) -> String {
    let word = if count == 1 { one } else { several };
    format!("{count} {word}")
}

/// The arrows of a text in the characters of the look.
fn arrows(text: &str, look: &Look) -> String {
    text.replace('↓', look.symbols.arrows.down)
        .replace('↑', look.symbols.arrows.up)
        .replace('–', look.symbols.dash)
}

/// A word and what it says, as the details and the dialog list them.
fn labelled<'a>(
    label: &'static str,
    text: impl Into<std::borrow::Cow<'a, str>>,
    style: Style,
    look: &Look,
) -> Line<'a> {
    Line::from(vec![
        Span::styled(format!("{label:<10}"), look.theme.dim),
        Span::styled(text, style),
    ])
}

/// How the text of a field is shown that is typed into: marked, where what is typed takes its place.
fn typed(field: &Field, look: &Look) -> Style {
    match field.is_selected {
        true => look.theme.selected,
        false => look.theme.text,
    }
}

#[cfg(test)]
mod pictures;
#[cfg(test)]
mod tests;
