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
    let mut state = state(80, 15, sample);
    let (down, up) = (MouseEventKind::ScrollDown, MouseEventKind::ScrollUp);
    press(&mut state, &["?"]);
    mouse(&mut state, down, 40, 10);
    assert_eq!(state.mode, Mode::Help(Help { page: 0, offset: 3 }));
    press(&mut state, &["<Esc>", "R"]);
    mouse(&mut state, down, 40, 10);
    mouse(&mut state, down, 40, 10);
    assert_eq!(state.rule_cursor, Some(4));
    mouse(&mut state, up, 40, 10);
    assert_eq!(state.rule_cursor, Some(1));
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

/// A minute of samples on a screen with details beside the table.
fn split() -> State {
    let mut state = state(200, 50, usual());
    for _ in 0..100 {
        update(&mut state, Action::Snapshot(usual()));
    }
    state
}

#[test]
fn a_click_on_a_graph_marks_that_moment_and_the_wheel_moves_it() {
    let mut state = split();
    let graphs = [state.areas().graphs, state.detail_parts().unwrap().graph];
    let selected = state.selected.clone();
    for graph in graphs {
        let middle = graph.x + 10 + (graph.width - 10) / 2;
        mouse(&mut state, CLICK, middle, graph.y + 1);
        let age = state.age().unwrap();
        assert!((27..=31).contains(&age), "{age}");
        // It stays that moment while time goes on.
        update(&mut state, Action::Snapshot(usual()));
        assert_eq!(state.age(), Some(age + 1));
        mouse(&mut state, MouseEventKind::ScrollUp, middle, graph.y);
        assert_eq!(state.age(), Some(age + 2));
        mouse(&mut state, MouseEventKind::ScrollDown, middle, graph.y);
        assert_eq!(state.age(), Some(age + 1));
        // The newest is now.
        mouse(&mut state, CLICK, graph.right() - 1, graph.y);
        assert_eq!(state.age(), None);
        mouse(&mut state, CLICK, middle, graph.y);
        press(&mut state, &["<Esc>"]);
        assert_eq!(state.age(), None);
        // The scale is no moment.
        mouse(&mut state, CLICK, graph.x + 2, graph.y);
        assert_eq!((state.age(), &state.selected), (None, &selected));
    }
    press(&mut state, &["<<<>"]);
    assert_eq!(state.age(), Some(2));
    press(&mut state, &[">>>"]);
    assert_eq!(state.age(), None);
    // Of a quarter of an hour a step is longer, and goes back no further than there are samples.
    press(&mut state, &["++<"]);
    assert_eq!(state.age(), Some(15));
    press(&mut state, &["<"; 100]);
    assert_eq!(state.age(), Some(state.history.samples - 1));
    // Nobody can mark what is not kept any more.
    for _ in 0..crate::tui::history::SAMPLES {
        update(&mut state, Action::Snapshot(usual()));
    }
    assert_eq!(state.moment, None);
}

#[test]
fn the_wheel_over_the_details_scrolls_their_connections_and_over_the_table_its_rows() {
    let mut state = split();
    let key = state.beside.as_ref().unwrap().key.clone();
    let row = crate::tui::inspect::ConnectionRow {
        connection: crate::process::Connection {
            inode: 1,
            protocol: "tcp".to_owned(),
            local: None,
            remote: None,
            state: String::new(),
            bytes: None,
            process: None,
            round_trip: None,
        },
        rates: None,
        name: None,
    };
    let connections = vec![row; 40];
    let more = false;
    update(
        &mut state,
        Action::Inspected {
            key,
            connections,
            more,
        },
    );
    let parts = state.detail_parts().unwrap();
    let down = MouseEventKind::ScrollDown;
    mouse(
        &mut state,
        down,
        parts.connections.x + 5,
        parts.connections.y + 3,
    );
    mouse(&mut state, down, parts.about.x + 5, parts.about.y);
    let offset = |state: &State| state.beside.as_ref().unwrap().offset;
    assert_eq!((offset(&state), state.cursor), (6, 0));
    let rows = state.areas().rows;
    mouse(&mut state, down, rows.x + 5, rows.y + 1);
    assert_eq!(state.cursor, 3);
}
