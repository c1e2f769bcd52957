//! Changes of rules taken back: how, and whether the rule or the profile is still what the change has made of it.

use super::{
    effect::Effect,
    keep::{self, InWords, in_words},
    rulebook,
};
use crate::{
    model::{Limit, RuleSample, Snapshot},
    rules::edit::{Edit, NewRule},
    text::escape,
};

/// What a change has made of a rule, or of the profile.
#[derive(Debug)]
pub struct Made {
    edit: Edit,
    /// As it was before, if it was there.
    before: Option<RuleSample>,
}

impl Made {
    /// By what the engine is asked for; `None`: that is about neither.
    pub fn of(effect: &Effect, snapshot: &Snapshot) -> Option<Self> {
        let (Effect::EditRules { edit, .. } | Effect::Keep { edit, .. }) = effect else {
            return None;
        };
        Some(Self {
            edit: edit.clone(),
            before: edit.rule().and_then(|name| rule(name, snapshot)).cloned(),
        })
    }

    /// That somebody else has changed it since, in words that are safe to show.
    pub fn changed_since(&self) -> String {
        match self.edit.rule() {
            Some(name) => format!("rule '{}' has been changed since", escape(name)),
            None => "the profile has been switched since".to_owned(),
        }
    }

    /// Whether the sample shows it as the change has left it. Its place counts for a move alone: others that come and
    /// go change it too.
    pub fn is_still_so(&self, snapshot: &Snapshot) -> bool {
        if let Edit::Profile { name } = &self.edit {
            return snapshot.profile == *name;
        }
        let now = self.edit.rule().and_then(|name| rule(name, snapshot));
        let (now, before) = match (&self.edit, now, &self.before) {
            (Edit::Remove { .. }, now, _) => return now.is_none(),
            (Edit::Add { rule, .. }, Some(now), _) => {
                return written(now) == *rule && now.enabled && now.profiles.is_empty();
            }
            (_, Some(now), Some(before)) => (now, before),
            _ => return false,
        };
        let mut expected = before.clone();
        let is_made = match &self.edit {
            Edit::Change { name, .. } => {
                expected.limit = now.limit;
                keep::change(name, now.limit) == self.edit
            }
            Edit::Enable { enabled, .. } => {
                expected.enabled = *enabled;
                true
            }
            Edit::Move { .. } => in_place(now, snapshot) == self.edit,
            Edit::Add { .. } | Edit::Remove { .. } | Edit::Profile { .. } => true,
        };
        is_made
            && written(now) == written(&expected)
            && (now.enabled, &now.profiles) == (expected.enabled, &expected.profiles)
    }
}

fn rule<'a>(name: &str, snapshot: &'a Snapshot) -> Option<&'a RuleSample> {
    snapshot.rules.iter().find(|rule| *rule.name == *name)
}

/// What takes a change of the rules back.
pub fn edited_back(edit: &Edit, snapshot: &Snapshot) -> Vec<Effect> {
    let rule = |name: &str| rule(name, snapshot);
    let edits = match edit {
        Edit::Add { rule, .. } => vec![Edit::Remove {
            name: rule.name.clone(),
        }],
        Edit::Remove { name } => match rule(name) {
            // It would not come back into its profiles, and be on where they are not chosen.
            Some(rule) if rule.profiles.is_empty() => added_again(rule, snapshot),
            _ => Vec::new(),
        },
        Edit::Change { name, .. } => {
            let before = rule(name).map(|rule| keep::change(name, rule.limit));
            before.into_iter().collect()
        }
        Edit::Enable { name, enabled } => vec![Edit::Enable {
            name: name.clone(),
            enabled: !enabled,
        }],
        Edit::Move { name, .. } => {
            let before = rule(name).map(|rule| in_place(rule, snapshot));
            before.into_iter().collect()
        }
        Edit::Profile { .. } => vec![Edit::Profile {
            name: snapshot.profile.clone(),
        }],
    };
    if edits.is_empty() {
        return Vec::new();
    }
    let called = |name: &str| format!("rule '{}'", escape(name));
    let words = match edit {
        Edit::Add { rule, .. } => format!("{} is removed", called(&rule.name)),
        Edit::Remove { name } => format!("{} is back", called(name)),
        Edit::Change { name, .. } => {
            let limit = rule(name).map_or(Limit::NONE, |rule| rule.limit);
            format!("{}: {limit}", called(name))
        }
        Edit::Enable { name, enabled } => {
            let word = if *enabled { "disabled" } else { "enabled" };
            format!("{} is {word}", called(name))
        }
        Edit::Move { name, .. } => format!("{} is back in its place", called(name)),
        Edit::Profile { .. } => rulebook::profile_words(snapshot.profile.as_deref()),
    };
    vec![Effect::RestoreRules { edits, words }]
}

/// A rule in the place of its file where it is now.
fn in_place(rule: &RuleSample, snapshot: &Snapshot) -> Edit {
    let of_file = snapshot.rules.iter().filter(|it| it.file == rule.file);
    let before = of_file.take_while(|it| it.name != rule.name);
    Edit::Move {
        name: rule.name.to_string(),
        to: before.count() + 1,
    }
}

/// A rule as it is, once more; of its text in the file, comments do not come back.
fn added_again(rule: &RuleSample, snapshot: &Snapshot) -> Vec<Edit> {
    let mut edits = vec![
        Edit::Add {
            rule: written(rule),
            first: false,
        },
        in_place(rule, snapshot),
    ];
    if !rule.enabled {
        edits.push(Edit::Enable {
            name: rule.name.to_string(),
            enabled: false,
        });
    }
    edits
}

/// A rule in the words of a file.
fn written(rule: &RuleSample) -> NewRule {
    let InWords {
        rates,
        block,
        reject,
        scope,
    } = in_words(rule.limit);
    NewRule {
        name: rule.name.to_string(),
        targets: rule.targets.clone(),
        down: rates.down,
        up: rates.up,
        block: block.map(str::to_owned),
        reject,
        scope: scope.map(str::to_owned),
        share: Some(rule.share.clone()).filter(|share| share != "all"),
        when: rule.when.clone(),
        on: rule.on.clone(),
    }
}
