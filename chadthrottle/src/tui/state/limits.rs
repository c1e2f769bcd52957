//! What the sample says of limits.

use super::State;
use crate::{
    model::{Both, LimitId, LimitSample, Origin, RuleSample},
    tui::rows::{Row, RowLimit},
};

impl State {
    /// A limit, over all its members.
    pub fn limit(&self, id: LimitId) -> Option<&LimitSample> {
        let limits = &self.snapshot.limits;
        let found = limits.binary_search_by_key(&id, |limit| limit.id);
        limits.get(found.ok()?)
    }

    /// Who has set a limit, where that is known.
    pub fn origin(&self, id: LimitId) -> Option<&Origin> {
        let mut origins = self.snapshot.origins.iter();
        origins.find(|origin| origin.id == id)
    }

    /// Whether there are rules.
    pub fn has_rules(&self) -> bool {
        !self.snapshot.rules.is_empty()
    }

    /// The rule of that name.
    pub fn rule(&self, name: &str) -> Option<&RuleSample> {
        let mut rules = self.snapshot.rules.iter();
        rules.find(|rule| *rule.name == *name)
    }

    /// Whether a limit comes from a rule.
    pub fn is_of_rule(&self, id: LimitId) -> bool {
        self.origin(id).is_some_and(|origin| origin.rule.is_some())
    }

    /// The limits that somebody has set.
    pub fn by_hand(&self) -> impl Iterator<Item = LimitId> {
        let limits = self.snapshot.limits.iter().map(|limit| limit.id);
        limits.filter(|id| !self.is_of_rule(*id))
    }

    /// How many limits somebody has set, or hold somebody by a rule.
    pub fn limits_in_use(&self) -> usize {
        let limits = self.snapshot.limits.iter();
        let in_use = limits.filter(|limit| limit.members > 0 || !self.is_of_rule(limit.id));
        in_use.count()
    }

    /// The directions of limits in use.
    pub fn limited_directions(&self) -> Both<bool> {
        let limits = self.snapshot.limits.iter();
        let in_use = limits.filter(|limit| limit.members > 0 || !self.is_of_rule(limit.id));
        let mut limited = Both::default();
        for sample in in_use {
            limited.down |= sample.limit.down.is_some();
            limited.up |= sample.limit.up.is_some();
        }
        limited
    }

    /// How many limits end with this screen.
    pub fn own_limits(&self) -> usize {
        let is_own = |id| {
            self.origin(id)
                .is_none_or(|origin| origin.pid == self.pid && !origin.detached)
        };
        let limits = self.snapshot.limits.iter();
        limits.filter(|limit| is_own(limit.id)).count()
    }

    /// The limits of a row, each once.
    pub fn limits_of(&self, row: &Row) -> Vec<LimitId> {
        match row.limit {
            RowLimit::None => Vec::new(),
            RowLimit::One(id, _) => vec![id],
            RowLimit::Several => {
                let mut ids: Vec<LimitId> = self
                    .processes_of(&row.key)
                    .filter_map(|process| process.limit.map(|(id, _)| id))
                    .collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            }
        }
    }
}
