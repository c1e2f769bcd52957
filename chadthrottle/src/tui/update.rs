//! What an action does to the state. Pure: no I/O, no clock.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, MouseEvent};
use ratatui::layout::Size;

use super::{
    act,
    changes::Answer,
    command::run,
    command_palette::Chosen,
    dialog::Pressed,
    effect::Effect,
    field::Field,
    help::Help,
    inspect::{ConnectionRow, Connections, MAX_PROCESSES, Purpose, Request},
    keep::Kept,
    keymap::{Command, Place, Subject, is_interrupt, is_suspend},
    menu, mouse,
    rows::RowKey,
    rulebook,
    state::{Message, Mode, Question, State},
};
use crate::{
    model::{LimitId, ProcessKey, ProcessSample, Snapshot},
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
    /// The connections of some rows of the table were.
    Remotes {
        /// Those of these processes.
        asked: Vec<ProcessKey>,
        /// What was seen.
        connections: Vec<ConnectionRow>,
    },
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
    // A message takes lines from the rows.
    state.bring_onto_screen();
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
            state.bring_onto_screen();
            Vec::new()
        }
        Action::Snapshot(snapshot) => {
            state.show(snapshot);
            let mut effects = inspect(state);
            effects.extend(look_at_remotes(state));
            if state.history_of_now().ask_past() {
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
                let asked: Vec<ProcessKey> =
                    state.snapshot.processes.iter().map(|it| it.key).collect();
                state.remotes.see(&asked, &connections.connections);
                state.connections = Some(connections);
                state.make_rows();
            }
            Vec::new()
        }
        Action::Remotes { asked, connections } => {
            if state.paused.is_none() {
                state.remotes.see(&asked, &connections);
            }
            Vec::new()
        }
        Action::Past(past) => {
            let history = state.history_of_now();
            let samples = history.samples;
            history.merge(&past);
            // Samples are counted from an earlier one on now.
            if history.samples != samples {
                state.moment = None;
            }
            Vec::new()
        }
        Action::Answered(answer) => {
            state.answered(answer);
            Vec::new()
        }
        Action::Reopened { renamed, message } => {
            state.changes.reopened(&renamed);
            state.history_of_now().reopened();
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
            let command = state.keymap.command_of(key, state.place());
            command.map(|command| run(state, command))
        }
        Mode::Filter => {
            match key.code {
                KeyCode::Esc => {
                    state.filter = Field::default();
                    state.mode = Mode::Normal;
                }
                KeyCode::Enter => state.mode = Mode::Normal,
                KeyCode::Up => state.move_selection(-1),
                KeyCode::Down => state.move_selection(1),
                _ => state.filter.key(key),
            }
            Some(filtered(state))
        }
        Mode::Help(help) => {
            match state.keymap.command_of(key, Place::Table) {
                Some(Command::Up) => help.scroll(-1, &state.keymap, state.size),
                Some(Command::Down) => help.scroll(1, &state.keymap, state.size),
                Some(Command::PageUp) => help.backward(&state.keymap, state.size),
                Some(Command::PageDown) => help.forward(&state.keymap, state.size),
                Some(Command::Fold | Command::PreviousView) => help.turn(Subject::ALL.len() - 1),
                Some(Command::Details | Command::NextView) => help.turn(1),
                Some(Command::Top) => *help = Help::default(),
                Some(Command::Bottom) => help.scroll(isize::MAX, &state.keymap, state.size),
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
                Some(chosen(state, command))
            }
        },
        Mode::Sort(cursor) => {
            let cursor = *cursor;
            menu::sort_key(state, cursor, key);
            None
        }
        Mode::Profiles(cursor) => {
            let cursor = *cursor;
            Some(menu::profile_key(state, cursor, key))
        }
        Mode::Confirm(question) => match key.code {
            KeyCode::Enter | KeyCode::Char('y' | 'Y') => {
                let question = question.clone();
                state.mode = Mode::Normal;
                Some(confirmed(state, question))
            }
            KeyCode::Esc | KeyCode::Char('n' | 'N' | 'q') => {
                state.mode = Mode::Normal;
                None
            }
            _ => None,
        },
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
                let (of, who) = (dialog.of, dialog.who.clone());
                state.mode = Mode::Normal;
                Some(vec![Effect::Keep {
                    edit: *edit,
                    ids: vec![of],
                    who,
                    words,
                }])
            }
        },
        Mode::Dialog(dialog) => match dialog.key(key, &state.presets) {
            Pressed::Stay => None,
            Pressed::Cancel => {
                state.mode = Mode::Normal;
                None
            }
            Pressed::Apply(limit) => {
                let dialog = dialog.clone();
                state.mode = Mode::Normal;
                Some(act::apply(state, &dialog, limit))
            }
        },
    }
    .unwrap_or_default()
}

/// Does what was chosen from all commands, in the place where it works.
fn chosen(state: &mut State, command: Command) -> Vec<Effect> {
    if state.keymap.works(command, state.place()) {
        return run(state, command);
    }
    if state.keymap.works(command, Place::Table) {
        state.details = None;
        (state.rule_cursor, state.rule_gone) = (None, None);
        return run(state, command);
    }
    if state.keymap.works(command, Place::Rules) && !state.keymap.works(command, Place::Details) {
        rulebook::show_for(state, command);
    }
    Vec::new()
}

fn confirmed(state: &mut State, question: Question) -> Vec<Effect> {
    match question {
        Question::Quit => vec![Effect::Quit],
        Question::RemoveRule(name) => rulebook::remove(state, &name),
        Question::Block { effects, .. } => {
            state.tagged.clear();
            effects
        }
        Question::RemoveAll => vec![Effect::RemoveLimits {
            ids: state.by_hand().collect(),
            who: "all".to_owned(),
            are_blocks: false,
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
            purpose: Purpose::Details(details.key.clone()),
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
    // Where there are too many, those that carry nothing are left out first.
    vec![Effect::Inspect(Request {
        purpose: Purpose::Machine,
        processes: busiest_first(processes),
        resolve: state.resolve,
    })]
}

/// Asks for the other ends of what is on the screen, at every other sample, where there is room to show them and nothing
/// else asks for all connections.
fn look_at_remotes(state: &State) -> Option<Effect> {
    let is_due = state.paused.is_none() && state.history.samples % 2 == 1;
    if !is_due || state.needs_connections() || !state.shows_remotes() {
        return None;
    }
    let rows = state.rows_on_screen();
    let mut processes = busiest_first(rows.flat_map(|row| state.members_of(row)));
    processes.truncate(MAX_PROCESSES);
    Some(Effect::Inspect(Request {
        purpose: Purpose::Table,
        processes,
        resolve: state.resolve,
    }))
}

/// Those that may have connections.
fn busiest_first<'a>(processes: impl Iterator<Item = &'a ProcessSample>) -> Vec<ProcessKey> {
    let rate = |process: &ProcessSample| {
        let traffic = process.traffic;
        traffic.down.bytes_per_s + traffic.up.bytes_per_s
    };
    let may_have = |process: &&ProcessSample| !process.ended && process.sockets > 0;
    let mut living: Vec<&ProcessSample> = processes.filter(may_have).collect();
    living.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    living.iter().map(|process| process.key).collect()
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
