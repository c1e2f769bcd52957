//! Changes taken back, key by key.

use super::*;
use crate::{
    model::RuleSample,
    rules::edit::Edit,
    tui::{
        fixtures::{key, limit, origin, press, process, rule, said, snapshot, state, usual},
        rows::RowKey,
        update::{Action, update},
    },
};

/// The engine's answer that it is done.
fn done(state: &mut State, set: Option<u32>, renamed: &[(u32, u32)]) {
    let renamed = renamed.iter().map(|(a, b)| (LimitId(*a), LimitId(*b)));
    let answer = Answer {
        message: Message {
            text: "done".to_owned(),
            error: false,
        },
        set: set.map(LimitId),
        renamed: renamed.collect(),
    };
    update(state, Action::Answered(answer));
}

fn failed(state: &mut State) {
    let answer = Answer {
        message: Message::error("it is not to be"),
        set: None,
        renamed: Vec::new(),
    };
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
fn changes_of_rules_are_taken_back() {
    let mut sample = Snapshot::clone(&usual());
    sample.rules = ["a", "b", "c"].map(rule).into();
    sample.rules[1].enabled = false;
    sample.rules[1].when = vec!["Mon-Fri 08:00-18:00".to_owned()];
    sample.profiles = vec!["hotel".to_owned()];
    let mut state = state(80, 24, sample.into());
    let edits = |effects: Vec<Effect>| -> Vec<Edit> {
        // One effect: what cannot be done ends it.
        match effects.as_slice() {
            [Effect::RestoreRules { edits, .. }] => edits.clone(),
            other => panic!("{other:?}"),
        }
    };
    let name = || "b".to_owned();
    let mut back = |keys: &[&str]| {
        press(&mut state, &["R", "j"]);
        press(&mut state, keys);
        done(&mut state, None, &[]);
        let effects = press(&mut state, &["u"]);
        for _ in &effects {
            done(&mut state, None, &[]);
        }
        press(&mut state, &["<Esc>"]);
        edits(effects)
    };
    let enabled = false;
    assert_eq!(
        back(&[" "]),
        [Edit::Enable {
            name: name(),
            enabled
        }]
    );
    assert_eq!(
        back(&[">"]),
        [Edit::Move {
            name: name(),
            to: 2
        }]
    );
    assert_eq!(back(&["P", "j", "<Enter>"]), [Edit::Profile { name: None }]);
    let changed = back(&["<Enter>", "<Ctrl-U>", "2MB", "<Enter>"]);
    assert!(
        matches!(&changed[..], [Edit::Change { down: Some(down), .. }] if down == "1MB/s"),
        "{changed:?}"
    );
    let removed = back(&["x", "y"]);
    let [Edit::Add { rule, .. }, moved, off] = removed.as_slice() else {
        panic!("{removed:?}")
    };
    assert_eq!(
        (&*rule.targets, rule.when.len()),
        (&["name:b".to_owned()][..], 1)
    );
    assert_eq!(
        moved,
        &Edit::Move {
            name: name(),
            to: 2
        }
    );
    assert_eq!(
        off,
        &Edit::Enable {
            name: name(),
            enabled
        }
    );
    // One of a profile would come back without it.
    let sample = Arc::make_mut(&mut state.snapshot);
    sample.rules[1].profiles = vec!["hotel".to_owned()];
    press(&mut state, &["R", "j", "x", "y"]);
    done(&mut state, None, &[]);
    assert_eq!(said(&state), "done");
    assert!(!state.changes.any());
}

#[test]
fn a_kept_limit_comes_back_and_its_rule_goes() {
    let mut state = state(80, 24, usual());
    let effects = press(&mut state, &["/", "wget", "<Enter>", "K", "<Enter>"]);
    assert!(matches!(&effects[..], [Effect::Keep { .. }]), "{effects:?}");
    done(&mut state, None, &[]);
    let effects = press(&mut state, &["u"]);
    let [
        Effect::SetAgain { limits, .. },
        Effect::RestoreRules { edits, .. },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    let name = "wget".to_owned();
    assert_eq!(edits, &[Edit::Remove { name }]);
    assert_eq!(limits[0].id, LimitId(1));
}

/// What somebody else does to rule `b`, or to all of them.
type Meddling = fn(&mut Vec<RuleSample>);

#[test]
fn a_rule_that_was_changed_since_is_left_as_it_is() {
    let nothing: Meddling = |_| {};
    let limit_changed: Meddling = |rules| rules[1].limit = limit(Some(7_000_000), None);
    let target_changed: Meddling = |rules| rules[1].targets = vec!["name:other".to_owned()];
    let disabled: Meddling = |rules| rules[1].enabled = false;
    let gone: Meddling = |rules| drop(rules.remove(1));
    let others_moved: Meddling = |rules| rules.rotate_left(1);
    let removed: Meddling = |rules| drop(rules.remove(1));
    let moved: Meddling = |rules| rules.swap(1, 2);
    let changed: Meddling = |rules| rules[1].limit = limit(Some(2_000_000), None);
    let to_2_mb = &["<Enter>", "<Ctrl-U>", "2MB", "<Enter>"][..];
    for (keys, made, meddling, is_refused) in [
        (to_2_mb, changed, nothing, false),
        (to_2_mb, changed, others_moved, false),
        (to_2_mb, changed, limit_changed, true),
        (to_2_mb, changed, target_changed, true),
        (to_2_mb, changed, disabled, true),
        (to_2_mb, changed, gone, true),
        (&[" "], disabled, nothing, false),
        (&[" "], disabled, limit_changed, true),
        (&[">"], moved, nothing, false),
        (&[">"], moved, moved, true),
        (&["x", "y"], removed, nothing, false),
        (
            &["x", "y"],
            removed,
            |rules| rules.insert(1, rule("b")),
            true,
        ),
    ] {
        let mut sample = Snapshot::clone(&usual());
        sample.rules = ["a", "b", "c"].map(rule).into();
        let mut state = state(80, 24, sample.clone().into());
        press(&mut state, &["R", "j"]);
        press(&mut state, keys);
        done(&mut state, None, &[]);
        made(&mut sample.rules);
        meddling(&mut sample.rules);
        // The first was on its way.
        for _ in 0..2 {
            update(&mut state, Action::Snapshot(sample.clone().into()));
        }
        let effects = press(&mut state, &["u"]);
        assert_eq!(effects.is_empty(), is_refused, "{keys:?}: {}", said(&state));
        if is_refused {
            let words = "rule 'b' has been changed since: nothing taken back";
            assert_eq!(said(&state), words);
            assert_eq!(press(&mut state, &["u"]), []);
            assert_eq!(said(&state), "there is nothing to take back");
        }
    }
}

#[test]
fn a_profile_that_somebody_else_has_switched_since_is_left_as_it_is() {
    let named = |name: &str| Some(name.to_owned());
    for (now, is_refused) in [
        (named("hotel"), false),
        (named("train"), true),
        (None, true),
    ] {
        let mut sample = Snapshot::clone(&usual());
        sample.profiles = ["hotel", "train"].map(str::to_owned).into();
        let mut state = state(80, 24, sample.clone().into());
        press(&mut state, &["P", "<Down>", "<Enter>"]);
        done(&mut state, None, &[]);
        sample.profile = now.clone();
        // The first was on its way.
        for _ in 0..2 {
            update(&mut state, Action::Snapshot(sample.clone().into()));
        }
        let effects = press(&mut state, &["u"]);
        assert_eq!(effects.is_empty(), is_refused, "{now:?}: {effects:?}");
        if is_refused {
            let words = "the profile has been switched since: nothing taken back";
            assert_eq!(said(&state), words);
        }
    }
}

#[test]
fn a_rule_that_was_made_of_a_limit_and_changed_since_stays() {
    for (is_changed, effects) in [(false, 2), (true, 0)] {
        let mut state = state(80, 24, usual());
        press(
            &mut state,
            &["/", "wget", "<Enter>", "K", "<Down>", "<Enter>"],
        );
        done(&mut state, None, &[]);
        let mut sample = Snapshot::clone(&usual());
        sample.rules = vec![rule("wget")];
        if is_changed {
            sample.rules[0].on = vec!["wifi:home".to_owned()];
        }
        for _ in 0..2 {
            update(&mut state, Action::Snapshot(sample.clone().into()));
        }
        let back = press(&mut state, &["u"]);
        assert_eq!(back.len(), effects, "{}", said(&state));
    }
}

#[test]
fn what_could_not_be_taken_back_can_be_tried_again() {
    let mut sample = Snapshot::clone(&usual());
    sample.rules = vec![rule("a")];
    let mut state = state(80, 24, sample.into());
    press(&mut state, &["R", " "]);
    done(&mut state, None, &[]);
    let first = press(&mut state, &["u"]);
    assert!(matches!(&first[..], [Effect::RestoreRules { .. }]));
    let answer = Answer {
        message: Message::error("the file of rules has a mistake"),
        set: None,
        renamed: Vec::new(),
    };
    update(&mut state, Action::Answered(answer));
    assert_eq!(press(&mut state, &["u"]), first);
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
