//! The limits that are set: which rule each of them has, whom it is for, which of two a process goes by, and when
//! one is over. Nothing here touches a map.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use chadthrottle_common::{abi::MAX_RULES, ownership::RuleId};

use super::{EngineError, heirs::Heirs};
use crate::{
    model::{Carried, Limit, LimitId, ProcessKey},
    process::Targets,
};

/// The limits that are set.
#[derive(Debug, Default)]
pub struct Limits {
    /// By rule index.
    pub(super) active: BTreeMap<u32, Active>,
    /// Counts the limits ever set, but for those of rules.
    pub(super) serial: u64,
    /// Counts those.
    of_rules: u64,
}

/// Serials of limits that root has set are above all that come from rules, …
const BY_HAND: u64 = RuleId::BY_HAND as u64;

/// … and those above all that users without root have set: whom root limits, by hand or by a rule, has no other limit. The
/// kernel programs, which see the patterns of root's limits only, have one that matches hold instead of any below
/// [`RuleId::BY_HAND`].
const OF_RULES: u64 = BY_HAND / 2;

/// So many limits come from rules at most, each process of a rule may have one: the others are left for those who set
/// limits by hand.
const MOST_OF_RULES: usize = 3_072;

#[derive(Debug)]
pub(super) struct Active {
    pub(super) limit: Limit,
    pub(super) targets: Targets,
    /// Where two limits claim a process, the later one has it.
    pub(super) serial: u64,
    /// The rule that it comes from, if any: it goes with that, and not with its members.
    pub(super) of_rule: Option<Arc<str>>,
    /// By members whose slots have been given back.
    pub(super) carried: Carried,
    /// Whether a look has found no more children to enroll.
    settled: bool,
    /// Whether it is about to be removed, and rules may have its members.
    pub(super) is_ending: bool,
}

impl Active {
    /// As processes carry it.
    pub(super) fn id(&self, index: u32) -> RuleId {
        // Of limits that are set at once, the last bits differ.
        let serial = self.serial as u32;
        RuleId { index, serial }
    }
}

impl Limits {
    /// Whether a limit takes in processes that only a look at /proc can find.
    pub fn any_open_ended(&self, children_inherit_in_kernel: bool) -> bool {
        self.active.values().any(|active| {
            !active.targets.selectors.is_empty()
                || !active.settled
                || (active.targets.children && !children_inherit_in_kernel)
        })
    }

    /// Whether a look has found no more children of a limit to enroll.
    pub(super) fn settled(&mut self, rule: u32, settled: bool) {
        if let Some(active) = self.active.get_mut(&rule) {
            active.settled = settled;
        }
    }

    /// Whether a limit holds for what its members start.
    pub fn any_with_children(&self) -> bool {
        let mut all = self.active.values();
        all.any(|active| active.targets.children)
    }

    /// Whether that very limit is set.
    pub fn is_set(&self, rule: RuleId) -> bool {
        let active = self.active.get(&rule.index);
        active.is_some_and(|active| active.id(rule.index) == rule)
    }

    /// The rules in use.
    pub fn rules(&self) -> impl Iterator<Item = u32> {
        self.active.keys().copied()
    }

    /// Those of limits that take processes in by themselves.
    pub fn enrolling(&self) -> impl Iterator<Item = u32> {
        let all = self.active.iter();
        all.filter(|(_, active)| active.of_rule.is_none())
            .map(|(rule, _)| *rule)
    }

    /// Every limit, and whom it is for.
    pub fn iter(&self) -> impl Iterator<Item = (LimitId, Limit, &Targets)> {
        self.active
            .iter()
            .map(|(rule, active)| (LimitId(*rule), active.limit, &active.targets))
    }

    /// Every limit and whom it is for, that was set last first.
    pub fn latest_first(&self) -> impl Iterator<Item = (RuleId, &Targets)> {
        let mut all: Vec<_> = self.active.iter().collect();
        all.sort_by_key(|(_, active)| std::cmp::Reverse(active.serial));
        all.into_iter()
            .map(|(rule, active)| (active.id(*rule), &active.targets))
    }

    /// The limit behind a rule index.
    pub fn get(&self, rule: u32) -> Option<(LimitId, Limit)> {
        let active = self.active.get(&rule)?;
        Some((LimitId(rule), active.limit))
    }

    /// Takes a rule for a limit that takes processes over from all that are set.
    pub(super) fn add(&mut self, targets: Targets, limit: Limit) -> Result<RuleId, EngineError> {
        let index = self.free_rule()?;
        self.serial += 1;
        let serial = match targets.of_user {
            None => BY_HAND + self.serial,
            Some(_) => 1 + self.serial % (OF_RULES - 1),
        };
        Ok(self.insert(index, targets, limit, serial, None))
    }

    /// Takes a rule for a limit that comes from one of a file. Which of those has a process is decided by their order
    /// there, and not by their serials.
    pub(super) fn add_of_rule(
        &mut self,
        limit: Limit,
        rule: &Arc<str>,
    ) -> Result<RuleId, EngineError> {
        let of_rules = self.active.values().filter(|it| it.of_rule.is_some());
        let of_rules = of_rules.count();
        if of_rules >= MOST_OF_RULES {
            return Err(EngineError::TooManyLimits(MOST_OF_RULES as u32));
        }
        let index = self.free_rule()?;
        self.of_rules += 1;
        let serial = OF_RULES + self.of_rules % (BY_HAND - OF_RULES);
        let rule = Some(Arc::clone(rule));
        Ok(self.insert(index, Targets::default(), limit, serial, rule))
    }

    fn insert(
        &mut self,
        index: u32,
        targets: Targets,
        limit: Limit,
        serial: u64,
        of_rule: Option<Arc<str>>,
    ) -> RuleId {
        let active = Active {
            limit,
            targets,
            serial,
            of_rule,
            carried: Carried::default(),
            settled: true,
            is_ending: false,
        };
        let id = active.id(index);
        self.active.insert(index, active);
        id
    }

    /// Counts from the start again, and gives whether there ever was a limit.
    pub(super) fn reset(&mut self) -> bool {
        std::mem::take(&mut self.serial) + std::mem::take(&mut self.of_rules) != 0
    }

    /// Whether a limit comes from a rule.
    pub fn is_of_rule(&self, id: LimitId) -> bool {
        let active = self.active.get(&id.0);
        active.is_some_and(|active| active.of_rule.is_some())
    }

    /// Whether rules may take the members of a limit that comes from none: a user's without root, or one that ends.
    pub(super) fn gives_way(&self, index: u32) -> bool {
        let active = self.active.get(&index);
        active.is_some_and(|active| active.is_ending || active.targets.of_user.is_some())
    }

    /// The rule that a limit comes from, by its index.
    pub(super) fn rule_of(&self, index: u32) -> Option<&Arc<str>> {
        self.active.get(&index)?.of_rule.as_ref()
    }

    /// As processes carry a limit.
    pub(super) fn id(&self, index: u32) -> Option<RuleId> {
        Some(self.active.get(&index)?.id(index))
    }

    /// A rule index that is free, and has been for as long as possible.
    fn free_rule(&self) -> Result<u32, EngineError> {
        let ever = self.serial + self.of_rules;
        let in_turn = 1 + (ever % u64::from(MAX_RULES - 1)) as u32;
        (in_turn..MAX_RULES)
            .chain(1..in_turn)
            .find(|rule| !self.active.contains_key(rule))
            .ok_or(EngineError::TooManyLimits(MAX_RULES - 1))
    }

    /// What there is to go, of limits and of those that have slots. Heirs are members without one.
    pub(super) fn garbage(
        &self,
        members: impl Iterator<Item = Member>,
        heirs: &Heirs,
        is_alive: impl Fn(ProcessKey) -> bool,
    ) -> Garbage {
        // One that lives is enough, and each question costs a look at /proc.
        let mut living: HashSet<u32> = HashSet::new();
        for (key, rule) in heirs {
            if !living.contains(rule) && is_alive(*key) {
                living.insert(*rule);
            }
        }
        let mut garbage = Garbage::default();
        for Member { key, slot, rule } in members.filter(|member| member.rule != 0) {
            if !self.active.contains_key(&rule) {
                garbage.slots.push(slot);
            } else if !living.contains(&rule) && is_alive(key) {
                living.insert(rule);
            }
        }
        // One that matches may find somebody later.
        let over = self.active.iter().filter(|(rule, active)| {
            active.targets.selectors.is_empty()
                && active.of_rule.is_none()
                && !living.contains(*rule)
        });
        garbage.rules.extend(over.map(|(rule, _)| *rule));
        garbage
    }

    /// Whether the limit with `serial` takes a process over from the rule that it has, which may be none.
    ///
    /// One of a user without root takes nobody away from a limit that is not the same user's.
    pub(super) fn takes_over(&self, serial: u64, of_user: Option<u32>, rule: u32) -> bool {
        self.active.get(&rule).is_none_or(|active| {
            let is_theirs = of_user.is_none() || active.targets.of_user == of_user;
            active.serial < serial && is_theirs
        })
    }
}

/// A process with a slot, and the rule that the slot has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) key: ProcessKey,
    pub(super) slot: u32,
    pub(super) rule: u32,
}

/// What is to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Garbage {
    /// Slots with a rule that is no limit's.
    pub(super) slots: Vec<u32>,
    /// Limits for processes that have all ended.
    pub(super) rules: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Selector;

    /// Limits for these targets, set one after the other.
    fn limits(all: impl IntoIterator<Item = Targets>) -> Limits {
        let mut limits = Limits::default();
        for targets in all {
            limits.add(targets, Limit::NONE).unwrap();
        }
        limits
    }

    fn by_name() -> Targets {
        Targets {
            selectors: vec![Selector::of_name("curl")],
            ..Targets::default()
        }
    }

    fn with_children() -> Targets {
        Targets {
            children: true,
            ..Targets::default()
        }
    }

    #[test]
    fn a_rule_is_used_again_after_all_others_have_been() {
        let mut limits = limits([Targets::default(), Targets::default()]);
        assert_eq!(limits.rules().collect::<Vec<_>>(), [1, 2]);
        limits.active.remove(&1);
        assert_eq!(limits.free_rule().unwrap(), 3);
        // The last one, and then the first that is free.
        limits.serial = u64::from(MAX_RULES) - 2;
        let last = limits.add(Targets::default(), Limit::NONE).unwrap();
        assert_eq!(last.index, MAX_RULES - 1);
        assert_eq!(limits.free_rule().unwrap(), 1);
        limits.serial += 1;
        assert_eq!(limits.free_rule().unwrap(), 3, "2 is in use");
    }

    #[test]
    fn there_are_as_many_limits_as_rules_and_none_is_rule_0() {
        let mut limits = limits((1..MAX_RULES).map(|_| Targets::default()));
        assert!(limits.get(0).is_none());
        let error = limits.add(Targets::default(), Limit::NONE).unwrap_err();
        assert!(matches!(error, EngineError::TooManyLimits(max) if max == MAX_RULES - 1));
        limits.active.remove(&77);
        let again = limits.add(Targets::default(), Limit::NONE).unwrap();
        assert_eq!(again.index, 77);
        let expected = BY_HAND as u32 + MAX_RULES;
        assert_eq!(again.serial, expected, "a refused one has none");
    }

    #[test]
    fn a_later_limit_takes_processes_over_and_an_earlier_one_does_not() {
        let limits = limits([Targets::default(), Targets::default()]);
        for (serial, rule, expected) in [
            (2, 1, true),
            (1, 2, false),
            (2, 2, false),
            (1, 0, true),
            // Of a limit that was removed.
            (1, 9, true),
        ] {
            let takes_over = limits.takes_over(BY_HAND + serial, None, rule);
            assert_eq!(takes_over, expected, "{serial} from rule {rule}");
        }
        // The first one is root's.
        assert!(!limits.takes_over(BY_HAND + 2, Some(1000), 1));
        assert!(limits.takes_over(BY_HAND + 2, Some(1000), 9));
        let order: Vec<u32> = limits.latest_first().map(|(id, _)| id.serial).collect();
        let by_hand = BY_HAND as u32;
        assert_eq!(order, [by_hand + 2, by_hand + 1]);
        // All that come from rules are below them.
        let mut limits = limits;
        let one = limits.add_of_rule(Limit::NONE, &"a".into()).unwrap();
        limits.of_rules = BY_HAND - OF_RULES - 2;
        let last = limits.add_of_rule(Limit::NONE, &"b".into()).unwrap();
        let next = limits.add_of_rule(Limit::NONE, &"c".into()).unwrap();
        assert_eq!(last.serial, by_hand - 1);
        assert!(one.serial > 0 && next.serial > 0 && next.serial < by_hand);
        // And those of users without root below these.
        let targets = Targets {
            of_user: Some(1000),
            ..Targets::default()
        };
        limits.serial = u64::from(u32::MAX);
        let users = limits.add(targets, Limit::NONE).unwrap();
        assert!(users.serial > 0 && users.serial < next.serial);
        assert!(limits.gives_way(users.index) && !limits.gives_way(1));
    }

    #[test]
    fn looks_are_needed_for_what_matches_and_for_children_that_the_kernel_does_not_follow() {
        for (targets, in_kernel, expected) in [
            (Targets::default(), false, false),
            (by_name(), true, true),
            (with_children(), true, false),
            (with_children(), false, true),
        ] {
            let limits = limits([Targets::default(), targets.clone()]);
            let open_ended = limits.any_open_ended(in_kernel);
            assert_eq!(open_ended, expected, "{targets:?} {in_kernel}");
        }
    }

    #[test]
    fn a_limit_goes_with_its_last_process_unless_it_waits_for_others() {
        let limits = limits([Targets::default(), by_name(), with_children(), by_name()]);
        let member = |pid, rule| Member {
            key: ProcessKey {
                pid,
                start_ticks: 100,
            },
            slot: pid + 10,
            rule,
        };
        let garbage = |members: &[Member]| {
            let alive = |key: ProcessKey| key.pid < 5;
            limits.garbage(members.iter().copied(), &Heirs::default(), alive)
        };
        let going = |slots: &[u32], rules: &[u32]| Garbage {
            slots: slots.to_vec(),
            rules: rules.to_vec(),
        };
        assert_eq!(garbage(&[]), going(&[], &[1, 3]));
        let all = [member(1, 1), member(6, 1), member(2, 3)];
        assert_eq!(garbage(&all), going(&[], &[]));
        // 5 has ended; 3 got its rule from a parent in the moment in which the limit was removed.
        let some = [member(5, 1), member(2, 3), member(3, 9), member(4, 0)];
        assert_eq!(garbage(&some), going(&[13], &[1]));
        // A child without a socket keeps the limit of a parent that has ended.
        let with_heir = |pid| {
            let heirs = Heirs::from([(member(pid, 1).key, 1)]);
            limits.garbage(some.iter().copied(), &heirs, |key| key.pid < 5)
        };
        assert_eq!(with_heir(4), going(&[13], &[]));
        assert_eq!(with_heir(5), going(&[13], &[1]));
    }
}
