//! Selectors: whom a target means, now and later.

use std::{collections::BTreeSet, fmt};

use glob::Pattern;
use serde::{Deserialize, Serialize};

use super::{
    ProcessInfo,
    account::Account,
    condition::{Condition, Processes},
};

/// Conditions on processes, all of which hold for those that match: `user:anna+!name:ssh`. In JSON it is as a target is
/// typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(Vec<Term>);

/// A condition, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Whether it is meant the other way round: `!`.
    pub negated: bool,
    /// What is asked.
    pub condition: Condition,
}

impl Selector {
    /// All processes with exactly that executable.
    pub fn of_exe(path: &str) -> Self {
        Self::of(Condition::Exe(exactly(path)))
    }

    /// All processes with exactly that name.
    pub fn of_name(name: &str) -> Self {
        Self::of(Condition::Name(exactly(name)))
    }

    /// All processes that are as one condition asks.
    pub fn of(condition: Condition) -> Self {
        Self(vec![Term {
            negated: false,
            condition,
        }])
    }

    /// All that meet each of the conditions.
    pub(super) fn of_all(terms: Vec<Term>) -> Self {
        Self(terms)
    }

    /// Its conditions.
    pub fn terms(&self) -> &[Term] {
        &self.0
    }

    /// Whether no process can meet one of its conditions.
    pub fn is_impossible(&self) -> bool {
        let mut wanted = self.0.iter().filter(|term| !term.negated);
        wanted.any(|term| term.condition.is_nobody())
    }

    /// Its condition, where it has just one.
    pub fn only(&self) -> Option<&Condition> {
        match &*self.0 {
            [
                Term {
                    negated: false,
                    condition,
                },
            ] => Some(condition),
            _ => None,
        }
    }

    /// Ids of the users and groups that it names, in their order, where they are known.
    pub fn ids(&self) -> Vec<Option<u32>> {
        let accounts = self.0.iter().filter_map(|term| term.condition.account());
        accounts.map(Account::id).collect()
    }

    /// Whether it is about a name, user or group, which change without an exec.
    pub fn goes_by_guise(&self) -> bool {
        let mut conditions = self.0.iter().map(|term| &term.condition);
        conditions.any(Condition::goes_by_guise)
    }

    /// Whether it names a user or group whom no database has answered for yet.
    pub fn waits_for_accounts(&self) -> bool {
        let mut accounts = self.0.iter().filter_map(|term| term.condition.account());
        accounts.any(|account| !account.is_looked_up())
    }

    /// Whether the process matches. What has started it is found among `processes`.
    pub fn matches(&self, process: &ProcessInfo, processes: &dyn Processes) -> bool {
        self.0
            .iter()
            .all(|term| term.condition.matches(process, processes) != term.negated)
    }

    /// What to say where no process matches, with what comes near among those that there are.
    pub fn nothing_matches<'a>(
        &self,
        processes: impl IntoIterator<Item = &'a ProcessInfo>,
    ) -> String {
        let mut accounts = self.0.iter().filter_map(|term| term.condition.account());
        if let Some(account) = accounts.find(|account| !account.is_looked_up()) {
            let name = crate::text::escape(account.name());
            return format!(
                "nothing matches {self} yet: who '{name}' is has not been answered. The number works at once"
            );
        }
        /// How many are named.
        const NAMED: usize = 3;
        // The nearest first.
        let near: BTreeSet<(usize, String)> = processes
            .into_iter()
            .filter_map(|process| self.only()?.near(process))
            .collect();
        let mut words = format!("nothing matches {self} so far");
        for (number, (_, near)) in near.iter().take(NAMED).enumerate() {
            words += if number == 0 { "; near it: " } else { ", " };
            words += &crate::text::escape(near);
        }
        words
    }

    fn text(&self) -> String {
        let terms = self.0.iter().map(|term| {
            let not = if term.negated { "!" } else { "" };
            format!("{not}{}", term.condition.text())
        });
        terms.collect::<Vec<_>>().join("+")
    }
}

impl fmt::Display for Selector {
    /// As a target is typed, and safe to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::text::escape(&self.text()))
    }
}

impl From<Selector> for String {
    /// As a target is typed, whatever is in it.
    fn from(selector: Selector) -> Self {
        selector.text()
    }
}

/// A pattern that matches that text and no other.
fn exactly(text: &str) -> Pattern {
    // Before a word and a colon, a plus would be read as the beginning of another condition.
    let escaped = Pattern::escape(text).replace('+', "[+]");
    // Escaped, every text is a pattern.
    Pattern::new(&escaped).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ProcessKey, process::Target};

    fn process() -> ProcessInfo {
        ProcessInfo {
            key: ProcessKey {
                pid: 7,
                start_ticks: 1,
            },
            parent: 1,
            name: "firefox".into(),
            exe: "/usr/lib/firefox/firefox".into(),
            command: "".into(),
            uid: 1,
            user: "daemon".into(),
            gid: 12,
            cgroup: "/user.slice/app".into(),
            container: "".into(),
        }
    }

    fn nobody() -> Vec<ProcessInfo> {
        Vec::new()
    }

    #[test]
    fn a_name_with_wildcards_in_it_means_only_itself() {
        let mut process = process();
        for name in ["[*]?", "a[b", "*", "]", "", "a+name:b"] {
            process.name = name.into();
            assert!(
                Selector::of_name(name).matches(&process, &nobody()),
                "{name}"
            );
            process.name = format!("{name}x").into();
            assert!(
                !Selector::of_name(name).matches(&process, &nobody()),
                "{name}"
            );
        }
    }

    #[track_caller]
    fn matches(target: &str) -> bool {
        match target.parse().unwrap() {
            Target::Selector(selector) => selector.matches(&process(), &nobody()),
            Target::Pid(pid) => pid == 7,
        }
    }

    #[test]
    fn every_kind_of_target_matches_what_it_says_and_no_more() {
        for yes in [
            "7",
            "name:fire*",
            "name:firefox",
            "exe:/usr/lib/*",
            "user:daemon",
            "user:1",
            "cgroup:/user.slice",
            "cgroup:user.slice/app/",
            "cgroup:/",
            "group:12",
            "name:fire*+user:daemon",
            "name:fire*+!user:root",
            "!name:wget",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "8",
            "name:fire",
            "exe:firefox",
            "user:root",
            "cgroup:/user",
            "cgroup:/user.slice/ap",
            "group:1",
            // Its command line has not been read.
            "command:*",
            "unit:app",
            "container:*",
            "parent:name:sh",
            "name:fire*+user:root",
            "!name:firefox",
        ] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn names_that_the_kernel_has_cut_and_executables_match_by_their_whole_names() {
        let mut cut = process();
        cut.name = "transmission-da".into();
        cut.exe = "/usr/bin/transmission-daemon".into();
        let matches = |target: &str| match target.parse().unwrap() {
            Target::Selector(selector) => selector.matches(&cut, &nobody()),
            Target::Pid(_) => false,
        };
        assert!(matches("name:transmission-daemon") && matches("name:transmission-da"));
        assert!(!matches("name:transmission") && !matches("name:bin*"));
    }

    #[test]
    fn what_matches_nothing_is_told_with_what_comes_near() {
        let words = |target: &str| match target.parse().unwrap() {
            Target::Selector(selector) => selector.nothing_matches([&process()]),
            Target::Pid(_) => String::new(),
        };
        for (target, near) in [
            ("exe:firefox", "exe:/usr/lib/firefox/firefox"),
            ("exe:/opt/firefox", "exe:/usr/lib/firefox/firefox"),
            ("name:Firefox", "name:firefox"),
            ("name:fox", "name:firefox"),
            ("name:firefx", "name:firefox"),
            ("name:firrefox", "name:firefox"),
            ("name:fierfox", "name:firefox"),
            ("exe:/usr/lib/firefpx", "exe:/usr/lib/firefox/firefox"),
            ("cgroup:/app", "cgroup:/user.slice/app"),
            ("cgroup:/usr.slice", "cgroup:/user.slice"),
            ("unit:uesr", "unit:user.slice"),
        ] {
            assert_eq!(
                words(target),
                format!("nothing matches {target} so far; near it: {near}")
            );
        }
        for target in ["exe:wget", "name:wg*", "user:root", "cgroup:/app.slice"] {
            assert_eq!(words(target), format!("nothing matches {target} so far"));
        }
    }

    #[test]
    fn what_comes_nearest_is_told_first_and_no_more_than_three() {
        let named = ["curls", "acurl", "cur", "curk", "dcurlz"].map(|name| ProcessInfo {
            name: name.into(),
            exe: "".into(),
            ..process()
        });
        let curl: Selector = "name:curl".parse().unwrap();
        assert_eq!(
            curl.nothing_matches(&named[..]),
            "nothing matches name:curl so far; near it: name:acurl, name:curls, name:dcurlz"
        );
        assert_eq!(
            curl.nothing_matches(&named[1..4]),
            "nothing matches name:curl so far; near it: name:acurl, name:cur, name:curk"
        );
    }

    #[test]
    fn units_containers_commands_and_ancestors() {
        let id = "0123456789abcdef".repeat(4);
        let mut all = vec![process(), process(), process()];
        for other in all.iter_mut().take(2) {
            other.exe = "".into();
        }
        all[0].key.pid = 1;
        all[0].name = "make".into();
        all[1].key.pid = 2;
        all[1].parent = 1;
        all[1].name = "sh".into();
        all[2].parent = 2;
        all[2].command = "curl -O https://example.com/x".into();
        all[2].cgroup = format!("/system.slice/docker-{id}.scope/x\\x2dy.service").into();
        all[2].container = "web".into();
        let matches = |target: &str| {
            let selector: Selector = target.parse().unwrap();
            selector.matches(&all[2], &all)
        };
        for yes in [
            "command:curl*example.com*",
            "unit:system.slice",
            "unit:x-y.service",
            "unit:x\\x2dy.service",
            "container:web",
            "container:w*",
            "container:0123",
            "parent:name:make",
            "parent:name:sh",
            "parent:1",
            "parent:name:make+!name:sh+container:web",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "command:curl",
            "unit:system",
            "container:012",
            "container:1234",
            "parent:name:firefox",
            "parent:7",
            "parent:name:make+name:sh",
        ] {
            assert!(!matches(no), "{no}");
        }
        // Its id is another's by now, who started later.
        all[0].key.start_ticks = 2;
        let make: Selector = "parent:name:make".parse().unwrap();
        assert!(!make.matches(&all[2], &all));
        // Whoever is said to be his own ancestor is not followed for ever.
        all[0].key.start_ticks = 1;
        all[0].parent = 2;
        let none: Selector = "parent:name:none".parse().unwrap();
        assert!(!none.matches(&all[2], &all));
    }
}
