//! The update, key by key.

use super::*;
use crate::{
    engine::LimitId,
    process::ProcessKey,
    tui::fixtures::{limit, press, process, snapshot, state, usual},
};

fn selected(state: &State) -> u32 {
    state.selected.map_or(0, |key| key.pid)
}

fn order(state: &State) -> Vec<u32> {
    (0..state.rows.len())
        .filter_map(|row| Some(state.row(row)?.key.pid))
        .collect()
}

#[test]
fn the_busiest_process_is_on_top_and_keys_move_the_selection() {
    let mut state = state(80, 24, usual());
    assert_eq!(order(&state), [3100, 4242, 900, 5000]);
    assert_eq!(selected(&state), 3100);
    for (keys, pid) in [
        (&["<Down>"][..], 4242),
        (&["j", "j", "j", "j"], 5000),
        (&["k"], 900),
        (&["g"], 3100),
        (&["G"], 5000),
        (&["<PgUp>"], 3100),
        (&["<Up>"], 3100),
        (&["<PgDn>"], 5000),
    ] {
        press(&mut state, keys);
        assert_eq!(selected(&state), pid, "{keys:?}");
    }
}

#[test]
fn the_selection_follows_the_process_and_not_the_row() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["j"]);
    update(
        &mut state,
        Action::Snapshot(snapshot(vec![
            process(900, "bash", 9e6, 0.0),
            process(3100, "firefox", 5e6, 0.0),
            process(4242, "wget", 1.0, 0.0),
        ])),
    );
    assert_eq!(order(&state), [900, 3100, 4242]);
    assert_eq!((selected(&state), state.cursor), (4242, 2));
    // It vanishes: what is now in its place is selected.
    update(
        &mut state,
        Action::Snapshot(snapshot(vec![process(900, "bash", 9e6, 0.0)])),
    );
    assert_eq!(selected(&state), 900);
    update(&mut state, Action::Snapshot(snapshot(vec![])));
    assert_eq!(state.selected, None);
    assert_eq!(press(&mut state, &["x", "<Enter>", "G", "j"]), []);
}

#[test]
fn another_process_with_the_same_id_is_not_the_selected_one() {
    let mut state = state(
        80,
        24,
        snapshot(vec![process(7, "a", 1.0, 0.0), process(8, "b", 2.0, 0.0)]),
    );
    press(&mut state, &["G"]);
    assert_eq!(selected(&state), 7);
    let mut heir = process(7, "c", 9.0, 0.0);
    heir.key.start_ticks = 200;
    update(
        &mut state,
        Action::Snapshot(snapshot(vec![heir, process(8, "b", 2.0, 0.0)])),
    );
    // Row 1, where the selected one was, is now that of 8.
    assert_eq!(
        state.selected,
        Some(ProcessKey {
            pid: 8,
            start_ticks: 100
        })
    );
}

#[test]
fn a_limit_is_typed_and_asked_for_with_its_children() {
    let mut state = state(80, 24, usual());
    let effects = press(
        &mut state,
        &["<Enter>", "1.5MB", "<Tab>", "800kbit", "<Enter>"],
    );
    let targets = Targets {
        processes: vec![ProcessKey {
            pid: 3100,
            start_ticks: 100,
        }],
        children: true,
        ..Targets::default()
    };
    let limit = limit(Some(1_500_000), Some(100_000));
    assert_eq!(
        effects,
        [Effect::SetLimit {
            targets,
            limit,
            who: "firefox (3100)".to_owned()
        }]
    );
    assert_eq!(state.mode, Mode::Normal);
}

#[test]
fn a_present_limit_is_filled_in_changed_and_removed() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["j", "l"]);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("no dialog")
    };
    assert_eq!(dialog.fields[0].text, "1MB");
    let who = "wget (4242)".to_owned();
    let effects = press(&mut state, &["<Ctrl-U>", "2MB", "<Enter>"]);
    let changed = limit(Some(2_000_000), None);
    assert_eq!(
        effects,
        [Effect::ChangeLimit {
            id: LimitId(1),
            limit: changed,
            who: who.clone()
        }]
    );
    // Both fields empty, or x: removed.
    let removed = [Effect::RemoveLimit {
        id: LimitId(1),
        who,
    }];
    assert_eq!(press(&mut state, &["l", "<Ctrl-U>", "<Enter>"]), removed);
    assert_eq!(press(&mut state, &["x"]), removed);
}

#[test]
fn what_cannot_be_read_is_not_applied_and_nothing_typed_acts_as_a_key() {
    let mut state = state(80, 24, usual());
    assert_eq!(press(&mut state, &["<Enter>", "xqb?5kbps", "<Enter>"]), []);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("the dialog has closed")
    };
    assert_eq!(dialog.fields[0].text, "xqb?5kbps");
    update(&mut state, Action::Paste("\u{1b}[31m\n1MB".to_owned()));
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("the dialog has closed")
    };
    assert_eq!(dialog.fields[0].text, "xqb?5kbps[31m1MB");
    assert_eq!(press(&mut state, &["<Esc>"]), []);
    assert_eq!(state.mode, Mode::Normal);
    // Nothing typed, nothing set: no limit is no effect.
    assert_eq!(press(&mut state, &["<Enter>", "<Enter>"]), []);
}

#[test]
fn rows_keep_their_order_while_a_dialog_is_open() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["<Enter>"]);
    let turned = vec![
        process(900, "bash", 9e6, 0.0),
        process(3100, "firefox", 1.0, 0.0),
    ];
    update(&mut state, Action::Snapshot(snapshot(turned.clone())));
    assert_eq!(order(&state), [3100, 900]);
    press(&mut state, &["<Esc>"]);
    update(&mut state, Action::Snapshot(snapshot(turned)));
    assert_eq!((order(&state), selected(&state)), (vec![900, 3100], 3100));
}

#[test]
fn an_ended_process_cannot_be_limited_and_one_without_a_limit_has_none_to_remove() {
    let mut state = state(80, 24, usual());
    assert_eq!(press(&mut state, &["G", "<Enter>"]), []);
    assert_eq!(state.mode, Mode::Normal);
    assert!(state.message.as_ref().is_some_and(|message| message.error));
    assert_eq!(press(&mut state, &["g", "x"]), []);
    assert_eq!(
        state.message.as_ref().unwrap().text,
        "firefox (3100) has no limit"
    );
}

#[test]
fn sort_orders_their_reverse_units_help_and_the_ways_out() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["sss"]);
    assert_eq!(order(&state), [900, 3100, 4242, 5000]);
    press(&mut state, &["I"]);
    assert_eq!(order(&state), [5000, 4242, 3100, 900]);
    press(&mut state, &["b"]);
    assert_eq!(state.style, Style::Bits);
    press(&mut state, &["?"]);
    assert_eq!(state.mode, Mode::Help);
    assert_eq!(press(&mut state, &["q"]), []);
    assert_eq!(press(&mut state, &["<Esc>"]), []);
    assert_eq!(press(&mut state, &["q"]), [Effect::Quit]);
    assert_eq!(press(&mut state, &["<Enter>", "<Ctrl-C>"]), [Effect::Quit]);
}

#[test]
fn the_selected_row_is_on_the_screen_whatever_its_size() {
    let many = (1..=100).map(|pid| process(pid, "p", 0.0, 0.0)).collect();
    let mut state = state(80, 24, snapshot(many));
    press(&mut state, &["G"]);
    for height in [24, 12, 5, 0, 200, 30] {
        update(&mut state, Action::Resize { width: 80, height });
        let visible = state.offset..state.offset + state.page();
        assert!(visible.contains(&state.cursor), "{height}: {visible:?}");
        assert_eq!(selected(&state), 100);
    }
}
