//! Traffic of limited processes that passes the kernel programs by: a limit that they see none of
//! holds for nobody, and is not to be shown as one that does.
//!
//! It is looked for in each sample, among members whose counters stand still: their connections say
//! themselves what they have carried (`TCP_INFO`).

use std::{collections::HashMap, os::fd::OwnedFd};

use super::Engine;
use crate::{
    model::ProcessKey,
    process::each_socket_of,
    sys::{socket, tcp},
};

/// What to say of such a limit.
pub const NOT_HELD: &str = "NOT HELD: connections carry data that the kernel programs do not see, \
                            as those that were made in another cgroup";

/// How many members are looked at in one sample; of more, others have their turn in the next.
const BUDGET: usize = 64;

/// What connections may carry between two looks without being counted yet, in bytes.
const TOLERATED: u64 = 4_096;

/// What is kept from one sample to the next.
#[derive(Debug, Default)]
pub struct Unseen {
    /// Of each slot, all that was counted for it.
    counted: HashMap<u32, u64>,
    /// What the connections of members had carried, whose counters stood still.
    carried: HashMap<u64, u64>,
    /// By rule, what was carried and not counted in the last interval.
    bytes: HashMap<u32, u64>,
    turn: usize,
}

impl Unseen {
    /// What members of the rule carried unseen.
    pub fn of(&self, rule: u32) -> u64 {
        self.bytes.get(&rule).copied().unwrap_or(0)
    }
}

impl Engine {
    /// Looks for it.
    pub(super) fn look_for_unseen(&mut self) {
        if self.limits.rules().next().is_none() {
            self.unseen = Unseen::default();
            return;
        }
        let counted: HashMap<u32, u64> = self
            .slots
            .iter()
            .map(|(_, slot)| (slot, self.counted(slot)))
            .collect();
        let before = std::mem::replace(&mut self.unseen.counted, counted);
        let stands_still = |slot: u32| before.get(&slot) == self.unseen.counted.get(&slot);
        let mut members: Vec<(ProcessKey, u32)> = self
            .slots
            .iter()
            .filter(|(_, slot)| self.limits.get(self.rule_of(*slot)).is_some())
            .filter(|(_, slot)| stands_still(*slot))
            .collect();
        members.sort_unstable();
        let len = members.len().max(1);
        members.rotate_left(self.unseen.turn % len);

        let mut carried = HashMap::new();
        let mut bytes = HashMap::new();
        for (key, slot) in members.into_iter().take(BUDGET) {
            let mut moved = 0;
            each_socket_of(self.processes.root(), key.pid, |socket| {
                let (Some(inode), Ok(info)) = (socket::inode(socket), tcp::info(socket)) else {
                    return;
                };
                let now = info.bytes_acked + info.bytes_received;
                if carried.insert(inode, now).is_none()
                    && let Some(then) = self.unseen.carried.get(&inode)
                    && self.owner_stands_still(socket, &before)
                {
                    moved += now.saturating_sub(*then);
                }
            });
            if moved > TOLERATED {
                *bytes.entry(self.rule_of(slot)).or_default() += moved;
            }
        }
        if len > BUDGET {
            self.unseen.turn = self.unseen.turn.wrapping_add(BUDGET);
        }
        for rule in bytes.keys().filter(|rule| self.unseen.of(**rule) == 0) {
            log::warn!("limit {rule} is {NOT_HELD}");
        }
        self.unseen.carried = carried;
        self.unseen.bytes = bytes;
    }

    /// Another process may hold the socket too, and be the one that it is counted for.
    fn owner_stands_still(&self, socket: &OwnedFd, before: &HashMap<u32, u64>) -> bool {
        self.living_owner(socket)
            .is_none_or(|owner| before.get(&owner.slot) == self.unseen.counted.get(&owner.slot))
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
