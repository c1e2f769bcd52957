//! The text of targets, as users type them: how it is read, and why it is refused.

use std::{collections::HashMap, str::FromStr};

use super::{
    account::{self, Account},
    condition::{AccountKind, Condition, KINDS, LookUp, shown},
    selector::{Selector, Term},
};

/// One TARGET of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This process.
    Pid(u32),
    /// All that match, now and later.
    Selector(Selector),
}

/// So many conditions has a selector at most.
const MOST_TERMS: usize = 16;

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

impl SelectorError {
    /// What is wrong, for who says what is allowed in words of its own.
    pub fn in_short(&self) -> String {
        match self {
            Self::NotATarget(text) => format!("'{text}' is not a target"),
            Self::Bare(text) => {
                format!("'{text}' is not a target: name:{text} is every process of that name")
            }
            other => other.to_string(),
        }
    }
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

impl Selector {
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
    Ok(Selector::of_all(terms))
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

#[cfg(test)]
mod tests {
    use super::*;

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
