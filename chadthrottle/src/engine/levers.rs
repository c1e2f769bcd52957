//! The levers of the limits that are set: several looks a second, while there are any.

use std::{collections::HashMap, os::fd::OwnedFd};

use chadthrottle_common::ownership::{Owner, RuleId};

use super::{Engine, slots::owner_of};
use crate::{levers::Look, sys::clock::now_ns};

impl Engine {
    /// Whether levers want looking at: a limit is set, or downloads are watched after theirs.
    pub fn wants_looks(&mut self) -> bool {
        // What is watched is looked at by asking.
        self.levers.is_undoing() || self.limits.rules().next().is_some()
    }

    /// Looks at the flows of all limits and sets their levers.
    pub fn pull_levers(&mut self) {
        // Children may have inherited in the kernel since the last look.
        self.scan_slots();
        let mut members: HashMap<u32, Vec<u32>> =
            self.limits.rules().map(|rule| (rule, Vec::new())).collect();
        for (key, slot) in self.slots.iter() {
            if let Some(members) = members.get_mut(&self.rule_of(slot)) {
                members.push(key.pid);
            }
        }
        for (rule, members) in members {
            self.pull_levers_of(rule, &members);
        }
    }

    /// The same for one limit and the processes that have it.
    pub(super) fn pull_levers_of(&mut self, index: u32, members: &[u32]) {
        let Some((_, limit)) = self.limits.get(index) else {
            return;
        };
        let Some(rule) = self.throttle.maps.rules.get(index as usize) else {
            return;
        };
        let maps = &self.throttle.maps;
        let owns = |socket: &OwnedFd| {
            let Ok([owner, ..]) = maps.owners.get(socket, 0) else {
                return false;
            };
            let owner = Owner::from_word(owner);
            let noted = maps.slots.get(owner.slot as usize);
            owner_of(maps, owner.slot) == owner
                && noted
                    .is_some_and(|noted| RuleId::from_word(noted.ingress.rule.get()).index == index)
        };
        let now = now_ns();
        let look = Look {
            limit,
            members,
            owns: &owns,
            down_credit: rule.ingress.credit(now),
            up_credit: rule.egress.credit(now),
            now_ns: now,
        };
        let flows = self.levers.hold(index, look);
        rule.ingress.flows.set(flows.down as u64);
        rule.egress.flows.set(flows.up as u64);
        rule.ingress.gates.set(flows.gates as u64);
    }

    /// Ids of the processes that have that rule.
    pub(super) fn member_pids(&self, rule: u32) -> Vec<u32> {
        let members = self
            .slots
            .iter()
            .filter(|(_, slot)| self.rule_of(*slot) == rule);
        members.map(|(key, _)| key.pid).collect()
    }
}
