//! Limits from the keyboard, key by key.

use super::*;
use crate::tui::{
    changes::Answer,
    fixtures::{key, limit, press, process, said, snapshot, state, usual},
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
    }];
    assert_eq!(press(&mut state, &["l", "<Ctrl-U>", "<Enter>"]), removed);
    assert_eq!(press(&mut state, &["x"]), removed);
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

#[test]
fn a_limit_is_shown_as_it_will_be_until_a_sample_can_know() {
    let mut state = state(80, 24, usual());
    let shown = |state: &State| state.limit(LimitId(1)).unwrap().limit.down;
    let old = shown(&state);
    press(&mut state, &["g", "j", "["]);
    let new = Some(Rate::clamped(700_000));
    assert_eq!(shown(&state), new);
    let answer = |error| {
        let text = String::new();
        Action::Answered(Answer {
            message: Message { text, error },
            set: None,
            renamed: Vec::new(),
        })
    };
    // Of before the change: before the answer, and still on its way when that came.
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), new);
    update(&mut state, answer(false));
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), new);
    // From here on samples know best.
    update(&mut state, Action::Snapshot(usual()));
    assert_eq!(shown(&state), old);
    // Of two changes the first is answered first; what is refused is not shown any more.
    press(&mut state, &["[", "]"]);
    update(&mut state, answer(false));
    update(&mut state, answer(true));
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
