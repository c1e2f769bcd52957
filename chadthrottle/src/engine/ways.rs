//! By which interfaces processes have connections, for rules that are on only for such.
//!
//! Nobody tells when a connection is made, so that this is looked for once a second, while there is such a rule.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use glob::Pattern;

use super::{Engine, in_force::InForce};
use crate::{
    model::ProcessKey,
    process::{ByProcess, aside::Aside, interfaces_of},
    sys::SyscallError,
};

/// Between a look and the next.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What the last two looks have found: a program that makes one connection after the other is not without one because a
/// look comes in between.
#[derive(Debug, Default)]
pub struct Ways {
    before: ByProcess,
    last: ByProcess,
    looking: Option<Aside<Look, Result<ByProcess, SyscallError>>>,
    /// When the last one began, and whether it has come back.
    began: Option<Instant>,
    is_out: bool,
    has_failed: bool,
}

/// At whose connections, by which interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Look {
    processes: Vec<ProcessKey>,
    globs: Vec<Pattern>,
}

impl Ways {
    /// Whether a connection of that process goes by one of these interfaces.
    pub(super) fn lead_by(&self, key: ProcessKey, globs: &[Pattern]) -> bool {
        let mut names = self.names(key);
        names.any(|name| globs.iter().any(|glob| glob.matches(name)))
    }

    /// Whether a look was at that process.
    pub(super) fn know(&self, key: ProcessKey) -> bool {
        self.last.contains_key(&key)
    }

    fn names(&self, key: ProcessKey) -> impl Iterator<Item = &String> {
        let looks = [&self.before, &self.last].into_iter();
        looks.filter_map(move |look| look.get(&key)).flatten()
    }

    /// A process that another one has forked has the connections of that, until a look has been at it.
    pub(super) fn inherit(&mut self, key: ProcessKey, from: ProcessKey) {
        if self.know(from) {
            let names = self.names(from).cloned().collect();
            self.last.insert(key, names);
        }
    }

    /// Takes in what a look has found, and gives the processes of which it is news.
    pub(super) fn take(&mut self, found: ByProcess) -> Vec<ProcessKey> {
        let both = |ways: &Self, key| -> HashSet<String> { ways.names(key).cloned().collect() };
        let keys: HashSet<ProcessKey> = [&self.before, &self.last, &found]
            .into_iter()
            .flat_map(|look| look.keys().copied())
            .collect();
        let then = keys
            .iter()
            .map(|key| (*key, self.know(*key), both(self, *key)));
        let then: Vec<_> = then.collect();
        self.before = std::mem::replace(&mut self.last, found);
        let is_news = |(key, known, names): &(ProcessKey, bool, HashSet<String>)| {
            self.know(*key) != *known || both(self, *key) != *names
        };
        let news = then.into_iter().filter(is_news);
        news.map(|(key, ..)| key).collect()
    }

    fn is_due(&self) -> bool {
        !self.is_out
            && self
                .began
                .is_none_or(|began| began.elapsed() >= BETWEEN_LOOKS)
    }

    /// Begins a look, which reads processes from `root`.
    fn begin(&mut self, root: &Path, look: Look) {
        let looking = self.looking.get_or_insert_with(|| {
            let root = root.to_owned();
            Aside::new("ways", move |look: &Look| {
                interfaces_of(&root, &look.processes, &look.globs)
            })
        });
        looking.ask(look);
        (self.began, self.is_out) = (Some(Instant::now()), true);
    }

    /// What a look has found that has come back; nothing of one that has failed.
    fn found(&mut self) -> Option<ByProcess> {
        let (look, result) = self.looking.as_mut()?.answers().pop()?;
        self.is_out = false;
        let has_failed = result.is_err();
        let found = result.unwrap_or_else(|error| {
            if !self.has_failed {
                log::warn!("finding by which interfaces connections go: {error}");
            }
            let none = look.processes.into_iter();
            none.map(|key| (key, Default::default())).collect()
        });
        self.has_failed = has_failed;
        Some(found)
    }
}

impl Engine {
    /// Looks by which interfaces the connections go of those who match a rule that is for such, and has the rules follow.
    pub(super) fn look_for_ways(&mut self) {
        if self.ruled.rules.iter().all(InForce::is_for_all) {
            self.ruled.ways = Ways::default();
            return;
        }
        if self.ruled.ways.is_due() {
            self.scan_slots();
            let look = self.look_at_ways();
            self.ruled.ways.begin(self.processes.root(), look);
        }
        let Some(found) = self.ruled.ways.found() else {
            return;
        };
        let news = self.ruled.ways.take(found);
        for key in &news {
            if let Some(info) = self.processes.get(key.pid).filter(|info| info.key == *key) {
                self.ruled.ask(info, &self.processes);
            }
        }
        if !news.is_empty() {
            self.follow_rules();
        }
    }

    /// A look at those with sockets who match such a rule.
    fn look_at_ways(&self) -> Look {
        let rules = self.ruled.rules.iter().filter(|rule| !rule.is_for_all());
        let rules: Vec<&InForce> = rules.collect();
        let matches = |key: ProcessKey| {
            let info = self.processes.get(key.pid).filter(|info| info.key == key);
            info.is_some_and(|info| rules.iter().any(|it| it.matches(info, &self.processes)))
        };
        let with_sockets = self.slots.iter().map(|(key, _)| key);
        let globs = rules.iter().flat_map(|rule| rule.interfaces.clone());
        Look {
            processes: with_sockets.filter(|key| matches(*key)).collect(),
            globs: globs.collect(),
        }
    }

    /// Whether a process keeps the limit that it has, of a rule for connections by an interface, until a look has been at
    /// it: what a process forks has the connections of that, and the rule may have been on for all until now.
    pub(super) fn awaits_look(&self, key: ProcessKey, has: u32) -> bool {
        let place = |rule: &str| self.ruled.place(rule);
        let Some(at) = self.limits.rule_of(has).and_then(|rule| place(rule)) else {
            return false;
        };
        let rule = &self.ruled.rules[at];
        if rule.is_for_all() || self.ruled.ways.know(key) {
            return false;
        }
        let wanted = self.ruled.wanted.get(&key);
        let comes_first = wanted.and_then(|group| place(&group.rule));
        let info = self.processes.get(key.pid).filter(|info| info.key == key);
        comes_first.is_none_or(|wanted| at < wanted)
            && info.is_some_and(|info| rule.matches(info, &self.processes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_way_until_two_looks_have_found_none() {
        let key = |pid| ProcessKey {
            pid,
            start_ticks: 1,
        };
        let globs = ["tun*", "wg0"].map(|glob| Pattern::new(glob).unwrap());
        let mut ways = Ways::default();
        // What a look has found of two processes, whether that is news, and who has a way then.
        for (found, news, lead) in [
            ([Some(&[][..]), None], [true, false], [false, false]),
            ([Some(&["eth0"]), None], [true, false], [false, false]),
            ([Some(&["tun7"]), Some(&["wg0"])], [true; 2], [true, true]),
            ([Some(&[]), Some(&["wg0"])], [true, false], [true, true]),
            ([Some(&["tun7"]), Some(&["wg0"])], [false; 2], [true, true]),
            ([Some(&[]), None], [false, true], [true, true]),
            ([Some(&[]), None], [true; 2], [false, false]),
            ([Some(&[]), None], [false; 2], [false, false]),
        ] {
            let of_each = found.iter().zip(1..).filter_map(|(names, pid)| {
                let names = (*names)?.iter().map(|&name| name.to_owned());
                Some((key(pid), names.collect()))
            });
            let told = ways.take(of_each.collect());
            let is_news = [1, 2].map(|pid| told.contains(&key(pid)));
            assert_eq!(is_news, news, "{found:?}");
            let leads = [1, 2].map(|pid| ways.lead_by(key(pid), &globs));
            assert_eq!(leads, lead, "{found:?}");
            assert_eq!(
                [1, 2].map(|pid| ways.know(key(pid))),
                found.map(|it| it.is_some())
            );
        }
        let (parent, child) = (key(3), key(4));
        ways.take([(parent, ["tun0".to_owned()].into())].into());
        ways.inherit(child, parent);
        assert!(ways.lead_by(child, &globs) && ways.know(child));
        // One look was on its way.
        ways.take([(parent, ["tun0".to_owned()].into())].into());
        assert!(ways.lead_by(child, &globs));
        // The parent is between two connections.
        ways.take([(parent, [].into())].into());
        let other = key(5);
        ways.inherit(other, parent);
        assert!(ways.lead_by(parent, &globs) && ways.lead_by(other, &globs));
    }
}
