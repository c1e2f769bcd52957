//! The update, key by key.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::*;
use crate::tui::{
    fixtures::{key, origin, press, process, said, snapshot, state, usual},
    rows::{Group, Show},
};
use crate::{config::View, model::Direction, tui::rows::Sort, units::Style};

fn selected(state: &State) -> u32 {
    match &state.selected {
        Some(RowKey::Process(key)) => key.pid,
        _ => 0,
    }
}

fn order(state: &State) -> Vec<u32> {
    let lead = |row| state.lead(row).unwrap().key.pid;
    state.rows.iter().map(lead).collect()
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
    // It ends and then vanishes: nobody is selected in its place until a key moves there.
    let bash = || snapshot(vec![process(900, "bash", 9e6, 0.0)]);
    for _ in 0..6 {
        assert_eq!(selected(&state), 4242);
        update(&mut state, Action::Snapshot(bash()));
    }
    assert_eq!(order(&state), [900]);
    for act in ["l", "B", "x", "[", "]", "K", " ", "<Right>"] {
        let effects = press(&mut state, &[act, "<Esc>"]);
        assert_eq!(effects, [], "{act}");
    }
    press(&mut state, &["B"]);
    assert_eq!((&state.mode, state.chosen().len()), (&Mode::Normal, 0));
    assert_eq!(said(&state), "process 4242 has ended: no row is selected");
    press(&mut state, &["j"]);
    assert_eq!(selected(&state), 900);
    for _ in 0..6 {
        update(&mut state, Action::Snapshot(snapshot(vec![])));
    }
    assert_eq!(state.chosen().len(), 0);
    let keys = [
        "x", "<Enter>", "G", "j", "[", "]", " ", "<Right>", "<Esc>", "t", "-",
    ];
    for key in keys {
        let effects = press(&mut state, &[key]);
        assert!(
            effects.iter().all(|it| matches!(it, Effect::Inspect(_))),
            "{key}"
        );
    }
}

/// In the first sample nothing has a rate, and init is on top.
#[test]
fn until_a_key_is_pressed_the_first_row_is_selected_whichever_it_is() {
    let first = vec![process(1, "init", 0.0, 0.0), process(7, "wget", 0.0, 0.0)];
    let mut state = state(80, 24, snapshot(first));
    assert_eq!(selected(&state), 1);
    let second = |rate| {
        snapshot(vec![
            process(1, "init", 0.0, 0.0),
            process(7, "wget", rate, 0.0),
        ])
    };
    update(&mut state, Action::Snapshot(second(5.0)));
    assert_eq!(selected(&state), 7);
    press(&mut state, &["b"]);
    update(&mut state, Action::Snapshot(second(0.0)));
    assert_eq!((selected(&state), state.cursor), (7, 1));
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
    for _ in 0..6 {
        let both = vec![heir.clone(), process(8, "b", 2.0, 0.0)];
        update(&mut state, Action::Snapshot(snapshot(both)));
    }
    // Row 1, where the selected one was, is now that of 8.
    assert_eq!(order(&state), [7, 8]);
    assert!(state.selected_row().is_none());
    press(&mut state, &["j"]);
    assert_eq!(state.selected, Some(RowKey::Process(key(8))));
}

#[test]
fn a_key_for_tagged_rows_that_have_ended_is_not_for_the_selected_one() {
    let mut state = state(80, 24, usual());
    // The cursor goes on to the next.
    press(&mut state, &["g", " "]);
    assert_eq!((selected(&state), state.tagged.len()), (4242, 1));
    for _ in 0..6 {
        let without = vec![process(4242, "wget", 1.0, 0.0)];
        update(&mut state, Action::Snapshot(snapshot(without)));
    }
    assert_eq!(press(&mut state, &["B"]), []);
    assert_eq!(said(&state), "process 3100 has ended: no row is selected");
    press(&mut state, &["k"]);
    assert_eq!(selected(&state), 4242);
}

#[test]
fn nor_is_it_where_only_some_rows_are_shown() {
    // Whoever is tagged ends, or is one of those that are shown no longer.
    let idle = process(3100, "firefox", 0.0, 0.0);
    let rest = process(4242, "wget", 1.0, 0.0);
    for (keys, then, words) in [
        (&["/", "e", "<Enter>"][..], vec![], "has ended"),
        (&["f"], vec![], "has ended"),
        (&["f"], vec![idle], "(3100) is hidden"),
    ] {
        let mut state = state(80, 24, usual());
        press(&mut state, keys);
        press(&mut state, &["g", " "]);
        assert_eq!((selected(&state), state.tagged.len()), (4242, 1));
        for _ in 0..12 {
            let sample = [&then[..], std::slice::from_ref(&rest)].concat();
            update(&mut state, Action::Snapshot(snapshot(sample)));
        }
        assert_eq!(order(&state), [4242], "{keys:?}");
        assert_eq!(press(&mut state, &["B"]), [], "{keys:?}");
        assert!(said(&state).contains(words), "{}", said(&state));
        press(&mut state, &["k"]);
        assert_eq!(selected(&state), 4242);
    }
}

#[test]
fn groups_and_connections_that_vanish_leave_nothing_selected_either() {
    for view in ["2", "6"] {
        let mut state = state(80, 24, usual());
        let mut other = process(7, "other", 9e6, 0.0);
        other.uid = 7;
        press(&mut state, &[view, "g"]);
        for _ in 0..6 {
            update(&mut state, Action::Snapshot(snapshot(vec![other.clone()])));
        }
        assert_eq!(press(&mut state, &["B"]), []);
        let words = "that was selected here is not shown: no row is selected";
        assert!(said(&state).contains(words), "{view}: {}", said(&state));
    }
}

#[test]
fn what_cannot_be_read_is_not_applied_and_nothing_typed_acts_as_a_key() {
    let mut state = state(80, 24, usual());
    assert_eq!(press(&mut state, &["<Enter>", "xqb?5kbps", "<Enter>"]), []);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("the dialog has closed")
    };
    assert_eq!(dialog.download.text, "xqb?5kbps");
    update(&mut state, Action::Paste("\u{1b}[31m\n1MB".to_owned()));
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("the dialog has closed")
    };
    assert_eq!(dialog.download.text, "xqb?5kbps[31m1MB");
    assert_eq!(press(&mut state, &["<Esc>"]), []);
    assert_eq!(state.mode, Mode::Normal);
    // Nothing typed, nothing set: no limit is no effect.
    assert_eq!(press(&mut state, &["<Enter>", "<Enter>"]), []);
    // A paste outside of a field does nothing.
    update(&mut state, Action::Paste("xq".to_owned()));
    assert_eq!(state.mode, Mode::Normal);
}

#[test]
fn enter_goes_to_the_field_that_cannot_be_read() {
    let mut state = state(80, 24, usual());
    press(
        &mut state,
        &["<Enter>", "99kbps", "<Tab>", "500KB", "<Enter>"],
    );
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("the dialog has closed")
    };
    assert_eq!(dialog.focus, crate::tui::dialog::Focus::Download);
}

#[test]
fn rows_keep_their_order_while_a_dialog_is_open() {
    let turned = vec![
        process(900, "bash", 9e6, 0.0),
        process(3100, "firefox", 1.0, 0.0),
    ];
    for open in ["<Enter>", "s", "?", ":"] {
        let mut state = state(80, 24, usual());
        press(&mut state, &[open]);
        update(&mut state, Action::Snapshot(snapshot(turned.clone())));
        // The one that has ended is still there.
        assert_eq!(order(&state), [3100, 4242, 900], "{open}");
        press(&mut state, &["<Esc>"]);
        update(&mut state, Action::Snapshot(snapshot(turned.clone())));
        assert_eq!(order(&state), [900, 3100, 4242], "{open}");
        assert_eq!(selected(&state), 3100);
    }
}

#[test]
fn a_process_that_has_ended_is_shown_for_five_samples_more_and_cannot_be_limited() {
    let both = || snapshot(vec![process(7, "a", 1.0, 0.0), process(8, "b", 2.0, 0.0)]);
    let mut state = state(80, 24, both());
    press(&mut state, &["G"]);
    let one = || snapshot(vec![process(8, "b", 2.0, 0.0)]);
    for sample in 0..5 {
        update(&mut state, Action::Snapshot(one()));
        assert_eq!(order(&state), [8, 7], "{sample}");
        assert_eq!((selected(&state), state.rows[1].ended), (7, true));
        assert_eq!(state.rows[1].traffic.down.bytes_per_s, 0.0);
        assert_eq!(press(&mut state, &["<Enter>", "x"]), []);
        assert!(said(&state).contains("a (7)"), "{}", said(&state));
    }
    update(&mut state, Action::Snapshot(one()));
    assert_eq!(order(&state), [8]);
}

#[test]
fn an_ended_process_cannot_be_limited_and_one_without_a_limit_has_none_to_remove() {
    let mut state = state(80, 24, usual());
    assert_eq!(press(&mut state, &["G", "<Enter>"]), []);
    assert_eq!(state.mode, Mode::Normal);
    assert!(state.message.as_ref().is_some_and(|message| message.error));
    assert_eq!(press(&mut state, &["g", "x"]), []);
    assert_eq!(said(&state), "firefox (3100) has no limit");
}

#[test]
fn the_menu_of_orders_reverse_units_help_and_the_ways_out() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["s", "jjjjj", "<Enter>"]);
    assert_eq!(order(&state), [900, 3100, 4242, 5000]);
    press(&mut state, &["I"]);
    assert_eq!(order(&state), [4242, 3100, 900, 5000]);
    press(&mut state, &["s", "k", "<Esc>"]);
    assert_eq!((state.sort, &state.mode), (Sort::Pid, &Mode::Normal));
    press(&mut state, &["b"]);
    assert_eq!(state.style, Style::Bits);
    press(&mut state, &["?"]);
    let page = |page, offset| Mode::Help(Help { page, offset });
    assert_eq!(state.mode, page(0, 0));
    press(&mut state, &["jj"]);
    assert_eq!(state.mode, page(0, 0));
    press(&mut state, &["<Tab>", "<PgDn>"]);
    assert_eq!(state.mode, page(2, 0));
    press(&mut state, &["<Right>", "<Right>", "<S-Tab>", "<Left>"]);
    assert_eq!(state.mode, page(2, 0));
    assert_eq!(press(&mut state, &["q"]), []);
    assert_eq!(state.mode, Mode::Normal);
    // Esc only cancels.
    assert_eq!(press(&mut state, &["<Esc>"]), []);
}

#[test]
fn the_table_has_all_of_the_width_or_details_beside_it() {
    let mut wide = state(200, 50, usual());
    let beside = wide.areas().beside.unwrap();
    assert!(wide.details_shown().is_some());
    press(&mut wide, &["v"]);
    assert_eq!(wide.areas().beside, None);
    assert!(wide.details_shown().is_none() && wide.message.is_none());
    press(&mut wide, &["v"]);
    assert_eq!(wide.areas().beside, Some(beside));
    assert!(wide.details_shown().is_some());
    // Where there is no room for them, or they are not for a view, a key that does nothing says why.
    press(&mut wide, &["4", "v"]);
    assert_eq!(said(&wide), "connections take all of the width");
    let mut narrow = state(80, 24, usual());
    press(&mut narrow, &["v"]);
    assert!(
        said(&narrow).contains("from 140 columns"),
        "{}",
        said(&narrow)
    );
    assert!(narrow.split);
}

#[test]
fn quitting_asks_only_while_limits_are_set_and_ctrl_c_never() {
    let mut state = state(80, 24, usual());
    assert_eq!(press(&mut state, &["q"]), []);
    assert_eq!(state.mode, Mode::Confirm(Question::Quit));
    assert_eq!(press(&mut state, &["n"]), []);
    assert_eq!(state.mode, Mode::Normal);
    assert_eq!(press(&mut state, &["q", "y"]), [Effect::Quit]);
    assert_eq!(press(&mut state, &["q", "<Ctrl-C>"]), [Effect::Quit]);
    assert_eq!(press(&mut state, &["<Enter>", "<Ctrl-C>"]), [Effect::Quit]);
    // And Ctrl-Z closes nothing.
    press(&mut state, &["<Esc>", "<Esc>", "/"]);
    assert_eq!(press(&mut state, &["<Ctrl-Z>"]), [Effect::Suspend]);
    assert_eq!(state.mode, Mode::Filter);
    press(&mut state, &["<Esc>", "<Esc>"]);
    // Those of others stay.
    let mut theirs = Snapshot::clone(&usual());
    theirs.origins = theirs
        .limits
        .iter()
        .map(|limit| origin(limit.id, 70))
        .collect();
    update(&mut state, Action::Snapshot(theirs.clone().into()));
    assert_eq!(press(&mut state, &["q"]), [Effect::Quit]);
    theirs.origins[0].pid = state.pid;
    update(&mut state, Action::Snapshot(theirs.clone().into()));
    assert_eq!(press(&mut state, &["q"]), []);
    press(&mut state, &["n"]);
    theirs.origins[0].detached = true;
    update(&mut state, Action::Snapshot(theirs.into()));
    assert_eq!(press(&mut state, &["q"]), [Effect::Quit]);
    let free = snapshot(vec![process(1, "a", 0.0, 0.0)]);
    update(&mut state, Action::Snapshot(free));
    assert_eq!(press(&mut state, &["q"]), [Effect::Quit]);
}

#[test]
fn whoever_has_gone_is_not_tagged_any_more_and_a_filter_untags_nobody() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["G", " "]);
    let rest = vec![process(900, "bash", 0.0, 0.0)];
    press(&mut state, &["/", "wget", "<Enter>"]);
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(state.tagged.len(), 1);
    press(&mut state, &["<Esc>"]);
    assert_eq!(state.tagged.len(), 1);
    update(&mut state, Action::Snapshot(snapshot(rest)));
    assert!(state.tagged.is_empty());
}

#[test]
fn the_filter_is_live_and_its_letters_are_no_keys() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["/"]);
    press(&mut state, &["w"]);
    assert_eq!(order(&state), [4242]);
    assert_eq!(press(&mut state, &["xq"]), []);
    assert_eq!(order(&state), [0u32; 0]);
    press(&mut state, &["<Ctrl-U>"]);
    update(&mut state, Action::Paste("FIRE".to_owned()));
    assert_eq!(order(&state), [3100]);
    press(&mut state, &["<Enter>"]);
    assert_eq!((&state.mode, order(&state)), (&Mode::Normal, vec![3100]));
    press(&mut state, &["<Esc>"]);
    assert_eq!(order(&state).len(), 4);
    press(&mut state, &["/", "w", "<Esc>"]);
    assert_eq!((&state.mode, order(&state).len()), (&Mode::Normal, 4));
}

#[test]
fn which_rows_are_shown_goes_round() {
    let mut state = state(80, 24, usual());
    for (show, count) in [(Show::Busy, 2), (Show::Limited, 1), (Show::All, 4)] {
        press(&mut state, &["f"]);
        assert_eq!((state.show, state.rows.len()), (show, count));
    }
}

#[test]
fn the_views_go_round_and_the_selection_stays_with_its_process() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["j", "t"]);
    assert_eq!((state.view, selected(&state)), (View::Tree, 4242));
    press(&mut state, &["t"]);
    assert_eq!(state.view, View::Programs);
    let wget = RowKey::Group(Group::Exe("/usr/bin/wget".into()));
    assert_eq!(state.selected, Some(wget));
    press(&mut state, &["t"]);
    assert_eq!((state.view, selected(&state)), (View::List, 4242));
}

#[test]
fn folding_hides_what_is_below() {
    let mut parent = process(10, "make", 1.0, 0.0);
    parent.parent = 0;
    let mut child = process(11, "cc", 2.0, 0.0);
    child.parent = 10;
    let mut state = state(80, 24, snapshot(vec![parent, child]));
    press(&mut state, &["<Left>"]);
    assert_eq!(order(&state).len(), 2, "there is nothing to fold in a list");
    press(&mut state, &["t", "g", "<Left>"]);
    assert_eq!(order(&state), [10]);
    press(&mut state, &["="]);
    assert_eq!(order(&state), [10, 11]);
}

#[test]
fn details_are_of_the_row_ask_for_connections_and_lead_back() {
    let mut state = state(80, 24, usual());
    let effects = press(&mut state, &["j", "<Right>"]);
    let request = |resolve| {
        [Effect::Inspect(Request {
            purpose: Purpose::Details(RowKey::Process(key(4242))),
            processes: vec![key(4242)],
            resolve,
        })]
    };
    assert_eq!(effects, request(false));
    let effects = update(&mut state, Action::Snapshot(usual()));
    assert_eq!(effects, request(false));
    assert_eq!(press(&mut state, &["n"]), request(true));
    // Of another row, seen late: not taken.
    let inspected = |pid| Action::Inspected {
        key: RowKey::Process(key(pid)),
        connections: Vec::new(),
        more: false,
    };
    update(&mut state, inspected(3100));
    assert_eq!(state.details.as_ref().unwrap().connections, None);
    update(&mut state, inspected(4242));
    assert_eq!(state.details.as_ref().unwrap().connections, Some(vec![]));
    press(&mut state, &["j", "G", "<PgUp>"]);
    assert_eq!(selected(&state), 4242);
    // Its limit, not that of what is tagged.
    let effects = press(&mut state, &["x"]);
    assert!(matches!(&effects[..], [Effect::RemoveLimits { .. }]));
    press(&mut state, &["<Left>"]);
    assert_eq!(state.details, None);
    press(&mut state, &["d", "<Esc>"]);
    assert_eq!(state.details, None);
}

#[test]
fn the_mouse_scrolls_selects_and_sorts() {
    let many = (1..=100).map(|pid| process(pid, "p", 0.0, 0.0)).collect();
    let mut state = state(80, 24, snapshot(many));
    let mouse = |kind, column, row| {
        Action::Mouse(MouseEvent {
            kind,
            column,
            row,
            modifiers: KeyModifiers::NONE,
        })
    };
    let click = MouseEventKind::Down(MouseButton::Left);
    update(&mut state, mouse(MouseEventKind::ScrollDown, 5, 10));
    assert_eq!(selected(&state), 4);
    update(&mut state, mouse(MouseEventKind::ScrollUp, 5, 10));
    assert_eq!(selected(&state), 1);
    let areas = state.areas();
    update(&mut state, mouse(click, 20, areas.rows.y + 6));
    assert_eq!(selected(&state), 7);
    // The title of the ids, once and twice.
    update(&mut state, mouse(click, 6, areas.titles.y));
    assert_eq!((state.sort, state.reversed), (Sort::Pid, false));
    update(&mut state, mouse(click, 6, areas.titles.y));
    assert_eq!((state.sort, state.reversed), (Sort::Pid, true));
    assert_eq!(selected(&state), 7);
    for (column, row) in [(0, 0), (79, 23), (500, 500), (79, areas.titles.y)] {
        update(&mut state, mouse(click, column, row));
    }
    assert_eq!(selected(&state), 7);
    // Not behind a dialog.
    press(&mut state, &["<Enter>"]);
    update(&mut state, mouse(click, 20, areas.rows.y));
    assert_eq!(selected(&state), 7);
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

#[test]
fn a_long_message_has_as_many_lines_as_it_takes_and_the_selected_row_stays_in_sight() {
    let many = (1..=100).map(|pid| process(pid, "p", 0.0, 0.0)).collect();
    let mut state = state(80, 24, snapshot(many));
    press(&mut state, &["G"]);
    let before = state.areas();
    let words = "the limit was not set: ".to_owned() + &"why not ".repeat(20) + "do this";
    update(&mut state, Action::Said(Message::error(words)));
    let areas = state.areas();
    assert_eq!(areas.footer.height, before.footer.height + 2);
    assert_eq!(areas.rows.height + 2, before.rows.height);
    assert!((state.offset..state.offset + state.page()).contains(&state.cursor));
    let lines = crate::tui::footer::message_lines(&state, state.size);
    assert!(lines.last().unwrap().ends_with("do this"), "{lines:?}");
    // And no more than a third of the screen.
    update(
        &mut state,
        Action::Said(Message::error("never ".repeat(1_000))),
    );
    assert_eq!(state.areas().footer.height, 9);
    press(&mut state, &["k"]);
    assert_eq!(state.areas().footer, before.footer);
}

#[path = "samples_tests.rs"]
mod samples;
