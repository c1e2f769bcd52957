//! The last lines: a message or the views, and the keys that matter here.

use ratatui::{
    Frame,
    layout::{Position, Rect, Size},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, arrows, cut};
use crate::{
    config::View,
    tui::{
        dialog::Focus,
        filter::{WORDS, unknown_word},
        footer::{FirstLine, message_lines, tabs},
        keymap::{Binding, Command, Place},
        state::{Mode, State},
        views,
    },
};

/// Draws the footer.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, look: &Look) {
    let mut lines = first_lines(state, frame.area().as_size(), look);
    // On a screen too low for all of them the keys stay.
    lines.truncate(usize::from(area.height.saturating_sub(1)));
    let keys = fitting(keys_of(state, look), usize::from(area.width), look);
    lines.push(Line::from(keys));
    frame.render_widget(Paragraph::new(lines), area);
    if state.mode == Mode::Filter {
        let head = Span::raw(format!("Filter: {}", state.filter.head())).width();
        let x = u16::try_from(head).unwrap_or(u16::MAX);
        frame.set_cursor_position(Position {
            x: area.x.saturating_add(x).min(area.right().saturating_sub(1)),
            y: area.y,
        });
    }
}

/// What stands above the keys: of a message as many lines as it takes.
fn first_lines<'a>(state: &'a State, screen: Size, look: &Look) -> Vec<Line<'a>> {
    let theme = &look.theme;
    let width = screen.width;
    let line = match FirstLine::of(state) {
        FirstLine::Filter => {
            let mut line = Line::from(vec![
                Span::styled("Filter: ", theme.title),
                Span::raw(state.filter.text.as_str()),
            ]);
            if let Some(word) = unknown_word(&state.filter.text) {
                let room = usize::from(width).saturating_sub(line.width());
                let words = format!("  no filter '{word}:': {WORDS}");
                let words = cut(&words, room, look).into_owned();
                line.push_span(Span::styled(words, theme.error));
            }
            line
        }
        FirstLine::Message => {
            let is_error = state.message.as_ref().is_some_and(|message| message.error);
            let style = if is_error { theme.error } else { theme.text };
            let lines = message_lines(state, screen).into_iter();
            return lines
                .map(|line| Line::styled(arrows(&line, look), style))
                .collect();
        }
        FirstLine::Waiting => {
            let words = state.changes.waiting().unwrap_or_default();
            Line::styled(format!("asked for: {}", arrows(words, look)), theme.dim)
        }
        FirstLine::FirstRun => {
            let key = |command| state.keymap.key_of(command);
            let words = format!(
                "{} and {} choose, {} limits; {} explains all keys",
                key(Command::Up),
                key(Command::Down),
                key(Command::Limit),
                key(Command::Help)
            );
            let words = cut(&words, usize::from(width), look).into_owned();
            Line::styled(words, theme.key)
        }
        FirstLine::Views => {
            let mut line = Line::default();
            for (view, text, x) in tabs(state, width) {
                let gap = usize::from(x).saturating_sub(line.width());
                line.push_span(Span::raw(" ".repeat(gap)));
                let style = match view == views::shown(state) {
                    true => theme.title,
                    false => theme.dim,
                };
                line.push_span(Span::styled(text, style));
            }
            line
        }
    };
    vec![line]
}

/// The keys that there is room for; the last two, ways to help and out, always.
fn fitting(keys: Vec<(String, &'static str)>, width: usize, look: &Look) -> Vec<Span<'static>> {
    let spans = |(key, word): (String, &str)| {
        [
            Span::styled(key, look.theme.key),
            Span::raw(format!(" {word}  ")),
        ]
    };
    let width_of = |spans: &[Span<'_>; 2]| spans.iter().map(Span::width).sum::<usize>();
    let mut keys: Vec<_> = keys.into_iter().map(spans).collect();
    let last = keys.split_off(keys.len().saturating_sub(2));
    // The two spaces behind the last word may be over the edge.
    let mut room = (width + 2).saturating_sub(last.iter().map(width_of).sum());
    let mut shown = Vec::new();
    for key in keys {
        let needed = width_of(&key);
        if needed > room {
            break;
        }
        room -= needed;
        shown.extend(key);
    }
    shown.extend(last.into_iter().flatten());
    shown
}

/// The keys of the table, the details or the rules, those that matter most first.
fn of_keymap(state: &State) -> Vec<(String, &'static str)> {
    let place = state.place();
    let has_use = |binding: &&Binding| match binding.command {
        Command::Profile => !state.snapshot.profiles.is_empty(),
        Command::Undo => state.changes.any(),
        Command::Reload => place == Place::Rules && state.snapshot.rules_changed,
        Command::Resolve => place == Place::Details || state.view == View::Connections,
        Command::Go(View::Rules) => place != Place::Rules,
        _ => true,
    };
    let bindings = state.keymap.bindings().iter();
    let mut shown: Vec<(u8, String, &'static str)> = bindings
        .filter(|binding| binding.works(place))
        .filter(has_use)
        .filter_map(|binding| {
            let (rank, word) = binding.footer?;
            Some((rank, binding.shortest()?, word))
        })
        .collect();
    shown.sort_by_key(|(rank, ..)| *rank);
    shown
        .into_iter()
        .map(|(_, key, word)| (key, word))
        .collect()
}

fn keys_of(state: &State, look: &Look) -> Vec<(String, &'static str)> {
    let own = |keys: &[(&str, &'static str)]| {
        keys.iter()
            .map(|(key, word)| ((*key).to_owned(), *word))
            .collect()
    };
    let up_down = format!("{}{}", look.symbols.arrows.up, look.symbols.arrows.down);
    match &state.mode {
        Mode::Normal if state.age().is_some() && state.place() != Place::Rules => {
            let key = |command| state.keymap.key_of(command);
            let both = key(Command::Backward) + &key(Command::Forward);
            let mut keys = vec![(both, "move"), (key(Command::Cancel), "now")];
            keys.extend(of_keymap(state));
            keys
        }
        Mode::Normal => of_keymap(state),
        Mode::Filter => own(&[("Enter", "keep"), ("Esc", "clear"), (&up_down, "move")]),
        Mode::Dialog(dialog) => {
            let change = match dialog.focus {
                Focus::Download | Focus::Upload => (up_down.as_str(), "presets"),
                Focus::Scope | Focus::Children => ("Space", "change"),
            };
            own(&[
                ("Enter", "apply"),
                ("Tab", "next"),
                change,
                ("Ctrl-U", "clear"),
                ("Esc", "cancel"),
            ])
        }
        Mode::Keep(_) => own(&[
            ("Enter", "keep"),
            (&up_down, "who"),
            ("Tab", "share"),
            ("Esc", "cancel"),
        ]),
        Mode::Sort(_) | Mode::Profiles(_) => {
            own(&[("Enter", "choose"), (&up_down, "move"), ("Esc", "cancel")])
        }
        Mode::Palette(_) => own(&[("Enter", "run"), (&up_down, "move"), ("Esc", "cancel")]),
        Mode::Confirm(_) => own(&[("Enter y", "yes"), ("Esc n", "no")]),
        Mode::Help(_) => own(&[("Tab", "next page"), (&up_down, "move"), ("Esc", "close")]),
    }
}
