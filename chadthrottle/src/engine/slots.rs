//! Slots: which process has which, and taking and freeing them.

use std::collections::HashMap;

use chadthrottle_common::{
    abi::{MAX_PROCESSES, ProcessSlot, names},
    ownership::Owner,
    shares,
    sys::Shared,
};

use crate::{
    backends::throttle::maps::Maps, engine::EngineError, model::ProcessKey, sys::map::Value,
};

/// Slots come off the stack one after the other; a few may have been taken and not yet named.
const LOOK_AHEAD: usize = 64;

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// What user space knows of the slots in use.
#[derive(Debug, Default)]
pub struct Slots {
    by_process: HashMap<ProcessKey, u32>,
    /// One more than the highest slot ever seen in use.
    high_water: usize,
}

impl Slots {
    /// Finds slots that the kernel has given out since the last look. `started` tells when a
    /// process of that id started, for kernels that do not.
    pub fn scan(&mut self, maps: &Maps, started: impl Fn(u32) -> Option<u64>) {
        let mut index = 0;
        while index < self.high_water + LOOK_AHEAD
            && let Some(slot) = maps.slots.get(index)
        {
            if let Some(mut key) = key_of(slot) {
                if key.start_ticks == 0 {
                    key.start_ticks = started(key.pid).unwrap_or(0);
                }
                self.remember(key, index as u32);
            }
            index += 1;
        }
    }

    /// Every slot in use, with the process that it was given to.
    pub fn iter(&self) -> impl Iterator<Item = (ProcessKey, u32)> {
        self.by_process.iter().map(|(key, slot)| (*key, *slot))
    }

    /// The slot of that process, as far as the last scan saw.
    pub fn get(&self, key: ProcessKey) -> Option<u32> {
        self.by_process.get(&key).copied()
    }

    /// The slot of that process, taken for it where it has none yet, from the share of `user`; from
    /// nobody's where that is 0.
    ///
    /// # Errors
    /// [`EngineError::TooManyProcesses`] where none is free.
    pub fn ensure(
        &mut self,
        maps: &mut Maps,
        key: ProcessKey,
        user: u32,
    ) -> Result<Owner, EngineError> {
        if let Some(owner) = self.current(maps, key) {
            self.remember(key, owner.slot);
            return Ok(owner);
        }
        let too_many = EngineError::TooManyProcesses(MAX_PROCESSES);
        let used = |which: u32| maps.shares.get(which as usize).map_or(0, Shared::get);
        if !shares::is_free_for(user, used(shares::of_user(user)), used(shares::ALL)) {
            return Err(too_many);
        }
        let index = maps.free.pop(0).map_err(|_| too_many)?;
        let owner = owner_of(maps, index);
        count(maps, user, 1);
        if let Some(slot) = maps.slots.get(index as usize) {
            slot.identity.inherit.set(0);
            slot.identity.user.set(u64::from(user));
            slot.identity.start_ticks.set(key.start_ticks);
            slot.identity.tgid.set(u64::from(key.pid));
        }
        let entry = Value(owner);
        if maps.processes.insert(key.pid, entry, BPF_NOEXIST).is_err() {
            // Either the process has made its first socket in this very moment, and that slot is
            // the one to use, or an earlier process of this id left its entry.
            if let Some(first) = self.current(maps, key) {
                self.give_back(maps, index);
                self.remember(key, first.slot);
                return Ok(first);
            }
            maps.processes
                .insert(key.pid, entry, BPF_ANY)
                .map_err(|source| EngineError::Map {
                    map: names::PROCESSES,
                    source,
                })?;
        }
        self.remember(key, index);
        Ok(owner)
    }

    fn remember(&mut self, key: ProcessKey, slot: u32) {
        self.by_process.insert(key, slot);
        self.high_water = self.high_water.max(slot as usize + 1);
    }

    /// What the kernel has noted for the process.
    fn current(&self, maps: &Maps, key: ProcessKey) -> Option<Owner> {
        let Value(owner) = maps.processes.get(&key.pid, 0).ok()?;
        let noted = key_of(maps.slots.get(owner.slot as usize)?)?;
        same(noted, key).then_some(owner)
    }

    /// Gives the slot of an ended process back. Sockets that still point to it become stale.
    pub fn release(&mut self, maps: &mut Maps, key: ProcessKey) {
        let Some(index) = self.by_process.remove(&key) else {
            return;
        };
        let Some(slot) = maps.slots.get(index as usize) else {
            return;
        };
        slot.identity.generation.add(1);
        for meter in [&slot.ingress, &slot.egress] {
            meter.generation.add(1);
            meter.rule.set(0);
            for counter in [
                &meter.bytes,
                &meter.dropped_bytes,
                &meter.dropped_packets,
                &meter.loopback_bytes,
                &meter.loopback_packets,
            ] {
                counter.set(0);
            }
        }
        slot.identity.inherit.set(0);
        // Only its own entry: a new process may have the id by now.
        if maps
            .processes
            .get(&key.pid, 0)
            .is_ok_and(|Value(noted)| noted.slot == index)
        {
            let _ = maps.processes.remove(&key.pid);
        }
        self.give_back(maps, index);
    }

    fn give_back(&self, maps: &mut Maps, index: u32) {
        if let Some(slot) = maps.slots.get(index as usize) {
            slot.identity.tgid.set(0);
            count(maps, slot.identity.user.get() as u32, u64::MAX);
        }
        if let Err(error) = maps.free.push(index, 0) {
            log::warn!("slot {index} is lost: {error}");
        }
    }
}

/// Adds to the counts of slots in use, of all and of a user, wrapping.
fn count(maps: &Maps, user: u32, more: u64) {
    let of_user = (user != 0).then(|| shares::of_user(user));
    for which in [shares::ALL].into_iter().chain(of_user) {
        if let Some(count) = maps.shares.get(which as usize) {
            count.add(more);
        }
    }
}

/// Who a slot belongs to; `None` where it is free.
pub fn key_of(slot: &ProcessSlot) -> Option<ProcessKey> {
    let pid = u32::try_from(slot.identity.tgid.get())
        .ok()
        .filter(|pid| *pid != 0)?;
    Some(ProcessKey {
        pid,
        start_ticks: slot.identity.start_ticks.get(),
    })
}

/// Whether the kernel's note of a process means this one. A start time of 0 is "not known".
pub fn same(noted: ProcessKey, key: ProcessKey) -> bool {
    noted.pid == key.pid && (noted.start_ticks == key.start_ticks || noted.start_ticks == 0)
}

/// The owner that sockets of the slot carry now.
pub fn owner_of(maps: &Maps, slot: u32) -> Owner {
    let generation = maps
        .slots
        .get(slot as usize)
        .map_or(0, |slot| slot.identity.generation.get());
    Owner {
        slot,
        generation: generation as u32,
    }
}
