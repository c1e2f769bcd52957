//! Patterns for the kernel programs: they take a process into a limit when it makes its first
//! socket, however short it lives; user space would not see it in time.
//!
//! What cannot be said to them (most wildcards) is taught by example: a process that was found to
//! match stands for all that have its name, or its executable.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use chadthrottle_common::{
    abi::MAX_PATTERNS,
    ownership::{Pattern, RuleId, inheritance},
};

use super::Engine;
use crate::process::{Condition, Devices, ProcessInfo, Selector};

/// How many examples there are of a limit, the first ones.
const MOST_EXAMPLES: usize = 8;

/// How many cgroups of one target there are, itself included.
const MOST_CGROUPS: usize = 8;

/// What makes a process one that a limit takes in, in the words of a [`Pattern`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trait {
    value: [u64; Pattern::WORDS],
    mask: [u64; Pattern::WORDS],
}

/// One of them, with its limit and whether that is for children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    what: Trait,
    rule: RuleId,
    inherit: u64,
}

/// What the kernel programs have been told.
#[derive(Debug, Default)]
pub struct Patterns {
    rows: Vec<Row>,
    /// By the serial of the limit.
    examples: BTreeMap<u32, Vec<Example>>,
    devices: Devices,
}

/// What was found to match, and stands for all that have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Example {
    Name(Arc<str>),
    Exe(Arc<str>),
    /// A cgroup is a unit's or a container's.
    Cgroup(Arc<str>),
}

impl Example {
    /// Of a target that the kernel programs cannot be told.
    fn of(selector: &Selector, process: &ProcessInfo) -> Option<Self> {
        match selector.only()? {
            Condition::Name(_) => Some(Self::Name(process.name.clone())),
            Condition::Exe(_) => Some(Self::Exe(process.exe.clone())),
            Condition::Unit(_) | Condition::Container(_) => {
                Some(Self::Cgroup(process.cgroup.clone()))
            }
            _ => None,
        }
    }

    /// Whether the kernel programs need some for a target.
    fn are_needed(selector: &Selector) -> bool {
        match selector.only() {
            Some(Condition::Name(pattern)) => literal(pattern.as_str()).is_none(),
            Some(Condition::Exe(pattern)) => literal(pattern.as_str()).is_none_or(|(_, more)| more),
            Some(Condition::Unit(_) | Condition::Container(_)) => true,
            _ => false,
        }
    }
}

impl Trait {
    /// These words, in these bits.
    fn at<const N: usize>(place: usize, value: [u64; N], mask: [u64; N]) -> Self {
        let mut all = Self::default();
        all.value[place..place + N].copy_from_slice(&value);
        all.mask[place..place + N].copy_from_slice(&mask);
        all
    }

    /// `comm` begins so, and goes on only where `more` may follow.
    fn name(start: &str, more: bool) -> Option<Self> {
        let (mut value, mut mask) = ([0u8; 16], [0u8; 16]);
        let len = start.len();
        // The kernel keeps 15 bytes and a zero.
        value.get_mut(..len)?.copy_from_slice(start.as_bytes());
        mask.get_mut(..len + usize::from(!more))?.fill(u8::MAX);
        let words = |bytes: [u8; 16]| {
            let (head, tail) = bytes.split_at(8);
            let word = |half: &[u8]| half.try_into().map_or(0, u64::from_ne_bytes);
            [word(head), word(tail)]
        };
        Some(Self::at(Pattern::NAME, words(value), words(mask)))
    }

    fn executable(path: &Path, devices: &mut Devices) -> Option<Self> {
        let file = devices.executable_at(path)?;
        let value = [u64::from(file.device), file.inode];
        Some(Self::at(Pattern::EXE, value, [u64::MAX; 2]))
    }

    fn word(place: usize, value: u64) -> Self {
        Self::at(place, [value], [u64::MAX])
    }

    /// What the kernel programs can be told of a target, any of which will do; nothing where they would take in others
    /// too, or need examples.
    fn of(selector: &Selector, cgroup2: &Path, devices: &mut Devices) -> Vec<Self> {
        let mut all = vec![Self::default()];
        for term in selector.terms() {
            let each = match term.negated {
                false => Self::of_condition(&term.condition, cgroup2, devices),
                true => Vec::new(),
            };
            let both = |one: &Self| each.iter().filter_map(|other| one.and(*other)).collect();
            all = all.iter().flat_map::<Vec<_>, _>(both).collect();
            all.truncate(MOST_CGROUPS);
        }
        all
    }

    /// What is both; `None`: nothing can be.
    fn and(self, other: Self) -> Option<Self> {
        let mut both = Self::default();
        for word in 0..Pattern::WORDS {
            let common = self.mask[word] & other.mask[word];
            if (self.value[word] ^ other.value[word]) & common != 0 {
                return None;
            }
            both.value[word] = self.value[word] | other.value[word];
            both.mask[word] = self.mask[word] | other.mask[word];
        }
        Some(both)
    }

    fn of_condition(condition: &Condition, cgroup2: &Path, devices: &mut Devices) -> Vec<Self> {
        match condition {
            Condition::Name(pattern) => literal(pattern.as_str())
                .and_then(|(start, more)| Self::name(&start, more))
                .into_iter()
                .collect(),
            Condition::Exe(pattern) => match literal(pattern.as_str()) {
                Some((path, false)) => Self::executable(path.as_ref(), devices)
                    .into_iter()
                    .collect(),
                _ => Vec::new(),
            },
            // Before anybody knows the name there is nothing to tell; this is asked again soon.
            Condition::User(user) => user
                .id()
                .map(|uid| Self::word(Pattern::USER, u64::from(uid)))
                .into_iter()
                .collect(),
            Condition::Cgroup(path) => cgroups_at(&cgroup2.join(path.trim_start_matches('/')))
                .into_iter()
                .map(|id| Self::word(Pattern::CGROUP, id))
                .collect(),
            Condition::Pid(_)
            | Condition::Command(_)
            | Condition::Group(_)
            | Condition::Unit(_)
            | Condition::Container(_)
            | Condition::Parent(_) => Vec::new(),
        }
    }

    /// What others have in common with an example.
    fn shown_by(example: &Example, cgroup2: &Path, devices: &mut Devices) -> Option<Self> {
        match example {
            Example::Cgroup(path) => {
                let directory = cgroup2.join(path.trim_start_matches('/'));
                let id = fs::metadata(directory).ok()?.ino();
                Some(Self::word(Pattern::CGROUP, id))
            }
            Example::Name(name) => Self::name(name, false),
            Example::Exe(path) => Self::executable(Path::new(&**path), devices),
        }
    }
}

/// Whether the kernel programs can be told of all that a selector asks.
pub(super) fn is_told(selector: &Selector) -> bool {
    selector.terms().iter().all(|term| {
        let is_told = match &term.condition {
            Condition::Name(pattern) => {
                let told = literal(pattern.as_str());
                told.is_some_and(|(start, more)| Trait::name(&start, more).is_some())
            }
            Condition::Exe(pattern) => literal(pattern.as_str()).is_some_and(|(_, more)| !more),
            Condition::User(_) | Condition::Cgroup(_) => true,
            Condition::Pid(_)
            | Condition::Command(_)
            | Condition::Group(_)
            | Condition::Unit(_)
            | Condition::Container(_)
            | Condition::Parent(_) => false,
        };
        is_told && !term.negated
    })
}

/// What a pattern says without wildcards, and whether a star follows; `None` for all others.
fn literal(pattern: &str) -> Option<(String, bool)> {
    let mut text = String::new();
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        match next {
            '*' => return rest.as_str().is_empty().then_some((text, true)),
            '?' => return None,
            '[' => match (rest.next()?, rest.next()?) {
                // One that stands for nothing but itself.
                ('!', _) => return None,
                (escaped, ']') => text.push(escaped),
                _ => return None,
            },
            other => text.push(other),
        }
    }
    Some((text, false))
}

/// Ids of a cgroup and of those below it.
fn cgroups_at(directory: &Path) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop()
        && ids.len() < MOST_CGROUPS
    {
        let Ok(metadata) = fs::metadata(&directory) else {
            continue;
        };
        ids.push(metadata.ino());
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.map(|entry| entry.path()));
    }
    ids
}

impl Engine {
    /// Tells the kernel programs which processes the limits take in, where that has changed: a
    /// file may have been replaced, a cgroup made.
    pub(super) fn offer_patterns(&mut self) {
        let mut rows = Vec::new();
        for (rule, targets) in self.limits.latest_first() {
            let Patterns {
                examples, devices, ..
            } = &mut self.patterns;
            // The kernel programs would take in other users' processes too: a look finds the user's.
            if targets.of_user.is_some() {
                continue;
            }
            let mut told = Vec::new();
            for selector in &targets.selectors {
                told.extend(Trait::of(selector, &self.cgroup2, devices));
            }
            for example in examples.get(&rule.serial).into_iter().flatten() {
                told.extend(Trait::shown_by(example, &self.cgroup2, devices));
            }
            rows.extend(told.into_iter().map(|what| Row {
                what,
                rule,
                inherit: match targets.children {
                    true => inheritance::FOR_GOOD,
                    false => inheritance::NONE,
                },
            }));
        }
        self.offer_rules(&mut rows);
        rows.truncate(MAX_PATTERNS as usize);
        if rows != self.patterns.rows {
            self.write_patterns(&rows);
            self.patterns.rows = rows;
        }
    }

    /// Below those, the first rules of those that are on.
    fn offer_rules(&mut self, rows: &mut Vec<Row>) {
        let devices = &mut self.patterns.devices;
        for (rule, index) in self.ruled.told() {
            if rows.len() >= MAX_PATTERNS as usize {
                return;
            }
            let Some(id) = self.limits.id(index) else {
                continue;
            };
            let mut told = Vec::new();
            for selector in &rule.targets {
                told.extend(Trait::of(selector, &self.cgroup2, devices));
            }
            rows.extend(told.into_iter().map(|what| Row {
                what,
                rule: id,
                inherit: inheritance::UNTIL_EXEC,
            }));
        }
    }

    /// A row that is being written takes in nobody: there is no such cgroup.
    fn write_patterns(&self, rows: &[Row]) {
        for (n, pattern) in self.throttle.maps.patterns.iter().enumerate() {
            let row = rows.get(n);
            if row == self.patterns.rows.get(n) {
                continue;
            }
            let row = row.copied().unwrap_or_default();
            let cgroup = Pattern::CGROUP;
            pattern.value[cgroup].set(u64::MAX);
            pattern.mask[cgroup].set(u64::MAX);
            pattern.rule.set(row.rule.word());
            pattern.inherit.set(row.inherit);
            for word in 0..cgroup {
                pattern.value[word].set(row.what.value[word]);
                pattern.mask[word].set(row.what.mask[word]);
            }
            pattern.mask[cgroup].set(row.what.mask[cgroup]);
            pattern.value[cgroup].set(row.what.value[cgroup]);
        }
    }

    /// Takes processes that match a target for examples of it, where the kernel programs need some.
    pub(super) fn learn_patterns(&mut self) {
        let mut examples = BTreeMap::new();
        for (rule, targets) in self.limits.latest_first() {
            let before = self.patterns.examples.get(&rule.serial);
            let mut known = before.cloned().unwrap_or_default();
            for selector in &targets.selectors {
                if !Example::are_needed(selector) || known.len() >= MOST_EXAMPLES {
                    continue;
                }
                let ended = self.sampling.ended_processes();
                for process in self.processes.iter().chain(ended) {
                    if known.len() < MOST_EXAMPLES
                        && selector.matches(process, &self.processes)
                        && let Some(example) = Example::of(selector, process)
                        && !known.contains(&example)
                    {
                        known.push(example);
                    }
                }
            }
            if !known.is_empty() {
                examples.insert(rule.serial, known);
            }
        }
        self.patterns.examples = examples;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a process of that `comm` has the trait, as the kernel program compares it.
    fn has(what: Trait, comm: &str) -> bool {
        let Some(name) = Trait::name(comm, true) else {
            return false;
        };
        (0..Pattern::WORDS).all(|word| name.value[word] & what.mask[word] == what.value[word])
    }

    #[test]
    fn a_name_is_itself_and_a_start_is_all_that_begin_so() {
        let exact = Trait::name("curl", false).unwrap();
        assert!(has(exact, "curl") && !has(exact, "curly") && !has(exact, "cur"));
        let start = Trait::name("transmiss", true).unwrap();
        assert!(has(start, "transmission-da") && has(start, "transmiss") && !has(start, "trans"));
        let longest = Trait::name("fifteen-letters", false).unwrap();
        assert!(has(longest, "fifteen-letters") && !has(longest, "fifteen-letter"));
        assert_eq!(Trait::name("sixteen--letters", false), None);
    }

    #[test]
    fn patterns_without_wildcards_or_with_a_star_at_the_end_are_told() {
        let (some, star) = (
            |text: &str| Some((text.to_owned(), false)),
            |text: &str| Some((text.to_owned(), true)),
        );
        for (pattern, expected) in [
            ("curl", some("curl")),
            ("curl*", star("curl")),
            ("*", star("")),
            ("[*]a[[][]]", some("*a[]")),
            ("c?rl", None),
            ("*curl", None),
            ("[ab]c", None),
            ("[!a]", None),
            ("a**", None),
        ] {
            assert_eq!(literal(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_joined_is_told_where_all_of_it_can_be() {
        let told = |target: &str| {
            let selector = target.parse().unwrap();
            Trait::of(
                &selector,
                Path::new("/nonexistent"),
                &mut Devices::default(),
            )
        };
        let joined = told("name:curl+user:7");
        assert_eq!(joined.len(), 1);
        assert!(has(joined[0], "curl") || joined[0].mask[Pattern::USER] == u64::MAX);
        assert_eq!(joined[0].value[Pattern::USER], 7);
        assert_eq!(
            joined[0].value[Pattern::NAME],
            Trait::name("curl", false).unwrap().value[0]
        );
        for target in [
            "name:curl+!user:7",
            "name:curl+command:*x*",
            "name:curl+name:wget",
            "unit:*.service",
        ] {
            assert_eq!(told(target), [], "{target}");
        }
    }

    #[test]
    fn a_cgroup_stands_for_those_below_it_and_there_is_a_bound() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        assert_eq!(cgroups_at(&root.path().join("a")).len(), 2);
        assert!(cgroups_at(&root.path().join("none")).is_empty());
        for n in 0..2 * MOST_CGROUPS {
            fs::create_dir(root.path().join(n.to_string())).unwrap();
        }
        assert_eq!(cgroups_at(root.path()).len(), MOST_CGROUPS);
    }
}
