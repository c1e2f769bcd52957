//! What the screen looks like.

use ratatui::{backend::TestBackend, style::Modifier};

use super::*;
use crate::tui::{
    fixtures::{press, process, snapshot, state, usual},
    update::{Action, update},
};

fn draw_on(state: &State, monochrome: bool) -> TestBackend {
    let backend = TestBackend::new(state.size.width, state.size.height);
    let mut terminal = ratatui::Terminal::new(backend).unwrap();
    terminal
        .draw(|frame| draw(frame, state, &Theme::new(monochrome)))
        .unwrap();
    terminal.backend().clone()
}

#[test]
fn main_view_80x24() {
    insta::assert_snapshot!(draw_on(&state(80, 24, usual()), false));
}

#[test]
fn main_view_200x50() {
    insta::assert_snapshot!(draw_on(&state(200, 50, usual()), false));
}

#[test]
fn main_view_60x12() {
    insta::assert_snapshot!(draw_on(&state(60, 12, usual()), false));
}

#[test]
fn too_small() {
    insta::assert_snapshot!(draw_on(&state(40, 5, usual()), false));
}

#[test]
fn limit_dialog() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["<Enter>", "1.5MB", "<Tab>", "5kbps"]);
    insta::assert_snapshot!(draw_on(&state, false));
}

#[test]
fn help() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["?"]);
    insta::assert_snapshot!(draw_on(&state, false));
}

#[test]
fn hostile_names() {
    let state = state(
        80,
        24,
        snapshot(vec![
            process(1, "\u{1b}[2Jevil\nname\u{202e}", 3.0, 0.0),
            process(2, "日本語のとても長いプロセスの名前", 2.0, 0.0),
            process(3, "e\u{301}\u{301}\u{301}clair", 1.0, 0.0),
        ]),
    );
    let screen = draw_on(&state, false).to_string();
    assert!(!screen.contains('\u{1b}') && !screen.contains('\u{202e}'));
    insta::assert_snapshot!(screen);
}

#[test]
fn no_size_is_too_small_to_draw() {
    for (width, height) in [
        (1, 1),
        (10, 3),
        (59, 12),
        (60, 11),
        (60, 12),
        (300, 2),
        (2, 200),
    ] {
        let mut state = state(width, height, usual());
        for keys in [
            &["?"][..],
            &["<Esc>", "<Enter>"],
            &["99999999999999999999MB"],
        ] {
            press(&mut state, keys);
            draw_on(&state, true);
        }
    }
}

#[test]
fn without_colours_the_selected_row_is_still_marked() {
    let state = state(80, 24, usual());
    let screen = draw_on(&state, true);
    let cell = screen.buffer().cell((10, 3)).unwrap();
    assert!(cell.modifier.contains(Modifier::REVERSED));
    let coloured = (0..24)
        .flat_map(|y| (0..80).map(move |x| (x, y)))
        .any(|position| {
            let cell = screen.buffer().cell(position).unwrap();
            cell.fg != ratatui::style::Color::Reset
        });
    assert!(!coloured);
}

#[test]
fn a_warning_of_the_engine_takes_the_second_line() {
    let mut state = state(80, 24, usual());
    let mut sample = (*usual()).clone();
    sample.warnings.push("all slots are in use".to_owned());
    update(&mut state, Action::Snapshot(sample.into()));
    assert!(
        draw_on(&state, false)
            .to_string()
            .contains("! all slots are in use")
    );
}
