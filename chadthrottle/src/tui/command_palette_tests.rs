//! The palette, key by key.

use super::*;
use crate::tui::{
    fixtures::{press, state, usual},
    state::{Mode, State},
};

fn found(state: &State) -> Vec<&'static str> {
    let Mode::Palette(palette) = &state.mode else {
        panic!("no palette: {:?}", state.mode)
    };
    let found = palette.found(&state.keymap);
    found.iter().map(|binding| binding.name).collect()
}

#[test]
fn it_has_every_command_and_what_is_typed_narrows_it() {
    let mut state = state(80, 24, usual());
    press(&mut state, &[":"]);
    assert_eq!(found(&state).len(), state.keymap.bindings().len());
    press(&mut state, &["remo"]);
    assert_eq!(found(&state), ["remove", "remove-all", "names"]);
    // Words in any order, of name and description.
    press(&mut state, &["<Ctrl-U>", "asking ALL"]);
    assert_eq!(found(&state), ["remove-all"]);
    press(&mut state, &["<Enter>"]);
    assert!(matches!(state.mode, Mode::Confirm(_)), "{:?}", state.mode);
    press(&mut state, &["n", "<Ctrl-P>", "no such", "<Enter>"]);
    assert_eq!(found(&state), [""; 0]);
    press(&mut state, &["<Esc>"]);
    assert_eq!(state.mode, Mode::Normal);
}

#[test]
fn a_command_of_the_table_closes_the_details_and_one_of_both_does_not() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["d", ":bits", "<Enter>"]);
    assert!(state.details.is_some());
    assert_eq!(state.style, crate::units::Style::Bits);
    press(&mut state, &[":sort", "<Enter>"]);
    assert!(state.details.is_none());
    assert!(matches!(state.mode, Mode::Sort(_)));
}

#[test]
fn the_cursor_goes_no_further_than_there_are_commands() {
    let mut state = state(80, 24, usual());
    press(&mut state, &[":view", "<Down>", "<Down>", "<Up>"]);
    let names = found(&state);
    assert_eq!(names[..2], ["next-view", "previous-view"]);
    press(&mut state, &["<PgDn>"; 9]);
    let Mode::Palette(palette) = &state.mode else {
        panic!("no palette")
    };
    assert_eq!(palette.cursor, names.len() - 1);
    // What is typed begins at the top again.
    press(&mut state, &[" next", "<Enter>"]);
    assert_eq!(state.view, crate::config::View::Programs);
}

#[test]
fn letters_that_are_typed_are_no_keys_and_configured_keys_are() {
    use crate::config::{Keys, KeysOf};
    let mut state = state(80, 24, usual());
    let of = KeysOf {
        command: "quit".to_owned(),
        keys: vec!["Ctrl-Q".to_owned(), "Q".to_owned()],
        line: 2,
    };
    let keys = Keys {
        of: vec![of],
        file: "config.toml".into(),
    };
    state.keymap = Keymap::configured(&keys).unwrap();
    assert_eq!(press(&mut state, &["q"]), []);
    assert_eq!(state.mode, Mode::Normal);
    assert_eq!(press(&mut state, &[":", "Q"]), []);
    press(&mut state, &["<Esc>", "Q"]);
    assert!(matches!(state.mode, Mode::Confirm(_)));
}
