//! Processes that have inherited a limit and made no socket yet. They have no slot: the kernel programs have noted them
//! at their fork, and give them one, with the limit, when they make their first.

use std::collections::HashMap;

use chadthrottle_common::{
    abi::{MAX_HEIRS, ProcessSlot, TICK_NS},
    ownership::{Heir, Owner, RuleId},
};

use super::{Engine, active::Limits};
use crate::{model::ProcessKey, sys::map::Value};

/// The rule that each would have now.
pub type Heirs = HashMap<ProcessKey, u32>;

impl Engine {
    /// All that are under a limit. Costs two system calls for each.
    pub(super) fn heirs(&self) -> Heirs {
        if !self.limits.any_with_children() {
            return Heirs::default();
        }
        // Where one is taken away meanwhile, the kernel begins anew.
        let noted = self.throttle.maps.heirs.iter().take(MAX_HEIRS as usize);
        let heirs = noted.filter_map(Result::ok).filter_map(|(pid, noted)| {
            let Value(heir) = noted;
            let start_ticks = heir.start_ns / TICK_NS;
            let key = ProcessKey { pid, start_ticks };
            let rule = rule_of(&heir, &self.throttle.maps.slots, &self.limits)?;
            self.slots.get(key).is_none().then_some((key, rule))
        });
        heirs.collect()
    }

    /// Index of the rule that this process is under, by its slot or as an heir; 0: none.
    pub(super) fn rule_over(&self, key: ProcessKey) -> u32 {
        if let Some(slot) = self.slots.get(key) {
            return self.rule_of(slot);
        }
        let noted = self.throttle.maps.heirs.get(&key.pid, 0).ok();
        let heir = noted.map(|Value(heir)| heir);
        let heir = heir.filter(|heir| heir.start_ns / TICK_NS == key.start_ticks);
        let rule = heir.and_then(|heir| rule_of(&heir, &self.throttle.maps.slots, &self.limits));
        rule.unwrap_or(0)
    }
}

/// What the kernel programs would say (`inherited` in chadthrottle-ebpf).
fn rule_of(heir: &Heir, slots: &[ProcessSlot], limits: &Limits) -> Option<u32> {
    let from = Owner::from_word(heir.from);
    let slot = slots.get(from.slot as usize);
    let is_there =
        |slot: &&ProcessSlot| slot.identity.generation.get() == u64::from(from.generation);
    let rule = match slot.filter(is_there) {
        Some(slot) if slot.identity.inherit.get() == 0 => return None,
        Some(slot) => RuleId::from_word(slot.egress.rule.get()),
        None => RuleId::from_word(heir.rule),
    };
    limits.is_set(rule).then_some(rule.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Limit, process::Targets};

    #[test]
    fn an_heir_is_under_what_its_ancestor_is_under_now_or_was_last() {
        let mut limits = Limits::default();
        let [first, second] = [1, 2].map(|_| limits.add(Targets::default(), Limit::NONE).unwrap());
        let slots = [ProcessSlot::default()];
        let [slot] = &slots;
        slot.identity.generation.set(5);
        slot.identity.inherit.set(1);
        slot.egress.rule.set(second.word());
        let heir = |generation, rule: RuleId| Heir {
            start_ns: 1,
            from: Owner {
                slot: 0,
                generation,
            }
            .word(),
            rule: rule.word(),
        };
        let rule = |heir| rule_of(&heir, &slots, &limits);
        assert_eq!(
            rule(heir(5, first)),
            Some(second.index),
            "it has another now"
        );
        assert_eq!(rule(heir(4, first)), Some(first.index), "it has ended");
        let removed = RuleId {
            serial: 77,
            ..first
        };
        assert_eq!(rule(heir(4, removed)), None);
        assert_eq!(rule(heir(4, RuleId::default())), None);
        slot.identity.inherit.set(0);
        assert_eq!(rule(heir(5, first)), None, "no child inherits any more");
    }
}
