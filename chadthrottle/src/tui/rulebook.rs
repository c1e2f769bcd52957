//! The rules on the screen: what commands do there.

use std::sync::Arc;

use super::{
    dialog::{LimitDialog, Subject},
    effect::Effect,
    keep::shown,
    keymap::Command,
    state::{Message, Mode, Question, State},
    update::inspect,
};
use crate::{model::RuleSample, rules::edit::Edit, text::escape};

/// Does what a command says to the rule at the cursor, which is at that place. `None` where rules have no use of their own
/// for it.
pub fn run(state: &mut State, cursor: usize, command: Command) -> Option<Vec<Effect>> {
    let page = state.page();
    let step = match command {
        Command::Up => -1,
        // The next is in the place of one that has gone.
        Command::Down if state.rule_gone.is_some() => 0,
        Command::Down => 1,
        Command::PageUp => isize::try_from(page).map_or(isize::MIN, |page| -page),
        Command::PageDown => isize::try_from(page).unwrap_or(isize::MAX),
        Command::Top => isize::MIN,
        Command::Bottom => isize::MAX,
        Command::Back | Command::Cancel => {
            (state.rule_cursor, state.rule_gone) = (None, None);
            return Some(inspect(state));
        }
        Command::Limit | Command::Remove | Command::Switch | Command::Earlier | Command::Later => {
            if let Some(name) = &state.rule_gone {
                let name = escape(name);
                let words = format!("rule '{name}' is not there any more: no rule is selected");
                state.message = Some(Message::error(words));
            }
            let rule = state.selected_rule().cloned();
            return Some(rule.map_or_else(Vec::new, |rule| change(state, &rule, command)));
        }
        _ => return None,
    };
    state.select_rule(cursor.saturating_add_signed(step));
    Some(Vec::new())
}

/// Changes that rule, or asks how.
fn change(state: &mut State, rule: &RuleSample, command: Command) -> Vec<Effect> {
    match command {
        Command::Switch => vec![enable(rule)],
        Command::Earlier => place(state, rule, -1),
        Command::Later => place(state, rule, 1),
        Command::Remove => {
            state.mode = Mode::Confirm(Question::RemoveRule(Arc::clone(&rule.name)));
            Vec::new()
        }
        _ => {
            state.mode = Mode::Dialog(LimitDialog::new(Subject {
                rows: Vec::new(),
                who: shown(rule),
                limit: Some(rule.limit),
                present: None,
                held_by: None,
                rule: Some(Arc::clone(&rule.name)),
            }));
            Vec::new()
        }
    }
}

/// Says that a command is for the rules, and shows them.
pub fn show_for(state: &mut State, command: Command) {
    state.details = None;
    state.select_rule(0);
    let key = state.keymap.key_of(command);
    let words = format!("that is for a rule: choose one, then press {key}");
    state.message = Some(Message::error(words));
}

/// Removes the rule of that name.
pub fn remove(state: &State, name: &str) -> Vec<Effect> {
    let rule = state.rule(name);
    let effect = rule.map(|rule| Effect::EditRules {
        edit: Edit::Remove {
            name: rule.name.to_string(),
        },
        words: format!("{} is removed", shown(rule)),
    });
    effect.into_iter().collect()
}

/// Opens the menu of profiles, or says that there are none.
pub fn open_profiles(state: &mut State) {
    let profiles = &state.snapshot.profiles;
    let chosen = state.snapshot.profile.as_ref();
    match profiles.as_slice() {
        [] => {
            let words = "there are no profiles: [profile.NAME] in rules.toml makes one";
            state.message = Some(Message::error(words));
        }
        profiles => {
            let at = chosen.and_then(|chosen| profiles.iter().position(|it| it == chosen));
            state.mode = Mode::Profiles(at.map_or(0, |at| at + 1));
        }
    }
}

/// Chooses a profile, or none.
pub fn switch_to(name: Option<String>) -> Effect {
    Effect::EditRules {
        words: profile_words(name.as_deref()),
        edit: Edit::Profile { name },
    }
}

/// A profile in words, safe to show.
pub fn profile_words(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("profile {}", escape(name)),
        None => "profile off".to_owned(),
    }
}

/// That it is so already.
pub fn profile_already(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("profile {} is on already", escape(name)),
        None => "no profile is on".to_owned(),
    }
}

fn enable(rule: &RuleSample) -> Effect {
    let enabled = !rule.enabled;
    let word = if enabled { "enabled" } else { "disabled" };
    Effect::EditRules {
        edit: Edit::Enable {
            name: rule.name.to_string(),
            enabled,
        },
        words: format!("{} is {word}", shown(rule)),
    }
}

/// Moves a rule among those of its file; the cursor follows when a sample shows it there.
fn place(state: &State, rule: &RuleSample, by: isize) -> Vec<Effect> {
    let of_file = state.snapshot.rules.iter();
    let of_file: Vec<_> = of_file.filter(|other| other.file == rule.file).collect();
    let Some(at) = of_file.iter().position(|other| other.name == rule.name) else {
        return Vec::new();
    };
    let to = (at + 1).checked_add_signed(by);
    let Some(to) = to.filter(|to| (1..=of_file.len()).contains(to)) else {
        return Vec::new();
    };
    vec![Effect::EditRules {
        edit: Edit::Move {
            name: rule.name.to_string(),
            to,
        },
        words: format!(
            "{} is moved {}",
            shown(rule),
            if by < 0 { "up" } else { "down" }
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{
        fixtures::{press, rule, said, snapshot, state},
        update::{Action, update},
    };
    use std::sync::Arc;

    fn with_rules(names: &[&str]) -> State {
        let mut sample = snapshot(Vec::new());
        let complete = Arc::make_mut(&mut sample);
        complete.rules = names.iter().map(|name| rule(name)).collect();
        complete.profiles = ["hotel", "train"].map(str::to_owned).into();
        state(80, 24, sample)
    }

    /// A sample with these rules comes.
    fn show(state: &mut State, names: &[&str]) {
        let sample = Arc::clone(&with_rules(names).snapshot);
        update(state, Action::Snapshot(sample));
    }

    fn edit(effects: &[Effect]) -> &Edit {
        match effects {
            [Effect::EditRules { edit, .. }] => edit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_are_switched_moved_changed_and_removed_after_asking() {
        let mut state = with_rules(&["a", "b", "c"]);
        let name = || "b".to_owned();
        let effects = press(&mut state, &["R", "<Down>", " "]);
        let enabled = false;
        assert_eq!(
            edit(&effects),
            &Edit::Enable {
                name: name(),
                enabled
            }
        );
        let effects = press(&mut state, &["<"]);
        assert_eq!(
            edit(&effects),
            &Edit::Move {
                name: name(),
                to: 1
            }
        );
        // The cursor goes with it, and the first one has nowhere to go.
        show(&mut state, &["b", "a", "c"]);
        assert_eq!(state.rule_cursor, Some(0));
        assert!(press(&mut state, &["<"]).is_empty());
        show(&mut state, &["a", "b", "c"]);
        let effects = press(&mut state, &[">"]);
        assert_eq!(
            edit(&effects),
            &Edit::Move {
                name: name(),
                to: 3
            }
        );
        press(&mut state, &["<Enter>", "<Ctrl-U>", "2MB"]);
        let effects = press(&mut state, &["<Enter>"]);
        let Edit::Change {
            name: changed,
            down,
            ..
        } = edit(&effects)
        else {
            panic!("{effects:?}")
        };
        assert_eq!((changed, down.as_deref()), (&name(), Some("2MB/s")));
        assert_eq!((&state.mode, state.rule_cursor), (&Mode::Normal, Some(1)));
        assert!(press(&mut state, &["x", "n"]).is_empty());
        let effects = press(&mut state, &["j", "x", "y"]);
        assert!(matches!(edit(&effects), Edit::Remove { .. }));
        press(&mut state, &["<Esc>"]);
        assert_eq!(state.rule_cursor, None);
    }

    #[test]
    fn a_key_for_a_rule_that_has_gone_is_not_for_the_one_in_its_place() {
        let mut state = with_rules(&["a", "b", "c"]);
        press(&mut state, &["R", "j"]);
        show(&mut state, &["0", "a", "b", "c"]);
        assert_eq!(state.rule_cursor, Some(2));
        show(&mut state, &["0", "a", "c"]);
        for act in [" ", "x", "<Enter>", "<", ">"] {
            assert!(press(&mut state, &[act]).is_empty(), "{act}");
            assert_eq!(
                (&state.mode, said(&state)),
                (
                    &Mode::Normal,
                    "rule 'b' is not there any more: no rule is selected"
                )
            );
        }
        let effects = press(&mut state, &["j", " "]);
        assert!(matches!(edit(&effects), Edit::Enable { name, .. } if name == "c"));
        // One that comes back is selected again.
        show(&mut state, &["0"]);
        show(&mut state, &["0", "a", "c"]);
        assert_eq!(state.selected_rule().map(|rule| &*rule.name), Some("c"));
    }

    #[test]
    fn what_lies_over_the_rules_leads_back_to_them_and_their_commands_lead_there() {
        let mut state = with_rules(&["a", "b", "c"]);
        press(&mut state, &["R", "j"]);
        for over in [
            &["?", "<Esc>"][..],
            &[":", "<Esc>"],
            &["P", "<Esc>"],
            &["x", "n"],
        ] {
            press(&mut state, over);
            assert_eq!(
                (&state.mode, state.rule_cursor),
                (&Mode::Normal, Some(1)),
                "{over:?}"
            );
        }
        let effects = press(&mut state, &[":", "switch", "<Enter>"]);
        assert!(matches!(edit(&effects), Edit::Enable { name, .. } if name == "b"));
        // Of no rule in particular it does nothing but show them.
        press(&mut state, &["<Left>"]);
        assert_eq!(state.rule_cursor, None);
        assert!(press(&mut state, &[":", "earlier", "<Enter>"]).is_empty());
        assert_eq!(
            (state.rule_cursor, said(&state)),
            (Some(0), "that is for a rule: choose one, then press <")
        );
        // What the rules know nothing of leaves them.
        press(&mut state, &[":", "sort", "<Enter>"]);
        assert!(matches!(state.mode, Mode::Sort(_)) && state.rule_cursor.is_none());
    }

    #[test]
    fn the_keys_of_the_rules_stay_in_them() {
        let mut state = with_rules(&["a", "b", "c"]);
        press(&mut state, &["R", "j"]);
        for key in ["7", "R"] {
            assert!(press(&mut state, &[key]).is_empty());
            assert_eq!((&state.mode, state.rule_cursor), (&Mode::Normal, Some(1)));
        }
        press(&mut state, &[":", "rules", "<Enter>"]);
        assert_eq!(state.rule_cursor, Some(1));
    }

    #[test]
    fn a_question_is_about_the_rule_that_it_was_asked_for() {
        let mut state = with_rules(&["a", "b", "c"]);
        press(&mut state, &["R", "j", "x"]);
        // Somebody else puts another rule first.
        Arc::make_mut(&mut state.snapshot)
            .rules
            .insert(0, rule("z"));
        let effects = press(&mut state, &["y"]);
        assert!(
            matches!(edit(&effects), Edit::Remove { name } if name == "b"),
            "{effects:?}"
        );
    }

    #[test]
    fn a_profile_or_none_is_chosen_from_a_menu() {
        let mut state = with_rules(&["a", "b"]);
        assert!(press(&mut state, &["P"]).is_empty());
        let name = |name: &str| Some(name.to_owned());
        let effects = press(&mut state, &["j", "<Enter>"]);
        assert_eq!(
            edit(&effects),
            &Edit::Profile {
                name: name("hotel")
            }
        );
        Arc::make_mut(&mut state.snapshot).profile = name("train");
        // From the one that is chosen, and back to where it was opened.
        let effects = press(&mut state, &["R", "j", "P", "<Up>", "<Enter>"]);
        assert_eq!(
            edit(&effects),
            &Edit::Profile {
                name: name("hotel")
            }
        );
        assert_eq!((&state.mode, state.rule_cursor), (&Mode::Normal, Some(1)));
        let effects = press(&mut state, &["<Esc>", "P", "g", "<Enter>"]);
        assert_eq!(edit(&effects), &Edit::Profile { name: None });
        assert!(press(&mut state, &["P", "<Esc>"]).is_empty());
        assert_eq!(state.mode, Mode::Normal);
        // The only one is not switched without asking either.
        let sample = Arc::make_mut(&mut state.snapshot);
        sample.profiles = vec!["hotel".to_owned()];
        sample.profile = name("hotel");
        assert!(press(&mut state, &["P"]).is_empty());
        assert_eq!(state.mode, Mode::Profiles(1));
        let effects = press(&mut state, &["k", "<Enter>"]);
        assert_eq!(edit(&effects), &Edit::Profile { name: None });
        Arc::make_mut(&mut state.snapshot).profiles.clear();
        assert!(press(&mut state, &["P"]).is_empty());
        assert!(
            said(&state).contains("there are no profiles"),
            "{}",
            said(&state)
        );
    }
}
