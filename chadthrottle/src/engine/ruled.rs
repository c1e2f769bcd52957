//! Limits that come from rules: which rule a process goes by, who shares a limit, and which limits there are for that.
//!
//! The first rule that matches decides. A limit that somebody sets by hand stands above all rules, and when it ends
//! they hold again. A process is asked when it starts and whenever it has changed, and not at every look.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use chadthrottle_common::ownership::{RuleId, inheritance};

use super::{Engine, EngineError, membership, patterns};
use crate::{
    model::{Limit, LimitId, ProcessKey, Ruled},
    process::{Changes, Condition, ProcessInfo, Processes, Selector, unit_of},
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
}

impl InForce {
    fn matches(&self, process: &ProcessInfo, processes: &dyn Processes) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|selector| selector.matches(process, processes))
    }

    /// Whether it is about what has started a process.
    fn asks_for_parents(&self) -> bool {
        let mut terms = self.targets.iter().flat_map(Selector::terms);
        terms.any(|term| matches!(term.condition, Condition::Parent(_)))
    }
}

/// Those who share a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Group {
    rule: Arc<str>,
    of: Of,
}

/// Which of those that match a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Of {
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
    rules: Vec<InForce>,
    /// Limits, by their index.
    limits: BTreeMap<Group, u32>,
    /// Who is to share which.
    wanted: HashMap<ProcessKey, Group>,
    /// Limits that have had members.
    begun: HashSet<u32>,
    /// A rule names a user or group whom no database has answered for yet: nobody matches that.
    waits_for_accounts: bool,
    /// A limit could not be had, which was said.
    is_short: bool,
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
    /// first of which they cannot be told everything, since that may hold processes that later ones match too.
    pub fn told(&self) -> impl Iterator<Item = (&InForce, u32)> {
        let rules = self.rules.iter().take(TOLD);
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

    /// The rule that a limit comes from.
    pub fn of_limit(&self, index: u32) -> Option<&Arc<str>> {
        let mut limits = self.limits.iter();
        let (group, _) = limits.find(|(_, other)| **other == index)?;
        Some(&group.rule)
    }

    /// Whom a process is to share a limit with, by the first rule that matches it.
    fn group_of(&self, process: &ProcessInfo, processes: &dyn Processes) -> Option<Group> {
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.matches(process, processes))?;
        Some(Group {
            rule: Arc::clone(&rule.name),
            of: Of::share(rule.share, process),
        })
    }

    fn ask(&mut self, process: &ProcessInfo, processes: &dyn Processes) {
        match self.group_of(process, processes) {
            Some(group) => {
                self.wanted.insert(process.key, group);
            }
            None => {
                self.wanted.remove(&process.key);
            }
        }
    }

    fn any_waits(&self) -> bool {
        let mut selectors = self.rules.iter().flat_map(|rule| &rule.targets);
        selectors.any(Selector::waits_for_accounts)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| *rule.name == *name)
    }
}

impl Engine {
    /// Has these rules hold, in this order, in place of those before. What holds on goes on without a gap.
    pub(super) fn set_rules(&mut self, rules: Vec<InForce>) {
        if let Err(error) = self.refresh_processes() {
            log::warn!("{error}");
        }
        let before = std::mem::replace(&mut self.ruled.rules, rules);
        let share_before = |name: &str| {
            let rule = before.iter().find(|rule| *rule.name == *name);
            rule.map(|rule| rule.share)
        };
        let mut over = Vec::new();
        let mut changed = Vec::new();
        for (group, index) in &self.ruled.limits {
            match self
                .ruled
                .place(&group.rule)
                .map(|at| &self.ruled.rules[at])
            {
                Some(rule) if share_before(&group.rule) == Some(rule.share) => {
                    changed.push((*index, rule.limit));
                }
                _ => over.push(group.clone()),
            }
        }
        for (index, limit) in changed {
            let is_other = self.limits.get(index).is_some_and(|(_, now)| now != limit);
            if is_other && let Err(error) = self.change(index, limit) {
                log::warn!("{error}");
            }
        }
        self.ask_all();
        // The limits of others first: nobody is to be free in between.
        self.prepare_told();
        self.follow_rules();
        self.drop_groups(&over);
        self.offer_patterns();
    }

    fn ask_all(&mut self) {
        self.ruled.waits_for_accounts = self.ruled.any_waits();
        self.ruled.wanted.clear();
        for process in self.processes.iter() {
            self.ruled.ask(process, &self.processes);
        }
    }

    /// Asks for the rules of processes that have started or changed, and forgets those that have ended.
    pub(super) fn ask_rules(&mut self, changes: &Changes) {
        if self.ruled.rules.is_empty() {
            return;
        }
        for info in &changes.ended {
            self.ruled.wanted.remove(&info.key);
        }
        let mut due: HashSet<ProcessKey> = HashSet::new();
        due.extend(changes.started.iter().map(|info| info.key));
        let changed: HashSet<ProcessKey> = changes.changed.iter().map(|info| info.key).collect();
        if !changed.is_empty() && self.ruled.rules.iter().any(InForce::asks_for_parents) {
            due.extend(membership::descendants_of(&changed, self.processes.iter()));
        }
        due.extend(changed);
        for key in due {
            if let Some(info) = self.processes.get(key.pid).filter(|info| info.key == key) {
                self.ruled.ask(info, &self.processes);
            }
        }
    }

    /// Has the limits that the kernel programs can be told of.
    fn prepare_told(&mut self) {
        let rules = self.ruled.rules.iter().take(TOLD);
        let groups: Vec<Group> = rules
            .filter(|rule| rule.share == Share::All)
            .map(|rule| Group {
                rule: Arc::clone(&rule.name),
                of: Of::All,
            })
            .collect();
        for group in groups {
            if let Err(error) = self.limit_of(&group) {
                self.is_short_of_limits(&error);
            }
        }
    }

    /// Gives every process the limit that its rule says, unless somebody has set another one for it.
    pub(super) fn follow_rules(&mut self) {
        if self.ruled.is_empty() {
            return;
        }
        if self.ruled.waits_for_accounts && !self.ruled.any_waits() {
            self.ask_all();
        }
        let point = self.attached_to.clone();
        let wanted: Vec<(ProcessKey, Group)> = self
            .ruled
            .wanted
            .iter()
            .map(|(key, group)| (*key, group.clone()))
            .collect();
        let mut begun = Vec::new();
        for (key, group) in wanted {
            let slot = self.slots.get(key);
            let has = slot.map_or(0, |slot| self.rule_of(slot));
            let index = self.ruled.limits.get(&group).copied();
            if has != 0 && Some(has) == index {
                // The kernel programs may have taken it in.
                self.ruled.begun.insert(has);
                continue;
            }
            if has != 0 && !self.is_ruled(has) {
                continue;
            }
            let info = self.processes.get(key.pid).filter(|info| info.key == key);
            if info.is_none_or(|info| membership::is_outside(point.as_ref(), &info.cgroup)) {
                continue;
            }
            match self.join(key, &group, &mut begun) {
                Ok(()) => {}
                Err(error) => self.is_short_of_limits(&error),
            }
        }
        self.leave_rules();
        for index in begun {
            if let Some((_, limit)) = self.limits.get(index) {
                self.slow_down(index, limit, None);
            }
        }
    }

    /// A limit that came from a rule which the process does not go by any more is taken from it.
    fn leave_rules(&mut self) {
        self.scan_slots();
        let slots: Vec<(ProcessKey, u32)> = self.slots.iter().collect();
        let mut used = HashSet::new();
        for (key, slot) in slots {
            let has = self.rule_of(slot);
            if has == 0 || !self.is_ruled(has) {
                continue;
            }
            let wanted = self.ruled.wanted.get(&key);
            let is_wanted = wanted.and_then(|group| self.ruled.limits.get(group)) == Some(&has);
            // One that no look has shown was taken in by the kernel programs.
            if is_wanted || !self.processes.contains(key) {
                used.insert(has);
            } else {
                self.assign(slot, RuleId::default(), inheritance::NONE);
            }
        }
        // Those that are for one process, or one unit, go with it.
        let wanted: HashSet<&Group> = self.ruled.wanted.values().collect();
        let over: Vec<Group> = self
            .ruled
            .limits
            .iter()
            .filter(|(group, index)| {
                let is_told = self.ruled.place(&group.rule).is_some_and(|at| at < TOLD);
                let stays = group.of == Of::All && is_told;
                !stays && !wanted.contains(group) && !used.contains(*index)
            })
            .map(|(group, _)| group.clone())
            .collect();
        self.drop_groups(&over);
    }

    fn drop_groups(&mut self, groups: &[Group]) {
        let removed = groups
            .iter()
            .filter_map(|group| self.ruled.limits.remove(group));
        let indexes: Vec<u32> = removed.collect();
        for index in &indexes {
            self.ruled.begun.remove(index);
        }
        if !indexes.is_empty() {
            self.drop_limits(&indexes);
        }
    }

    fn join(
        &mut self,
        key: ProcessKey,
        group: &Group,
        begun: &mut Vec<u32>,
    ) -> Result<(), EngineError> {
        let index = self.limit_of(group)?;
        // Their connections are slowed down at once; those of members that come later, in turn.
        if self.ruled.begun.insert(index) {
            begun.push(index);
        }
        let owner = self
            .slots
            .ensure(&mut self.throttle.maps, key, super::limits::NO_SHARE)?;
        if let Some(id) = self.limits.id(index) {
            self.assign(owner.slot, id, inheritance::UNTIL_EXEC);
        }
        Ok(())
    }

    /// The limit of a group, which is set where it is not.
    fn limit_of(&mut self, group: &Group) -> Result<u32, EngineError> {
        if let Some(index) = self.ruled.limits.get(group) {
            return Ok(*index);
        }
        let at = self.ruled.place(&group.rule).ok_or(EngineError::NoLimit)?;
        let limit = self.ruled.rules[at].limit;
        let id = self.limits.add_of_rule(limit, at)?;
        self.begin(id, limit, None);
        // Before there is a connection, so that it is paced from its first segment on.
        self.slow_down(id.index, limit, None);
        self.ruled.limits.insert(group.clone(), id.index);
        Ok(id.index)
    }

    fn is_ruled(&self, index: u32) -> bool {
        let active = self.limits.active.get(&index);
        active.is_none_or(|active| active.of_rule)
    }

    fn is_short_of_limits(&mut self, error: &EngineError) {
        if !self.ruled.is_short {
            log::warn!("a rule does not hold for everybody: {error}");
            self.ruled.is_short = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::process_info;

    fn rule(name: &str, targets: &[&str], share: Share) -> InForce {
        InForce {
            name: name.into(),
            targets: targets.iter().map(|it| it.parse().unwrap()).collect(),
            limit: Limit::NONE,
            share,
        }
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
