//! Targets as users name them: a process id, or a selector for processes now and later.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    str::FromStr,
};

use glob::Pattern;
use serde::{Deserialize, Serialize};

use super::{
    ProcessInfo,
    account::{self, Account},
    condition::{AccountKind, Condition, KINDS, LookUp, Processes, shown},
};

/// One TARGET of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This process.
    Pid(u32),
    /// All that match, now and later.
    Selector(Selector),
}

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

/// So many conditions has a selector at most.
const MOST_TERMS: usize = 16;

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

    /// The same selector again, without asking who users and groups are whose ids were known.
    ///
    /// # Errors
    /// Where it is none.
    pub fn with_ids(text: &str, ids: &[Option<u32>]) -> Result<Self, SelectorError> {
        let mut ids = ids.iter();
        read(text, &mut |kind, name| match ids.next() {
            Some(Some(id)) => Ok(Account::known(name, *id)),
            _ => look_up(kind, name),
        })
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

    /// Reads one to pass it on: nobody is asked who the users and groups are that it names.
    ///
    /// # Errors
    /// Where it is none.
    pub fn unasked(text: &str) -> Result<Self, SelectorError> {
        read(text, &mut |_, name| {
            Ok(match name.parse() {
                Ok(id) => Account::known(name, id),
                Err(_) => Account::unknown(name),
            })
        })
    }

    /// Reads one of many: what was asked of a database before is not asked again, and one that did not answer is not
    /// waited for again.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(text: &str, accounts: &mut Accounts) -> Result<Self, SelectorError> {
        read(text, &mut |kind, name| accounts.find(kind, name))
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

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        match text.parse()? {
            Target::Selector(selector) => Ok(selector),
            Target::Pid(_) => Err(SelectorError::NotATarget(text)),
        }
    }
}

/// What a target can be.
const FORMS: &str = "a process id, name:GLOB, exe:GLOB, command:GLOB, user:NAME, group:NAME, cgroup:PATH, unit:GLOB, \
     container:NAME or parent:TARGET; with ! before it for all others, and + between several that must all hold";

/// Why a target could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// Neither a number nor one of the prefixes.
    #[error("'{0}' is not a target. Give {FORMS}")]
    NotATarget(String),
    /// A name alone.
    #[error("'{0}' is not a target: name:{0} is every process of that name. Others are {FORMS}")]
    Bare(String),
    /// The pattern is not one.
    #[error("'{pattern}' is not a pattern: {reason}")]
    Pattern {
        /// As it was typed.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A parent's parent.
    #[error("'{0}': parent: is for all that were started below, so it is given once")]
    Nested(String),
    /// Conditions that exclude each other.
    #[error("'{0}' can never match: no process is both")]
    Never(String),
    /// A condition that all meet, excluded.
    #[error("'{0}' can never match: it leaves nobody")]
    Nobody(String),
    /// More conditions than there is room for.
    #[error("'{0}' has more than {MOST_TERMS} conditions")]
    TooMany(String),
    /// The user or group is not known.
    #[error(transparent)]
    Account(#[from] account::UserError),
}

impl FromStr for Target {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(pid) = text.parse().ok().filter(|pid| *pid > 0) {
            return Ok(Self::Pid(pid));
        }
        Ok(Self::Selector(read(text, &mut look_up)?))
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text, &mut look_up)
    }
}

/// Users and groups that were looked up.
#[derive(Debug, Default)]
pub struct Accounts {
    known: HashMap<(AccountKind, String), Account>,
    is_slow: bool,
}

impl Accounts {
    fn find(&mut self, kind: AccountKind, name: &str) -> Result<Account, SelectorError> {
        let key = (kind, name.to_owned());
        if let Some(account) = self.known.get(&key) {
            return Ok(account.clone());
        }
        let account = match (kind, self.is_slow) {
            (_, false) => look_up(kind, name)?,
            (AccountKind::User, true) => Account::find_user_later(name)?,
            (AccountKind::Group, true) => Account::find_group_later(name)?,
        };
        self.is_slow |= !account.is_looked_up();
        self.known.insert(key, account.clone());
        Ok(account)
    }
}

fn look_up(kind: AccountKind, name: &str) -> Result<Account, SelectorError> {
    Ok(match kind {
        AccountKind::User => Account::find_user(name)?,
        AccountKind::Group => Account::find_group(name)?,
    })
}

fn read(text: &str, account: &mut LookUp<'_>) -> Result<Selector, SelectorError> {
    let is_bare = !text.is_empty()
        && !text.contains([':', '!'])
        && !text.starts_with('-')
        && text.parse::<u32>().is_err()
        && text.chars().all(|c| c.is_ascii_graphic());
    if is_bare {
        return Err(SelectorError::Bare(shown(text)));
    }
    let mut terms: Vec<Term> = Vec::new();
    for part in parts(text) {
        if terms.len() == MOST_TERMS {
            return Err(SelectorError::TooMany(shown(text)));
        }
        let (negated, condition) = match part.strip_prefix('!') {
            Some(condition) => (true, condition),
            None => (false, part),
        };
        let condition = Condition::read(condition, account)?;
        if negated && condition.is_everybody() {
            return Err(SelectorError::Nobody(shown(text)));
        }
        let excludes = |other: &Term| match (negated, other.negated) {
            (true, true) => false,
            (false, false) => condition.excludes(&other.condition),
            _ => condition == other.condition,
        };
        if terms.iter().any(excludes) {
            return Err(SelectorError::Never(shown(text)));
        }
        terms.push(Term { negated, condition });
    }
    Ok(Selector(terms))
}

/// What a `+` joins. One is only what stands before another condition: `name:g++` is a name.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices('+') {
        // The first of several belongs to the condition before.
        if at > start && begins_condition(&text[at + 1..]) {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Whether a condition begins there: a word and a colon. One of another word is a mistake, and no part of what stands
/// before it; `[+]` is.
fn begins_condition(text: &str) -> bool {
    let text = text.strip_prefix('!').unwrap_or(text);
    let Some((word, _)) = text.split_once(':') else {
        return false;
    };
    KINDS.contains(&word) || (!word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()))
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
    use crate::model::ProcessKey;

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
    fn a_cgroup_that_leads_elsewhere_is_no_target() {
        for path in [
            "cgroup:/../etc",
            "cgroup:..",
            "cgroup:/a/./b",
            "cgroup:/a/..",
        ] {
            assert!(path.parse::<Target>().is_err(), "{path}");
        }
        assert!("cgroup:/a..b/...".parse::<Target>().is_ok());
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_forms() {
        for text in [
            "",
            "0",
            "-1",
            "firefox",
            "name:",
            "pid:7",
            "name:a+nmae:b",
            "+name:a",
            "!",
            "!firefox",
            "parent:",
            "parent:parent:name:a",
            "name:a+!name:a",
            "!name:*",
            "!exe:**",
            "name:a+!command:*",
            "exe:/a*+exe:/b*",
            "exe:/a?+exe:/b",
            "user:0+user:1",
            "exe:/a+exe:/b",
            "cgroup:/a+cgroup:/b",
            "group:no-such-group",
            "name:[",
            "user:nobody-here",
            "٣",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        let error = "firefox".parse::<Target>().unwrap_err().to_string();
        assert!(error.contains(": name:firefox is"), "{error}");
        let error = "fire\u{1b}fox".parse::<Target>().unwrap_err().to_string();
        assert!(
            error.contains("name:GLOB") && !error.contains('\u{1b}'),
            "{error}"
        );
    }

    #[test]
    fn a_pattern_of_many_asterisks_is_refused() {
        let stars = |count: usize| format!("command:{}", "*a".repeat(count));
        assert!(stars(32).parse::<Target>().is_ok());
        let error = stars(33).parse::<Target>().unwrap_err().to_string();
        assert!(error.contains("more than 32 asterisks"), "{error}");
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

    #[test]
    fn many_parents_of_parents_are_refused_at_once() {
        let text = format!("{}name:x", "parent:".repeat(1_000_000));
        let error = text.parse::<Selector>().unwrap_err();
        assert!(matches!(error, SelectorError::Nested(_)), "{error}");
        assert!(error.to_string().len() < 1_000);
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        for text in [
            "name:g++",
            "name:c++*+user:root",
            "exe:/usr/bin/g+++!user:root",
            "name:a[+]b:c",
            "!unit:*.slice+parent:exe:/bin/sh",
            "parent:7",
            "7+user:root",
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(String::from(selector.clone()), text);
            assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
            let again = Selector::with_ids(text, &selector.ids()).unwrap();
            assert_eq!(again, selector);
        }
        let name = Selector::of_name("a+name:b");
        assert_eq!(
            String::from(name.clone()).parse::<Selector>().unwrap(),
            name
        );
        let cpp: Selector = "name:g+++user:0".parse().unwrap();
        assert_eq!(cpp.terms().len(), 2);
    }
}
