//! What the members of each rule have carried, also under limits of it that have ended since.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Engine;
use crate::model::{Both, ProcessKey};

/// Bytes by rule, since the engine started.
#[derive(Debug, Default)]
pub struct Tally {
    /// Of each process, what has been counted.
    counted: HashMap<ProcessKey, Both<u64>>,
    carried: BTreeMap<Arc<str>, Both<u64>>,
}

impl Tally {
    /// Counts what a process has carried since the last time, all of it, for the rule that holds it, if one does.
    pub fn count(&mut self, key: ProcessKey, passed: Both<u64>, rule: Option<&Arc<str>>) {
        // A slot that is new to us started from zero.
        let before = self.counted.insert(key, passed).unwrap_or_default();
        let Some(rule) = rule else { return };
        let since = Both::from_fn(|direction| passed[direction].saturating_sub(before[direction]));
        if since == Both::default() {
            return;
        }
        *self.carried.entry(Arc::clone(rule)).or_default() += since;
    }

    /// Forgets a process whose slot is given back.
    pub fn forget(&mut self, key: ProcessKey) {
        self.counted.remove(&key);
    }

    /// Bytes by rule.
    pub fn carried(&self) -> BTreeMap<Arc<str>, Both<u64>> {
        self.carried.clone()
    }
}

impl Engine {
    /// Counts what a process has carried for the rule that holds it, before another limit or none does.
    pub(super) fn credit(&mut self, key: ProcessKey, slot: u32) {
        let rule = self.limits.rule_of(self.rule_of(slot)).cloned();
        self.count_for(rule.as_ref(), key, slot);
    }

    /// Counts what the members of all rules have carried: the kernel programs give one that becomes another program to the
    /// rule of that, and tell nobody.
    pub(super) fn credit_members(&mut self) {
        let slots = self.slots.iter();
        let members = slots.filter(|(_, slot)| self.limits.rule_of(self.rule_of(*slot)).is_some());
        for (key, slot) in members.collect::<Vec<_>>() {
            self.credit(key, slot);
        }
    }

    /// The same for one that the kernel programs have let go because it has become another program: for the rule that it
    /// was found to go by before.
    pub(super) fn credit_former(&mut self, key: ProcessKey) {
        let Some(slot) = self.slots.get(key).filter(|slot| self.rule_of(*slot) == 0) else {
            return;
        };
        let former = self.ruled.wanted.get(&key);
        if let Some(rule) = former.map(|group| Arc::clone(&group.rule)) {
            self.count_for(Some(&rule), key, slot);
        }
    }

    fn count_for(&mut self, rule: Option<&Arc<str>>, key: ProcessKey, slot: u32) {
        if let Some(slot) = self.throttle.maps.slots.get(slot as usize) {
            let passed = Both {
                down: slot.ingress.bytes.count(),
                up: slot.egress.bytes.count(),
            };
            self.tally.count(key, passed, rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_carries_counts_for_the_rule_that_held_it_meanwhile() {
        let key = |pid| ProcessKey {
            pid,
            start_ticks: 1,
        };
        let bytes = |down, up| Both { down, up };
        let [a, b]: [Arc<str>; 2] = ["a", "b"].map(Arc::from);
        let mut tally = Tally::default();
        // Before a rule held it.
        tally.count(key(1), bytes(100, 10), None);
        tally.count(key(1), bytes(150, 10), Some(&a));
        // It leaves that rule for another between two samples.
        tally.count(key(1), bytes(170, 30), Some(&a));
        tally.count(key(1), bytes(171, 30), Some(&b));
        tally.count(key(2), bytes(1_000, 0), Some(&a));
        let expected = [(a, bytes(1_070, 20)), (b, bytes(1, 0))];
        assert_eq!(tally.carried(), BTreeMap::from(expected.clone()));
        // Another process may have the slot, and this id.
        tally.forget(key(2));
        tally.count(key(2), bytes(5, 0), Some(&expected[1].0));
        assert_eq!(tally.carried()["b"], bytes(6, 0));
    }
}
