//! The limits that clients have set: whose they are, and when they end.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::task::AbortHandle;

use super::{access::Standing, kept::Kept};
use crate::{
    model::{Limit, LimitId, Origin, Snapshot},
    process::Targets,
    protocol::SetLimit,
};

/// Who asks: what the kernel says of the other end of a connection (`SO_PEERCRED`).
#[derive(Clone, Debug)]
pub struct Peer {
    /// Counts the connections.
    pub connection: u64,
    /// Its user.
    pub uid: u32,
    /// Its user's name.
    pub user: String,
    /// What it may.
    pub standing: Standing,
    /// Its process; 0 where it is none that we see.
    pub pid: u32,
}

/// All limits, in the order of their ids.
#[derive(Debug, Default)]
pub struct Origins {
    all: BTreeMap<LimitId, Owned>,
    /// How many limits were ever set.
    serial: u64,
}

#[derive(Debug)]
struct Owned {
    origin: Origin,
    targets: Targets,
    limit: Limit,
    /// The connection that it ends with; `None`: it is the engine's.
    connection: Option<u64>,
    /// Samples after this one know of it.
    sequence: u64,
    /// Counts the limits ever set: names are used again, and one may get another.
    serial: u64,
    /// What ends it when its time is up.
    timer: Option<Timer>,
}

/// A task that goes when its limit does.
#[derive(Debug)]
struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Origins {
    /// Notes one that was just set, and gives its serial. Where it was `before`, under another engine, it has been there
    /// since then.
    pub fn add(
        &mut self,
        id: LimitId,
        set: SetLimit,
        peer: &Peer,
        before: Option<&Kept>,
        sequence: u64,
    ) -> u64 {
        let SetLimit {
            targets,
            limit,
            for_ns,
            detach,
        } = set;
        let now_ns = now_ns();
        let origin = Origin {
            id,
            targets: words(&targets),
            children: targets.children,
            uid: peer.uid,
            user: peer.user.clone(),
            pid: peer.pid,
            since_ns: before.map_or(now_ns, |kept| kept.origin.since_ns),
            until_ns: for_ns.map(|time| now_ns.saturating_add(time)),
            detached: detach,
            rule: None,
        };
        let connection = (!detach).then_some(peer.connection);
        self.insert(origin, targets, limit, connection, sequence)
    }

    /// Notes one of an engine before that is set again, and gives its serial, and how long it has left, where it ends by
    /// itself.
    pub fn restore(&mut self, id: LimitId, kept: Kept, sequence: u64) -> (u64, Option<Duration>) {
        let origin = Origin { id, ..kept.origin };
        let left = origin.until_ns.map(|until| until.saturating_sub(now_ns()));
        let serial = self.insert(origin, kept.targets, kept.limit, None, sequence);
        (serial, left.map(Duration::from_nanos))
    }

    fn insert(
        &mut self,
        origin: Origin,
        targets: Targets,
        limit: Limit,
        connection: Option<u64>,
        sequence: u64,
    ) -> u64 {
        self.serial += 1;
        let id = origin.id;
        let owned = Owned {
            origin,
            targets,
            limit,
            connection,
            sequence,
            serial: self.serial,
            timer: None,
        };
        self.all.insert(id, owned);
        self.serial
    }

    /// All of them, for an engine that takes over.
    pub fn kept(&self) -> Vec<Kept> {
        let all = self.all.values().map(|owned| Kept {
            targets: owned.targets.clone(),
            limit: owned.limit,
            origin: owned.origin.clone(),
        });
        all.collect()
    }

    /// One is another one from now on.
    pub fn change(&mut self, id: LimitId, limit: Limit) {
        if let Some(owned) = self.all.get_mut(&id) {
            owned.limit = limit;
        }
    }

    /// The name of a limit now, where it is still set.
    pub fn id_of(&self, serial: u64) -> Option<LimitId> {
        let mut all = self.all.iter();
        let found = all.find(|(_, owned)| owned.serial == serial);
        found.map(|(id, _)| *id)
    }

    /// Has a task end with a limit, which it is to end.
    pub fn set_timer(&mut self, serial: u64, timer: AbortHandle) {
        let mut all = self.all.values_mut();
        if let Some(owned) = all.find(|owned| owned.serial == serial) {
            owned.timer = Some(Timer(timer));
        }
    }

    /// One has another name from now on, and is for children too, or no longer.
    pub fn rename(&mut self, from: LimitId, to: LimitId, children: bool, sequence: u64) {
        if let Some(mut owned) = self.all.remove(&from) {
            owned.origin.id = to;
            owned.sequence = sequence;
            owned.origin.children = children;
            owned.targets.children = children;
            self.all.insert(to, owned);
        }
    }

    /// Forgets one that has ended.
    pub fn remove(&mut self, id: LimitId) {
        self.all.remove(&id);
    }

    /// Those that end with that connection.
    pub fn of_connection(&self, connection: u64) -> Vec<LimitId> {
        let all = self.all.iter();
        all.filter(|(_, owned)| owned.connection == Some(connection))
            .map(|(id, _)| *id)
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many limits a user has set.
    pub fn count_of(&self, uid: u32) -> usize {
        let all = self.all.values();
        all.filter(|owned| owned.origin.uid == uid).count()
    }

    /// The user who has set that limit.
    pub fn user_of(&self, id: LimitId) -> Option<u32> {
        self.all.get(&id).map(|owned| owned.origin.uid)
    }

    /// Whether there is one that is the engine's.
    pub fn any_detached(&self) -> bool {
        self.all.values().any(|owned| owned.connection.is_none())
    }

    /// Forgets those that have ended by themselves, and writes the others into the sample, which says who belongs to
    /// each.
    pub fn write_to(&mut self, snapshot: &mut Snapshot) {
        self.all.retain(|id, owned| {
            snapshot.sequence <= owned.sequence
                || snapshot.limits.iter().any(|limit| limit.id == *id)
        });
        if !self.all.is_empty() {
            self.note_members(snapshot);
        }
        snapshot.origins = self
            .all
            .values()
            .map(|owned| owned.origin.clone())
            .collect();
    }
}

impl Origins {
    fn note_members(&mut self, snapshot: &Snapshot) {
        let known = self.all.values_mut();
        let known = known.filter(|owned| snapshot.sequence > owned.sequence);
        known.for_each(|owned| owned.targets.members.clear());
        for process in snapshot.processes.iter().filter(|process| !process.ended) {
            if let Some((id, _)) = process.limit
                && let Some(owned) = self.all.get_mut(&id)
                && snapshot.sequence > owned.sequence
            {
                owned.targets.members.push(process.key);
            }
        }
    }
}

/// Whom a limit is for, as targets are typed.
fn words(targets: &Targets) -> Vec<String> {
    let processes = targets.processes.iter().map(|key| key.pid.to_string());
    let selectors = targets.selectors.iter().cloned().map(String::from);
    processes.chain(selectors).collect()
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, nanoseconds)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProcessSample, testing};

    fn peer(connection: u64) -> Peer {
        Peer {
            connection,
            uid: 0,
            user: "root".to_owned(),
            standing: Standing::All,
            pid: 7,
        }
    }

    fn add(origins: &mut Origins, id: u32, connection: u64, detached: bool) -> u64 {
        let targets = Targets {
            selectors: vec!["name:x*".to_owned().try_into().unwrap()],
            children: true,
            ..Targets::default()
        };
        let set = SetLimit {
            targets,
            limit: testing::limit(id).limit,
            for_ns: None,
            detach: detached,
        };
        origins.add(LimitId(id), set, &peer(connection), None, 5)
    }

    fn snapshot(sequence: u64, limits: &[u32]) -> Snapshot {
        let limits = limits.iter().map(|id| testing::limit(*id));
        Snapshot {
            sequence,
            limits: limits.collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn limits_end_with_their_connection_but_for_detached_ones() {
        let mut origins = Origins::default();
        add(&mut origins, 1, 10, false);
        add(&mut origins, 2, 11, false);
        assert!(!origins.any_detached());
        add(&mut origins, 3, 10, true);
        assert!(origins.any_detached());
        assert_eq!(origins.of_connection(10), [LimitId(1)]);
        origins.rename(LimitId(1), LimitId(9), false, 6);
        assert_eq!(origins.of_connection(10), [LimitId(9)]);
        origins.remove(LimitId(9));
        assert!(origins.of_connection(10).is_empty());
    }

    #[test]
    fn one_that_has_ended_by_itself_is_forgotten_and_a_new_one_is_not() {
        let mut origins = Origins::default();
        add(&mut origins, 1, 10, false);
        // Begun before the limit was set.
        let mut sample = snapshot(5, &[]);
        origins.write_to(&mut sample);
        assert_eq!(sample.origins.len(), 1);
        assert_eq!(sample.origins[0].targets, ["name:x*"]);
        origins.write_to(&mut snapshot(6, &[1]));
        assert_eq!(origins.all.len(), 1);
        origins.write_to(&mut snapshot(7, &[2]));
        assert!(origins.all.is_empty());
    }

    #[test]
    fn who_belongs_to_a_limit_is_kept_for_the_next_engine() {
        let mut origins = Origins::default();
        add(&mut origins, 1, 10, true);
        let member = |pid, id, ended| ProcessSample {
            limit: Some((LimitId(id), Limit::NONE)),
            ended,
            ..testing::process(pid)
        };
        let members = |origins: &Origins| origins.kept()[0].targets.members.clone();
        let mut sample = snapshot(6, &[1]);
        sample.processes = vec![
            member(20, 1, false),
            member(21, 2, false),
            member(22, 1, true),
            testing::process(23),
        ];
        let key = sample.processes[0].key;
        origins.write_to(&mut sample);
        assert_eq!(members(&origins), [key]);
        // A sample that does not know of the limit says nothing of its members.
        origins.rename(LimitId(1), LimitId(4), true, 9);
        origins.write_to(&mut snapshot(9, &[4]));
        assert_eq!(members(&origins), [key]);
        origins.write_to(&mut snapshot(10, &[4]));
        assert!(members(&origins).is_empty());
    }

    #[test]
    fn a_name_that_is_used_again_is_not_the_limit_of_before() {
        let mut origins = Origins::default();
        let first = add(&mut origins, 1, 10, false);
        assert_eq!(origins.id_of(first), Some(LimitId(1)));
        // Switched to children it has another name, and is the same limit.
        origins.rename(LimitId(1), LimitId(4), false, 6);
        assert_eq!(origins.id_of(first), Some(LimitId(4)));
        origins.remove(LimitId(4));
        assert_eq!(origins.id_of(first), None);
        let second = add(&mut origins, 1, 10, false);
        assert_eq!(origins.id_of(first), None);
        assert_eq!(origins.id_of(second), Some(LimitId(1)));
    }
}
