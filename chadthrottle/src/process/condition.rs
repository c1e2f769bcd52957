//! One condition of a selector: what it asks of a process, how it is typed, and what comes near it.

use glob::Pattern;

use super::{
    ProcessInfo,
    account::Account,
    cgroup,
    container::{container_of, is_id_prefix},
    grammar::SelectorError,
    near::typos,
    unit::{unescape, units_of},
};

/// So many asterisks a pattern may have. Each may stand for anything, so that many make one look at a long command line
/// take as long as its length times their number; and everybody may send patterns.
const MOST_STARS: usize = 32;

/// Finds processes by id, for conditions on what has started a process.
pub trait Processes {
    /// The process of that id, where it is known.
    fn of_pid(&self, pid: u32) -> Option<&ProcessInfo>;
}

impl Processes for [ProcessInfo] {
    fn of_pid(&self, pid: u32) -> Option<&ProcessInfo> {
        self.iter().find(|info| info.key.pid == pid)
    }
}

impl Processes for Vec<ProcessInfo> {
    fn of_pid(&self, pid: u32) -> Option<&ProcessInfo> {
        self.as_slice().of_pid(pid)
    }
}

/// What is asked of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `PID`, where it is not alone: whatever process has that id.
    Pid(u32),
    /// `name:GLOB`, on `comm`, of which the kernel keeps 15 characters, and on the name of the executable's file.
    Name(Pattern),
    /// `exe:GLOB`, on the executable's path.
    Exe(Pattern),
    /// `command:GLOB`, on the command line with spaces between its arguments.
    Command(Pattern),
    /// `user:NAME`, on the effective user id.
    User(Account),
    /// `group:NAME`, on the effective group id.
    Group(Account),
    /// `cgroup:PATH`, the cgroup and those below it.
    Cgroup(String),
    /// `unit:GLOB`, on the names of all units of systemd that the process is in: slices, services and scopes, those of a
    /// user's manager too.
    Unit(Pattern),
    /// `container:GLOB`, on a container's name, or the beginning of its id.
    Container(Pattern),
    /// `parent:CONDITION`: some process that matches has started it, or has started what has, and so on.
    Parent(Box<Condition>),
}

/// Kinds of conditions, as they are typed.
pub const KINDS: [&str; 9] = [
    "name",
    "exe",
    "command",
    "user",
    "group",
    "cgroup",
    "unit",
    "container",
    "parent",
];

/// A longer line of ancestors is not followed.
const MOST_ANCESTORS: usize = 64;

impl Condition {
    /// Whether it is about a name, user or group, which change without an exec.
    pub fn goes_by_guise(&self) -> bool {
        match self {
            Self::Name(_) | Self::User(_) | Self::Group(_) => true,
            Self::Parent(condition) => condition.goes_by_guise(),
            _ => false,
        }
    }

    /// Reads one condition; `account` looks up users and groups.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(text: &str, account: &mut LookUp<'_>) -> Result<Self, SelectorError> {
        let not_a_target = || SelectorError::NotATarget(shown(text));
        if let Some(pid) = text.parse().ok().filter(|pid| *pid > 0) {
            return Ok(Self::Pid(pid));
        }
        let (kind, value) = text.split_once(':').ok_or_else(not_a_target)?;
        if !KINDS.contains(&kind) || value.is_empty() {
            return Err(not_a_target());
        }
        let pattern = || {
            let pattern = Pattern::new(value).map_err(|error| error.msg);
            let stars = value.matches('*').count();
            let pattern = pattern.and_then(|it| match stars {
                0..=MOST_STARS => Ok(it),
                _ => Err("it has more than 32 asterisks"),
            });
            pattern.map_err(|reason| SelectorError::Pattern {
                pattern: shown(text),
                reason,
            })
        };
        Ok(match kind {
            "name" => Self::Name(pattern()?),
            "exe" => Self::Exe(pattern()?),
            "command" => Self::Command(pattern()?),
            "user" => Self::User(account(AccountKind::User, value)?),
            "group" => Self::Group(account(AccountKind::Group, value)?),
            // No process is in such a cgroup, and the path would lead out of where cgroups are.
            "cgroup" if value.split('/').any(|name| name == "." || name == "..") => {
                return Err(not_a_target());
            }
            "cgroup" => Self::Cgroup(cgroup_path(value, &cgroup::mounts())),
            "unit" => Self::Unit(pattern()?),
            "container" => Self::Container(pattern()?),
            // Before it is looked into: whoever wrote it may have written a thousand of them.
            _ if value.starts_with("parent:") => {
                return Err(SelectorError::Nested(shown(text)));
            }
            _ => Self::Parent(Box::new(Self::read(value, account)?)),
        })
    }

    /// Kind and value, as it is typed.
    pub fn text(&self) -> String {
        match self {
            Self::Pid(pid) => pid.to_string(),
            Self::Name(pattern) => format!("name:{pattern}"),
            Self::Exe(pattern) => format!("exe:{pattern}"),
            Self::Command(pattern) => format!("command:{pattern}"),
            Self::User(user) => format!("user:{}", user.name()),
            Self::Group(group) => format!("group:{}", group.name()),
            Self::Cgroup(path) if path.is_empty() => "cgroup:/".to_owned(),
            Self::Cgroup(path) => format!("cgroup:{path}"),
            Self::Unit(pattern) => format!("unit:{pattern}"),
            Self::Container(pattern) => format!("container:{pattern}"),
            Self::Parent(condition) => format!("parent:{}", condition.text()),
        }
    }

    /// Whether the process is as it asks.
    pub fn matches(&self, process: &ProcessInfo, processes: &dyn Processes) -> bool {
        match self {
            Self::Pid(pid) => process.key.pid == *pid,
            Self::Name(pattern) => {
                pattern.matches(&process.name)
                    || process
                        .file_name()
                        .is_some_and(|name| pattern.matches(name))
            }
            Self::Exe(pattern) => pattern.matches(&process.exe),
            Self::Command(pattern) => {
                !process.command.is_empty() && pattern.matches(&process.command)
            }
            Self::User(user) => user.id() == Some(process.uid),
            Self::Group(group) => group.id() == Some(process.gid),
            Self::Cgroup(path) => process
                .cgroup
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            // As systemd writes it, or as people read it.
            Self::Unit(pattern) => units_of(&process.cgroup)
                .any(|unit| pattern.matches(unit) || pattern.matches(&unescape(unit))),
            Self::Container(pattern) => {
                let Some(container) = container_of(&process.cgroup) else {
                    return false;
                };
                let begins = |id: &str| {
                    let wanted = pattern.as_str();
                    is_id_prefix(wanted) && id.starts_with(wanted)
                };
                container.id.is_some_and(begins)
                    || container.name.is_some_and(|name| pattern.matches(&name))
                    || (!process.container.is_empty() && pattern.matches(&process.container))
            }
            Self::Parent(condition) => {
                ancestors(process, processes).any(|ancestor| condition.matches(ancestor, processes))
            }
        }
    }

    /// The user or group that it names.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::User(account) | Self::Group(account) => Some(account),
            Self::Parent(condition) => condition.account(),
            _ => None,
        }
    }

    /// Whether every process matches.
    pub fn is_everybody(&self) -> bool {
        match self {
            Self::Name(pattern) | Self::Exe(pattern) | Self::Command(pattern) => {
                pattern.as_str().bytes().all(|it| it == b'*')
            }
            _ => false,
        }
    }

    /// Whether no process matches: paths of executables are whole ones.
    pub fn is_nobody(&self) -> bool {
        match self {
            Self::Exe(pattern) => !pattern.as_str().starts_with(['/', '*', '?', '[']),
            Self::Parent(condition) => condition.is_nobody(),
            _ => false,
        }
    }

    /// Whether no process can match both.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pid(one), Self::Pid(other)) => one != other,
            (Self::User(one), Self::User(other)) | (Self::Group(one), Self::Group(other)) => one
                .id()
                .zip(other.id())
                .is_some_and(|(one, other)| one != other),
            (Self::Exe(one), Self::Exe(other)) => {
                let (one, other) = (one.as_str(), other.as_str());
                let (begin, other_begin) = (beginning(one), beginning(other));
                let both_plain = begin == one && other_begin == other;
                let may_be_both = begin.starts_with(other_begin) || other_begin.starts_with(begin);
                both_plain && one != other || !may_be_both
            }
            (Self::Cgroup(one), Self::Cgroup(other)) => {
                let holds = |one: &str, other: &str| {
                    let rest = other.strip_prefix(one);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                !holds(one, other) && !holds(other, one)
            }
            _ => false,
        }
    }

    /// The target that would have matched that process, where it may have been meant, and how many typos there are then.
    pub fn near(&self, process: &ProcessInfo) -> Option<(usize, String)> {
        match self {
            Self::Name(pattern) => {
                let names = [Some(&*process.name), process.file_name()];
                let (typos, name) = nearest(pattern.as_str(), names.into_iter().flatten())?;
                Some((typos, format!("name:{name}")))
            }
            Self::Exe(pattern) => {
                // Of a path, the file is what was meant.
                let file = pattern.as_str().rsplit('/').next()?;
                let in_path = typos(pattern.as_str(), &process.exe).filter(|typos| *typos == 0);
                let typos = in_path.or_else(|| typos(file, process.file_name()?))?;
                Some((typos, format!("exe:{}", process.exe)))
            }
            Self::Cgroup(path) => {
                let (last, cgroup) = (path.rsplit('/').next()?, &*process.cgroup);
                if typos(last, cgroup) == Some(0) {
                    return Some((0, format!("cgroup:{cgroup}")));
                }
                // Any of those above it may have been meant.
                let ends = cgroup.match_indices('/').map(|(at, _)| at).skip(1);
                let above = ends.chain([cgroup.len()]).map(|end| &cgroup[..end]);
                let near =
                    above.filter_map(|path| Some((typos(last, path.rsplit('/').next()?)?, path)));
                let (typos, path) = near.min_by_key(|(typos, _)| *typos)?;
                Some((typos, format!("cgroup:{path}")))
            }
            Self::Unit(pattern) => {
                let near = units_of(&process.cgroup).filter_map(|unit| {
                    let name = unescape(unit);
                    // Its kind at the end is what many leave out.
                    let stem = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem);
                    let (typos, _) = nearest(pattern.as_str(), [unit, &name, stem])?;
                    Some((typos, format!("unit:{name}")))
                });
                near.min_by_key(|(typos, _)| *typos)
            }
            Self::Container(pattern) => {
                let container = container_of(&process.cgroup)?;
                let name = match (&*process.container, container.name) {
                    ("", Some(name)) => name,
                    (name, _) => name.to_owned(),
                };
                let typos = typos(pattern.as_str(), &name)?;
                Some((typos, format!("container:{name}")))
            }
            Self::Pid(_) | Self::Command(_) | Self::User(_) | Self::Group(_) | Self::Parent(_) => {
                None
            }
        }
    }
}

/// What a pattern has before its first wildcard.
fn beginning(pattern: &str) -> &str {
    let end = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    &pattern[..end]
}

/// The first of the texts that come nearest to a pattern, if any is near, and how many typos there are.
fn nearest<'a>(
    pattern: &str,
    texts: impl IntoIterator<Item = &'a str>,
) -> Option<(usize, &'a str)> {
    let near = texts
        .into_iter()
        .filter_map(|text| Some((typos(pattern, text)?, text)));
    near.min_by_key(|(typos, _)| *typos)
}

/// What has started the process, what has started that, and so on, as far as they live.
fn ancestors<'a>(
    process: &'a ProcessInfo,
    processes: &'a dyn Processes,
) -> impl Iterator<Item = &'a ProcessInfo> {
    let parent = move |process: &&'a ProcessInfo| {
        let parent = processes.of_pid(process.parent)?;
        // Its id may be another's by now.
        (parent.key.start_ticks <= process.key.start_ticks).then_some(parent)
    };
    std::iter::successors(Some(process), parent)
        .skip(1)
        .take(MOST_ANCESTORS)
}

/// Of which database an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountKind {
    /// Users.
    User,
    /// Groups.
    Group,
}

/// Looks up users and groups by name.
pub type LookUp<'a> = dyn FnMut(AccountKind, &str) -> Result<Account, SelectorError> + 'a;

/// What was typed, safe to show.
pub fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
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
}
