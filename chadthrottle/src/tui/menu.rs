//! Menus: the orders of rows, and the profiles of rules.

use crossterm::event::{KeyCode, KeyEvent};

use super::{
    effect::Effect,
    rows::Sort,
    rulebook,
    state::{Mode, State},
};

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

/// Takes a key while the menu of profiles is open, with its cursor at that place: the first is for none.
pub fn profile_key(state: &mut State, cursor: usize, key: KeyEvent) -> Vec<Effect> {
    let mut cursor = cursor;
    let picked = pick(&mut cursor, state.snapshot.profiles.len(), key);
    state.mode = match picked {
        Picked::Stay => Mode::Profiles(cursor),
        Picked::Cancel | Picked::This => Mode::Normal,
    };
    match picked {
        Picked::Stay | Picked::Cancel => Vec::new(),
        Picked::This => {
            let place = cursor.checked_sub(1);
            let name = place.and_then(|place| state.snapshot.profiles.get(place).cloned());
            vec![rulebook::switch_to(name)]
        }
    }
}
