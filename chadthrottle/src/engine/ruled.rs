//! Limits that come from rules: which there are, and who is held by them.
//!
//! A limit that root sets by hand stands above all rules, and when it ends they hold again. A process is asked when
//! it starts and whenever it has changed, and not at every look.

use std::{collections::HashSet, sync::Arc};

use chadthrottle_common::ownership::{RuleId, inheritance};

use super::{
    Engine, EngineError,
    in_force::{Group, InForce, Of, TOLD},
    membership,
};
use crate::{model::ProcessKey, process::Changes, rules::Share};

impl Engine {
    /// Has these rules hold, in this order, in place of those before. What holds on goes on without a gap.
    pub(super) fn set_rules(&mut self, rules: Vec<InForce>) {
        if let Err(error) = self.refresh_processes() {
            log::warn!("{error}");
        }
        let before = std::mem::replace(&mut self.ruled.rules, rules);
        let share_before = |name: &str| {
            let rule = before.iter().find(|rule| *rule.name == *name);
            rule.map(|rule| rule.share)
        };
        let mut over = Vec::new();
        let mut changed = Vec::new();
        for (group, index) in &self.ruled.limits {
            match self
                .ruled
                .place(&group.rule)
                .map(|at| &self.ruled.rules[at])
            {
                Some(rule) if share_before(&group.rule) == Some(rule.share) => {
                    changed.push((*index, rule.limit));
                }
                _ => over.push(group.clone()),
            }
        }
        for (index, limit) in changed {
            let is_other = self.limits.get(index).is_some_and(|(_, now)| now != limit);
            if is_other && let Err(error) = self.change(index, limit) {
                log::warn!("{error}");
            }
        }
        self.ask_all();
        // The limits of others first: nobody is to be free in between.
        self.prepare_told();
        self.follow_rules();
        self.drop_groups(&over);
        self.offer_patterns();
    }

    fn ask_all(&mut self) {
        self.ruled.waits_for_accounts = self.ruled.any_waits();
        self.ruled.wanted.clear();
        for process in self.processes.iter() {
            self.ruled.ask(process, &self.processes);
        }
    }

    /// Asks for the rules of processes that have started or changed, and forgets those that have ended.
    pub(super) fn ask_rules(&mut self, changes: &Changes) {
        if self.ruled.rules.is_empty() {
            return;
        }
        for info in &changes.ended {
            self.credit_former(info.key);
            self.ruled.wanted.remove(&info.key);
        }
        for info in &changes.started {
            if let Some(parent) = self.processes.get(info.parent).map(|parent| parent.key) {
                self.ruled.ways.inherit(info.key, parent);
            }
        }
        let mut due: HashSet<ProcessKey> = HashSet::new();
        due.extend(changes.started.iter().map(|info| info.key));
        let changed: HashSet<ProcessKey> = changes.changed.iter().map(|info| info.key).collect();
        if !changed.is_empty() && self.ruled.rules.iter().any(InForce::asks_for_parents) {
            due.extend(membership::descendants_of(&changed, self.processes.iter()));
        }
        due.extend(changed);
        for key in due {
            self.credit_former(key);
            if let Some(info) = self.processes.get(key.pid).filter(|info| info.key == key) {
                self.ruled.ask(info, &self.processes);
            }
        }
    }

    /// Has the limits that the kernel programs can be told of.
    fn prepare_told(&mut self) {
        let rules = self.ruled.rules.iter().take(TOLD);
        let groups: Vec<Group> = rules
            .filter(|rule| rule.share == Share::All)
            .map(|rule| Group {
                rule: Arc::clone(&rule.name),
                of: Of::All,
            })
            .collect();
        for group in groups {
            if let Err(error) = self.limit_of(&group) {
                self.is_short_of_limits(&error);
            }
        }
    }

    /// Gives every process the limit that its rule says, unless somebody has set another one for it.
    pub(super) fn follow_rules(&mut self) {
        if self.ruled.is_empty() {
            return;
        }
        if self.ruled.waits_for_accounts && !self.ruled.any_waits() {
            self.ask_all();
        }
        let point = self.attached_to.clone();
        let wanted: Vec<(ProcessKey, Group)> = self
            .ruled
            .wanted
            .iter()
            .map(|(key, group)| (*key, group.clone()))
            .collect();
        let mut begun = Vec::new();
        for (key, group) in wanted {
            let slot = self.slots.get(key);
            let has = slot.map_or(0, |slot| self.rule_of(slot));
            let index = self.ruled.limits.get(&group).copied();
            if has != 0 && Some(has) == index {
                // The kernel programs may have taken it in.
                self.ruled.begun.insert(has);
                continue;
            }
            if has != 0 && !self.is_ruled(has) && !self.limits.gives_way(has) {
                continue;
            }
            if self.awaits_look(key, has) {
                continue;
            }
            let info = self.processes.get(key.pid).filter(|info| info.key == key);
            if info.is_none_or(|info| membership::is_outside(point.as_ref(), &info.cgroup)) {
                continue;
            }
            if !self.is_as_shown(key) {
                continue;
            }
            match self.join(key, &group, &mut begun) {
                Ok(()) => {}
                Err(error) => self.is_short_of_limits(&error),
            }
        }
        self.leave_rules();
        for index in begun {
            if let Some((_, limit)) = self.limits.get(index) {
                self.slow_down(index, limit, None);
            }
        }
    }

    /// A limit that came from a rule which the process does not go by any more is taken from it.
    fn leave_rules(&mut self) {
        self.scan_slots();
        let slots: Vec<(ProcessKey, u32)> = self.slots.iter().collect();
        let mut used = HashSet::new();
        for (key, slot) in slots {
            let has = self.rule_of(slot);
            if has == 0 || !self.is_ruled(has) {
                continue;
            }
            let wanted = self.ruled.wanted.get(&key);
            let is_wanted = wanted.and_then(|group| self.ruled.limits.get(group)) == Some(&has)
                || self.awaits_look(key, has);
            // One that no look has shown was taken in by the kernel programs.
            if is_wanted || !self.processes.contains(key) || !self.is_as_shown(key) {
                used.insert(has);
            } else {
                self.credit(key, slot);
                self.assign(slot, RuleId::default(), inheritance::NONE);
            }
        }
        // Those that are for one process, or one unit, go with it.
        let wanted: HashSet<&Group> = self.ruled.wanted.values().collect();
        let over: Vec<Group> = self
            .ruled
            .limits
            .iter()
            .filter(|(group, index)| {
                let is_told = self.ruled.place(&group.rule).is_some_and(|at| at < TOLD);
                let stays = group.of == Of::All && is_told;
                !stays && !wanted.contains(group) && !used.contains(*index)
            })
            .map(|(group, _)| group.clone())
            .collect();
        self.drop_groups(&over);
    }

    fn drop_groups(&mut self, groups: &[Group]) {
        let removed = groups
            .iter()
            .filter_map(|group| self.ruled.limits.remove(group));
        let indexes: Vec<u32> = removed.collect();
        for index in &indexes {
            self.ruled.begun.remove(index);
        }
        if !indexes.is_empty() {
            self.drop_limits(&indexes);
        }
    }

    fn join(
        &mut self,
        key: ProcessKey,
        group: &Group,
        begun: &mut Vec<u32>,
    ) -> Result<(), EngineError> {
        let index = self.limit_of(group)?;
        // Their connections are slowed down at once; those of members that come later, in turn.
        if self.ruled.begun.insert(index) {
            begun.push(index);
        }
        let owner = self
            .slots
            .ensure(&mut self.throttle.maps, key, super::limits::NO_SHARE)?;
        if let Some(id) = self.limits.id(index) {
            self.credit(key, owner.slot);
            self.assign(owner.slot, id, inheritance::UNTIL_EXEC);
        }
        Ok(())
    }

    /// The limit of a group, which is set where it is not.
    fn limit_of(&mut self, group: &Group) -> Result<u32, EngineError> {
        if let Some(index) = self.ruled.limits.get(group) {
            return Ok(*index);
        }
        let at = self.ruled.place(&group.rule).ok_or(EngineError::NoLimit)?;
        let limit = self.ruled.rules[at].limit;
        let id = self.limits.add_of_rule(limit, &group.rule)?;
        self.begin(id, limit, None);
        // Before there is a connection, so that it is paced from its first segment on.
        self.slow_down(id.index, limit, None);
        self.ruled.limits.insert(group.clone(), id.index);
        Ok(id.index)
    }

    fn is_ruled(&self, index: u32) -> bool {
        let active = self.limits.active.get(&index);
        active.is_none_or(|active| active.of_rule.is_some())
    }

    fn is_short_of_limits(&mut self, error: &EngineError) {
        if !self.ruled.is_short {
            log::warn!("a rule does not hold for everybody: {error}");
            self.ruled.is_short = true;
        }
    }
}
