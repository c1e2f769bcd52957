//! The rules on the screen: what keys do there.

use crossterm::event::{KeyCode, KeyEvent};

use super::{
    dialog::{LimitDialog, Subject},
    effect::Effect,
    keep::shown,
    keymap::Command,
    menu::ProfileMenu,
    state::{Message, Mode, Question, State},
};
use crate::{config::View, model::RuleSample, rules::edit::Edit};

/// Takes a key while the rules are shown, with the cursor at that place.
pub fn key(state: &mut State, cursor: usize, key: KeyEvent) -> Vec<Effect> {
    let count = state.snapshot.rules.len();
    let last = count.saturating_sub(1);
    let cursor = cursor.min(last);
    let rule = state.snapshot.rules.get(cursor).cloned();
    let mut to = cursor;
    let effects = match (key.code, rule) {
        (KeyCode::Esc | KeyCode::Left | KeyCode::Char('q' | 'R'), _) => {
            state.mode = Mode::Normal;
            return Vec::new();
        }
        (KeyCode::Up | KeyCode::Char('k'), _) => {
            to = cursor.saturating_sub(1);
            Vec::new()
        }
        (KeyCode::Down | KeyCode::Char('j'), _) => {
            to = (cursor + 1).min(last);
            Vec::new()
        }
        (KeyCode::Home | KeyCode::Char('g'), _) => {
            to = 0;
            Vec::new()
        }
        (KeyCode::End | KeyCode::Char('G'), _) => {
            to = last;
            Vec::new()
        }
        (KeyCode::Char('P'), _) => return profile(state, Some(cursor)),
        (KeyCode::Char(' '), Some(rule)) => vec![enable(&rule)],
        (KeyCode::Char('<' | '-'), Some(rule)) => {
            to = cursor.saturating_sub(1);
            place(state, &rule, -1)
        }
        (KeyCode::Char('>' | '+'), Some(rule)) => {
            to = (cursor + 1).min(last);
            place(state, &rule, 1)
        }
        (KeyCode::Char('x'), Some(_)) => {
            state.mode = Mode::Confirm(Question::RemoveRule(cursor));
            return Vec::new();
        }
        (KeyCode::Enter | KeyCode::Char('l'), Some(rule)) => {
            state.mode = Mode::Dialog(LimitDialog::new(Subject {
                rows: Vec::new(),
                who: shown(&rule),
                limit: Some(rule.limit),
                present: None,
                rule: Some(rule.name),
            }));
            return Vec::new();
        }
        _ => match everywhere(state, key) {
            Some(command) => return super::command::run(state, command),
            None => Vec::new(),
        },
    };
    state.mode = Mode::Rules(to);
    effects
}

/// The command of a key that the rules have no use for, where it leads from view to view or does the same everywhere.
fn everywhere(state: &State, key: KeyEvent) -> Option<Command> {
    let command = state.keymap.command_of(key, false)?;
    let is_known = match command {
        Command::Go(view) => view != View::Rules,
        Command::NextView
        | Command::PreviousView
        | Command::Undo
        | Command::Palette
        | Command::Help
        | Command::Bits => true,
        _ => false,
    };
    is_known.then_some(command)
}

/// Removes the rule in that place.
pub fn remove(state: &mut State, place: usize) -> Vec<Effect> {
    state.mode = Mode::Rules(place);
    let rule = state.snapshot.rules.get(place);
    let effect = rule.map(|rule| Effect::EditRules {
        edit: Edit::Remove {
            name: rule.name.to_string(),
        },
        words: format!("{} is removed", shown(rule)),
    });
    effect.into_iter().collect()
}

/// Another profile: where there is one, that or none, and where there are several, by a menu. `in_rules` is the place of
/// the cursor of the rules, where they are shown.
pub fn profile(state: &mut State, in_rules: Option<usize>) -> Vec<Effect> {
    if let Some(cursor) = in_rules {
        state.mode = Mode::Rules(cursor);
    }
    let profiles = &state.snapshot.profiles;
    let chosen = state.snapshot.profile.as_ref();
    match profiles.as_slice() {
        [] => {
            let words = "no profiles are there: [profile.NAME] in rules.toml makes one";
            state.message = Some(Message::error(words));
            Vec::new()
        }
        [only] => vec![switch_to((chosen != Some(only)).then(|| only.clone()))],
        several => {
            let at = chosen.and_then(|chosen| several.iter().position(|it| it == chosen));
            state.mode = Mode::Profiles(ProfileMenu {
                cursor: at.map_or(0, |at| at + 1),
                in_rules,
            });
            Vec::new()
        }
    }
}

/// Chooses a profile, or none.
pub fn switch_to(name: Option<String>) -> Effect {
    let words = match &name {
        Some(name) => format!("profile {}", crate::text::escape(name)),
        None => "no profile".to_owned(),
    };
    Effect::EditRules {
        edit: Edit::Profile { name },
        words,
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

/// Moves a rule among those of its file.
fn place(state: &State, rule: &RuleSample, by: isize) -> Vec<Effect> {
    let of_file = state.snapshot.rules.iter();
    let mut of_file = of_file.filter(|other| other.file == rule.file);
    let Some(at) = of_file.position(|other| other.name == rule.name) else {
        return Vec::new();
    };
    let Some(to) = (at + 1).checked_add_signed(by).filter(|to| *to > 0) else {
        return Vec::new();
    };
    let count = state.snapshot.rules.iter();
    if to > count.filter(|other| other.file == rule.file).count() {
        return Vec::new();
    }
    vec![Effect::EditRules {
        edit: Edit::Move {
            name: rule.name.to_string(),
            to,
        },
        words: format!(
            "{} is tried {}",
            shown(rule),
            if by < 0 { "earlier" } else { "later" }
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures::{press, rule, said, snapshot, state};
    use std::sync::Arc;

    fn with_rules(names: &[&str]) -> State {
        let mut sample = snapshot(Vec::new());
        let complete = Arc::make_mut(&mut sample);
        complete.rules = names.iter().map(|name| rule(name)).collect();
        complete.profiles = ["hotel", "train"].map(str::to_owned).into();
        state(80, 24, sample)
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
        assert_eq!(state.mode, Mode::Rules(0));
        // The first one has nowhere to go.
        assert!(press(&mut state, &["<"]).is_empty());
        let effects = press(&mut state, &["j", ">"]);
        assert_eq!(
            edit(&effects),
            &Edit::Move {
                name: name(),
                to: 3
            }
        );
        press(&mut state, &["k", "<Enter>", "<Ctrl-U>", "2MB"]);
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
        assert!(matches!(state.mode, Mode::Rules(_)), "back to the rules");
        assert!(press(&mut state, &["x", "n"]).is_empty());
        let effects = press(&mut state, &["j", "x", "y"]);
        assert!(matches!(edit(&effects), Edit::Remove { .. }));
        press(&mut state, &["<Esc>"]);
        assert_eq!(state.mode, Mode::Normal);
    }

    #[test]
    fn of_several_profiles_one_is_chosen_and_the_only_one_is_switched() {
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
        assert_eq!(state.mode, Mode::Rules(1));
        let effects = press(&mut state, &["<Esc>", "P", "g", "<Enter>"]);
        assert_eq!(edit(&effects), &Edit::Profile { name: None });
        assert!(press(&mut state, &["P", "<Esc>"]).is_empty());
        assert_eq!(state.mode, Mode::Normal);
        for (chosen, next) in [(None, Some("hotel")), (Some("hotel"), None)] {
            let sample = Arc::make_mut(&mut state.snapshot);
            sample.profiles = vec!["hotel".to_owned()];
            sample.profile = chosen.map(str::to_owned);
            let effects = press(&mut state, &["P"]);
            let name = next.map(str::to_owned);
            assert_eq!(edit(&effects), &Edit::Profile { name });
        }
        Arc::make_mut(&mut state.snapshot).profiles.clear();
        assert!(press(&mut state, &["P"]).is_empty());
        assert!(said(&state).contains("no profiles"), "{}", said(&state));
    }
}
