//! What an action does to the state. Pure: no I/O, no clock.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, MouseEvent};
use ratatui::layout::Size;

use super::{
    act,
    changes::Answer,
    command::run,
    command_palette::Chosen,
    dialog::{LimitDialog, Pressed},
    effect::Effect,
    field::Field,
    help::Help,
    inspect::{ConnectionRow, Connections, Request},
    keep::Kept,
    keymap::{Command, Subject, is_interrupt, is_suspend},
    menu, mouse,
    rows::RowKey,
    rulebook,
    state::{Message, Mode, Question, State},
};
use crate::{
    model::{LimitId, ProcessSample, Snapshot},
    protocol::History,
};

/// What happened.
#[derive(Clone, Debug)]
pub enum Action {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
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
    /// Connections were looked at.
    Inspected {
        /// Whose.
        key: RowKey,
        /// What was seen.
        connections: Vec<ConnectionRow>,
        /// Whether there are more.
        more: bool,
    },
    /// An effect was carried out or not, or the log has a warning.
    Said(Message),
    /// The connections of the whole machine were looked at.
    Connections(Connections),
    /// What the engine knows of the time before; nothing where it could not say.
    Past(History),
    /// The engine has answered what was asked of it first.
    Answered(Answer),
    /// Another engine is there, with the limits that could be set again.
    Reopened {
        /// Their names of before, and from now on.
        renamed: Vec<(LimitId, LimitId)>,
        /// What to tell the user.
        message: Message,
    },
}

/// Brings the state up to date and says what is to be done.
pub fn update(state: &mut State, action: Action) -> Vec<Effect> {
    let mut effects = react(state, action);
    state.ask(&effects);
    if state.follow_beside() {
        effects.extend(inspect(state));
    }
    effects
}

fn react(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Key(key) if is_interrupt(key) => vec![Effect::Quit],
        Action::Key(key) if is_suspend(key) => vec![Effect::Suspend],
        Action::Key(key) => {
            state.touched = true;
            self::key(state, key)
        }
        Action::Mouse(event) => {
            state.touched = true;
            mouse::event(state, event)
        }
        Action::Paste(text) => {
            match &mut state.mode {
                Mode::Dialog(dialog) => dialog.paste(&text),
                Mode::Keep(dialog) => dialog.name.insert(&text),
                Mode::Palette(palette) => palette.field.insert(&text),
                Mode::Filter => {
                    state.filter.insert(&text);
                    return filtered(state);
                }
                _ => {}
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
            let mut effects = inspect(state);
            if state.history.ask_past() {
                effects.push(Effect::AskPast);
            }
            effects
        }
        Action::Inspected {
            key,
            connections,
            more,
        } => {
            if let Some(details) = state.details.as_mut().or(state.beside.as_mut())
                && details.key == key
                && state.paused.is_none()
            {
                details.offset = details.offset.min(connections.len().saturating_sub(1));
                details.connections = Some(connections);
                details.more = more;
            }
            Vec::new()
        }
        Action::Connections(connections) => {
            if state.paused.is_none() {
                state.connections = Some(connections);
                state.make_rows();
            }
            Vec::new()
        }
        Action::Past(past) => {
            state.history.merge(&past);
            Vec::new()
        }
        Action::Answered(answer) => {
            state.answered(answer);
            Vec::new()
        }
        Action::Reopened { renamed, message } => {
            state.changes.reopened(&renamed);
            state.history.reopened();
            state.message = Some(message);
            Vec::new()
        }
        Action::Said(message) => {
            state.message = Some(message);
            Vec::new()
        }
    }
}

fn key(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    match &mut state.mode {
        Mode::Normal => {
            let in_details = state.details.is_some();
            let command = state.keymap.command_of(key, in_details);
            command.map(|command| run(state, command))
        }
        Mode::Filter => {
            match key.code {
                KeyCode::Esc => {
                    state.filter = Field::default();
                    state.mode = Mode::Normal;
                }
                KeyCode::Enter => state.mode = Mode::Normal,
                KeyCode::Up => state.select(state.cursor.saturating_sub(1)),
                KeyCode::Down => state.select(state.cursor + 1),
                _ => state.filter.key(key),
            }
            Some(filtered(state))
        }
        Mode::Help(help) => {
            match state.keymap.command_of(key, false) {
                Some(Command::Up) => help.scroll(-1, &state.keymap),
                Some(Command::Down) => help.scroll(1, &state.keymap),
                Some(Command::PageUp | Command::Fold | Command::PreviousView) => {
                    help.turn(Subject::ALL.len() - 1);
                }
                Some(Command::PageDown | Command::Details | Command::NextView) => help.turn(1),
                Some(Command::Top) => *help = Help::default(),
                // Any other key of the keymap closes it; one that is none may be a slip.
                Some(_) => state.mode = Mode::Normal,
                None => {}
            }
            None
        }
        Mode::Palette(palette) => match palette.key(key, &state.keymap) {
            Chosen::Stay => None,
            Chosen::Cancel => {
                state.mode = Mode::Normal;
                None
            }
            Chosen::Run(command) => {
                state.mode = Mode::Normal;
                if !state.keymap.works(command, state.details.is_some()) {
                    state.details = None;
                }
                Some(run(state, command))
            }
        },
        Mode::Sort(cursor) => {
            let cursor = *cursor;
            menu::sort_key(state, cursor, key);
            None
        }
        Mode::Profiles(menu) => {
            let menu = *menu;
            Some(menu::profile_key(state, menu, key))
        }
        Mode::Confirm(question) => match key.code {
            KeyCode::Enter | KeyCode::Char('y' | 'Y') => {
                let question = *question;
                state.mode = Mode::Normal;
                Some(confirmed(state, question))
            }
            KeyCode::Esc | KeyCode::Char('n' | 'N' | 'q') => {
                state.mode = match question {
                    Question::RemoveRule(place) => Mode::Rules(*place),
                    Question::RemoveAll | Question::Quit => Mode::Normal,
                };
                None
            }
            _ => None,
        },
        Mode::Rules(cursor) => {
            state.message = None;
            let cursor = *cursor;
            Some(rulebook::key(state, cursor, key))
        }
        Mode::Keep(dialog) => match dialog.key(key) {
            Kept::Stay => None,
            Kept::Cancel => {
                state.mode = Mode::Normal;
                None
            }
            Kept::Add(edit) => {
                let words = format!(
                    "kept as rule '{}', which holds from now on",
                    dialog.name.text.trim()
                );
                let of = dialog.of;
                state.mode = Mode::Normal;
                Some(vec![Effect::Keep {
                    edit: *edit,
                    ids: vec![of],
                    words,
                }])
            }
        },
        Mode::Dialog(dialog) => match dialog.key(key, &state.presets) {
            Pressed::Stay => None,
            Pressed::Cancel => {
                state.mode = after(dialog, &state.snapshot);
                None
            }
            Pressed::Apply(limit) => {
                let effects = act::apply(dialog, limit);
                state.mode = after(dialog, &state.snapshot);
                state.tagged.clear();
                Some(effects)
            }
        },
    }
    .unwrap_or_default()
}

/// What is in front when a dialog has been closed.
fn after(dialog: &LimitDialog, snapshot: &Snapshot) -> Mode {
    match &dialog.subject.rule {
        None => Mode::Normal,
        Some(name) => {
            let mut rules = snapshot.rules.iter();
            let place = rules.position(|rule| rule.name == *name);
            Mode::Rules(place.unwrap_or(0))
        }
    }
}

fn confirmed(state: &mut State, question: Question) -> Vec<Effect> {
    match question {
        Question::Quit => vec![Effect::Quit],
        Question::RemoveRule(place) => rulebook::remove(state, place),
        Question::RemoveAll => vec![Effect::RemoveLimits {
            ids: state.by_hand().collect(),
            who: "all".to_owned(),
        }],
    }
}

/// Shows what the filter leaves.
fn filtered(state: &mut State) -> Vec<Effect> {
    state.make_rows();
    match state.connections {
        None => inspect(state),
        // The next sample asks for newer ones.
        Some(_) => Vec::new(),
    }
}

/// Asks for the connections of what the details are of, and of the whole machine where they are shown or filtered by.
pub fn inspect(state: &mut State) -> Vec<Effect> {
    if state.paused.is_some() {
        return Vec::new();
    }
    let mut effects = match state.details {
        Some(_) => Vec::new(),
        None => inspect_all(state),
    };
    if let Some(details) = state.details_shown() {
        let processes = state.processes_of(&details.key);
        let living = processes.filter(|process| !process.ended);
        effects.push(Effect::Inspect(Request {
            key: Some(details.key.clone()),
            processes: living.map(|process| process.key).collect(),
            resolve: state.resolve,
        }));
    }
    effects
}

fn inspect_all(state: &mut State) -> Vec<Effect> {
    if !state.needs_connections() {
        state.connections = None;
        return Vec::new();
    }
    let processes = state.snapshot.processes.iter();
    let rate = |process: &ProcessSample| {
        let traffic = process.traffic;
        traffic.down.bytes_per_s + traffic.up.bytes_per_s
    };
    let may_have = |process: &&ProcessSample| !process.ended && process.sockets > 0;
    let mut living: Vec<&ProcessSample> = processes.filter(may_have).collect();
    // Where there are too many, those that carry nothing are left out first.
    living.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    vec![Effect::Inspect(Request {
        key: None,
        processes: living.iter().map(|process| process.key).collect(),
        resolve: state.resolve,
    })]
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
