//! The rules that are on, and what they say of a process: which one it goes by, and who shares a limit with it.
//!
//! The first rule that matches decides.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use glob::Pattern;

use super::{patterns, ways::Ways};
use crate::{
    model::{Limit, LimitId, ProcessKey, Ruled},
    process::{Condition, ProcessInfo, Processes, Selector, unit_of},
    rules::Share,
};

/// A rule that is on.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Which one.
    pub name: Arc<str>,
    /// For whom: all that match any of these.
    pub targets: Vec<Selector>,
    /// How much.
    pub limit: Limit,
    /// Who shares it.
    pub share: Share,
    /// Only for processes that have a connection by one of these interfaces; for all that match where there are none.
    pub interfaces: Vec<Pattern>,
}

impl InForce {
    pub(super) fn matches(&self, process: &ProcessInfo, processes: &dyn Processes) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|selector| selector.matches(process, processes))
    }

    /// Whether it holds all that match.
    pub(super) fn is_for_all(&self) -> bool {
        self.interfaces.is_empty()
    }

    /// Whether it is about names, users or groups, which change without an exec.
    pub(super) fn goes_by_guise(&self) -> bool {
        self.share == Share::User || self.targets.iter().any(Selector::goes_by_guise)
    }

    /// Whether it is about what has started a process.
    pub(super) fn asks_for_parents(&self) -> bool {
        let mut terms = self.targets.iter().flat_map(Selector::terms);
        terms.any(|term| matches!(term.condition, Condition::Parent(_)))
    }
}

/// Those who share a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) rule: Arc<str>,
    pub(super) of: Of,
}

/// Which of those that match a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Of {
    All,
    Process(ProcessKey),
    Program(Arc<str>),
    User(u32),
    Unit(String),
}

impl Of {
    fn share(share: Share, process: &ProcessInfo) -> Self {
        match share {
            Share::All => Self::All,
            Share::Process => Self::Process(process.key),
            Share::Program if process.exe.is_empty() => Self::Program(process.name.clone()),
            Share::Program => Self::Program(process.exe.clone()),
            Share::User => Self::User(process.uid),
            Share::Unit => {
                Self::Unit(unit_of(&process.cgroup).unwrap_or_else(|| process.cgroup.to_string()))
            }
        }
    }
}

/// So many of the first rules have their limits before anybody matches, so that the kernel programs can be told, and
/// have their cgroups watched for processes that move there.
pub(super) const TOLD: usize = 64;

/// The rules that are on, and what they have come to.
#[derive(Debug, Default)]
pub struct RulesInForce {
    pub(super) rules: Vec<InForce>,
    /// By which interfaces processes have connections, where a rule asks for that.
    pub(super) ways: Ways,
    /// Limits, by their index.
    pub(super) limits: BTreeMap<Group, u32>,
    /// Who is to share which.
    pub(super) wanted: HashMap<ProcessKey, Group>,
    /// Limits that have had members.
    pub(super) begun: HashSet<u32>,
    /// A rule names a user or group whom no database has answered for yet: nobody matches that.
    pub(super) waits_for_accounts: bool,
    /// A limit could not be had, which was said.
    pub(super) is_short: bool,
}

impl RulesInForce {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.limits.is_empty()
    }

    /// Whether anybody is to share one of the limits.
    pub fn has_members(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether a limit has had members.
    pub fn has_begun(&self, id: LimitId) -> bool {
        self.begun.contains(&id.0)
    }

    /// Those that the kernel programs may be told of, in order, each with the limit of all that match it: up to the
    /// first of which they cannot be told everything, since that may hold processes that later ones match too. One that is
    /// for connections by an interface holds nobody from the first socket on, and so stands in no way.
    pub fn told(&self) -> impl Iterator<Item = (&InForce, u32)> {
        let rules = self.rules.iter().take(TOLD);
        let rules = rules.filter(|rule| rule.is_for_all());
        let rules = rules.take_while(|rule| {
            rule.share == Share::All && rule.targets.iter().all(patterns::is_told)
        });
        rules.filter_map(|rule| {
            let of = Of::All;
            let group = Group {
                rule: Arc::clone(&rule.name),
                of,
            };
            Some((rule, *self.limits.get(&group)?))
        })
    }

    /// Selectors of the first rules, whose cgroups are watched.
    pub fn watched(&self) -> impl Iterator<Item = &Selector> {
        let rules = self.rules.iter().take(TOLD);
        rules.flat_map(|rule| &rule.targets)
    }

    /// The limits that there are, each with its rule.
    pub fn limits(&self) -> impl Iterator<Item = Ruled> {
        self.limits.iter().map(|(group, index)| Ruled {
            rule: Arc::clone(&group.rule),
            id: LimitId(*index),
        })
    }

    /// Whom a process is to share a limit with, by the first rule that matches it.
    fn group_of(&self, process: &ProcessInfo, processes: &dyn Processes) -> Option<Group> {
        let mut rules = self.rules.iter();
        let holds =
            |rule: &InForce| rule.is_for_all() || self.ways.lead_by(process.key, &rule.interfaces);
        let rule = rules.find(|rule| holds(rule) && rule.matches(process, processes))?;
        Some(Group {
            rule: Arc::clone(&rule.name),
            of: Of::share(rule.share, process),
        })
    }

    pub(super) fn ask(&mut self, process: &ProcessInfo, processes: &dyn Processes) {
        match self.group_of(process, processes) {
            Some(group) => {
                self.wanted.insert(process.key, group);
            }
            None => {
                self.wanted.remove(&process.key);
            }
        }
    }

    pub(super) fn any_waits(&self) -> bool {
        let mut selectors = self.rules.iter().flat_map(|rule| &rule.targets);
        selectors.any(Selector::waits_for_accounts)
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| *rule.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{ByProcess, testing::process_info};

    fn rule(name: &str, targets: &[&str], share: Share) -> InForce {
        InForce {
            name: name.into(),
            targets: targets.iter().map(|it| it.parse().unwrap()).collect(),
            limit: Limit::NONE,
            share,
            interfaces: Vec::new(),
        }
    }

    fn by(interfaces: &[&str], rule: InForce) -> InForce {
        let interfaces = interfaces.iter().map(|it| Pattern::new(it).unwrap());
        InForce {
            interfaces: interfaces.collect(),
            ..rule
        }
    }

    #[test]
    fn a_rule_for_connections_by_an_interface_is_passed_over_by_processes_without_one() {
        let all = [1, 2, 3, 4].map(|pid| process_info(pid, "curl")).to_vec();
        let mut ruled = RulesInForce {
            rules: vec![
                by(&["tun*", "wg0"], rule("tunnel", &["name:curl"], Share::All)),
                by(&["eth0"], rule("wire", &["name:curl"], Share::All)),
                rule("else", &["name:c*"], Share::All),
            ],
            ..RulesInForce::default()
        };
        // Nobody has looked yet.
        for process in &all {
            assert_eq!(&*ruled.group_of(process, &all).unwrap().rule, "else");
        }
        for (names, expected) in [
            (&["tun0"][..], "tunnel"),
            (&["eth0"], "wire"),
            (&["eth0", "wg0"], "tunnel"),
            (&[], "else"),
        ] {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            let found = ByProcess::from([(all[0].key, names)]);
            ruled.ways.take(found.clone());
            ruled.ways.take(found);
            let rule = ruled.group_of(&all[0], &all).unwrap().rule;
            assert_eq!(&*rule, expected);
            let other = ruled.group_of(&all[1], &all).unwrap().rule;
            assert_eq!(&*other, "else");
        }
        // Those that the kernel programs are told, once they have their limits.
        let groups = ["tunnel", "wire", "else"].map(|rule| Group {
            rule: rule.into(),
            of: Of::All,
        });
        ruled.limits = groups.into_iter().zip(1..).collect();
        let told: Vec<&str> = ruled.told().map(|(rule, _)| &*rule.name).collect();
        assert_eq!(told, ["else"]);
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_shares_as_it_says() {
        let process = |pid, name: &str, uid, cgroup: &str| ProcessInfo {
            uid,
            exe: format!("/bin/{name}").into(),
            cgroup: cgroup.into(),
            ..process_info(pid, name)
        };
        let all = vec![
            process(1, "restic", 0, "/system.slice/a.service"),
            process(2, "restic", 1000, "/system.slice/a.service/below"),
            process(3, "curl", 1000, "/x"),
            process(4, "sh", 1000, ""),
        ];
        for (rules, expected) in [
            (vec![], [None, None, None, None]),
            (
                vec![
                    rule("a", &["name:restic"], Share::All),
                    rule("b", &["user:1000"], Share::All),
                ],
                [
                    Some(("a", Of::All)),
                    Some(("a", Of::All)),
                    Some(("b", Of::All)),
                    Some(("b", Of::All)),
                ],
            ),
            (
                vec![
                    rule("b", &["user:1000"], Share::User),
                    rule("a", &["name:x", "name:restic"], Share::Unit),
                ],
                [
                    Some(("a", Of::Unit("unit a.service".to_owned()))),
                    Some(("b", Of::User(1000))),
                    Some(("b", Of::User(1000))),
                    Some(("b", Of::User(1000))),
                ],
            ),
            (
                vec![
                    rule("a", &["!name:sh+user:1000"], Share::Program),
                    rule("c", &["name:sh"], Share::Process),
                ],
                [
                    None,
                    Some(("a", Of::Program("/bin/restic".into()))),
                    Some(("a", Of::Program("/bin/curl".into()))),
                    Some(("c", Of::Process(all[3].key))),
                ],
            ),
        ] {
            let ruled = RulesInForce {
                rules,
                ..RulesInForce::default()
            };
            let groups = all.iter().map(|process| ruled.group_of(process, &all));
            let expected = expected.map(|group| {
                group.map(|(rule, of)| Group {
                    rule: rule.into(),
                    of,
                })
            });
            assert_eq!(groups.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_thousand_rules_take_a_process_no_time() {
        const RULES: usize = 1_000;
        const TIMES: u32 = 100;
        let targets = |n: usize| {
            let target = match n % 5 {
                0 => format!("name:program-{n}*"),
                1 => format!("exe:/opt/*/program-{n}"),
                2 => format!("command:*--option={n}*"),
                3 => format!("unit:program-{n}-*.service"),
                _ => format!("user:{n}+!name:other+parent:name:shell-{n}"),
            };
            rule(&format!("rule {n}"), &[&target], Share::All)
        };
        let ruled = RulesInForce {
            rules: (0..RULES).map(targets).collect(),
            ..RulesInForce::default()
        };
        let process = ProcessInfo {
            exe: "/opt/somewhere/else/program".into(),
            command: "program --with many --options of --all kinds".into(),
            cgroup: "/system.slice/system-program.slice/program.service".into(),
            ..process_info(7, "program")
        };
        let all = vec![process_info(1, "init"), process.clone()];
        let started = std::time::Instant::now();
        for _ in 0..TIMES {
            assert_eq!(ruled.group_of(&process, &all), None);
        }
        let each = started.elapsed() / TIMES;
        println!("1,000 rules, one process: {each:?}");
        // A hundredth of that, built for release.
        assert!(each < std::time::Duration::from_millis(50), "{each:?}");
    }
}
