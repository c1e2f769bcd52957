//! Targets as users name them: a process id, or a pattern for processes now and later.

use std::{collections::BTreeSet, fmt, str::FromStr};

use glob::Pattern;
use serde::{Deserialize, Serialize};

use super::{
    ProcessInfo, cgroup,
    user::{self, NamedUser},
};

/// One TARGET of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This process.
    Pid(u32),
    /// All that match, now and later.
    Selector(Selector),
}

/// A pattern for processes. In JSON it is as a target is typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selector {
    /// `name:GLOB`, on `comm`, of which the kernel keeps 15 characters, and on the name of the
    /// executable's file.
    Name(Pattern),
    /// `exe:GLOB`, on the executable's path.
    Exe(Pattern),
    /// `user:NAME`, on the effective user id.
    User(NamedUser),
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

    /// All processes of a user who is known already, as that one was named.
    pub fn of_user(name: &str, uid: u32) -> Self {
        Self::User(NamedUser::known(name, uid))
    }

    /// The user, where it is for one who is known, with the name that was given.
    pub fn user(&self) -> Option<(&str, u32)> {
        match self {
            Self::User(user) => Some((user.name(), user.uid()?)),
            _ => None,
        }
    }

    /// Whether the process matches.
    pub fn matches(&self, process: &ProcessInfo) -> bool {
        match self {
            Self::Name(pattern) => {
                pattern.matches(&process.name)
                    || process
                        .file_name()
                        .is_some_and(|name| pattern.matches(name))
            }
            Self::Exe(pattern) => pattern.matches(&process.exe),
            Self::User(user) => user.uid() == Some(process.uid),
            Self::Cgroup(path) => process
                .cgroup
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

impl Selector {
    /// What to say where no process matches, with what comes near among those that there are.
    pub fn nothing_matches<'a>(
        &self,
        processes: impl IntoIterator<Item = &'a ProcessInfo>,
    ) -> String {
        if let Self::User(user) = self {
            let name = crate::text::escape(user.name());
            return if user.is_looked_up() {
                format!("nothing matches {self} so far")
            } else {
                format!(
                    "nothing matches {self} yet: who '{name}' is has not been answered. The number works at once"
                )
            };
        }
        /// How many are named.
        const NAMED: usize = 3;
        let near: BTreeSet<String> = processes
            .into_iter()
            .filter_map(|process| self.near(process))
            .collect();
        let mut words = format!("nothing matches {self} so far");
        for (number, near) in near.iter().take(NAMED).enumerate() {
            words += if number == 0 { "; near it: " } else { ", " };
            words += &crate::text::escape(near);
        }
        words
    }

    /// The target that would have matched that process, where it may have been meant.
    fn near(&self, process: &ProcessInfo) -> Option<String> {
        let alike = |pattern: &str, text: &str| {
            let (wanted, text) = (literal(pattern), text.to_lowercase());
            !wanted.is_empty() && text.contains(&wanted)
        };
        match self {
            Self::Name(pattern) => {
                let names = [Some(&*process.name), process.file_name()];
                let name = names
                    .into_iter()
                    .flatten()
                    .find(|name| alike(pattern.as_str(), name))?;
                Some(format!("name:{name}"))
            }
            Self::Exe(pattern) => {
                // Of a path, the file is what was meant.
                let file = pattern.as_str().rsplit('/').next()?;
                let is_near =
                    alike(pattern.as_str(), &process.exe) || alike(file, process.file_name()?);
                is_near.then(|| format!("exe:{}", process.exe))
            }
            Self::Cgroup(path) => {
                let last = path.rsplit('/').next()?;
                alike(last, &process.cgroup).then(|| format!("cgroup:{}", process.cgroup))
            }
            Self::User(_) => None,
        }
    }
}

/// What a pattern has beside wildcards, where it may be compared.
fn literal(pattern: &str) -> String {
    pattern.to_lowercase().replace(['*', '?', '[', ']'], "")
}

impl Selector {
    /// Kind and value, as a target is typed.
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Name(pattern) => ("name", pattern.as_str()),
            Self::Exe(pattern) => ("exe", pattern.as_str()),
            Self::User(user) => ("user", user.name()),
            Self::Cgroup(path) if path.is_empty() => ("cgroup", "/"),
            Self::Cgroup(path) => ("cgroup", path.as_str()),
        }
    }
}

impl fmt::Display for Selector {
    /// As a target is typed, and safe to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = self.parts();
        write!(f, "{kind}:{}", crate::text::escape(value))
    }
}

impl From<Selector> for String {
    /// As a target is typed, whatever is in it.
    fn from(selector: Selector) -> Self {
        let (kind, value) = selector.parts();
        format!("{kind}:{value}")
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

/// Why a target could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// Neither a number nor one of the prefixes.
    #[error(
        "'{0}' is not a target. Give a process id, name:GLOB, exe:GLOB, user:NAME or cgroup:PATH"
    )]
    NotATarget(String),
    /// A name alone.
    #[error(
        "'{0}' is not a target: name:{0} is every process of that name. Others are a process id, name:GLOB, exe:GLOB, \
         user:NAME and cgroup:PATH"
    )]
    Bare(String),
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
        let Some((kind, value)) = text.split_once(':') else {
            let is_name =
                !text.is_empty() && !text.starts_with('-') && text.parse::<u32>().is_err();
            let is_one_word = text.chars().all(|c| c.is_ascii_graphic());
            return Err(match is_name && is_one_word {
                true => SelectorError::Bare(shown()),
                false => not_a_target(),
            });
        };
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
            "user" => Selector::User(NamedUser::find(value)?),
            // No process is in such a cgroup, and the path would lead out of where cgroups are.
            "cgroup" if value.split('/').any(|name| name == "." || name == "..") => {
                return Err(not_a_target());
            }
            "cgroup" => Selector::Cgroup(cgroup_path(value, &cgroup::mounts())),
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
/// end; the root is the empty string. Where it is mounted is left out, as in what completion of file
/// names gives.
fn cgroup_path(value: &str, mounts: &[String]) -> String {
    let path = format!("/{}", value.trim_matches('/'));
    let below = |mount: &String| {
        let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    };
    let inside = mounts
        .iter()
        .filter_map(below)
        .min_by_key(|rest| rest.len());
    inside.unwrap_or(&path).trim_end_matches('/').to_owned()
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
    fn names_that_the_kernel_has_cut_and_executables_match_by_their_whole_names() {
        let mut cut = process();
        cut.name = "transmission-da".into();
        cut.exe = "/usr/bin/transmission-daemon".into();
        let matches = |target: &str| match target.parse().unwrap() {
            Target::Selector(selector) => selector.matches(&cut),
            Target::Pid(_) => false,
        };
        assert!(matches("name:transmission-daemon") && matches("name:transmission-da"));
        assert!(!matches("name:transmission") && !matches("name:bin*"));
    }

    #[test]
    fn a_cgroup_may_be_named_by_where_it_is_mounted() {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(str::to_owned);
        for (typed, path) in [
            ("/sys/fs/cgroup/unified/user.slice/", "/user.slice"),
            ("/sys/fs/cgroup/user.slice", "/user.slice"),
            ("/sys/fs/cgroup/unified", ""),
            ("/sys/fs/cgroups", "/sys/fs/cgroups"),
            ("user.slice/app", "/user.slice/app"),
            ("/", ""),
        ] {
            assert_eq!(cgroup_path(typed, &mounts), path, "{typed}");
        }
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
            ("cgroup:/app", "cgroup:/user.slice/app"),
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
}
