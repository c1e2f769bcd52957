//! Limits from the keyboard, key by key.

use std::sync::Arc;

use super::*;
use crate::tui::{
    changes::Answer,
    fixtures::{key, limit, press, process, rule, said, snapshot, state, usual},
    update::{Action, update},
};

#[test]
fn the_limit_of_init_is_not_for_the_whole_machine_unless_asked_for() {
    let mut state = state(80, 24, snapshot(vec![process(1, "init", 0.0, 0.0)]));
    let effects = press(&mut state, &["<Enter>", "1MB", "<Enter>"]);
    let [Effect::SetLimit { targets, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(!targets.children);
}

#[test]
fn a_limit_is_typed_and_asked_for_with_its_children() {
    let mut state = state(80, 24, usual());
    let effects = press(
        &mut state,
        &["<Enter>", "1.5MB", "<Tab>", "800kbit", "<Enter>"],
    );
    let targets = Targets {
        processes: vec![key(3100)],
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
fn scope_and_children_are_chosen_and_presets_gone_through() {
    let mut state = state(80, 24, usual());
    let keys = [
        "<Enter>", "<Up>", "<Up>", "<Tab>", "<Tab>", "<Right>", "<Tab>", " ", "<Enter>",
    ];
    let effects = press(&mut state, &keys);
    let [Effect::SetLimit { targets, limit, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(!targets.children);
    assert_eq!(limit.scope, chadthrottle_common::scope::Scope::INTERNET);
    assert_eq!(limit.down, Some(Rate::clamped(250_000)));
    // Round, and back with Shift.
    press(&mut state, &["<Enter>", "<S-Tab>"]);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("no dialog")
    };
    assert_eq!(dialog.focus, crate::tui::dialog::Focus::Children);
}

#[test]
fn a_present_limit_is_filled_in_changed_and_removed() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["j", "l"]);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("no dialog")
    };
    assert_eq!(dialog.download.text, "1MB");
    let who = "wget (4242)".to_owned();
    let effects = press(&mut state, &["<Ctrl-U>", "2MB", "<Enter>"]);
    let changed = limit(Some(2_000_000), None);
    let change = |children| {
        [Effect::ChangeLimit {
            id: LimitId(1),
            limit: changed,
            children,
            who: who.clone(),
        }]
    };
    assert_eq!(effects, change(None));
    // The same, and for itself only.
    let keys = ["l", "<Ctrl-U>", "2MB", "<S-Tab>", " ", "<Enter>"];
    assert_eq!(press(&mut state, &keys), change(Some(false)));
    // Both fields empty, or x: removed.
    let removed = [Effect::RemoveLimits {
        ids: vec![LimitId(1)],
        who: who.clone(),
        are_blocks: false,
    }];
    assert_eq!(press(&mut state, &["l", "<Ctrl-U>", "<Enter>"]), removed);
    // The engine has answered all of them, and the last one with no.
    for error in [false, false, true] {
        update(&mut state, answered(error));
    }
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(press(&mut state, &["x"]), removed);
}

#[test]
fn a_limit_that_is_filled_in_gives_way_to_what_is_typed_and_is_edited_with_the_keys_for_that() {
    for (keys, down) in [
        (&["2MB"][..], 2_000_000),
        (&["<Down>", "3MB"], 3_000_000),
        (&["<Left>", "<Left>", "5"], 15_000_000),
        (&["<Backspace>", "<Backspace>", "KB"], 1_000),
        (&["<Home>", "2"], 21_000_000),
        (&["<End>", "<Backspace>", "B"], 1_000_000),
        (&["<Tab>", "<S-Tab>", "7MB"], 7_000_000),
    ] {
        let mut state = state(80, 24, usual());
        press(&mut state, &["g", "j", "l"]);
        press(&mut state, keys);
        let effects = press(&mut state, &["<Enter>"]);
        let [Effect::ChangeLimit { limit: now, .. }] = effects.as_slice() else {
            panic!("{keys:?}: {effects:?}")
        };
        assert_eq!(*now, limit(Some(down), None), "{keys:?}");
    }
    // What is pasted takes its place too.
    let mut state = state(80, 24, usual());
    press(&mut state, &["g", "j", "l"]);
    update(&mut state, Action::Paste("2MB".to_owned()));
    let effects = press(&mut state, &["<Enter>"]);
    assert!(
        matches!(&effects[..], [Effect::ChangeLimit { limit: now, .. }] if *now == limit(Some(2_000_000), None))
    );
}

#[test]
fn the_end_of_a_block_is_called_that() {
    let mut wget = process(4242, "wget", 0.0, 0.0);
    wget.limit = Some((
        LimitId(1),
        Limit {
            down: Some(Rate::BLOCKED),
            up: Some(Rate::BLOCKED),
            ..Limit::NONE
        },
    ));
    for keys in [
        &["B"][..],
        &["x"],
        &["<Enter>", "<Ctrl-U>", "<Tab>", "<Ctrl-U>", "<Enter>"],
    ] {
        let mut state = state(80, 24, snapshot(vec![wget.clone()]));
        let effects = press(&mut state, keys);
        assert_eq!(effects[0].words(), "wget (4242): block ended", "{keys:?}");
    }
    // One that was set is taken back.
    let mut state = state(80, 24, usual());
    press(&mut state, &["g", "B"]);
    let mut answer = answered(false);
    if let Action::Answered(answer) = &mut answer {
        answer.set = Some(LimitId(7));
    }
    update(&mut state, answer);
    let effects = press(&mut state, &["u"]);
    assert_eq!(effects[0].words(), "firefox (3100): block ended");
}

#[test]
fn brackets_step_the_limit_and_nothing_else() {
    let mut state = state(80, 24, usual());
    // Each from where the last one has brought it, whether or not a sample has come since.
    let steps = [("[", 700_000), ("]", 1_000_000), ("]", 1_500_000)];
    for (press_key, bytes) in steps {
        let effects = press(&mut state, &["g", "j", press_key]);
        assert_eq!(
            effects,
            [Effect::ChangeLimit {
                id: LimitId(1),
                limit: limit(Some(bytes), None),
                children: None,
                who: "wget (4242)".to_owned()
            }]
        );
    }
    assert_eq!(press(&mut state, &["g", "]"]), []);
    assert!(said(&state).contains("has no limit"), "{}", said(&state));
    assert_eq!(press(&mut state, &[" ", "j", "j", " ", "]"]), []);
    assert_eq!(said(&state), "2 rows have no limit: Enter sets one");
    let nobody = ["<Esc>", "/", "no such", "<Enter>", "]"];
    assert_eq!(press(&mut state, &nobody), []);
    assert_eq!(said(&state), "no row is selected");
}

fn answered(error: bool) -> Action {
    let text = String::new();
    Action::Answered(Answer::of(Message { text, error }))
}

#[test]
fn a_limit_is_shown_as_it_will_be_until_a_sample_can_know() {
    let mut state = state(80, 24, usual());
    let shown = |state: &State| state.limit(LimitId(1)).unwrap().limit.down;
    let old = shown(&state);
    press(&mut state, &["g", "j", "["]);
    let new = Some(Rate::clamped(700_000));
    assert_eq!(shown(&state), new);
    // Of before the change: before the answer, and still on its way when that came.
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), new);
    update(&mut state, answered(false));
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), new);
    // From here on samples know best.
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), old);
    // Of two changes the first is answered first; what is refused is not shown any more.
    press(&mut state, &["[", "]"]);
    update(&mut state, answered(false));
    update(&mut state, answered(true));
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), new);
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), old);
}

#[test]
fn all_limits_are_removed_after_asking() {
    let mut state = state(80, 24, usual());
    assert_eq!(press(&mut state, &["X", "<Esc>"]), []);
    let all = [Effect::RemoveLimits {
        ids: vec![LimitId(1)],
        who: "all".to_owned(),
        are_blocks: false,
    }];
    assert_eq!(press(&mut state, &["X", "y"]), all);
    update(&mut state, Action::Snapshot(snapshot(vec![])));
    assert_eq!(press(&mut state, &["X"]), []);
    assert_eq!(said(&state), "there are no limits");
}

#[test]
fn actions_apply_to_all_tagged_rows_which_share_a_limit() {
    let mut state = state(80, 24, usual());
    press(&mut state, &[" ", "j", " "]);
    assert_eq!(state.tagged.len(), 2);
    let effects = press(&mut state, &["g", "<Enter>", "1MB", "<Enter>"]);
    let [Effect::SetLimit { targets, who, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(targets.processes, [key(3100), key(900)]);
    assert_eq!(who, "2 rows together");
    // They are untagged then.
    assert!(state.tagged.is_empty());
    // Of a limited and another one, x removes the one limit.
    press(&mut state, &["g", " ", " "]);
    let effects = press(&mut state, &["x"]);
    assert!(matches!(&effects[..], [Effect::RemoveLimits { ids, .. }] if *ids == [LimitId(1)]));
    press(&mut state, &["<Esc>"]);
    assert!(state.tagged.is_empty());
    press(&mut state, &["g", " ", "U"]);
    assert!(state.tagged.is_empty());
}

#[test]
fn a_programs_limit_takes_in_what_starts_later() {
    let mut state = state(80, 24, usual());
    let keys = ["tt", "<Enter>", "1MB", "<Enter>"];
    let effects = press(&mut state, &keys);
    let [Effect::SetLimit { targets, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        targets.selectors,
        [crate::process::Selector::of_exe("/usr/bin/firefox")]
    );
    assert!(targets.processes.is_empty());
    // That of one process does not, and so is not changed but taken over; its rate is filled in.
    let effects = press(&mut state, &["j", "<Enter>", "<Enter>"]);
    let [Effect::SetLimit { targets, limit, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        targets.selectors,
        [crate::process::Selector::of_exe("/usr/bin/wget")]
    );
    assert_eq!(limit.down, Some(Rate::clamped(1_000_000)));
}

#[test]
fn what_the_machine_or_this_screen_needs_is_blocked_after_asking() {
    let mut session = process(50, "sshd", 0.0, 0.0);
    session.exe = "/usr/sbin/sshd".into();
    let mut shell = process(51, "bash", 0.0, 0.0);
    shell.parent = 50;
    let mut screen = process(52, "chadthrottle", 0.0, 0.0);
    screen.parent = 51;
    let all = vec![
        process(1, "init", 0.0, 0.0),
        process(2, "kthreadd", 0.0, 0.0),
        session,
        shell,
        screen,
        process(60, "bash", 0.0, 0.0),
    ];
    let mut state = state(80, 24, snapshot(all));
    state.pid = 52;
    for (view, name, asks) in [
        ("1", "init", true),
        ("1", "kthreadd", true),
        ("1", "sshd", true),
        ("1", "60", false),
        ("2", "bash", true),
        ("6", "ada", true),
    ] {
        press(&mut state, &[view, "/", name, "<Enter>"]);
        let effects = press(&mut state, &["B"]);
        assert_eq!(effects.is_empty(), asks, "{name}: {effects:?}");
        assert_eq!(matches!(state.mode, Mode::Confirm(_)), asks, "{name}");
        if asks {
            assert_eq!(press(&mut state, &["n"]), [], "{name}");
            press(&mut state, &["B"]);
            let effects = press(&mut state, &["y"]);
            assert!(matches!(&effects[..], [Effect::SetLimit { .. }]), "{name}");
        }
        press(&mut state, &["<Esc>"]);
    }
}

#[test]
fn a_block_that_is_typed_asks_as_the_key_does() {
    let mut init = process(1, "init", 0.0, 0.0);
    init.limit = Some((LimitId(1), limit(Some(1_000_000), None)));
    let mut shared = process(60, "bash", 0.0, 0.0);
    shared.limit = init.limit;
    let alone = process(61, "wget", 0.0, 0.0);
    let mut sample = snapshot(vec![init, shared, alone]);
    let mut held = rule("all");
    held.limits = vec![LimitId(1)];
    Arc::make_mut(&mut sample).rules = vec![held, rule("none")];
    let mut state = state(80, 24, Arc::clone(&sample));
    let upload = ["<Enter>", "<Tab>", "block", "<Enter>"];
    for (name, keys, asks) in [
        ("init", upload.as_slice(), true),
        // Its limit is that of init too.
        ("bash", &upload, true),
        ("bash", &["<Enter>", "<Tab>", "1MB", "<Enter>"], false),
        ("wget", &upload, false),
        // The rule whose members have it, and one that has none.
        ("init", &["R", "<Enter>", "<Tab>", "block", "<Enter>"], true),
        (
            "init",
            &["R", "j", "<Enter>", "<Tab>", "block", "<Enter>"],
            false,
        ),
    ] {
        press(&mut state, &["1", "/", name, "<Enter>"]);
        let effects = press(&mut state, keys);
        assert_eq!(
            matches!(state.mode, Mode::Confirm(_)),
            asks,
            "{name} {keys:?}"
        );
        assert_eq!(effects.is_empty(), asks, "{name}: {effects:?}");
        if asks {
            assert_eq!(press(&mut state, &["n"]), [], "{name}");
            press(&mut state, keys);
            let effects = press(&mut state, &["y"]);
            assert_eq!(effects.len(), 1, "{name}: {effects:?}");
        }
        press(&mut state, &["<Esc>", "<Esc>"]);
        while !state.changes.pending().collect::<Vec<_>>().is_empty() {
            update(&mut state, answered(true));
        }
        update(&mut state, Action::Snapshot(Arc::clone(&sample)));
    }
}

#[test]
fn the_limit_of_a_filtered_group_says_that_it_is_for_all_of_it() {
    let mut all: Vec<_> = (1..=4)
        .map(|it| process(10 + it, "iperf3", 0.0, 0.0))
        .collect();
    all[0].command = "iperf3 -s".into();
    all[1].command = "iperf3 -s".into();
    let mut state = state(80, 24, snapshot(all));
    press(&mut state, &["2", "/", " -s", "<Enter>", "<Enter>"]);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("{}", said(&state))
    };
    assert_eq!(
        dialog.subject.who,
        "iperf3 (all 4 processes, filtered or not)"
    );
    press(&mut state, &["<Esc>", "<Esc>", "<Enter>"]);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("{}", said(&state))
    };
    assert_eq!(dialog.subject.who, "iperf3 (4 processes)");
}

#[test]
fn a_limit_that_was_just_removed_is_not_there_any_more_whatever_the_last_sample_says() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["/", "wget", "<Enter>", "x", "K"]);
    assert_eq!(state.mode, Mode::Normal);
    assert!(
        said(&state).contains("no limit to keep"),
        "{}",
        said(&state)
    );
    // It was on its way when the engine answered.
    update(&mut state, answered(false));
    update(&mut state, Action::Snapshot(usual()));
    press(&mut state, &["K"]);
    assert_eq!(state.mode, Mode::Normal);
    // What the engine refuses to remove is there again.
    update(&mut state, Action::Snapshot(usual()));
    press(&mut state, &["x"]);
    update(&mut state, answered(true));
    update(&mut state, Action::Snapshot(usual()));
    press(&mut state, &["K"]);
    assert!(matches!(state.mode, Mode::Keep(_)));
}

#[test]
fn removing_a_shared_limit_says_for_how_many_it_was() {
    let mut both = vec![
        process(7, "iperf3", 1.0, 0.0),
        process(8, "iperf3", 0.0, 0.0),
    ];
    let shared = Some((LimitId(1), limit(Some(1_000_000), None)));
    both.iter_mut().for_each(|process| process.limit = shared);
    let mut state = state(80, 24, snapshot(both));
    let effects = press(&mut state, &["g", "x"]);
    assert_eq!(
        effects[0].words(),
        "iperf3 (7) and 1 more process that shared it: limit removed"
    );
}
