//! How a change of the rules is taken back: the engine knows it by a number, and what to say of it is known before it is
//! made.

use super::{
    effect::{Effect, Former},
    rulebook,
};
use crate::{
    model::{Limit, Snapshot},
    rules::edit::Edit,
    text::escape,
};

/// What takes a change of the rules back, beside its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesBack {
    /// The rule that it is about; `None`: the profile.
    pub rule: Option<String>,
    /// Limits that ended with the change, and come back.
    pub limits: Vec<Former>,
    /// Whom these are about.
    pub who: String,
    /// What to say when it is done.
    pub words: String,
}

impl RulesBack {
    /// Of a change that the engine is asked for, with the limits that it ends; `None`: it changes no rules.
    pub fn of(effect: &Effect, limits: Vec<Former>, snapshot: &Snapshot) -> Option<Self> {
        let (Effect::EditRules { edit, .. } | Effect::Keep { edit, .. }) = effect else {
            return None;
        };
        let who = effect.who().to_owned();
        Some(Self {
            rule: edit.rule().map(str::to_owned),
            words: match limits.is_empty() {
                true => words(edit, snapshot),
                false => super::effect::are_back(&limits, &who),
            },
            limits,
            who,
        })
    }
}

/// What is so when a change is taken back, as things are before it.
fn words(edit: &Edit, snapshot: &Snapshot) -> String {
    let called = |name: &str| format!("rule '{}'", escape(name));
    match edit {
        Edit::Add { rule, .. } => format!("{} is removed", called(&rule.name)),
        Edit::Remove { name } => format!("{} is back", called(name)),
        Edit::Change { name, .. } => {
            let mut rules = snapshot.rules.iter();
            let rule = rules.find(|rule| *rule.name == **name);
            let limit = rule.map_or(Limit::NONE, |rule| rule.limit);
            format!("{}: {limit}", called(name))
        }
        Edit::Enable { name, enabled } => {
            let word = if *enabled { "disabled" } else { "enabled" };
            format!("{} is {word}", called(name))
        }
        Edit::Move { name, .. } => format!("{} is back in its place", called(name)),
        Edit::Profile { .. } => rulebook::profile_words(snapshot.profile.as_deref()),
    }
}
