//! Traffic of limited processes that passes the kernel programs by: a limit that they see none of
//! holds for nobody, and is not to be shown as one that does.
//!
//! It is looked for in each sample, among members whose counters stand still: their connections say
//! themselves what they have carried (`TCP_INFO`). Who asks them waits while a program has them locked, so that is done
//! aside.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    os::fd::OwnedFd,
    path::Path,
};

use chadthrottle_common::ownership::Owner;

use super::Engine;
use crate::{
    backends::throttle::maps::Owners,
    model::ProcessKey,
    process::{aside::Aside, each_socket_of},
    sys::{apart::apart, socket, tcp},
};

/// What to say of such a limit.
pub const NOT_HELD: &str = "NOT HELD: connections carry data that the kernel programs do not see, \
                            as those that were made in another cgroup";

/// How many members are looked at in one sample; of more, others have their turn in the next.
const BUDGET: usize = 64;

/// What connections may carry between two looks without being counted yet, in bytes.
const TOLERATED: u64 = 4_096;

/// Of one member, so many descriptors are looked at.
const DESCRIPTORS: usize = 65_536;

/// What is kept from one sample to the next.
#[derive(Debug, Default)]
pub struct Unseen {
    /// Of each member's slot, all that was counted for it.
    counted: HashMap<u32, u64>,
    /// What was found of members at the last look at them, by slot.
    looks: HashMap<u32, Look>,
    /// By rule, what was carried and not counted, where that is more than is tolerated.
    bytes: HashMap<u32, u64>,
    turn: usize,
}

/// A member of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    key: ProcessKey,
    slot: u32,
    rule: u32,
    /// All that was counted for it.
    counted: u64,
}

/// What was found of a member.
#[derive(Debug)]
struct Look {
    rule: u32,
    /// By the socket's inode.
    connections: HashMap<u64, Connection>,
    /// What they have carried since the look before, without being counted.
    bytes: u64,
}

/// A connection of a member.
#[derive(Clone, Copy, Debug)]
struct Connection {
    /// All that it has carried.
    carried: u64,
    /// All that was counted for the process that it is counted for: several may hold the socket.
    counted: u64,
    /// Whether it has been found with another member in this sample.
    is_known: bool,
}

/// What a connection says of itself.
#[derive(Clone, Copy, Debug)]
struct Told {
    inode: u64,
    /// All that it has carried, in bytes of payload.
    carried: u64,
    /// Whom it is counted for, as far as that is noted on it.
    owner: Option<Owner>,
}

/// Asks the connections of processes.
pub struct Asking(Aside<ProcessKey, Vec<Told>>);

impl Asking {
    /// Of processes in that /proc.
    pub fn of(root: &Path, owners: Owners) -> Self {
        let root = root.to_owned();
        Self(Aside::new("connections", move |key: &ProcessKey| {
            let told = apart(&[owners.raw_fd()], || told_by(&root, key.pid, &owners));
            told.unwrap_or_default()
        }))
    }
}

fn told_by(root: &Path, pid: u32, owners: &Owners) -> Vec<Told> {
    let mut all = Vec::new();
    let mut budget = DESCRIPTORS;
    let ask = |socket: &OwnedFd| {
        if let (Some(inode), Ok(info)) = (socket::inode(socket), tcp::info(socket)) {
            all.push(Told {
                inode,
                carried: info.bytes_acked + info.bytes_received,
                owner: owners.noted_on(socket),
            });
        }
        ControlFlow::Continue(())
    };
    let _all = each_socket_of(root, pid, &mut budget, ask);
    all
}

impl Unseen {
    /// What members of the rule carried unseen.
    pub fn of(&self, rule: u32) -> u64 {
        self.bytes.get(&rule).copied().unwrap_or(0)
    }

    /// Members whose counters stand still, those whose turn it is.
    fn due(&mut self, members: Vec<Member>) -> Vec<Member> {
        let counted = members.iter().map(|it| (it.slot, it.counted)).collect();
        let before = std::mem::replace(&mut self.counted, counted);
        let mut still = members;
        still.retain(|it| before.get(&it.slot) == Some(&it.counted));
        let rules: HashMap<u32, u32> = still.iter().map(|it| (it.slot, it.rule)).collect();
        self.looks
            .retain(|slot, look| rules.get(slot) == Some(&look.rule));
        still.sort_unstable();
        let len = still.len();
        still.rotate_left(self.turn % len.max(1));
        if len > BUDGET {
            self.turn = self.turn.wrapping_add(BUDGET);
        }
        still.truncate(BUDGET);
        still
    }

    /// Takes in the connections of a member, by the inodes of their sockets.
    fn look(&mut self, member: Member, connections: HashMap<u64, Connection>) {
        let before = self.looks.get(&member.slot);
        let moved = connections.iter().filter_map(|(inode, now)| {
            let then = before?.connections.get(inode)?;
            let is_unseen = !now.is_known && now.counted == then.counted;
            is_unseen.then(|| now.carried.saturating_sub(then.carried))
        });
        let bytes = moved.sum();
        let look = Look {
            rule: member.rule,
            connections,
            bytes,
        };
        self.looks.insert(member.slot, look);
    }

    /// Sums up what the looks have found. Gives the rules that were held until now, and are not.
    fn conclude(&mut self) -> Vec<u32> {
        let mut bytes = HashMap::new();
        for look in self.looks.values().filter(|look| look.bytes > TOLERATED) {
            *bytes.entry(look.rule).or_default() += look.bytes;
        }
        let before = std::mem::replace(&mut self.bytes, bytes);
        let rules = self.bytes.keys().copied();
        rules.filter(|rule| !before.contains_key(rule)).collect()
    }
}

impl Engine {
    /// Looks for it.
    pub(super) fn look_for_unseen(&mut self) {
        if self.limits.rules().next().is_none() {
            self.unseen = Unseen::default();
            return;
        }
        let members = self.slots.iter().filter_map(|(key, slot)| {
            let rule = self.rule_of(slot);
            self.limits.get(rule)?;
            let counted = self.counted(slot);
            Some(Member {
                key,
                slot,
                rule,
                counted,
            })
        });
        let members: Vec<Member> = members.collect();
        let by_key: HashMap<ProcessKey, Member> = members.iter().map(|it| (it.key, *it)).collect();
        let Some(Asking(asking)) = &mut self.asking else {
            return;
        };
        for member in self.unseen.due(members) {
            asking.ask(member.key);
        }
        let mut known = HashSet::new();
        // Those of who hangs come with a later sample.
        for (key, told) in asking.answers() {
            let Some(member) = by_key.get(&key) else {
                continue;
            };
            let connections: HashMap<u64, Connection> = told
                .into_iter()
                .map(|told| {
                    let owner = told.owner.filter(|owner| self.is_living(*owner));
                    let connection = Connection {
                        carried: told.carried,
                        counted: owner.map_or(member.counted, |owner| self.counted(owner.slot)),
                        is_known: known.contains(&told.inode),
                    };
                    (told.inode, connection)
                })
                .collect();
            known.extend(connections.keys().copied());
            self.unseen.look(*member, connections);
        }
        for rule in self.unseen.conclude() {
            log::warn!("limit {rule} is {NOT_HELD}");
        }
    }

    /// All that was counted for a slot.
    fn counted(&self, slot: u32) -> u64 {
        let slot = self.throttle.maps.slots.get(slot as usize);
        let meters = slot.map(|slot| [&slot.ingress, &slot.egress]);
        let sum = meters.into_iter().flatten().map(|meter| {
            meter.bytes.get() + meter.dropped_bytes.get() + meter.loopback_bytes.get()
        });
        sum.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(pid: u32, rule: u32, counted: u64) -> Member {
        Member {
            key: ProcessKey {
                pid,
                start_ticks: 100,
            },
            slot: pid,
            rule,
            counted,
        }
    }

    fn connection(carried: u64, counted: u64) -> Connection {
        Connection {
            carried,
            counted,
            is_known: false,
        }
    }

    /// One sample of members, each with one connection.
    fn sample(unseen: &mut Unseen, all: &[(Member, Connection)]) -> Vec<u32> {
        let due = unseen.due(all.iter().map(|(member, _)| *member).collect());
        for member in due {
            let (_, connection) = all.iter().find(|(it, _)| *it == member).unwrap();
            let inode = u64::from(member.slot);
            unseen.look(member, HashMap::from([(inode, *connection)]));
        }
        unseen.conclude()
    }

    #[test]
    fn a_limit_is_not_held_while_its_connections_carry_what_is_not_counted() {
        // What a member's counters and its connection say, sample by sample, and what is unseen then.
        let mut unseen = Unseen::default();
        for (counted, carried, expected, is_news) in [
            (10, 0, 0, false),
            (10, 50_000, 0, false), // the first look
            (10, 90_000, 40_000, true),
            (10, 150_000, 60_000, false),
            (11, 190_000, 0, false), // something is counted again
            (11, 200_000, 0, false),
            (11, 200_000 + TOLERATED, 0, false),
            (11, 300_000 + TOLERATED, 100_000, true),
            (11, 300_000 + TOLERATED, 0, false), // nothing is carried
        ] {
            let news = sample(
                &mut unseen,
                &[(member(1, 3, counted), connection(carried, counted))],
            );
            assert_eq!(unseen.of(3), expected, "{counted} {carried}");
            assert_eq!(!news.is_empty(), is_news, "{counted} {carried}");
        }
    }

    #[test]
    fn what_another_process_is_counted_for_or_was_found_already_is_not_unseen() {
        for (owner_counted, is_known, expected) in [(7, false, 90_000), (8, false, 0), (7, true, 0)]
        {
            let mut unseen = Unseen::default();
            let then = [(member(1, 3, 0), connection(10_000, 7))];
            sample(&mut unseen, &then);
            sample(&mut unseen, &then);
            let now = Connection {
                is_known,
                ..connection(100_000, owner_counted)
            };
            sample(&mut unseen, &[(member(1, 3, 0), now)]);
            assert_eq!(unseen.of(3), expected, "{owner_counted} {is_known}");
        }
    }

    #[test]
    fn a_limit_that_has_ended_or_lost_its_member_is_not_spoken_of() {
        let mut unseen = Unseen::default();
        for carried in [0, 0, 50_000] {
            let all = [1, 2].map(|pid| (member(pid, pid, 0), connection(carried, 0)));
            sample(&mut unseen, &all);
        }
        assert_eq!((unseen.of(1), unseen.of(2)), (50_000, 50_000));
        // The first has gone, and the second has another limit.
        sample(&mut unseen, &[(member(2, 5, 0), connection(50_000, 0))]);
        assert_eq!((unseen.of(1), unseen.of(2), unseen.of(5)), (0, 0, 0));
    }

    #[test]
    fn of_any_number_of_members_each_is_looked_at_and_compared_in_its_turn() {
        let (mut unseen, members) = (Unseen::default(), 3 * BUDGET as u32 + 5);
        // Counters stand still from the second sample on; four take in all members once.
        for n in 0..1 + 2 * 4 {
            let all: Vec<_> = (1..=members)
                .map(|pid| (member(pid, pid, 0), connection(n * 50_000, 0)))
                .collect();
            sample(&mut unseen, &all);
        }
        let held = (1..=members).filter(|rule| unseen.of(*rule) == 0);
        assert_eq!(held.count(), 0);
    }
}
