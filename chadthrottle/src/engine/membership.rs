//! Which processes belong to a limit: decided by what is known of them, without a look at a map.

use std::collections::{HashMap, HashSet};

use crate::{
    backends::throttle::below::CgroupPath,
    model::ProcessKey,
    process::{ProcessInfo, Processes, Targets},
};

/// What to do about processes in that cgroup, of which programs attached to `point` see nothing.
pub fn where_to_run(point: Option<&CgroupPath>, cgroup: &str) -> &'static str {
    if point.is_some_and(|point| point.is_cut_off(&CgroupPath::of(cgroup))) {
        "A cgroup namespace keeps them apart: run chadthrottle on the host"
    } else {
        "Run chadthrottle without --cgroup"
    }
}

/// Whether programs that are attached to `point` see nothing of processes in that cgroup.
pub fn is_outside(point: Option<&CgroupPath>, cgroup: &str) -> bool {
    point.is_some_and(|point| !cgroup.is_empty() && !point.holds(&CgroupPath::of(cgroup)))
}

/// Those that a limit names or matches, and that programs attached to `point` see.
pub fn members<'a>(
    targets: &Targets,
    processes: impl Iterator<Item = &'a ProcessInfo>,
    known: &dyn Processes,
    point: Option<&CgroupPath>,
    is_alive: impl Fn(ProcessKey) -> bool,
) -> Vec<ProcessKey> {
    let mut members: Vec<ProcessKey> = Vec::new();
    if targets.of_user.is_none() {
        let named = targets.processes.iter().chain(&targets.members).copied();
        members.extend(named.filter(|key| is_alive(*key)));
    }
    for info in processes.filter(|info| targets.may_have(info.uid)) {
        let named = targets.of_user.is_some()
            && (targets.processes.contains(&info.key) || targets.members.contains(&info.key));
        let mut selectors = targets.selectors.iter();
        let matches = selectors.any(|selector| selector.matches(info, known));
        if named || matches && !is_outside(point, &info.cgroup) {
            members.push(info.key);
        }
    }
    members
}

/// Descendants of any of these, as far as their parents live.
pub fn descendants_of<'a>(
    parents: &HashSet<ProcessKey>,
    processes: impl Iterator<Item = &'a ProcessInfo>,
) -> Vec<ProcessKey> {
    let mut children: HashMap<u32, Vec<ProcessKey>> = HashMap::new();
    for info in processes {
        children.entry(info.parent).or_default().push(info.key);
    }
    let mut found = Vec::new();
    let mut next: Vec<u32> = parents.iter().map(|key| key.pid).collect();
    while let Some(parent) = next.pop() {
        // Taken away, so that whoever is said to be his own ancestor comes once.
        for key in children.remove(&parent).into_iter().flatten() {
            next.push(key.pid);
            found.push(key);
        }
    }
    found
}

/// What to say of a limit's selectors that match nothing, or nothing that programs attached to `point` see.
pub fn unmatched<'a>(
    targets: &Targets,
    processes: &(impl Iterator<Item = &'a ProcessInfo> + Clone),
    known: &dyn Processes,
    point: Option<&CgroupPath>,
) -> Vec<String> {
    let mut words = Vec::new();
    // To a user, what others run is nothing that matches, and nothing to be named.
    let possible = processes.clone().filter(|info| targets.may_have(info.uid));
    for selector in &targets.selectors {
        let mut matching = possible
            .clone()
            .filter(|info| selector.matches(info, known));
        match matching.next() {
            None => {
                let mut nothing = selector.nothing_matches(possible.clone());
                if targets.of_user.is_some() {
                    nothing += ". Limits of users without root hold only their own processes";
                }
                words.push(nothing);
            }
            Some(first) if is_outside(point, &first.cgroup) => {
                if matching.all(|info| is_outside(point, &info.cgroup)) {
                    words.push(format!(
                        "what matches {selector} is outside of the cgroup that the programs \
                         are attached to, where they see nothing of it. {}",
                        where_to_run(point, &first.cgroup)
                    ));
                }
            }
            Some(_) => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Selector, Target, testing::process_info};

    fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ticks: 100,
        }
    }

    fn process(pid: u32, parent: u32, name: &str, cgroup: &str) -> ProcessInfo {
        ProcessInfo {
            key: key(pid),
            parent,
            cgroup: cgroup.into(),
            ..process_info(pid, name)
        }
    }

    fn selectors(words: &[&str]) -> Vec<Selector> {
        let selector = |word: &&str| match word.parse() {
            Ok(Target::Selector(selector)) => selector,
            other => panic!("{other:?}"),
        };
        words.iter().map(selector).collect()
    }

    fn processes() -> Vec<ProcessInfo> {
        vec![
            process(1, 0, "init", "/"),
            process(5, 1, "sh", "/a"),
            process(6, 5, "curl", "/a/b"),
            process(7, 6, "curl", "/c"),
            process(8, 1, "wget", "/c"),
            // Where the kernel tells nothing, it may be anywhere.
            process(9, 8, "odd", ""),
        ]
    }

    #[test]
    fn named_processes_belong_while_they_live_and_matching_ones_where_they_are_seen() {
        let processes = processes();
        for (named, words, point, expected) in [
            (&[5, 6][..], &[][..], "/", &[5, 6][..]),
            (&[5, 40], &[], "/", &[5]),
            (&[], &["name:curl"], "/", &[6, 7]),
            (&[], &["name:curl"], "/a", &[6]),
            (&[], &["name:curl", "cgroup:/a"], "/", &[5, 6, 7]),
            (&[8], &["name:s*"], "/", &[8, 5]),
            (&[], &["name:odd"], "/a", &[9]),
            (&[], &["name:none"], "/", &[]),
        ] {
            let targets = Targets {
                processes: named.iter().copied().map(key).collect(),
                selectors: selectors(words),
                children: false,
                of_user: None,
                members: Vec::new(),
            };
            let alive = |key| processes.iter().any(|info| info.key == key);
            let point = CgroupPath::of(point);
            let members = members(&targets, processes.iter(), &processes, Some(&point), alive);
            let pids: Vec<u32> = members.iter().map(|key| key.pid).collect();
            assert_eq!(pids, expected, "{named:?} {words:?} {point:?}");
        }
    }

    #[test]
    fn descendants_are_those_of_any_member_each_once() {
        let processes = processes();
        for (parents, expected) in [
            (&[5][..], &[6, 7][..]),
            (&[5, 6], &[6, 7]),
            (&[1, 8], &[5, 6, 7, 8, 9]),
            (&[9, 40], &[]),
        ] {
            let parents: HashSet<ProcessKey> = parents.iter().copied().map(key).collect();
            let found = descendants_of(&parents, processes.iter());
            let mut pids: Vec<u32> = found.iter().map(|key| key.pid).collect();
            pids.sort_unstable();
            assert_eq!(pids, expected, "{parents:?}");
        }
    }

    #[test]
    fn whoever_is_said_to_be_his_own_ancestor_comes_once() {
        let mut processes = processes();
        let pids = [6, 7];
        for (info, parent) in processes
            .iter_mut()
            .filter(|info| pids.contains(&info.key.pid))
            .zip([7, 6])
        {
            info.parent = parent;
        }
        let found = descendants_of(&HashSet::from([key(6)]), processes.iter());
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_matches_nothing_or_nothing_that_is_seen_is_said_of_each_target() {
        let processes = processes();
        let words = |words: &[&str], point| {
            let targets = Targets {
                selectors: selectors(words),
                ..Targets::default()
            };
            let point = CgroupPath::of(point);
            unmatched(&targets, &processes.iter(), &processes, Some(&point))
        };
        assert!(words(&["name:curl", "cgroup:/a"], "/").is_empty());
        assert!(words(&["name:curl"], "/a").is_empty(), "one is seen");
        let outside = words(&["name:curl", "name:wget"], "/a");
        assert_eq!(outside.len(), 1, "{outside:?}");
        assert!(outside[0].contains("what matches name:wget is outside of the cgroup"));
        let none = words(&["name:cur", "name:none"], "/");
        assert_eq!(none.len(), 2);
        assert!(none[0].contains("near it: name:curl"), "{none:?}");
        assert_eq!(none[1], "nothing matches name:none so far");
    }

    #[test]
    fn to_a_user_what_others_run_neither_matches_nor_is_near() {
        let mut processes = processes();
        let words = |processes: &Vec<ProcessInfo>, target| {
            let targets = Targets {
                selectors: selectors(&[target]),
                of_user: Some(1_000),
                ..Targets::default()
            };
            unmatched(&targets, &processes.iter(), processes, None)
        };
        for target in ["name:curl", "name:cur"] {
            let expected = format!(
                "nothing matches {target} so far. Limits of users without root hold only their own processes"
            );
            assert_eq!(words(&processes, target), [expected]);
        }
        processes[2].uid = 1_000;
        assert!(words(&processes, "name:curl").is_empty());
        let near = words(&processes, "name:crul");
        assert!(near[0].contains("near it: name:curl"), "{near:?}");
    }
}
