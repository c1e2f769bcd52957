//! Changes taken back, key by key.

use super::*;
use crate::{
    model::Snapshot,
    tui::{
        fixtures::{key, limit, origin, press, process, rule, said, snapshot, state, usual},
        rows::RowKey,
        update::{Action, update},
    },
};

/// The engine's number for each change of the rules.
const CHANGE: u64 = 5;

/// The engine's answer that it is done.
fn done(state: &mut State, set: Option<u32>, renamed: &[(u32, u32)]) {
    let renamed = renamed.iter().map(|(a, b)| (LimitId(*a), LimitId(*b)));
    let answer = Answer {
        set: set.map(LimitId),
        renamed: renamed.collect(),
        change: Some(CHANGE),
        ..Answer::of(Message {
            text: "done".to_owned(),
            error: false,
        })
    };
    update(state, Action::Answered(answer));
}

fn failed(state: &mut State) {
    let answer = Answer::of(Message::error("it is not to be"));
    update(state, Action::Answered(answer));
}

#[test]
fn a_new_limit_is_removed_and_only_when_the_engine_has_answered() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["u"]);
    assert_eq!(said(&state), "there is nothing to take back");
    press(&mut state, &["g", "<Enter>", "1MB", "<Enter>"]);
    let waiting = state.changes.waiting().unwrap();
    assert!(
        waiting.starts_with("firefox (3100): down 1 MB/s"),
        "{waiting}"
    );
    assert_eq!(press(&mut state, &["u"]), []);
    assert!(
        said(&state).contains("has not answered"),
        "{}",
        said(&state)
    );
    done(&mut state, Some(7), &[]);
    assert_eq!(state.changes.waiting(), None);
    assert_eq!(said(&state), "done; u takes it back");
    let effects = press(&mut state, &["u"]);
    assert!(matches!(&effects[..], [Effect::RemoveLimits { ids, .. }] if *ids == [LimitId(7)]));
    done(&mut state, None, &[]);
    assert_eq!(said(&state), "firefox (3100): limit removed");
    assert_eq!(press(&mut state, &["u"]), []);
    // What the engine refuses is nothing to take back.
    press(&mut state, &["<Enter>", "1MB", "<Enter>"]);
    failed(&mut state);
    assert_eq!(said(&state), "it is not to be");
    assert!(!state.changes.any());
}

#[test]
fn each_key_is_a_step_back() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["/", "wget", "<Enter>"]);
    for keys in [&["["][..], &["["], &["x"]] {
        press(&mut state, keys);
        done(&mut state, None, &[]);
    }
    let effects = press(&mut state, &["u"]);
    let [Effect::SetAgain { limits, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(limits[0].processes, [key(4242)]);
    assert_eq!(limits[0].limit.down.unwrap().bytes_per_second(), 500_000);
    // It has another name then, by which the steps before know it.
    done(&mut state, None, &[(1, 9)]);
    for before in [700_000, 1_000_000] {
        let effects = press(&mut state, &["u"]);
        let [Effect::ChangeLimit { id, limit, .. }] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        assert_eq!(
            (*id, limit.down.unwrap().bytes_per_second()),
            (LimitId(9), before)
        );
        done(&mut state, None, &[]);
    }
    assert!(!state.changes.any());
}

#[test]
fn limits_that_one_key_changes_are_taken_back_together() {
    let mut wget = process(7, "wget", 1.0, 0.0);
    wget.limit = Some((LimitId(1), limit(Some(1_000_000), None)));
    let mut curl = process(8, "curl", 1.0, 0.0);
    curl.limit = Some((LimitId(2), limit(None, Some(2_000_000))));
    let mut state = state(80, 24, snapshot(vec![wget, curl]));
    assert_eq!(press(&mut state, &[" ", " ", "["]).len(), 2);
    done(&mut state, None, &[]);
    done(&mut state, None, &[]);
    let ids: Vec<LimitId> = press(&mut state, &["u"])
        .iter()
        .filter_map(|effect| match effect {
            Effect::ChangeLimit { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(ids, [LimitId(2), LimitId(1)]);
}

#[test]
fn what_takes_the_place_of_a_limit_says_so_and_gives_it_back() {
    let mut sample = Snapshot::clone(&usual());
    sample.origins = vec![origin(LimitId(1), 0)];
    sample.origins[0].targets = vec!["4242".to_owned(), "name:wget*".to_owned()];
    let mut state = state(80, 24, sample.into());
    let effects = press(&mut state, &["/", "wget", "<Enter>", "B"]);
    assert!(
        matches!(&effects[..], [Effect::SetLimit { .. }]),
        "{effects:?}"
    );
    done(&mut state, Some(5), &[]);
    let words = "done, instead of down 1 MB/s (8 Mbit/s), up unlimited; u takes it back";
    assert_eq!(said(&state), words);
    let effects = press(&mut state, &["u"]);
    let [
        Effect::SetAgain { limits, .. },
        Effect::RemoveLimits { ids, .. },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(ids, &[LimitId(5)]);
    assert_eq!(limits[0].targets, ["4242", "name:wget*"]);
    done(&mut state, None, &[]);
    done(&mut state, None, &[]);
    // A changed one says what it was.
    press(&mut state, &["["]);
    done(&mut state, None, &[]);
    assert!(
        said(&state).contains("instead of down 1 MB/s"),
        "{}",
        said(&state)
    );
}

#[test]
fn of_a_limit_that_others_keep_only_those_come_back_that_left_it() {
    let mut both = [process(7, "a", 1.0, 0.0), process(8, "b", 0.0, 0.0)];
    let shared = Some((LimitId(1), limit(Some(1_000_000), None)));
    both.iter_mut().for_each(|process| process.limit = shared);
    let mut sample = Snapshot::clone(&snapshot(both.to_vec()));
    sample.origins = vec![origin(LimitId(1), 0)];
    sample.origins[0].targets = vec!["name:?".to_owned()];
    let mut state = state(80, 24, sample.into());
    assert_eq!(state.selected, Some(RowKey::Process(key(7))));
    press(&mut state, &["B"]);
    done(&mut state, Some(2), &[]);
    let effects = press(&mut state, &["u"]);
    let [Effect::SetAgain { limits, .. }, _] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (&*limits[0].processes, limits[0].targets.len()),
        (&[key(7)][..], 0)
    );
}

#[test]
fn another_engine_has_other_names() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["g", "<Enter>", "1MB", "<Enter>"]);
    done(&mut state, Some(7), &[]);
    let renamed = vec![(LimitId(7), LimitId(2))];
    let message = Message {
        text: "an engine is there again".to_owned(),
        error: false,
    };
    update(&mut state, Action::Reopened { renamed, message });
    let effects = press(&mut state, &["u"]);
    assert!(matches!(&effects[..], [Effect::RemoveLimits { ids, .. }] if *ids == [LimitId(2)]));
}

#[test]
fn what_another_engine_knows_nothing_of_is_not_taken_back_of_its_limits() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["g", "<Enter>", "1MB", "<Enter>"]);
    done(&mut state, Some(7), &[]);
    let message = Message::error("an engine is there again; 1 limits could not be set again");
    let renamed = vec![(LimitId(3), LimitId(7))];
    update(&mut state, Action::Reopened { renamed, message });
    // Its limit 7 is another one.
    assert!(press(&mut state, &["u"]).is_empty());
    assert!(!state.changes.any());
}

#[test]
fn changes_of_rules_are_taken_back_by_the_engine_whatever_profiles_have_them() {
    let mut sample = Snapshot::clone(&usual());
    sample.rules = ["a", "b", "c"].map(rule).into();
    sample.rules[1].profiles = vec!["hotel".to_owned()];
    sample.profiles = vec!["hotel".to_owned()];
    let mut state = state(80, 24, sample.into());
    for keys in [
        &[" "][..],
        &[">"],
        &["P", "j", "<Enter>"],
        &["<Enter>", "2MB", "<Enter>"],
        &["x", "y"],
    ] {
        press(&mut state, &["R", "g", "j"]);
        assert_eq!(press(&mut state, keys).len(), 1, "{keys:?}");
        done(&mut state, None, &[]);
        assert_eq!(said(&state), "done; u takes it back", "{keys:?}");
        let effects = press(&mut state, &["u"]);
        let [Effect::TakeRulesBack { change, back }] = effects.as_slice() else {
            panic!("{keys:?}: {effects:?}")
        };
        assert_eq!((*change, back.limits.len()), (CHANGE, 0));
        assert_eq!(back.rule.is_some(), keys[0] != "P");
        done(&mut state, None, &[]);
    }
    assert!(!state.changes.any());
    // What was so already is no change.
    press(&mut state, &["P", "<Enter>"]);
    let text = "no profile is on".to_owned();
    let answer = Answer::of(Message { text, error: false });
    update(&mut state, Action::Answered(answer));
    assert_eq!(said(&state), "no profile is on");
    assert!(!state.changes.any());
}

#[test]
fn a_kept_limit_comes_back_and_its_rule_goes() {
    let mut state = state(80, 24, usual());
    let effects = press(&mut state, &["/", "wget", "<Enter>", "K", "<Enter>"]);
    assert!(matches!(&effects[..], [Effect::Keep { .. }]), "{effects:?}");
    done(&mut state, None, &[]);
    let effects = press(&mut state, &["u"]);
    let [Effect::TakeRulesBack { back, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(back.limits[0].id, LimitId(1));
    done(&mut state, None, &[(1, 2)]);
    let words = "wget (4242): limit is back: down 1 MB/s (8 Mbit/s), up unlimited";
    assert_eq!(said(&state), words);
}

#[test]
fn what_could_not_be_taken_back_can_be_tried_again_unless_it_was_changed_since() {
    let mut sample = Snapshot::clone(&usual());
    sample.rules = vec![rule("a")];
    let mut state = state(80, 24, sample.into());
    press(&mut state, &["R", " "]);
    done(&mut state, None, &[]);
    let first = press(&mut state, &["u"]);
    assert!(matches!(&first[..], [Effect::TakeRulesBack { .. }]));
    let answer = Answer::of(Message::error("the file of rules has a mistake"));
    update(&mut state, Action::Answered(answer));
    assert_eq!(press(&mut state, &["u"]), first);
    let answer = Answer {
        is_over: true,
        ..Answer::of(Message::error("it has been changed since"))
    };
    update(&mut state, Action::Answered(answer));
    assert_eq!(said(&state), "it has been changed since");
    assert!(!state.changes.any());
}

#[test]
fn another_engine_knows_nothing_of_changes_of_rules() {
    let mut sample = Snapshot::clone(&usual());
    sample.rules = vec![rule("a")];
    let mut state = state(80, 24, sample.into());
    press(&mut state, &["R", " "]);
    done(&mut state, None, &[]);
    let message = Message::error("an engine is there again");
    let renamed = Vec::new();
    update(&mut state, Action::Reopened { renamed, message });
    assert!(!state.changes.any());
}

#[test]
fn taking_back_says_what_is_so_now() {
    let mut sample = Snapshot::clone(&usual());
    sample.rules = vec![rule("a")];
    sample.profiles = vec!["hotel".to_owned()];
    let mut state = state(80, 24, sample.into());
    let mut back = |keys: &[&str]| {
        press(&mut state, keys);
        done(&mut state, None, &[]);
        press(&mut state, &["u"]);
        done(&mut state, None, &[]);
        let said = said(&state).to_owned();
        press(&mut state, &["<Esc>"]);
        said
    };
    assert_eq!(
        back(&["/", "wget", "<Enter>", "["]),
        "wget (4242): down 1 MB/s (8 Mbit/s), up unlimited"
    );
    let words = "wget (4242): limit is back: down 1 MB/s (8 Mbit/s), up unlimited";
    assert_eq!(back(&["/", "wget", "<Enter>", "x"]), words);
    assert_eq!(back(&["R", " "]), "rule 'a' is enabled");
    let words = "rule 'a': down 1 MB/s (8 Mbit/s), up unlimited";
    assert_eq!(back(&["R", "<Enter>", "<Ctrl-U>", "2MB", "<Enter>"]), words);
}
