//! Targets as users name them: a process id, or a pattern for processes now and later.

use std::str::FromStr;

use glob::Pattern;

use super::{ProcessInfo, user};

/// One TARGET of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This process.
    Pid(u32),
    /// All that match, now and later.
    Selector(Selector),
}

/// A pattern for processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `name:GLOB`, on `comm`.
    Name(Pattern),
    /// `exe:GLOB`, on the executable's path.
    Exe(Pattern),
    /// `user:NAME`, on the effective user id.
    User(u32),
    /// `cgroup:PATH`, the cgroup and those below it.
    Cgroup(String),
}

impl Selector {
    /// All processes with exactly that executable.
    pub fn of_exe(path: &str) -> Self {
        Self::Exe(exactly(path))
    }

    /// All processes with exactly that name.
    pub fn of_name(name: &str) -> Self {
        Self::Name(exactly(name))
    }

    /// Whether the process matches.
    pub fn matches(&self, process: &ProcessInfo) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(&process.name),
            Self::Exe(pattern) => pattern.matches(&process.exe),
            Self::User(uid) => process.uid == *uid,
            Self::Cgroup(path) => process
                .cgroup
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

/// Why a target could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// Neither a number nor one of the prefixes.
    #[error(
        "'{0}' is not a target. Give a process id, name:GLOB, exe:GLOB, user:NAME or cgroup:PATH"
    )]
    NotATarget(String),
    /// The pattern is not one.
    #[error("'{pattern}' is not a pattern: {reason}")]
    Pattern {
        /// As it was typed.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The user is not known.
    #[error(transparent)]
    User(#[from] user::UserError),
}

impl FromStr for Target {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || {
            text.chars()
                .take(80)
                .flat_map(char::escape_debug)
                .collect::<String>()
        };
        if let Some(pid) = text.parse().ok().filter(|pid| *pid > 0) {
            return Ok(Self::Pid(pid));
        }
        let not_a_target = || SelectorError::NotATarget(shown());
        let (kind, value) = text.split_once(':').ok_or_else(not_a_target)?;
        if value.is_empty() {
            return Err(not_a_target());
        }
        let pattern = || {
            Pattern::new(value).map_err(|error| SelectorError::Pattern {
                pattern: shown(),
                reason: error.msg,
            })
        };
        Ok(Self::Selector(match kind {
            "name" => Selector::Name(pattern()?),
            "exe" => Selector::Exe(pattern()?),
            "user" => Selector::User(user::uid_of(value)?),
            "cgroup" => Selector::Cgroup(cgroup_path(value)),
            _ => return Err(not_a_target()),
        }))
    }
}

/// A pattern that matches that text and no other.
fn exactly(text: &str) -> Pattern {
    // Escaped, every text is a pattern.
    Pattern::new(&Pattern::escape(text)).unwrap_or_default()
}

/// A cgroup path as /proc/PID/cgroup has it: absolute in the hierarchy, without a slash at the
/// end; the root is the empty string.
fn cgroup_path(value: &str) -> String {
    format!("/{}", value.trim_matches('/'))
        .trim_end_matches('/')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessKey;

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
            cgroup: "/user.slice/app".into(),
        }
    }

    #[test]
    fn a_name_with_wildcards_in_it_means_only_itself() {
        let mut process = process();
        for name in ["[*]?", "a[b", "*", "]", ""] {
            process.name = name.into();
            assert!(Selector::of_name(name).matches(&process), "{name}");
            process.name = format!("{name}x").into();
            assert!(!Selector::of_name(name).matches(&process), "{name}");
        }
    }

    #[track_caller]
    fn matches(target: &str) -> bool {
        match target.parse().unwrap() {
            Target::Selector(selector) => selector.matches(&process()),
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
        ] {
            assert!(!matches(no), "{no}");
        }
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
            "name:[",
            "user:nobody-here",
            "٣",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        let error = "fire\u{1b}fox".parse::<Target>().unwrap_err().to_string();
        assert!(
            error.contains("name:GLOB") && !error.contains('\u{1b}'),
            "{error}"
        );
    }
}
