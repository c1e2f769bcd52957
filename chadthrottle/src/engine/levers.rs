//! The levers of the limits that are set: several looks a second, while there are any.

use super::Engine;

impl Engine {
    /// Whether levers want looking at: a limit is set, or a rule's has members.
    pub fn wants_looks(&self) -> bool {
        self.limits.enrolling().next().is_some() || self.ruled.has_members()
    }

    /// Moves the fair rates of all limits, and does what is due from time to time.
    pub fn follow_levers(&mut self) {
        self.reset_rejected();
        let Self {
            limits,
            ruled,
            throttle,
            levers,
            ..
        } = self;
        for (id, limit, _) in limits.iter() {
            // There may be a thousand for which nobody has come yet.
            if limits.is_of_rule(id) && !ruled.has_begun(id) {
                continue;
            }
            if let Some(rule) = throttle.maps.rules.get(id.0 as usize) {
                levers.follow(id.0, rule, &limit);
            }
        }
        let members = self.slots.iter().filter(|(_, slot)| {
            let slot = self.throttle.maps.slots.get(*slot as usize);
            slot.is_some_and(|slot| slot.ingress.rule.get() != 0)
        });
        self.levers.maintain(members.map(|(key, _)| key.pid));
    }

    /// Sets levers from now on: those of the engine before are gone.
    pub(super) fn take_over(&mut self) {
        self.levers.go();
        let set: Vec<_> = self
            .limits
            .iter()
            .map(|(id, limit, _)| (id.0, limit))
            .collect();
        for (rule, limit) in set {
            self.slow_down(rule, limit, None);
        }
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
