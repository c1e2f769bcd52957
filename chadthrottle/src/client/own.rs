//! The limits that a client has set, so that it can set them again where its engine has ended and another one is there.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    model::{Limit, LimitId, Snapshot},
    protocol::{Limited, SetLimit},
};

/// Limits that belong to a connection, as they are now.
#[derive(Debug, Default)]
pub struct Own(BTreeMap<LimitId, Set>);

/// One limit.
#[derive(Clone, Debug)]
struct Set {
    limit: SetLimit,
    /// When it ends by itself.
    until: Option<Instant>,
    /// Samples after this one know of it.
    sequence: u64,
}

impl Set {
    fn again(&self) -> Option<SetLimit> {
        let mut limit = self.limit.clone();
        if let Some(until) = self.until {
            let left = until.checked_duration_since(Instant::now())?;
            limit.for_ns = u64::try_from(left.as_nanos()).ok();
        }
        Some(limit)
    }
}

impl Own {
    /// One was set. Those that are detached are not the connection's.
    pub fn add(&mut self, limit: SetLimit, set: Limited) {
        if limit.detach {
            return;
        }
        let until = limit
            .for_ns
            .map(|ns| Instant::now() + Duration::from_nanos(ns));
        let sequence = set.sequence;
        let set_now = Set {
            limit,
            until,
            sequence,
        };
        self.0.insert(set.id, set_now);
    }

    /// One has other rates.
    pub fn change(&mut self, id: LimitId, limit: Limit) {
        if let Some(set) = self.0.get_mut(&id) {
            set.limit.limit = limit;
        }
    }

    /// One is for children too, or no longer, and has another name.
    pub fn set_children(&mut self, id: LimitId, children: bool, now: Limited) {
        if let Some(mut set) = self.0.remove(&id) {
            set.limit.targets.children = children;
            set.sequence = now.sequence;
            self.0.insert(now.id, set);
        }
    }

    /// One was removed.
    pub fn remove(&mut self, id: LimitId) {
        self.0.remove(&id);
    }

    /// Forgets those that have ended, by themselves or by somebody else.
    pub fn look(&mut self, snapshot: &Snapshot) {
        self.0.retain(|id, set| {
            snapshot.sequence <= set.sequence || snapshot.limits.iter().any(|limit| limit.id == *id)
        });
    }

    /// All of them, with what sets each again; nothing does where its time is up.
    pub fn again(&self) -> Vec<(LimitId, Option<SetLimit>)> {
        self.0.iter().map(|(id, set)| (*id, set.again())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Targets;

    fn set(own: &mut Own, id: u32, for_ns: Option<u64>, detach: bool) {
        let limit = SetLimit {
            targets: Targets::default(),
            limit: Limit::NONE,
            for_ns,
            detach,
        };
        let (id, sequence) = (LimitId(id), 5);
        own.add(limit, Limited { id, sequence });
    }

    #[test]
    fn what_is_set_again_is_what_is_set_now() {
        let mut own = Own::default();
        for id in 1..=4 {
            set(&mut own, id, None, id == 4);
        }
        let limit = Limit {
            up: Some("1MB".parse().unwrap()),
            ..Limit::NONE
        };
        own.change(LimitId(1), limit);
        own.remove(LimitId(2));
        let (id, sequence) = (LimitId(9), 6);
        own.set_children(LimitId(3), true, Limited { id, sequence });
        let all = own.again();
        let [(first, Some(one)), (second, Some(other))] = &all[..] else {
            panic!("one is detached, one was removed: {all:?}")
        };
        assert_eq!([first.0, second.0], [1, 9]);
        assert_eq!(one.limit, limit);
        assert!(other.targets.children);
    }

    #[test]
    fn what_has_ended_is_not_set_again() {
        let mut own = Own::default();
        set(&mut own, 1, Some(1), false);
        set(&mut own, 2, Some(60_000_000_000), false);
        let mut snapshot = Snapshot {
            sequence: 5,
            ..Snapshot::default()
        };
        // Begun before they were set.
        own.look(&snapshot);
        std::thread::sleep(Duration::from_millis(1));
        let all = own.again();
        assert!(all[0].1.is_none());
        let left = all[1].1.as_ref().unwrap().for_ns.unwrap();
        assert!((59_000_000_000..60_000_000_000).contains(&left), "{left}");
        snapshot.sequence = 6;
        own.look(&snapshot);
        assert!(own.again().is_empty());
    }
}
