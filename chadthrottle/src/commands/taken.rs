//! Whom a new limit takes from others.

use std::collections::{BTreeMap, HashMap};

use crate::{
    model::{LimitId, Snapshot},
    text,
};

/// Says how many processes a new limit holds, and which limits and rules held them in the sample before; `None` where
/// none did.
pub fn taken(before: &Snapshot, now: &Snapshot, id: LimitId) -> Option<String> {
    let held = before.processes.iter();
    let held: HashMap<_, _> = held
        .filter_map(|process| Some((process.key, process.limit?.0)))
        .collect();
    let members = now.processes.iter();
    let members =
        members.filter(|process| !process.ended && process.limit.is_some_and(|(of, _)| of == id));
    let mut all = 0_usize;
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for process in members {
        all += 1;
        if let Some(other) = held.get(&process.key).filter(|other| **other != id) {
            *left.entry(holder(before, now, *other)).or_default() += 1;
        }
    }
    if left.is_empty() {
        return None;
    }
    let processes = if all == 1 { "process" } else { "processes" };
    let leave = left.iter().map(|(holder, count)| match count {
        1 => format!("1 leaves {holder}"),
        _ => format!("{count} leave {holder}"),
    });
    let leave = leave.collect::<Vec<_>>().join(", ");
    Some(format!("{all} {processes}: {leave}"))
}

/// A limit as the user knows it, and whether it is over.
fn holder(before: &Snapshot, now: &Snapshot, id: LimitId) -> String {
    let mut origins = before.origins.iter();
    let origin = origins.find(|origin| origin.id == id);
    if let Some(rule) = origin.and_then(|origin| origin.rule.as_ref()) {
        return format!("rule '{}'", text::escape(rule));
    }
    let goes_on = now.limits.iter().any(|limit| limit.id == id);
    let ends = if goes_on { "" } else { " (which ends)" };
    format!("limit {}{ends}", id.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Limit, Origin, ProcessSample, testing};

    fn held(pid: u32, by: Option<u32>) -> ProcessSample {
        ProcessSample {
            limit: by.map(|id| (LimitId(id), Limit::NONE)),
            ..testing::process(pid)
        }
    }

    fn snapshot(processes: &[ProcessSample], limits: &[u32]) -> Snapshot {
        let origin = |id: &u32| Origin {
            rule: (*id == 3).then(|| "web\u{1b}".into()),
            ..testing::origin(*id)
        };
        Snapshot {
            processes: processes.to_vec(),
            limits: limits.iter().copied().map(testing::limit).collect(),
            origins: limits.iter().map(origin).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn whoever_was_held_by_another_limit_or_rule_leaves_it() {
        let processes = [
            held(10, Some(2)),
            held(11, Some(3)),
            held(12, Some(3)),
            held(13, None),
            held(14, Some(4)),
            held(15, Some(4)),
        ];
        let before = snapshot(&processes, &[2, 3, 4]);
        let mut now = [10, 11, 12, 13, 14].map(|pid| held(pid, Some(5))).to_vec();
        now.push(held(15, Some(4)));
        let now = snapshot(&now, &[3, 4, 5]);
        assert_eq!(
            taken(&before, &now, LimitId(5)).as_deref(),
            Some(
                "5 processes: 1 leaves limit 2 (which ends), 1 leaves limit 4, 2 leave rule 'web\\u{1b}'"
            )
        );
    }

    #[test]
    fn there_is_nothing_to_say_of_processes_that_nothing_held() {
        let before = snapshot(&[held(10, None), held(11, Some(2))], &[2]);
        let now = snapshot(&[held(10, Some(5)), held(11, Some(2))], &[2, 5]);
        assert_eq!(taken(&before, &now, LimitId(5)), None);
    }
}
