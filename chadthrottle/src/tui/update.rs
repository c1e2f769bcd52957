//! What an action does to the state. Pure: no I/O, no clock.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, MouseEvent};
use ratatui::layout::Size;

use super::{
    act,
    dialog::{LimitDialog, Pressed},
    effect::Effect,
    field::Field,
    inspect::{ConnectionRow, Request},
    keep::Kept,
    keymap::{Command, KEYMAP, command_of, is_interrupt, is_suspend},
    mouse,
    rows::{RowKey, Sort},
    rulebook,
    state::{Details, Message, Mode, Question, State},
};
use crate::{
    config::View,
    model::{LimitId, Snapshot},
    units::Style,
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
    /// The engine has answered a change of that limit, and what to tell the user of it.
    Changed(LimitId, Message),
}

/// Brings the state up to date and says what is to be done.
pub fn update(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Key(key) if is_interrupt(key) => vec![Effect::Quit],
        Action::Key(key) if is_suspend(key) => vec![Effect::Suspend],
        Action::Key(key) => {
            state.touched = true;
            let effects = self::key(state, key);
            for effect in &effects {
                if let Effect::ChangeLimit { id, limit, .. } = effect {
                    state.expect(*id, *limit);
                }
            }
            effects
        }
        Action::Mouse(event) => {
            state.touched = true;
            mouse::event(state, event);
            Vec::new()
        }
        Action::Paste(text) => {
            match &mut state.mode {
                Mode::Dialog(dialog) => dialog.paste(&text),
                Mode::Keep(dialog) => dialog.name.insert(&text),
                Mode::Filter => {
                    state.filter.insert(&text);
                    state.make_rows();
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
            inspect(state)
        }
        Action::Inspected {
            key,
            connections,
            more,
        } => {
            if let Some(details) = &mut state.details
                && details.key == key
                && state.paused.is_none()
            {
                details.offset = details.offset.min(connections.len().saturating_sub(1));
                details.connections = Some(connections);
                details.more = more;
            }
            Vec::new()
        }
        Action::Changed(id, message) => {
            state.answered(id, message.error);
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
            command_of(key, in_details).map(|command| self::command(state, command))
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
            state.make_rows();
            None
        }
        Mode::Help(offset) => {
            // No further than there is help; the view keeps the last line at the bottom.
            let last = KEYMAP.len() - 1;
            match command_of(key, false) {
                Some(Command::Up) => *offset = offset.saturating_sub(1),
                Some(Command::Down) => *offset = (*offset + 1).min(last),
                Some(Command::PageUp) => *offset = offset.saturating_sub(10),
                Some(Command::PageDown) => *offset = (*offset + 10).min(last),
                Some(Command::Top) => *offset = 0,
                // Any other key of the keymap closes it; one that is none may be a slip.
                Some(_) => state.mode = Mode::Normal,
                None => {}
            }
            None
        }
        Mode::Sort(_) => {
            sort_menu(state, key);
            None
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

fn command(state: &mut State, command: Command) -> Vec<Effect> {
    state.message = None;
    match command {
        Command::Up => move_by(state, -1),
        Command::Down => move_by(state, 1),
        Command::PageUp => move_by(state, -page(state)),
        Command::PageDown => move_by(state, page(state)),
        Command::Top => move_by(state, isize::MIN),
        Command::Bottom => move_by(state, isize::MAX),
        Command::Limit => act::open_dialog(state),
        Command::Lower => return act::step(state, false),
        Command::Raise => return act::step(state, true),
        Command::Remove => return act::remove(state),
        Command::Block => return act::block(state),
        Command::Keep => act::open_keep(state),
        Command::Rules => state.mode = Mode::Rules(0),
        Command::Profile => return rulebook::next_profile(state),
        Command::RemoveAll if state.by_hand().next().is_none() => {
            state.message = Some(Message::error("there are no limits"));
        }
        Command::RemoveAll => state.mode = Mode::Confirm(Question::RemoveAll),
        Command::Tag => tag(state),
        Command::Untag => state.tagged.clear(),
        Command::Filter => state.mode = Mode::Filter,
        Command::Sort => {
            let present = Sort::ALL.iter().position(|sort| *sort == state.sort);
            state.mode = Mode::Sort(present.unwrap_or(0));
        }
        Command::Reverse => {
            state.reversed = !state.reversed;
            state.make_rows();
        }
        Command::View => {
            state.view = match state.view {
                View::List => View::Tree,
                View::Tree => View::Programs,
                View::Programs => View::List,
            };
            regroup(state);
        }
        Command::Fold => fold(state),
        Command::Show => {
            state.show = state.show.next();
            state.make_rows();
        }
        Command::Details => {
            state.details = state.selected.clone().map(|key| Details {
                key,
                connections: None,
                more: false,
                offset: 0,
            });
            return inspect(state);
        }
        Command::Resolve => {
            state.resolve = !state.resolve;
            return inspect(state);
        }
        Command::Pause => match state.paused {
            None => state.paused = Some(Vec::new()),
            Some(_) => state.resume(),
        },
        Command::Bits => {
            state.style = match state.style {
                Style::Bytes => Style::Bits,
                Style::Bits => Style::Bytes,
            };
        }
        Command::Help => state.mode = Mode::Help(0),
        Command::Quit if state.own_limits() == 0 => return vec![Effect::Quit],
        Command::Quit => state.mode = Mode::Confirm(Question::Quit),
        Command::Cancel => cancel(state),
        Command::Suspend => return vec![Effect::Suspend],
    }
    Vec::new()
}

/// One step back: out of the details, then the filter, then the tags.
fn cancel(state: &mut State) {
    if state.details.take().is_some() {
        return;
    }
    if state.filter.text.is_empty() {
        state.tagged.clear();
    } else {
        state.filter = Field::default();
        state.make_rows();
    }
}

fn page(state: &State) -> isize {
    isize::try_from(state.page()).unwrap_or(isize::MAX)
}

/// Moves the selection, or in the details the first connection on the screen.
pub fn move_by(state: &mut State, rows: isize) {
    if let Some(details) = &mut state.details {
        let count = details.connections.as_ref().map_or(0, Vec::len);
        let last = count.saturating_sub(1);
        details.offset = details.offset.saturating_add_signed(rows).min(last);
    } else {
        state.select(state.cursor.saturating_add_signed(rows));
    }
}

fn tag(state: &mut State) {
    if let Some(key) = state.selected.clone() {
        if !state.tagged.remove(&key) {
            state.tagged.insert(key);
        }
        state.select(state.cursor + 1);
    }
}

/// Selects the row that the selected process is in, where rows stand for something else now.
fn regroup(state: &mut State) {
    let process = state.rows.get(state.cursor).and_then(|row| {
        let lead = state.lead(row)?;
        Some(lead.key)
    });
    state.tagged.clear();
    state.make_rows();
    let row = process.and_then(|key| {
        let has = |row: &RowKey| state.processes_of(row).any(|process| process.key == key);
        state.rows.iter().position(|row| has(&row.key))
    });
    if let Some(row) = row {
        state.select(row);
    }
}

fn fold(state: &mut State) {
    let Some(row) = state.rows.get(state.cursor) else {
        return;
    };
    let RowKey::Process(key) = row.key else {
        return;
    };
    match row.folded {
        Some(true) => _ = state.folded.remove(&key),
        Some(false) => _ = state.folded.insert(key),
        None => return,
    }
    state.make_rows();
}

fn sort_menu(state: &mut State, key: KeyEvent) {
    let Mode::Sort(cursor) = &mut state.mode else {
        return;
    };
    let last = Sort::ALL.len() - 1;
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => *cursor = cursor.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => *cursor = (*cursor + 1).min(last),
        KeyCode::Home | KeyCode::Char('g') => *cursor = 0,
        KeyCode::End | KeyCode::Char('G') => *cursor = last,
        KeyCode::Enter | KeyCode::Char(' ') => {
            let chosen = Sort::ALL.get(*cursor).copied().unwrap_or_default();
            state.mode = Mode::Normal;
            sort_by(state, chosen);
        }
        KeyCode::Esc | KeyCode::Char('q' | 's') | KeyCode::F(6) => state.mode = Mode::Normal,
        _ => {}
    }
}

/// Sorts by that; where it is so already, turns the order round.
pub fn sort_by(state: &mut State, sort: Sort) {
    state.reversed = state.sort == sort && !state.reversed;
    state.sort = sort;
    state.make_rows();
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

/// Asks for the connections of what the details are of.
fn inspect(state: &State) -> Vec<Effect> {
    let Some(details) = state.details.as_ref().filter(|_| state.paused.is_none()) else {
        return Vec::new();
    };
    let living = state
        .processes_of(&details.key)
        .filter(|process| !process.ended);
    vec![Effect::Inspect(Request {
        key: details.key.clone(),
        processes: living.map(|process| process.key).collect(),
        resolve: state.resolve,
    })]
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
