//! Processes that have got another name, user or group without an exec, of which nobody tells: those that carry
//! something are asked, whether a limit or rule is for them now.
//!
//! A look at all processes finds them too, but reads each only in its turn. Whoever carries nothing needs no limit until
//! it does.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Bound,
};

use super::{Engine, in_force::InForce};
use crate::{
    model::ProcessKey,
    process::{Guise, Reread, Selector},
};

/// So many are asked in one watch, at some ten microseconds each; of more, the others in the next.
const BUDGET: usize = 16;

/// Which processes have carried something since they were asked.
#[derive(Debug, Default)]
pub struct Guises {
    /// What each had carried at the last watch.
    carried: HashMap<ProcessKey, u64>,
    /// Those to be asked.
    waiting: BTreeSet<ProcessKey>,
    /// Who was asked last.
    last: Option<ProcessKey>,
}

impl Guises {
    /// Takes note of what each process has carried so far.
    fn note(&mut self, carried: impl Iterator<Item = (ProcessKey, u64)>) {
        let mut now = HashMap::with_capacity(self.carried.len());
        for (key, bytes) in carried {
            if self.carried.get(&key).copied().unwrap_or(0) != bytes {
                self.waiting.insert(key);
            }
            now.insert(key, bytes);
        }
        self.carried = now;
    }

    /// The next to be asked, in turn: who carries much keeps nobody from it.
    fn next(&mut self) -> Option<ProcessKey> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.waiting.range((after, Bound::Unbounded));
        let next = later.next().or_else(|| self.waiting.first()).copied()?;
        self.waiting.remove(&next);
        self.last = Some(next);
        Some(next)
    }
}

impl Engine {
    /// Has those processes be read again that carry something and are not what they were.
    pub(super) fn ask_for_guises(&mut self) {
        if !self.goes_by_guises() {
            self.guises = Guises::default();
            return;
        }
        self.scan_slots();
        let slots = &self.throttle.maps.slots;
        let carried = self.slots.iter().filter_map(|(key, index)| {
            let slot = slots.get(index as usize)?;
            let meters = [&slot.ingress, &slot.egress];
            let of_each = meters.map(|meter| {
                let (passed, looped) = (meter.bytes.count(), meter.loopback_bytes.count());
                passed + looped + meter.dropped_bytes.get()
            });
            Some((key, of_each.iter().sum()))
        });
        self.guises.note(carried);
        let mut changed = HashSet::new();
        for _ in 0..BUDGET {
            let Some(key) = self.guises.next() else { break };
            let known = self.processes.get(key.pid).filter(|it| it.key == key);
            // Who is not known is read as one that is new.
            if let Some(known) = known
                && let Some(guise) = Guise::of(self.processes.root(), key.pid)
                && !guise.is_of(known)
            {
                changed.insert(key.pid);
            }
        }
        if !changed.is_empty() {
            self.told.and(Reread::These(changed));
        }
    }

    /// Whether a process is still what the last look has shown of it. The kernel programs know it at once where it has
    /// become another program, and what they have decided then is not to be undone by what was before. One that is
    /// something else is read again.
    pub(super) fn is_as_shown(&mut self, key: ProcessKey) -> bool {
        let known = self.processes.get(key.pid).filter(|it| it.key == key);
        let now = Guise::of(self.processes.root(), key.pid);
        let is_as_shown = known.zip(now).is_none_or(|(known, now)| now.is_of(known));
        if !is_as_shown {
            self.told.and(Reread::These(HashSet::from([key.pid])));
        }
        is_as_shown
    }

    /// Whether a limit or a rule is for processes of some name, user or group.
    fn goes_by_guises(&self) -> bool {
        let limits = self.limits.active.values();
        let mut selectors = limits.flat_map(|active| &active.targets.selectors);
        let mut rules = self.ruled.rules.iter();
        selectors.any(Selector::goes_by_guise) || rules.any(InForce::goes_by_guise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_carries_something_is_asked_in_turn() {
        let key = |pid| ProcessKey {
            pid,
            start_ticks: 1,
        };
        let mut guises = Guises::default();
        let mut asked = |carried: &[(u32, u64)], count: usize| -> Vec<u32> {
            guises.note(carried.iter().map(|(pid, bytes)| (key(*pid), *bytes)));
            let next = (0..count).filter_map(|_| guises.next());
            next.map(|key| key.pid).collect()
        };
        assert_eq!(asked(&[(1, 0), (2, 10), (3, 10), (4, 10)], 2), [2, 3]);
        // The second goes on, and waits for its turn.
        assert_eq!(asked(&[(1, 0), (2, 20), (3, 10), (4, 10)], 1), [4]);
        assert_eq!(asked(&[(1, 0), (2, 20), (3, 10), (4, 10)], 9), [2]);
        assert_eq!(asked(&[(1, 1), (2, 20), (4, 10)], 9), [1]);
    }
}
