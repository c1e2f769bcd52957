//! Menus: the orders of rows, and the profiles of rules.

use crossterm::event::{KeyCode, KeyEvent};

use super::{
    effect::Effect,
    rows::Sort,
    rulebook,
    state::{Mode, State},
};

/// The menu of profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileMenu {
    /// The place of its cursor: 0 is for none, and the profiles come after that.
    pub cursor: usize,
    /// Where the cursor of the rules is, where it was opened from them.
    pub in_rules: Option<usize>,
}

impl ProfileMenu {
    /// What is in front when it has been closed.
    fn behind(self) -> Mode {
        self.in_rules.map_or(Mode::Normal, Mode::Rules)
    }
}

/// What a key did to a menu.
enum Picked {
    Stay,
    Cancel,
    This,
}

/// Moves the cursor of a menu with that last place.
fn pick(cursor: &mut usize, last: usize, key: KeyEvent) -> Picked {
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => *cursor = cursor.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => *cursor = (*cursor + 1).min(last),
        KeyCode::Home | KeyCode::Char('g') => *cursor = 0,
        KeyCode::End | KeyCode::Char('G') => *cursor = last,
        KeyCode::Enter | KeyCode::Char(' ') => return Picked::This,
        KeyCode::Esc | KeyCode::Char('q') => return Picked::Cancel,
        _ => {}
    }
    Picked::Stay
}

/// Takes a key while the menu of orders is open, with its cursor at that place.
pub fn sort_key(state: &mut State, cursor: usize, key: KeyEvent) {
    let mut cursor = cursor;
    let closes = matches!(key.code, KeyCode::Char('s') | KeyCode::F(6));
    match pick(&mut cursor, Sort::ALL.len() - 1, key) {
        Picked::Cancel => state.mode = Mode::Normal,
        _ if closes => state.mode = Mode::Normal,
        Picked::Stay => state.mode = Mode::Sort(cursor),
        Picked::This => {
            let chosen = Sort::ALL.get(cursor).copied().unwrap_or_default();
            state.mode = Mode::Normal;
            sort_by(state, chosen);
        }
    }
}

/// Sorts by that; where it is so already, turns the order round.
pub fn sort_by(state: &mut State, sort: Sort) {
    state.reversed = state.sort == sort && !state.reversed;
    state.sort = sort;
    state.make_rows();
}

/// Takes a key while the menu of profiles is open.
pub fn profile_key(state: &mut State, menu: ProfileMenu, key: KeyEvent) -> Vec<Effect> {
    let mut menu = menu;
    match pick(&mut menu.cursor, state.snapshot.profiles.len(), key) {
        Picked::Stay => {
            state.mode = Mode::Profiles(menu);
            Vec::new()
        }
        Picked::Cancel => {
            state.mode = menu.behind();
            Vec::new()
        }
        Picked::This => {
            state.mode = menu.behind();
            let place = menu.cursor.checked_sub(1);
            let name = place.and_then(|place| state.snapshot.profiles.get(place).cloned());
            vec![rulebook::switch_to(name)]
        }
    }
}
