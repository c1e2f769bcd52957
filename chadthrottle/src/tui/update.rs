//! What an action does to the state. Pure: no I/O, no clock.

use std::sync::Arc;

use crossterm::event::KeyEvent;
use ratatui::layout::Size;

use super::{
    dialog::{LimitDialog, Pressed},
    effect::Effect,
    keymap::{Command, command_of, is_interrupt},
    state::{Message, Mode, State},
};
use crate::{
    engine::{Limit, Snapshot, Targets},
    units::Style,
};

/// What happened.
#[derive(Clone, Debug)]
pub enum Action {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// The engine took a sample.
    Snapshot(Arc<Snapshot>),
    /// An effect was carried out, or not.
    Applied(Message),
}

/// Brings the state up to date and says what is to be done.
pub fn update(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Key(key) if is_interrupt(key) => vec![Effect::Quit],
        Action::Key(key) => self::key(state, key),
        Action::Paste(text) => {
            if let Mode::Dialog(dialog) = &mut state.mode {
                dialog.focused().insert(&text);
            }
            Vec::new()
        }
        Action::Resize { width, height } => {
            state.size = Size { width, height };
            state.select(state.cursor);
            Vec::new()
        }
        Action::Snapshot(snapshot) => {
            state.show(snapshot);
            Vec::new()
        }
        Action::Applied(message) => {
            state.message = Some(message);
            Vec::new()
        }
    }
}

fn key(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    match &mut state.mode {
        Mode::Normal => command_of(key).map(|command| self::command(state, command)),
        Mode::Help => {
            // Any key of the keymap closes it; others may have been meant for something else.
            if command_of(key).is_some() {
                state.mode = Mode::Normal;
            }
            None
        }
        Mode::Dialog(dialog) => match dialog.key(key) {
            Pressed::Stay => None,
            Pressed::Cancel => {
                state.mode = Mode::Normal;
                None
            }
            Pressed::Apply(limit) => {
                let effect = apply(dialog, limit);
                state.mode = Mode::Normal;
                Some(effect)
            }
        },
    }
    .unwrap_or_default()
}

fn command(state: &mut State, command: Command) -> Vec<Effect> {
    match command {
        Command::Up => state.select(state.cursor.saturating_sub(1)),
        Command::Down => state.select(state.cursor + 1),
        Command::PageUp => state.select(state.cursor.saturating_sub(state.page())),
        Command::PageDown => state.select(state.cursor + state.page()),
        Command::Top => state.select(0),
        Command::Bottom => state.select(usize::MAX),
        Command::Limit => open_dialog(state),
        Command::Remove => return remove(state),
        Command::Sort => {
            state.sort = state.sort.next();
            resort(state);
        }
        Command::Reverse => {
            state.reversed = !state.reversed;
            resort(state);
        }
        Command::Bits => {
            state.style = match state.style {
                Style::Bytes => Style::Bits,
                Style::Bits => Style::Bytes,
            };
        }
        Command::Help => state.mode = Mode::Help,
        Command::Quit => return vec![Effect::Quit],
        Command::Cancel => state.message = None,
    }
    Vec::new()
}

fn resort(state: &mut State) {
    state.sort_rows();
    state.follow_selection();
}

fn open_dialog(state: &mut State) {
    match state.selected_process() {
        None => {}
        Some(process) if process.ended => {
            let text = format!("process {} has ended", process.key.pid);
            state.message = Some(Message { text, error: true });
        }
        Some(process) => {
            state.mode = Mode::Dialog(LimitDialog::new(process));
            state.message = None;
        }
    }
}

fn remove(state: &mut State) -> Vec<Effect> {
    let Some(process) = state.selected_process() else {
        return Vec::new();
    };
    match process.limit {
        Some((id, _)) => vec![Effect::RemoveLimit {
            id,
            who: who(&process.name, process.key.pid),
        }],
        None => {
            let text = format!("{} has no limit", who(&process.name, process.key.pid));
            state.message = Some(Message { text, error: true });
            Vec::new()
        }
    }
}

/// What a dialog's limit asks for: two empty fields remove it.
fn apply(dialog: &LimitDialog, limit: Limit) -> Vec<Effect> {
    let who = who(&dialog.name, dialog.process.pid);
    let unlimited = limit.down.is_none() && limit.up.is_none();
    match dialog.present {
        Some(id) if unlimited => vec![Effect::RemoveLimit { id, who }],
        Some(id) => vec![Effect::ChangeLimit { id, limit, who }],
        None if unlimited => Vec::new(),
        None => {
            let targets = Targets {
                processes: vec![dialog.process],
                children: true,
                ..Targets::default()
            };
            vec![Effect::SetLimit {
                targets,
                limit,
                who,
            }]
        }
    }
}

fn who(name: &str, pid: u32) -> String {
    format!("{} ({pid})", crate::text::escape(name))
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
