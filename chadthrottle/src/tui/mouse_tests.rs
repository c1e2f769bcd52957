//! The mouse.

use crossterm::event::KeyModifiers;

use super::*;
use crate::tui::{
    fixtures::{press, rule, snapshot, state, usual},
    help::Help,
    rows::RowKey,
    update::{Action, update},
    views::shown,
};
use std::sync::Arc;

fn mouse(state: &mut State, kind: MouseEventKind, column: u16, row: u16) -> Vec<Effect> {
    let modifiers = KeyModifiers::NONE;
    update(
        state,
        Action::Mouse(MouseEvent {
            kind,
            column,
            row,
            modifiers,
        }),
    )
}

const CLICK: MouseEventKind = MouseEventKind::Down(MouseButton::Left);

#[test]
fn a_click_on_a_limit_opens_it_and_one_beside_it_selects() {
    let mut state = state(80, 24, usual());
    let areas = state.areas();
    let columns = columns(&areas, &state);
    let limit = columns.iter().find(|it| it.0.sort() == Some(Sort::Limit));
    let x = limit.unwrap().1 + 1;
    // The row of one that has no limit.
    mouse(&mut state, CLICK, x, areas.rows.y);
    assert_eq!((&state.mode, state.cursor), (&Mode::Normal, 0));
    mouse(&mut state, CLICK, 10, areas.rows.y + 1);
    assert_eq!((&state.mode, state.cursor), (&Mode::Normal, 1));
    mouse(&mut state, CLICK, x, areas.rows.y + 1);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("no dialog")
    };
    assert_eq!(dialog.subject.who, "wget (4242)");
    // Behind a dialog nothing is to be clicked on.
    mouse(&mut state, CLICK, 10, areas.rows.y);
    assert_eq!(state.cursor, 1);
    press(&mut state, &["<Esc>"]);
    mouse(&mut state, CLICK, x, areas.rows.y + 9);
    assert_eq!((&state.mode, state.cursor), (&Mode::Normal, 1));
}

#[test]
fn a_click_on_the_name_of_a_view_goes_there() {
    let mut state = state(80, 24, usual());
    let y = state.areas().footer.y;
    // Until a key was pressed, something else stands there, or a limit is set.
    for (view, _, x) in footer::tabs(&state, 80) {
        mouse(&mut state, CLICK, x + 2, y);
        assert_eq!(shown(&state), view);
    }
    let selected = state.selected.clone();
    mouse(&mut state, CLICK, 79, y);
    mouse(&mut state, CLICK, 2, y + 1);
    assert_eq!((shown(&state), &state.selected), (View::Rules, &selected));
    state.size.width = 60;
    press(&mut state, &["1"]);
    let tabs = footer::tabs(&state, 60);
    mouse(&mut state, CLICK, tabs[4].2, y);
    assert_eq!(shown(&state), View::Units);
}

#[test]
fn the_wheel_scrolls_what_is_in_front() {
    let mut sample = usual();
    Arc::make_mut(&mut sample).rules = ["a", "b", "c", "d", "e"].map(rule).into();
    let mut state = state(80, 24, sample);
    let (down, up) = (MouseEventKind::ScrollDown, MouseEventKind::ScrollUp);
    press(&mut state, &["?"]);
    mouse(&mut state, down, 40, 10);
    assert_eq!(state.mode, Mode::Help(Help { page: 0, offset: 3 }));
    press(&mut state, &["<Esc>", "R"]);
    mouse(&mut state, down, 40, 10);
    mouse(&mut state, down, 40, 10);
    assert_eq!(state.mode, Mode::Rules(4));
    mouse(&mut state, up, 40, 10);
    assert_eq!(state.mode, Mode::Rules(1));
    press(&mut state, &["<Esc>", ":"]);
    mouse(&mut state, down, 40, 10);
    let Mode::Palette(palette) = &state.mode else {
        panic!("no palette")
    };
    assert_eq!(palette.cursor, 3);
    press(&mut state, &["<Esc>", "s"]);
    mouse(&mut state, down, 40, 10);
    assert_eq!(state.mode, Mode::Sort(1));
    assert!(matches!(state.selected, Some(RowKey::Process(_))));
}

#[test]
fn titles_of_connections_sort_them() {
    let mut state = state(80, 24, snapshot(Vec::new()));
    press(&mut state, &["4"]);
    let y = state.areas().titles.y;
    mouse(&mut state, CLICK, 2, y);
    assert_eq!((state.sort, state.reversed), (Sort::Name, false));
    mouse(&mut state, CLICK, 2, y);
    assert!(state.reversed);
}
