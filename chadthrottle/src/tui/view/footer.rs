//! The last lines: a message, and the keys that matter here.

use ratatui::{
    Frame,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, arrows};
use crate::tui::{
    dialog::Focus,
    keymap::{self, KEYMAP},
    state::{Mode, State},
};

/// Draws the footer.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, look: &Look) {
    let theme = &look.theme;
    let message = match (&state.mode, &state.message) {
        (Mode::Filter, _) => Line::from(vec![
            Span::styled("Filter: ", theme.title),
            Span::raw(state.filter.text.as_str()),
        ]),
        (_, Some(message)) => {
            let text = arrows(&message.text, look);
            if message.error {
                Line::styled(format!("! {text}"), theme.error)
            } else {
                Line::raw(text)
            }
        }
        (_, None) => Line::default(),
    };
    let keys = fitting(keys_of(state, look), usize::from(area.width), look);
    frame.render_widget(Paragraph::new(vec![message, Line::from(keys)]), area);
    if state.mode == Mode::Filter {
        let head = Span::raw(format!("Filter: {}", state.filter.head())).width();
        let x = u16::try_from(head).unwrap_or(u16::MAX);
        frame.set_cursor_position(Position {
            x: area.x.saturating_add(x).min(area.right().saturating_sub(1)),
            y: area.y,
        });
    }
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

fn keys_of(state: &State, look: &Look) -> Vec<(String, &'static str)> {
    let own = |keys: &[(&str, &'static str)]| {
        keys.iter()
            .map(|(key, word)| ((*key).to_owned(), *word))
            .collect()
    };
    let up_down = format!("{}{}", look.symbols.arrows.up, look.symbols.arrows.down);
    match &state.mode {
        Mode::Normal => KEYMAP
            .iter()
            .filter(|binding| binding.works(state.details.is_some()))
            .filter_map(|binding| Some((keymap::name(*binding.keys.first()?), binding.footer?)))
            .collect(),
        Mode::Filter => own(&[("Enter", "keep"), ("Esc", "drop"), (&up_down, "move")]),
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
        Mode::Rules(_) => own(&[
            ("Space", "on or off"),
            ("Enter", "limit"),
            ("<>", "order"),
            ("x", "remove"),
            ("P", "profile"),
            (&up_down, "move"),
            ("Esc", "close"),
        ]),
        Mode::Keep(_) => own(&[("Enter", "keep"), (&up_down, "whom"), ("Esc", "cancel")]),
        Mode::Sort(_) => own(&[("Enter", "choose"), (&up_down, "move"), ("Esc", "cancel")]),
        Mode::Confirm(_) => own(&[("Enter y", "yes"), ("Esc n", "no")]),
        Mode::Help(_) => own(&[("Esc", "close"), (&up_down, "move")]),
    }
}
