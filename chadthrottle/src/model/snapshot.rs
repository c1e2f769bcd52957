//! What the engine tells the outside: one picture of all processes a sample.

use std::{collections::BTreeMap, ops::AddAssign, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Ability, Both, Connections, Limit, LimitId, ProcessKey};

/// One direction of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// IP bytes a second over the last interval.
    pub bytes_per_s: f64,
    /// IP bytes since the engine started.
    pub bytes: u64,
    /// IP bytes refused since the engine started.
    pub dropped_bytes: u64,
    /// IP bytes refused a second over the last interval.
    pub dropped_bytes_per_s: f64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.bytes_per_s += other.bytes_per_s;
        self.bytes += other.bytes;
        self.dropped_bytes += other.dropped_bytes;
        self.dropped_bytes_per_s += other.dropped_bytes_per_s;
    }
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// Its id and start time.
    pub key: ProcessKey,
    /// Its parent's id; 0 where there is none.
    pub parent: u32,
    /// `comm`, as it is: it may hold any bytes but NUL and must be escaped before it is shown.
    pub name: Arc<str>,
    /// Path of the executable; empty where it cannot be read.
    pub exe: Arc<str>,
    /// The command line with spaces between its arguments, as it is; cut where it is very long.
    pub command: Arc<str>,
    /// The effective user's id.
    pub uid: u32,
    /// Name of the effective user, or the number where it has no name.
    pub user: Arc<str>,
    /// cgroup v2 path.
    pub cgroup: Arc<str>,
    /// Sockets that are known to be its own (a lower bound).
    pub sockets: u32,
    /// What it carries.
    pub traffic: Both<Traffic>,
    /// What has passed over loopback, which is in neither of them.
    pub loopback: Both<u64>,
    /// Its limit, and which one that is.
    #[serde(with = "held_by")]
    pub limit: Option<(LimitId, Limit)>,
    /// It ended a moment ago.
    pub ended: bool,
}

/// What the members of a limit have carried since they are counted, also before it was theirs, those that have ended included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// IP bytes that passed.
    pub passed: Both<u64>,
    /// IP bytes that were refused.
    pub dropped: Both<u64>,
}

/// One limit, over all its members.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitSample {
    /// Which one.
    pub id: LimitId,
    /// How much.
    pub limit: Limit,
    /// Whether it holds for what its members start.
    pub children: bool,
    /// Whether it takes in processes that match and start later.
    pub open_ended: bool,
    /// Processes that share it and live.
    pub members: usize,
    /// What all its members carry, those that have just ended included.
    pub traffic: Both<Traffic>,
    /// Connections that use a good part of what they may.
    pub connections: Connections,
    /// Bytes that members' connections carried between the last two looks at them while the kernel programs
    /// saw nothing: where there are any, the limit does not hold.
    pub unseen_bytes: u64,
}

/// One sample of everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Counts up from 1.
    pub sequence: u64,
    /// Time since the sample before.
    #[serde(rename = "interval_ns", with = "nanoseconds")]
    pub interval: Duration,
    /// All processes, in the order of their ids.
    pub processes: Vec<ProcessSample>,
    /// The limits that are set, in the order of their ids.
    pub limits: Vec<LimitSample>,
    /// Where the limits come from, in the order of their ids.
    #[serde(default)]
    pub origins: Vec<Origin>,
    /// The rules that there are, in the order in which they are tried.
    #[serde(default)]
    pub rules: Vec<RuleSample>,
    /// The profiles of rules that there are.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// The one that is chosen.
    #[serde(default)]
    pub profile: Option<String>,
    /// Whether the files of rules say other things by now than what was read from them.
    #[serde(default)]
    pub rules_changed: bool,
    /// Which limits come from rules that are on: what the engine tells of them to who knows the rest.
    #[serde(skip)]
    pub ruled: Vec<Ruled>,
    /// Bytes that rules' members have carried since the engine started, likewise.
    #[serde(skip)]
    pub carried_by_rule: BTreeMap<Arc<str>, Both<u64>>,
    /// Limits with selectors that match nothing now.
    pub unmatched: Vec<Unmatched>,
    /// Traffic that belongs to no process.
    pub unattributed: Both<u64>,
    /// Traffic over loopback, each byte once a direction.
    pub loopback: Both<u64>,
    /// What the user should know, newest last: at most a few lines.
    pub warnings: Vec<String>,
}

/// Who has set a limit, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Which limit.
    pub id: LimitId,
    /// Whom it is for, as targets are typed.
    pub targets: Vec<String>,
    /// And what these start.
    pub children: bool,
    /// The user who has set it.
    pub uid: u32,
    /// Its name, or the number where it has none.
    pub user: String,
    /// The process that has.
    pub pid: u32,
    /// When, in nanoseconds since 1970.
    pub since_ns: u64,
    /// When it ends by itself, likewise.
    pub until_ns: Option<u64>,
    /// Whether it goes on without the process that has set it.
    pub detached: bool,
    /// The rule that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
}

/// A limit that comes from a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The limit.
    pub id: LimitId,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleSample {
    /// Its name.
    pub name: Arc<str>,
    /// For whom, as targets are typed.
    pub targets: Vec<String>,
    /// How much.
    pub limit: Limit,
    /// Who shares it: all, process, program, user or unit.
    pub share: String,
    /// When it is on; always where there is nothing.
    pub when: Vec<String>,
    /// On which networks; on all where there is nothing.
    pub on: Vec<String>,
    /// Profiles that have it; it is in none where there is nothing.
    pub profiles: Vec<String>,
    /// Whether it is on now, be it only for processes that have a connection by some interface.
    pub is_on: bool,
    /// Why, or why not.
    pub why: String,
    /// Whether it may be on.
    pub enabled: bool,
    /// Where it stands.
    pub file: String,
    /// In which line.
    pub line: usize,
    /// Its limits now.
    pub limits: Vec<LimitId>,
    /// Processes that these hold.
    pub members: usize,
    /// IP bytes that its members have carried since midnight, or since the engine started.
    pub carried_today: Both<u64>,
}

/// A selector that matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// Whose limit.
    pub id: LimitId,
    /// What to say of that.
    pub words: String,
}

impl Snapshot {
    /// The limit that the process `pid` has set, and that ends with it: switched to children, or back, it has another
    /// name than before.
    pub fn own_limit(&self, pid: u32) -> Option<LimitId> {
        let mut origins = self.origins.iter();
        let own = origins.find(|origin| origin.pid == pid && !origin.detached)?;
        Some(own.id)
    }
}

/// What the engine found out about the machine when it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// How the programs are attached: `link` or `legacy`.
    pub attach: String,
    /// The cgroup they are attached to.
    pub cgroup: String,
    /// What holds limits beside the policer.
    pub levers: Ability,
    /// Whether the kernel programs see who uses a socket; else /proc is searched for sockets that
    /// have changed hands.
    pub sees_socket_use: bool,
}

/// A process's limit as an object with names, which pairs are not in JSON.
mod held_by {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Limit, LimitId};

    #[derive(Serialize, Deserialize)]
    struct HeldBy {
        id: LimitId,
        limit: Limit,
    }

    // serde has it by reference.
    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(
        held_by: &Option<(LimitId, Limit)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        held_by
            .map(|(id, limit)| HeldBy { id, limit })
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<(LimitId, Limit)>, D::Error> {
        let held_by = Option::<HeldBy>::deserialize(deserializer)?;
        Ok(held_by.map(|HeldBy { id, limit }| (id, limit)))
    }
}

/// A duration as a number, which JSON has.
mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}
