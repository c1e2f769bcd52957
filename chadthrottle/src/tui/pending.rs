//! What a change is about that the engine was asked for: its rows and rules are marked until it has answered.

use super::{effect::Effect, filter::is_selected, state::State};
use crate::{
    model::{LimitId, ProcessKey, ProcessSample, Snapshot},
    process::Selector,
    rules::edit::Edit,
    tui::rows::Row,
};

/// Whom a change is about.
#[derive(Clone, Debug, Default)]
pub struct About {
    processes: Vec<ProcessKey>,
    selectors: Vec<Selector>,
    limits: Vec<LimitId>,
    rule: Option<String>,
}

impl About {
    /// Of what the engine is asked for.
    pub fn of(effect: &Effect, snapshot: &Snapshot) -> Self {
        let mut about = Self::default();
        let rule_of = |edit: &Edit| edit.rule().map(str::to_owned);
        // A limit that is to end is not shown any more.
        let members = |ids: &[LimitId]| {
            let has =
                |process: &&ProcessSample| process.limit.is_some_and(|it| ids.contains(&it.0));
            let members = snapshot.processes.iter().filter(has);
            members.map(|process| process.key).collect()
        };
        match effect {
            Effect::SetLimit { targets, .. } => {
                about.processes.clone_from(&targets.processes);
                about.selectors.clone_from(&targets.selectors);
            }
            Effect::ChangeLimit { id, .. } => about.limits.push(*id),
            Effect::RemoveLimits { ids, .. } => about.processes = members(ids),
            Effect::SetAgain { limits, .. } => {
                let processes = limits.iter().flat_map(|former| &former.processes);
                about.processes = processes.copied().collect();
            }
            Effect::EditRules { edit, .. } => about.rule = rule_of(edit),
            Effect::TakeRulesBack { back, .. } => {
                about.rule.clone_from(&back.rule);
                let processes = back.limits.iter().flat_map(|former| &former.processes);
                about.processes = processes.copied().collect();
            }
            Effect::Keep { edit, ids, .. } => {
                about.rule = rule_of(edit);
                about.processes = members(ids);
            }
            Effect::ReloadRules
            | Effect::Say(_)
            | Effect::Inspect(_)
            | Effect::AskPast
            | Effect::Suspend
            | Effect::Quit => {}
        }
        about
    }

    /// Whether it is about that process.
    pub fn has(&self, process: &ProcessSample) -> bool {
        let has_limit = |(id, _)| self.limits.contains(&id);
        self.processes.contains(&process.key)
            || process.limit.is_some_and(has_limit)
            || is_selected(process, &self.selectors)
    }

    /// Whether it is about the rule of that name.
    pub fn has_rule(&self, name: &str) -> bool {
        self.rule.as_deref() == Some(name)
    }
}

impl State {
    /// Whether the engine was asked to change the limit of the row and has not answered.
    pub fn is_pending(&self, row: &Row) -> bool {
        let is_pending = |process: &ProcessSample| self.changes.pending().any(|it| it.has(process));
        self.changes.waiting().is_some() && self.processes_of(&row.key).any(is_pending)
    }

    /// Whether it was asked to change that rule and has not answered.
    pub fn is_rule_pending(&self, name: &str) -> bool {
        self.changes.pending().any(|it| it.has_rule(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{
        changes::Answer,
        fixtures::{press, process, rule, snapshot, state, usual},
        state::Message,
        update::{Action, update},
    };
    use std::sync::Arc;

    fn pending(state: &State) -> Vec<String> {
        let rows = state.rows.iter().filter(|row| state.is_pending(row));
        rows.map(|row| state.name_of(row)).collect()
    }

    fn answer(state: &mut State) {
        let answer = Answer::of(Message::error("no"));
        update(state, Action::Answered(answer));
    }

    #[test]
    fn rows_wait_for_the_engine_from_the_key_to_the_answer() {
        let mut state = state(80, 24, usual());
        assert_eq!(pending(&state), [""; 0]);
        press(&mut state, &["g", "<Enter>", "1MB", "<Enter>"]);
        assert_eq!(pending(&state), ["firefox"]);
        press(&mut state, &["j", "["]);
        assert_eq!(pending(&state), ["firefox", "wget"]);
        // They are answered in the order in which they were asked for, and refused as well as done.
        answer(&mut state);
        assert_eq!(pending(&state), ["wget"]);
        answer(&mut state);
        assert_eq!(pending(&state), [""; 0]);
        for keys in [&["x"][..], &["B"], &["K", "<Enter>"]] {
            press(&mut state, keys);
            assert_eq!(pending(&state), ["wget"], "{keys:?}");
            answer(&mut state);
            update(&mut state, Action::Snapshot(usual()));
        }
    }

    #[test]
    fn of_a_program_all_wait_and_a_limit_that_is_shared_has_all_its_members_wait() {
        let mut all: Vec<_> = [11, 12, 13]
            .map(|pid| process(pid, "curl", 1.0, 0.0))
            .into();
        all.push(process(14, "ssh", 0.0, 0.0));
        let mut state = state(80, 24, snapshot(all));
        press(&mut state, &["2", "g", "B", "1"]);
        assert_eq!(pending(&state), ["curl"; 3]);
    }

    #[test]
    fn a_rule_waits_alone() {
        let mut sample = usual();
        Arc::make_mut(&mut sample).rules = ["a", "b"].map(rule).into();
        let mut state = state(80, 24, sample);
        press(&mut state, &["R", "j", " "]);
        let waits = |state: &State| ["a", "b"].map(|name| state.is_rule_pending(name));
        assert_eq!(waits(&state), [false, true]);
        answer(&mut state);
        assert_eq!(waits(&state), [false, false]);
    }
}
