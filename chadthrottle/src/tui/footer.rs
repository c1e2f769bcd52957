//! What the footer has, for the view that draws it and the mouse that points at it.

use ratatui::layout::{Position, Rect, Size};

use super::{
    keymap::Command,
    state::{Mode, State},
    views,
    wrap::wrapped,
};
use crate::config::View;

/// The first of the two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLine {
    /// The filter that is being typed.
    Filter,
    /// The latest message.
    Message,
    /// What the engine was asked for and has not answered.
    Waiting,
    /// What to do, for who has done nothing yet.
    FirstRun,
    /// The views.
    Views,
}

impl FirstLine {
    /// What is to be said now.
    pub fn of(state: &State) -> Self {
        let is_first_run = !state.touched
            && state.limits_in_use() == 0
            && state.mode == Mode::Normal
            && state.rule_cursor.is_none();
        if state.mode == Mode::Filter {
            Self::Filter
        } else if state.message.is_some() {
            Self::Message
        } else if state.changes.waiting().is_some() {
            Self::Waiting
        } else if is_first_run {
            Self::FirstRun
        } else {
            Self::Views
        }
    }
}

/// The latest message in lines, where it is shown: as many as it takes, but no more than a third of the screen.
pub fn message_lines(state: &State, screen: Size) -> Vec<String> {
    let Some(message) = &state.message else {
        return Vec::new();
    };
    if FirstLine::of(state) != FirstLine::Message {
        return Vec::new();
    }
    let mark = if message.error { "! " } else { "" };
    let mut lines = wrapped(&format!("{mark}{}", message.text), screen.width.into());
    lines.truncate(usize::from(screen.height / 3).max(1));
    lines
}

/// The views with what they are called there, and the column where that begins; where there is no room for all names,
/// that of the shown one.
pub fn tabs(state: &State, width: u16) -> Vec<(View, String, u16)> {
    const GAP: usize = 2;
    let key = |view| state.keymap.key_of(Command::Go(view));
    let shown = views::shown(state);
    let long: Vec<String> = View::ALL
        .map(|view| format!("{} {}", key(view), view.name()))
        .into();
    let short = View::ALL.map(|view| match view == shown {
        true => format!("{} {}", key(view), view.name()),
        false => key(view),
    });
    let needed = long.iter().map(|text| text.len() + GAP).sum::<usize>() - GAP;
    let texts = match needed <= usize::from(width) {
        true => long,
        false => short.into(),
    };
    let mut x = 0;
    let placed = View::ALL.into_iter().zip(texts).map(|(view, text)| {
        let at = x;
        x += text.chars().count() + GAP;
        (view, text, u16::try_from(at).unwrap_or(u16::MAX))
    });
    placed.collect()
}

/// The view whose name is there in the footer.
pub fn view_at(state: &State, footer: Rect, at: Position) -> Option<View> {
    if at.y != footer.y || FirstLine::of(state) != FirstLine::Views {
        return None;
    }
    let x = at.x.checked_sub(footer.x)?;
    let tabs = tabs(state, footer.width);
    let mut tabs = tabs.into_iter();
    let under =
        |text: &str, begins: u16| (begins..begins + text.chars().count() as u16).contains(&x);
    tabs.find_map(|(view, text, begins)| under(&text, begins).then_some(view))
}
