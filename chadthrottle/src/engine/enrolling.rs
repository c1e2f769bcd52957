//! Whom limits hold: processes that match are taken in, and limits end that nobody is left of.

use std::collections::HashSet;

use chadthrottle_common::ownership::{RuleId, inheritance};

use super::{
    Engine, EngineError,
    active::{Garbage, Member},
    heirs::Heirs,
    limits::NO_SHARE,
    membership,
};
use crate::{
    model::ProcessKey,
    process::{Condition, Selector, find, processes_in},
};

/// How often children that were forked meanwhile are looked for, when a limit is set. Each look finds all
/// descendants; one that finds nobody new is the last.
const ROUNDS: u32 = 4;

impl Engine {
    /// Takes in processes that match a limit since the last look.
    pub fn watch(&mut self) {
        self.credit_members();
        self.ask_for_guises();
        self.look_for_ways();
        if !self.is_look_due() {
            return;
        }
        if let Err(error) = self.refresh_processes() {
            log::warn!("{error}");
        }
        self.learn_patterns();
        self.offer_patterns();
        let rules: Vec<u32> = self.limits.enrolling().collect();
        for rule in rules {
            if let Err(error) = self.enroll(rule) {
                log::warn!("{error}");
            }
        }
        self.follow_rules();
    }

    /// Processes that are in a limited cgroup, and were not when they were last read.
    pub(super) fn moved_processes(&self) -> impl Iterator<Item = u32> {
        let selectors = self
            .limits
            .active
            .values()
            .flat_map(|active| &active.targets.selectors)
            .chain(self.ruled.watched());
        let conditions = selectors.flat_map(Selector::terms);
        let cgroups = conditions.filter_map(|term| match &term.condition {
            Condition::Cgroup(path) => Some((&term.condition, path)),
            _ => None,
        });
        cgroups.flat_map(|(condition, path)| {
            let directory = self.cgroup2.join(path.trim_start_matches('/'));
            let known = |pid: &u32| {
                self.processes
                    .get(*pid)
                    .is_some_and(|info| condition.matches(info, &self.processes))
            };
            processes_in(&directory)
                .into_iter()
                .filter(move |pid| !known(pid))
        })
    }

    /// Removes limits whose processes have all ended, and rules that a fork has handed down in the very moment in which
    /// they were removed. Gives the heirs that there are.
    ///
    /// Processes that fork and end faster than one look takes may each begin after it and end before it comes to them.
    /// A limit is over when a look finds nobody during which nobody has forked under it either: whoever lives after
    /// such a look was there all the time.
    pub(super) fn collect_garbage(&mut self) -> Heirs {
        let (mut heirs, Garbage { slots, mut rules }) = self.look_for_garbage();
        // Others have no heirs.
        if rules.iter().any(|rule| self.has_heirs(*rule)) {
            let forks: Vec<u64> = rules.iter().map(|rule| self.forks_under(*rule)).collect();
            let (now, again) = self.look_for_garbage();
            heirs = now;
            let unchanged = rules.into_iter().zip(forks);
            let unchanged = unchanged.filter(|(rule, forks)| self.forks_under(*rule) == *forks);
            rules = unchanged.map(|(rule, _)| rule).collect();
            rules.retain(|rule| again.rules.contains(rule));
        }
        for slot in slots {
            self.assign(slot, RuleId::default(), inheritance::NONE);
        }
        for rule in rules {
            self.drop_limit(rule);
        }
        heirs
    }

    fn has_heirs(&self, rule: u32) -> bool {
        let active = self.limits.active.get(&rule);
        active.is_some_and(|active| active.targets.children)
    }

    /// How often a process under the limit has forked.
    fn forks_under(&self, rule: u32) -> u64 {
        self.rule(rule).map_or(0, |rule| rule.identity.forks.get())
    }

    fn look_for_garbage(&mut self) -> (Heirs, Garbage) {
        // In this order: whoever makes its first socket meanwhile is seen as one or as the other.
        let heirs = self.heirs();
        self.scan_slots();
        let members = self.slots.iter().map(|(key, slot)| Member {
            key,
            slot,
            rule: self.rule_of(slot),
        });
        // The table has zombies too, to which nothing can be done any more. Of whom nobody can tell, as where a limit of
        // open files is reached, lives.
        let alive = |key: ProcessKey| {
            let found = find(self.processes.root(), key.pid);
            found.map_or(true, |found| found == Some(key))
        };
        let garbage = self.limits.garbage(members, &heirs, alive);
        (heirs, garbage)
    }

    /// Gives every process that belongs to the limit its rule.
    pub(super) fn enroll(&mut self, rule: u32) -> Result<(), EngineError> {
        let Some(active) = self.limits.active.get(&rule) else {
            return Ok(());
        };
        let (serial, children) = (active.serial, active.targets.children);
        let inherit = if children {
            inheritance::FOR_GOOD
        } else {
            inheritance::NONE
        };
        let of_user = active.targets.of_user;
        let id = active.id(rule);
        let point = self.attached_to.as_ref();
        let mut members = membership::members(
            &active.targets,
            self.processes.iter(),
            &self.processes,
            point,
            |key| self.is_alive(key),
        );
        // Children that are forked while we enroll: of a member that inherits in the kernel, the
        // kernel takes care; of one that did not yet, the next round finds them. Where they come faster
        // than we look, the next watch goes on.
        let mut known = HashSet::new();
        let mut enrolled = 0_usize;
        for _ in 0..ROUNDS {
            if children {
                let parents = members.iter().chain(&known).copied().collect();
                members.extend(membership::descendants_of(&parents, self.processes.iter()));
            }
            members.retain(|key| known.insert(*key));
            if members.is_empty() {
                self.limits.settled(rule, true);
                return Ok(());
            }
            for key in &members {
                // Whom root limits has no other limit, though it has no socket yet: it must not have a slot without.
                if of_user.is_some()
                    && !self
                        .limits
                        .takes_over(serial, of_user, self.rule_over(*key))
                {
                    continue;
                }
                let owner = match self.slots.ensure(&mut self.throttle.maps, *key, NO_SHARE) {
                    Ok(owner) => owner,
                    Err(error) if enrolled == 0 => return Err(error),
                    // The others are held all the same.
                    Err(error) => {
                        log::warn!("process {}: {error}", key.pid);
                        break;
                    }
                };
                enrolled += 1;
                if self
                    .limits
                    .takes_over(serial, of_user, self.rule_of(owner.slot))
                {
                    self.credit(*key, owner.slot);
                    self.assign(owner.slot, id, inherit);
                }
            }
            if !children {
                return Ok(());
            }
            members.clear();
            if let Err(error) = self.refresh_processes() {
                log::warn!("{error}");
                break;
            }
        }
        self.limits.settled(rule, false);
        Ok(())
    }
}
