//! The filter: what a row must be like, as it is typed.
//!
//! Words that stand apart must all hold. `user:`, `unit:` and the like ask what they ask as targets of limits, but that
//! text without a wildcard may stand anywhere; `port:` and `remote:` are about connections, `limited` and `held` about
//! limits. All else is text to be found in a process's name, id, user or command line.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{held::Use, inspect::ConnectionRow};
use crate::{
    model::{Direction, ProcessKey, ProcessSample, Snapshot},
    process::{Account, Condition, ProcessInfo, Processes, Selector},
};

/// What a row must be like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter(Vec<Word>);

#[derive(Clone, Debug, PartialEq)]
struct Word {
    /// Whether it is meant the other way round: `!`.
    negated: bool,
    asks: Asks,
}

/// What a word asks for.
#[derive(Clone, Debug, PartialEq)]
enum Asks {
    /// This text, in lower case.
    Text(String),
    /// What a target can ask for.
    Process(Condition),
    /// A connection with that port, here or there; what is no port has none.
    Port(Option<u16>),
    /// A connection to an address or name with this text in it, in lower case.
    Remote(String),
    /// A limit.
    Limited,
    /// A limit that holds it back right now.
    Held,
}

/// What may stand before a colon; of targets all but `group`, of which samples know nothing.
const KINDS: [&str; 10] = [
    "name",
    "exe",
    "command",
    "user",
    "cgroup",
    "unit",
    "container",
    "parent",
    "port",
    "remote",
];

/// The same and the others, for who has typed another one; those asked for most come first, since there may not be room
/// for all.
pub const WORDS: &str = "user: unit: port: remote: limited held name: exe: command: cgroup: \
                         container: parent:, and ! before one";

/// What stands before the colon of the first word that looks like one of the filter's and is none.
pub fn unknown_word(text: &str) -> Option<&str> {
    let words = text
        .split(' ')
        .map(|word| word.strip_prefix('!').unwrap_or(word));
    let mut kinds = words.filter_map(|word| word.split_once(':').map(|(kind, _)| kind));
    kinds.find(|kind| {
        let is_word = !kind.is_empty() && kind.bytes().all(|it| it.is_ascii_alphabetic());
        is_word && !KINDS.contains(kind)
    })
}

impl Filter {
    /// Reads what was typed, so far as it can be read: a word that is just begun asks for nothing. Users are known by
    /// their processes in the sample.
    pub fn read(text: &str, snapshot: &Snapshot) -> Self {
        let is_special = |word: &str| {
            let bare = word.strip_prefix('!').unwrap_or(word);
            let kind = bare.split_once(':').map(|(kind, _)| kind);
            word.starts_with('!')
                || matches!(bare, "limited" | "held")
                || kind.is_some_and(|kind| KINDS.contains(&kind))
        };
        let (special, plain): (Vec<&str>, Vec<&str>) =
            text.split(' ').partition(|it| is_special(it));
        let mut words: Vec<Word> = Vec::new();
        // Text alone is what was typed, spaces included.
        let plain = match special.is_empty() {
            true => text.to_owned(),
            false => plain.join(" ").trim().to_owned(),
        };
        if !plain.is_empty() {
            words.push(Word {
                negated: false,
                asks: Asks::Text(plain.to_lowercase()),
            });
        }
        words.extend(special.into_iter().filter_map(|word| {
            let (negated, bare) = match word.strip_prefix('!') {
                Some(bare) => (true, bare),
                None => (false, word),
            };
            let asks = asks(bare, snapshot)?;
            Some(Word { negated, asks })
        }));
        Self(words)
    }

    /// Whether it asks about connections, which somebody must look at then.
    pub fn asks_for_connections(&self) -> bool {
        let mut words = self.0.iter();
        words.any(|word| matches!(word.asks, Asks::Port(_) | Asks::Remote(_)))
    }

    /// The filter over one sample, and connections where some were looked at.
    pub fn over<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        connections: &[ConnectionRow],
    ) -> Filtering<'a> {
        let owners = |asks: &Asks| {
            let found = connections.iter().filter(|it| asks.finds(it));
            found.filter_map(|it| it.connection.process).collect()
        };
        let asks = self.0.iter().map(|word| &word.asks);
        let has_parent = |asks: &Asks| matches!(asks, Asks::Process(Condition::Parent(_)));
        let parents = match asks.clone().any(has_parent) {
            true => {
                let known = snapshot.processes.iter().filter(|it| !it.ended);
                known.map(|it| (it.key.pid, info(it))).collect()
            }
            false => HashMap::new(),
        };
        Filtering {
            words: &self.0,
            snapshot,
            owners: asks
                .map(|asks| match asks {
                    Asks::Port(_) | Asks::Remote(_) => owners(asks),
                    _ => HashSet::new(),
                })
                .collect(),
            parents: Parents(parents),
        }
    }
}

impl Asks {
    /// Whether a connection is what is asked for.
    fn finds(&self, row: &ConnectionRow) -> bool {
        let ends = [row.connection.local, row.connection.remote];
        match self {
            Self::Port(port) => ends.iter().flatten().any(|end| Some(end.port()) == *port),
            Self::Remote(text) => {
                let remote = row.connection.remote.map(|it| it.ip().to_canonical());
                remote.is_some_and(|it| it.to_string().contains(text))
                    || row.name.as_ref().is_some_and(|name| has(name, text))
            }
            _ => false,
        }
    }
}

/// What a word without its exclamation mark asks for; `None` where it is not finished.
fn asks(word: &str, snapshot: &Snapshot) -> Option<Asks> {
    match word.split_once(':') {
        None if word == "limited" => Some(Asks::Limited),
        None if word == "held" => Some(Asks::Held),
        None if word.is_empty() => None,
        Some(("port" | "remote", "")) => None,
        Some(("port", port)) => Some(Asks::Port(port.parse().ok())),
        Some(("remote", text)) => Some(Asks::Remote(text.to_lowercase())),
        Some((kind, "")) if KINDS.contains(&kind) => None,
        Some((kind, value)) if KINDS.contains(&kind) => {
            condition(kind, value, snapshot).map(Asks::Process)
        }
        _ => Some(Asks::Text(word.to_lowercase())),
    }
}

/// A condition as targets have it. Nobody is asked for users here, and nothing is read: the screen must not wait.
fn condition(kind: &str, value: &str, snapshot: &Snapshot) -> Option<Condition> {
    match kind {
        "cgroup" => {
            let path = value.trim_end_matches('/');
            let slash = if path.starts_with('/') || path.is_empty() {
                ""
            } else {
                "/"
            };
            Some(Condition::Cgroup(format!("{slash}{path}")))
        }
        "parent" => {
            let (kind, value) = value.split_once(':').unwrap_or(("", value));
            let parent = match kind {
                "" if value.is_empty() => return None,
                // Without a kind it is an id, or what is called so.
                "" => match value.parse() {
                    Ok(pid) => Condition::Pid(pid),
                    Err(_) => condition("name", value, snapshot)?,
                },
                "parent" | "port" | "remote" => return None,
                _ if value.is_empty() || !KINDS.contains(&kind) => return None,
                _ => condition(kind, value, snapshot)?,
            };
            Some(Condition::Parent(Box::new(parent)))
        }
        "user" => Some(Condition::User(account(value, snapshot))),
        _ => {
            let is_pattern = value.contains(['*', '?', '[']);
            // Of an id, the first digits are enough.
            let is_id = kind == "container" && value.bytes().all(|it| it.is_ascii_hexdigit());
            let anywhere = match is_pattern || is_id {
                true => value.to_owned(),
                false => format!("*{value}*"),
            };
            let mut nobody = |_, name: &str| Ok(Account::unknown(name));
            Condition::read(&format!("{kind}:{anywhere}"), &mut nobody).ok()
        }
    }
}

/// A user by number, or by the name that a process of theirs has.
fn account(name: &str, snapshot: &Snapshot) -> Account {
    let id = name.parse().ok().or_else(|| {
        let mut processes = snapshot.processes.iter();
        let theirs = processes.find(|process| *process.user == *name);
        theirs.map(|process| process.uid)
    });
    match id {
        Some(id) => Account::known(name, id),
        None => Account::unknown(name),
    }
}

/// A filter over one sample.
#[derive(Debug)]
pub struct Filtering<'a> {
    words: &'a [Word],
    snapshot: &'a Snapshot,
    /// For each word about connections, whose they are.
    owners: Vec<HashSet<ProcessKey>>,
    parents: Parents,
}

impl Filtering<'_> {
    /// Whether the process is wanted.
    pub fn wants(&self, process: &ProcessSample) -> bool {
        let mut words = self.words.iter().zip(&self.owners);
        words.all(|(word, owners)| {
            let holds = match &word.asks {
                Asks::Port(_) | Asks::Remote(_) => owners.contains(&process.key),
                asks => self.holds(asks, process),
            };
            holds != word.negated
        })
    }

    /// Whether that connection of the process is.
    pub fn wants_connection(&self, process: &ProcessSample, row: &ConnectionRow) -> bool {
        self.words.iter().all(|word| {
            let holds = match &word.asks {
                Asks::Port(_) | Asks::Remote(_) => word.asks.finds(row),
                Asks::Text(text) => {
                    let ends = [row.connection.local, row.connection.remote];
                    let mut ends = ends.iter().flatten();
                    self.holds(&word.asks, process)
                        || has(&row.connection.protocol, text)
                        || has(&row.connection.state, text)
                        || row.name.as_ref().is_some_and(|name| has(name, text))
                        || ends.any(|end| shown_address(*end).contains(text))
                }
                asks => self.holds(asks, process),
            };
            holds != word.negated
        })
    }

    fn holds(&self, asks: &Asks, process: &ProcessSample) -> bool {
        match asks {
            Asks::Text(text) => contains(process, text),
            Asks::Process(condition) => condition.matches(&info(process), &self.parents),
            Asks::Limited => process.limit.is_some(),
            Asks::Held => is_held(process, self.snapshot),
            Asks::Port(_) | Asks::Remote(_) => false,
        }
    }
}

/// Address and port, with an IPv4 address as one also where the socket is of IPv6.
pub fn shown_address(address: std::net::SocketAddr) -> String {
    std::net::SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// Processes by id, for `parent:`.
#[derive(Debug)]
struct Parents(HashMap<u32, ProcessInfo>);

impl Processes for Parents {
    fn of_pid(&self, pid: u32) -> Option<&ProcessInfo> {
        self.0.get(&pid)
    }
}

/// What a condition is asked of. Groups and names that only a container's runtime knows are not in samples.
fn info(process: &ProcessSample) -> ProcessInfo {
    ProcessInfo {
        key: process.key,
        parent: process.parent,
        name: Arc::clone(&process.name),
        exe: Arc::clone(&process.exe),
        command: Arc::clone(&process.command),
        uid: process.uid,
        user: Arc::clone(&process.user),
        gid: u32::MAX,
        cgroup: Arc::clone(&process.cgroup),
        container: Arc::default(),
    }
}

/// Whether its limit holds it back in some direction right now. Of those that share one, who carries nothing is not.
fn is_held(process: &ProcessSample, snapshot: &Snapshot) -> bool {
    let limits = &snapshot.limits;
    let limit = process.limit.and_then(|(id, _)| {
        let found = limits.binary_search_by_key(&id, |limit| limit.id);
        limits.get(found.ok()?)
    });
    let is_held_in = |direction| {
        let own = process.traffic[direction];
        own.bytes_per_s + own.dropped_bytes_per_s > 0.0
            && limit
                .and_then(|limit| Use::of(limit, direction))
                .is_some_and(|used| used.holds_back())
    };
    Direction::ALL.into_iter().any(is_held_in)
}

/// Whether one of the selectors matches the process.
pub fn is_selected(process: &ProcessSample, selectors: &[Selector]) -> bool {
    let nobody = Parents(HashMap::new());
    let mut selectors = selectors.iter();
    selectors.any(|selector| selector.matches(&info(process), &nobody))
}

/// Whether the text holds another, which is in lower case.
fn has(text: &str, needle: &str) -> bool {
    // Most are ASCII, and then need no copy.
    if text.is_ascii() && needle.is_ascii() {
        let mut windows = text.as_bytes().windows(needle.len());
        windows.any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
    } else {
        text.to_lowercase().contains(needle)
    }
}

/// Whether name, id, user or command line hold the text, which is in lower case.
fn contains(process: &ProcessSample, needle: &str) -> bool {
    has(&process.name, needle)
        || has(&process.command, needle)
        || has(&process.user, needle)
        || process.key.pid.to_string().contains(needle)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
