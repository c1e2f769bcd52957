//! Changes that the engine is asked for: what is under way, what a limit will be, and how each change is taken back.

use std::{collections::VecDeque, sync::Arc};

use super::{
    effect::{Effect, Former},
    pending::About,
    rules_back::RulesBack,
    state::{Message, State},
};
use crate::{
    model::{Limit, LimitId},
    process::Targets,
};

/// So many steps can be taken back.
const MOST_STEPS: usize = 100;

/// What the engine has answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What to tell the user.
    pub message: Message,
    /// The limit that was set.
    pub set: Option<LimitId>,
    /// Limits that have another name now.
    pub renamed: Vec<(LimitId, LimitId)>,
    /// By which number the change of the rules is taken back.
    pub change: Option<u64>,
    /// Whether what failed is not to be tried again.
    pub is_over: bool,
}

impl Answer {
    /// That alone.
    pub fn of(message: Message) -> Self {
        Self {
            message,
            set: None,
            renamed: Vec::new(),
            change: None,
            is_over: false,
        }
    }
}

/// What a limit will be.
#[derive(Debug)]
struct Expected {
    id: LimitId,
    /// `None`: it ends.
    limit: Option<Limit>,
    /// The engine has done it.
    answered: bool,
}

/// Something that was asked for and is not answered.
#[derive(Debug)]
struct Pending {
    /// What, in words.
    words: String,
    about: About,
    /// Whom it is about, in words.
    who: String,
    /// The limits that it changes or removes.
    changes: Vec<LimitId>,
    /// What there was before, where it takes the place of something.
    instead: Option<String>,
    /// Whether the limit that it sets lets nothing through.
    is_block: bool,
    /// How it is taken back; `None`: it takes something back itself.
    back: Option<Vec<Effect>>,
    /// What takes something back, to be tried again where it fails.
    again: Option<Effect>,
    /// What takes the change of the rules back.
    rules_back: Option<RulesBack>,
    step: usize,
}

/// A change that was made.
#[derive(Debug)]
struct Done {
    back: Vec<Effect>,
    /// Changes of one key have one number, and are taken back together.
    step: usize,
}

/// What is under way, and what was done.
#[derive(Debug, Default)]
pub struct Changes {
    /// In the order in which the engine answers.
    pending: VecDeque<Pending>,
    /// The oldest first.
    expected: Vec<Expected>,
    /// The oldest first.
    done: Vec<Done>,
    /// Counts keys that change something.
    step: usize,
    /// How many changes the next effects take back.
    taking_back: Option<usize>,
}

impl Changes {
    /// What was asked for and is not answered, the latest first.
    pub fn waiting(&self) -> Option<&str> {
        self.pending.back().map(|pending| pending.words.as_str())
    }

    /// Whom that is about.
    pub fn pending(&self) -> impl Iterator<Item = &About> {
        self.pending.iter().map(|pending| &pending.about)
    }

    /// Whether there is something to take back.
    pub fn any(&self) -> bool {
        !self.done.is_empty()
    }

    /// What takes the last step back.
    ///
    /// # Errors
    /// Where there is none: why.
    pub fn take_back(&mut self) -> Result<Vec<Effect>, String> {
        if !self.pending.is_empty() {
            return Err("the engine has not answered yet".to_owned());
        }
        let Some(last) = self.done.last() else {
            return Err("there is nothing to take back".to_owned());
        };
        let step = last.step;
        let first = self.done.iter().position(|done| done.step == step);
        let of_step = self.done.split_off(first.unwrap_or(0));
        self.taking_back = Some(of_step.len());
        Ok(of_step
            .into_iter()
            .rev()
            .flat_map(|done| done.back)
            .collect())
    }

    /// Has what is taken back later speak of limits by the names that they have now.
    pub fn rename(&mut self, renamed: &[(LimitId, LimitId)]) {
        let name = |id: &mut LimitId| {
            if let Some((_, now)) = renamed.iter().find(|(before, _)| before == id) {
                *id = *now;
            }
        };
        for effect in self.done.iter_mut().flat_map(|done| &mut done.back) {
            match effect {
                Effect::ChangeLimit { id, .. } => name(id),
                Effect::RemoveLimits { ids, .. } => ids.iter_mut().for_each(name),
                Effect::SetAgain { limits, .. }
                | Effect::TakeRulesBack {
                    back: RulesBack { limits, .. },
                    ..
                } => {
                    limits.iter_mut().for_each(|former| name(&mut former.id));
                }
                _ => {}
            }
        }
    }

    /// Another engine is there, with other names for the limits that were set again. Of all others it knows nothing, nor of
    /// changes of the rules: what has one of their names there is another one, which nothing is to be taken back of.
    pub fn reopened(&mut self, renamed: &[(LimitId, LimitId)]) {
        let is_there = |id: &LimitId| renamed.iter().any(|(before, _)| before == id);
        for done in &mut self.done {
            done.back.retain_mut(|effect| match effect {
                Effect::ChangeLimit { id, .. } => is_there(id),
                Effect::RemoveLimits { ids, .. } => {
                    ids.retain(is_there);
                    !ids.is_empty()
                }
                Effect::TakeRulesBack { .. } => false,
                _ => true,
            });
        }
        self.done.retain(|done| !done.back.is_empty());
        self.rename(renamed);
    }

    /// A sample has come. One that was on its way when the answer came is older than the change; the next one is not.
    pub fn forget_answered(&mut self) {
        self.expected.retain(|expected| !expected.answered);
    }

    /// The engine has answered the first change of a limit that is under way.
    fn settle(&mut self, id: LimitId, failed: bool) {
        let mut under_way = self.expected.iter().enumerate();
        let first = under_way.find(|(_, expected)| expected.id == id && !expected.answered);
        let Some((first, _)) = first else {
            return;
        };
        if failed {
            self.expected.remove(first);
        } else if let Some(expected) = self.expected.get_mut(first) {
            expected.answered = true;
        }
    }
}

impl State {
    /// Remembers what the engine is asked for, and how that is taken back.
    pub fn ask(&mut self, effects: &[Effect]) {
        let taking_back = self.changes.taking_back.take();
        if !effects.iter().any(Effect::is_for_engine) {
            return;
        }
        self.changes.step += 1;
        let taken_back = taking_back.map(|changes| so_now(effects, changes));
        for effect in effects.iter().filter(|effect| effect.is_for_engine()) {
            let (back, rules_back, instead) = match taking_back {
                Some(_) => (None, None, None),
                None => (
                    Some(back(effect, self)),
                    rules_back(effect, self),
                    instead(effect, self),
                ),
            };
            let about = About::of(effect, &self.snapshot);
            let changes = match effect {
                Effect::ChangeLimit { id, limit, .. } => {
                    self.expect(&[*id], Some(*limit));
                    vec![*id]
                }
                Effect::RemoveLimits { ids, .. } | Effect::Keep { ids, .. } => {
                    self.expect(ids, None);
                    ids.clone()
                }
                _ => Vec::new(),
            };
            self.changes.pending.push_back(Pending {
                words: taken_back.clone().unwrap_or_else(|| effect.words()),
                about,
                who: effect.who().to_owned(),
                changes,
                instead,
                is_block: matches!(effect, Effect::SetLimit { limit, .. } if limit.is_block()),
                rules_back,
                back,
                again: taking_back.map(|_| effect.clone()),
                step: self.changes.step,
            });
        }
    }

    /// The engine has answered what was asked of it first.
    pub fn answered(&mut self, answer: Answer) {
        let Answer {
            mut message,
            set,
            renamed,
            change,
            is_over,
        } = answer;
        let Some(pending) = self.changes.pending.pop_front() else {
            self.message = Some(message);
            return;
        };
        for id in pending.changes {
            self.changes.settle(id, message.error);
        }
        self.changes.rename(&renamed);
        if message.error {
            let again = pending.again.filter(|_| !is_over);
            self.changes.done.extend(again.map(|effect| Done {
                back: vec![effect],
                step: pending.step,
            }));
        } else {
            match pending.back {
                None => message.text = pending.words,
                Some(mut back) => {
                    let who = pending.who;
                    back.extend(set.map(|id| Effect::RemoveLimits {
                        ids: vec![id],
                        who,
                        are_blocks: pending.is_block,
                    }));
                    let of_rules = change.zip(pending.rules_back);
                    back.extend(
                        of_rules.map(|(change, back)| Effect::TakeRulesBack { change, back }),
                    );
                    if let Some(instead) = pending.instead {
                        message.text.push_str(&format!(", instead of {instead}"));
                    }
                    if !back.is_empty() {
                        let undo = self.keymap.key_of(super::keymap::Command::Undo);
                        message.text.push_str(&format!("; {undo} takes it back"));
                        self.changes.done.push(Done {
                            back,
                            step: pending.step,
                        });
                        self.changes.rename(&renamed);
                        let over = self.changes.done.len().saturating_sub(MOST_STEPS);
                        self.changes.done.drain(..over);
                    }
                }
            }
        }
        self.message = Some(message);
    }

    /// Shows a limit as it will be: the next key is for that, and may come before the engine has answered.
    fn expect(&mut self, ids: &[LimitId], limit: Option<Limit>) {
        let expected = ids.iter().map(|id| Expected {
            id: *id,
            limit,
            answered: false,
        });
        self.changes.expected.extend(expected);
        self.show_expected();
        self.make_rows();
    }

    /// Has the sample say of limits what they will be.
    pub fn show_expected(&mut self) {
        if self.changes.expected.is_empty() {
            return;
        }
        let snapshot = Arc::make_mut(&mut self.snapshot);
        for Expected { id, limit, .. } in &self.changes.expected {
            match limit {
                Some(limit) => {
                    let mut samples = snapshot.limits.iter_mut();
                    if let Some(sample) = samples.find(|sample| sample.id == *id) {
                        sample.limit = *limit;
                    }
                }
                None => snapshot.limits.retain(|sample| sample.id != *id),
            }
            for process in &mut snapshot.processes {
                if process.limit.is_some_and(|(of, _)| of == *id) {
                    process.limit = limit.map(|limit| (*id, limit));
                }
            }
        }
    }
}

/// What is so when these effects have taken so many changes back.
fn so_now(effects: &[Effect], changes: usize) -> String {
    let comes_back = |effect: &&Effect| matches!(effect, Effect::SetAgain { .. });
    let telling = effects.iter().find(comes_back).or(effects.first());
    let words = telling.map(Effect::words).unwrap_or_default();
    match changes {
        1 => words,
        several => format!("{words}, and {} more taken back", several - 1),
    }
}

/// What takes an effect back, as things are before it. What a new limit needs beside that is known when it is there.
fn back(effect: &Effect, state: &State) -> Vec<Effect> {
    let again = |limits: Vec<Former>, who: &str| {
        let who = who.to_owned();
        let effect = (!limits.is_empty()).then_some(Effect::SetAgain { limits, who });
        effect.into_iter().collect::<Vec<_>>()
    };
    match effect {
        Effect::SetLimit { targets, who, .. } => again(replaced(targets, state), who),
        Effect::ChangeLimit {
            id, children, who, ..
        } => {
            let before = state.limit(*id).map(|sample| Effect::ChangeLimit {
                id: *id,
                limit: sample.limit,
                children: children.map(|children| !children),
                who: who.clone(),
            });
            before.into_iter().collect()
        }
        Effect::RemoveLimits { ids, who, .. } => again(formers(ids, state), who),
        _ => Vec::new(),
    }
}

/// What takes a change of the rules back, but for the number that it will have.
fn rules_back(effect: &Effect, state: &State) -> Option<RulesBack> {
    let ended = match effect {
        Effect::Keep { ids, .. } => formers(ids, state),
        _ => Vec::new(),
    };
    RulesBack::of(effect, ended, &state.snapshot)
}

fn formers(ids: &[LimitId], state: &State) -> Vec<Former> {
    ids.iter().filter_map(|id| former(*id, state)).collect()
}

/// What an effect takes the place of, in words.
fn instead(effect: &Effect, state: &State) -> Option<String> {
    match effect {
        Effect::SetLimit { targets, .. } => match replaced(targets, state).as_slice() {
            [] => None,
            [one] => Some(one.limit.to_string()),
            several => Some(format!("{} limits", several.len())),
        },
        Effect::ChangeLimit { id, limit, .. } => {
            let before = state.limit(*id)?.limit;
            (before != *limit).then(|| before.to_string())
        }
        _ => None,
    }
}

/// A limit as it is now, with what it takes to set it again; `None` where a rule sets it.
fn former(id: LimitId, state: &State) -> Option<Former> {
    let sample = state.limit(id)?;
    if state.is_of_rule(id) {
        return None;
    }
    let members = state.snapshot.processes.iter();
    let members = members.filter(|process| process.limit.is_some_and(|(of, _)| of == id));
    let origin = state.origin(id);
    Some(Former {
        id,
        limit: sample.limit,
        processes: members.map(|process| process.key).collect(),
        targets: origin.map_or_else(Vec::new, |origin| origin.targets.clone()),
        children: sample.children,
        detached: origin.is_some_and(|origin| origin.detached),
        until_ns: origin.and_then(|origin| origin.until_ns),
    })
}

/// The limits that end, or lose processes, because these have another one.
fn replaced(targets: &Targets, state: &State) -> Vec<Former> {
    let processes = &state.snapshot.processes;
    let is_taken = |key| {
        targets.processes.contains(&key)
            || processes
                .binary_search_by_key(&key, |process| process.key)
                .ok()
                .and_then(|at| processes.get(at))
                .is_some_and(|process| super::filter::is_selected(process, &targets.selectors))
    };
    let taken = processes.iter().filter(|process| is_taken(process.key));
    let mut ids: Vec<LimitId> = taken.filter_map(|process| Some(process.limit?.0)).collect();
    ids.sort_unstable();
    ids.dedup();
    let formers = ids.into_iter().filter_map(|id| former(id, state));
    formers
        .map(|mut former| {
            let all = former.processes.len();
            former.processes.retain(|key| is_taken(*key));
            if former.processes.len() < all {
                // It goes on for the others, and nobody can be put back into it.
                former.targets.clear();
            }
            former
        })
        .collect()
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
