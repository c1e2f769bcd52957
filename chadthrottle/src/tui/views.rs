//! The views, and the way from one to another.

use super::{
    effect::Effect,
    state::{Mode, State},
    update::inspect,
};
use crate::config::View;

impl View {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::List,
        Self::Programs,
        Self::Tree,
        Self::Connections,
        Self::Units,
        Self::Users,
        Self::Rules,
    ];

    /// Its name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "processes",
            Self::Programs => "programs",
            Self::Tree => "tree",
            Self::Connections => "connections",
            Self::Units => "units",
            Self::Users => "users",
            Self::Rules => "rules",
        }
    }

    /// What its rows are: one, and several.
    pub fn nouns(self) -> (&'static str, &'static str) {
        match self {
            Self::List | Self::Tree => ("process", "processes"),
            Self::Programs => ("program", "programs"),
            Self::Connections => ("connection", "connections"),
            Self::Units => ("unit", "units"),
            Self::Users => ("user", "users"),
            Self::Rules => ("rule", "rules"),
        }
    }

    /// Whether a row stands for several processes that have something in common.
    pub fn is_of_groups(self) -> bool {
        matches!(self, Self::Programs | Self::Units | Self::Users)
    }
}

/// The view that is shown.
pub fn shown(state: &State) -> View {
    match state.rule_cursor {
        Some(_) => View::Rules,
        None => state.view,
    }
}

/// The view so many steps after the one that is shown, round and round.
pub fn step(state: &State, by: usize) -> View {
    let shown = shown(state);
    let at = View::ALL.iter().position(|view| *view == shown);
    let to = (at.unwrap_or(0) + by) % View::ALL.len();
    View::ALL.get(to).copied().unwrap_or_default()
}

/// Shows a view, with the selection that it had.
pub fn go(state: &mut State, view: View) -> Vec<Effect> {
    state.details = None;
    state.mode = Mode::Normal;
    if view == View::Rules && state.rule_cursor.is_some() {
        // They stay as they are: a key that led to the table would have the next one act on a process.
        return Vec::new();
    }
    (state.rule_cursor, state.rule_gone) = ((view == View::Rules).then_some(0), None);
    if view == View::Rules {
        return Vec::new();
    }
    if state.view != view {
        state.change_view(view);
    }
    inspect(state)
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
