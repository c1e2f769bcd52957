//! What commands do.

use super::{
    act,
    command_palette::Palette,
    effect::Effect,
    field::Field,
    help::Help,
    keymap::Command,
    layout::SPLIT_SIZE,
    rows::{RowKey, Sort},
    rulebook,
    state::{Details, Message, Mode, Question, State},
    update::inspect,
    views,
};
use ratatui::layout::Size;

use crate::{config::View, units::Style};

/// Does what a command says.
pub fn run(state: &mut State, command: Command) -> Vec<Effect> {
    state.message = None;
    if let Some(cursor) = state.rule_cursor
        && let Some(effects) = rulebook::run(state, cursor, command)
    {
        return effects;
    }
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
        Command::Undo => return undo(state),
        Command::Profile => rulebook::open_profiles(state),
        Command::Reload => return vec![Effect::ReloadRules],
        Command::Go(view) => return views::go(state, view),
        Command::NextView => return views::go(state, views::step(state, 1)),
        Command::PreviousView => {
            return views::go(state, views::step(state, View::ALL.len() - 1));
        }
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
        Command::Grouping => {
            let next = match state.view {
                View::List => View::Tree,
                View::Tree => View::Programs,
                _ => View::List,
            };
            return views::go(state, next);
        }
        Command::Fold => fold(state),
        Command::Show => {
            state.show = state.show.next();
            state.make_rows();
        }
        Command::Details => {
            let key = state.selected.clone().map(RowKey::subject);
            state.details = key.map(Details::of);
            return inspect(state);
        }
        Command::Resolve => {
            state.resolve = !state.resolve;
            return inspect(state);
        }
        Command::Pause => match state.paused {
            None => state.freeze(),
            Some(_) => state.resume(),
        },
        Command::Split => split(state),
        Command::Bits => {
            state.style = match state.style {
                Style::Bytes => Style::Bits,
                Style::Bits => Style::Bytes,
            };
        }
        Command::Longer => state.span = state.span.longer(),
        Command::Shorter => state.span = state.span.shorter(),
        Command::Backward => state.step_in_time(-1),
        Command::Forward => state.step_in_time(1),
        Command::Palette => state.mode = Mode::Palette(Palette::default()),
        Command::Help => state.mode = Mode::Help(Help::default()),
        Command::Quit if state.own_limits() == 0 => return vec![Effect::Quit],
        Command::Quit => state.mode = Mode::Confirm(Question::Quit),
        Command::Cancel => return cancel(state),
        Command::Back => {
            state.details = None;
            return inspect(state);
        }
        Command::Suspend => return vec![Effect::Suspend],
        // They are for the rules.
        Command::Switch | Command::Earlier | Command::Later => {}
    }
    Vec::new()
}

/// One step back: to now, out of the details, then the filter, then the tags.
fn cancel(state: &mut State) -> Vec<Effect> {
    if state.moment.take().is_some() {
        return Vec::new();
    }
    if state.details.take().is_some() {
        return inspect(state);
    }
    if state.filter.text.is_empty() {
        state.tagged.clear();
    } else {
        state.filter = Field::default();
        state.make_rows();
    }
    Vec::new()
}

/// Takes back the last change.
fn undo(state: &mut State) -> Vec<Effect> {
    match state.changes.take_back() {
        Ok(effects) => effects,
        Err(why) => {
            state.message = Some(Message::error(why));
            Vec::new()
        }
    }
}

/// Gives the table all of the width, or what the details beside it leave.
fn split(state: &mut State) {
    let Size { width, height } = SPLIT_SIZE;
    let why_not = if state.view == View::Connections {
        "connections take all of the width".to_owned()
    } else if state.size.width < width || state.size.height < height {
        format!("details stand beside the table from {width} columns and {height} rows on")
    } else {
        state.split = !state.split;
        return;
    };
    state.message = Some(Message::error(why_not));
}

fn page(state: &State) -> isize {
    isize::try_from(state.page()).unwrap_or(isize::MAX)
}

/// Moves the selection, or in the details the first connection on the screen.
pub fn move_by(state: &mut State, rows: isize) {
    if let Some(details) = &mut state.details {
        details.scroll(rows);
    } else {
        state.move_selection(rows);
    }
}

fn tag(state: &mut State) {
    let Some(row) = state.selected_row() else {
        state.message = Some(Message::error(state.no_row()));
        return;
    };
    let key = row.key.clone();
    if !state.tagged.remove(&key) {
        state.tagged.insert(key);
    }
    state.move_selection(1);
}

fn fold(state: &mut State) {
    let Some(row) = state.selected_row() else {
        state.message = Some(Message::error(state.no_row()));
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
