//! Slots: which process has which, and taking and freeing them.

use std::collections::HashMap;

use aya::maps::MapError;
use chadthrottle_common::{
    abi::{MAX_PROCESSES, ProcessSlot, names},
    ownership::Owner,
    shares,
    sys::Shared,
};

use crate::{
    backends::throttle::maps::Maps,
    engine::EngineError,
    model::ProcessKey,
    sys::{bpf, map::Value},
};

/// Slots come off the stack one after the other; a few may have been taken and not yet named.
const LOOK_AHEAD: usize = 64;

/// Where slots come from and go back to: the maps, but in tests.
pub trait Pool {
    /// All slots.
    fn slots(&self) -> &[ProcessSlot];
    /// How many of them are in use, of all and of each user ([`shares`]).
    fn shares(&self) -> &[Shared];
    /// Takes a free one, for nobody else from then on.
    fn pop(&mut self) -> Option<u32>;
    /// Makes one free.
    fn push(&mut self, slot: u32) -> Result<(), MapError>;
    /// Who is noted as the owner of sockets that the process of that id makes.
    fn noted(&self, pid: u32) -> Option<Owner>;
    /// Notes it, in the place of another where there is one.
    fn note(&mut self, pid: u32, owner: Owner) -> Result<(), MapError>;
    /// Notes it unless there is one.
    fn note_first(&mut self, pid: u32, owner: Owner) -> Result<(), MapError>;
    /// Takes that away.
    fn forget(&mut self, pid: u32);

    /// One slot.
    fn slot(&self, index: u32) -> Option<&ProcessSlot> {
        self.slots().get(index as usize)
    }
}

impl Pool for Maps {
    fn slots(&self) -> &[ProcessSlot] {
        &self.slots
    }

    fn shares(&self) -> &[Shared] {
        &self.shares
    }

    fn pop(&mut self) -> Option<u32> {
        self.free.pop(0).ok()
    }

    fn push(&mut self, slot: u32) -> Result<(), MapError> {
        self.free.push(slot, 0)
    }

    fn noted(&self, pid: u32) -> Option<Owner> {
        self.processes.get(&pid, 0).ok().map(|Value(owner)| owner)
    }

    fn note(&mut self, pid: u32, owner: Owner) -> Result<(), MapError> {
        self.processes.insert(pid, Value(owner), bpf::ANY)
    }

    fn note_first(&mut self, pid: u32, owner: Owner) -> Result<(), MapError> {
        self.processes.insert(pid, Value(owner), bpf::NOEXIST)
    }

    fn forget(&mut self, pid: u32) {
        // That there is none is as good.
        let _ = self.processes.remove(&pid);
    }
}

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
    pub fn scan(&mut self, slots: &[ProcessSlot], started: impl Fn(u32) -> Option<u64>) {
        let mut index = 0;
        while index < self.high_water + LOOK_AHEAD
            && let Some(slot) = slots.get(index)
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
        pool: &mut impl Pool,
        key: ProcessKey,
        user: u32,
    ) -> Result<Owner, EngineError> {
        if let Some(owner) = current(pool, key) {
            self.remember(key, owner.slot);
            return Ok(owner);
        }
        let too_many = EngineError::TooManyProcesses(MAX_PROCESSES);
        let used = |which: u32| pool.shares().get(which as usize).map_or(0, Shared::get);
        if !shares::is_free_for(user, used(shares::of_user(user)), used(shares::ALL)) {
            return Err(too_many);
        }
        let index = pool.pop().ok_or(too_many)?;
        let owner = owner_of(pool.slots(), index);
        count(pool, user, 1);
        if let Some(slot) = pool.slot(index) {
            slot.identity.inherit.set(0);
            slot.identity.user.set(u64::from(user));
            slot.identity.start_ticks.set(key.start_ticks);
            slot.identity.tgid.set(u64::from(key.pid));
        }
        if pool.note_first(key.pid, owner).is_err() {
            // Either the process has made its first socket in this very moment, and that slot is
            // the one to use, or an earlier process of this id left its entry.
            if let Some(first) = current(pool, key) {
                give_back(pool, index);
                self.remember(key, first.slot);
                return Ok(first);
            }
            pool.note(key.pid, owner)
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

    /// Gives the slot of an ended process back. Sockets that still point to it become stale.
    pub fn release(&mut self, pool: &mut impl Pool, key: ProcessKey) {
        let Some(index) = self.by_process.remove(&key) else {
            return;
        };
        let Some(slot) = pool.slot(index) else {
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
        if pool.noted(key.pid).is_some_and(|noted| noted.slot == index) {
            pool.forget(key.pid);
        }
        give_back(pool, index);
    }
}

/// What the kernel has noted for the process.
fn current(pool: &impl Pool, key: ProcessKey) -> Option<Owner> {
    let owner = pool.noted(key.pid)?;
    let noted = key_of(pool.slot(owner.slot)?)?;
    same(noted, key).then_some(owner)
}

fn give_back(pool: &mut impl Pool, index: u32) {
    if let Some(slot) = pool.slot(index) {
        slot.identity.tgid.set(0);
        count(pool, slot.identity.user.get() as u32, u64::MAX);
    }
    if let Err(error) = pool.push(index) {
        log::warn!("slot {index} is lost: {error}");
    }
}

/// Adds to the counts of slots in use, of all and of a user, wrapping.
fn count(pool: &impl Pool, user: u32, more: u64) {
    let of_user = (user != 0).then(|| shares::of_user(user));
    for which in [shares::ALL].into_iter().chain(of_user) {
        if let Some(count) = pool.shares().get(which as usize) {
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
pub fn owner_of(slots: &[ProcessSlot], slot: u32) -> Owner {
    let generation = slots
        .get(slot as usize)
        .map_or(0, |slot| slot.identity.generation.get());
    Owner {
        slot,
        generation: generation as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The maps as vectors. A slot that becomes free must be as new.
    struct FakePool {
        slots: Vec<ProcessSlot>,
        shares: Vec<Shared>,
        free: Vec<u32>,
        noted: HashMap<u32, Owner>,
        /// What a kernel program notes in the moment before we do.
        first: Option<(u32, ProcessKey)>,
    }

    impl FakePool {
        fn of(slots: u32) -> Self {
            Self {
                slots: (0..slots).map(|_| ProcessSlot::default()).collect(),
                shares: (0..shares::WORDS).map(|_| Shared::new(0)).collect(),
                free: (0..slots).rev().collect(),
                noted: HashMap::new(),
                first: None,
            }
        }

        /// A slot that a kernel program has given to a process, which is not noted yet.
        fn give(&mut self, slot: u32, key: ProcessKey) -> Owner {
            self.free.retain(|free| *free != slot);
            let identity = &self.slots[slot as usize].identity;
            identity.tgid.set(u64::from(key.pid));
            identity.start_ticks.set(key.start_ticks);
            owner_of(&self.slots, slot)
        }

        fn used(&self, which: u32) -> u64 {
            self.shares[which as usize].get()
        }
    }

    impl Pool for FakePool {
        fn slots(&self) -> &[ProcessSlot] {
            &self.slots
        }

        fn shares(&self) -> &[Shared] {
            &self.shares
        }

        fn pop(&mut self) -> Option<u32> {
            self.free.pop()
        }

        fn push(&mut self, slot: u32) -> Result<(), MapError> {
            let ProcessSlot {
                identity,
                ingress,
                egress,
            } = &self.slots[slot as usize];
            assert_eq!((identity.tgid.get(), identity.inherit.get()), (0, 0));
            for meter in [ingress, egress] {
                assert_eq!(meter.generation.get(), identity.generation.get());
                assert_eq!(meter.rule.get(), 0, "it would hold the next process");
                assert_eq!((meter.bytes.get(), meter.dropped_bytes.get()), (0, 0));
            }
            assert!(self.noted.values().all(|owner| owner.slot != slot));
            assert!(!self.free.contains(&slot), "it is free already");
            self.free.push(slot);
            Ok(())
        }

        fn noted(&self, pid: u32) -> Option<Owner> {
            self.noted.get(&pid).copied()
        }

        fn note(&mut self, pid: u32, owner: Owner) -> Result<(), MapError> {
            self.noted.insert(pid, owner);
            Ok(())
        }

        fn note_first(&mut self, pid: u32, owner: Owner) -> Result<(), MapError> {
            if let Some((slot, key)) = self.first.take() {
                let owner = self.give(slot, key);
                self.noted.insert(key.pid, owner);
            }
            if self.noted.contains_key(&pid) {
                return Err(MapError::KeyNotFound);
            }
            self.note(pid, owner)
        }

        fn forget(&mut self, pid: u32) {
            self.noted.remove(&pid);
        }
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ticks: 100,
        }
    }

    const USER: u32 = 1_000;

    #[test]
    fn a_process_keeps_its_slot_until_that_is_released_as_new() {
        let (mut slots, mut pool) = (Slots::default(), FakePool::of(4));
        let first = slots.ensure(&mut pool, key(7), USER).unwrap();
        assert_eq!(slots.ensure(&mut pool, key(7), USER).unwrap(), first);
        assert_eq!(slots.get(key(7)), Some(first.slot));
        assert_eq!(
            (pool.used(shares::ALL), pool.used(shares::of_user(USER))),
            (1, 1)
        );
        let slot = &pool.slots[first.slot as usize];
        assert_eq!(key_of(slot), Some(key(7)));
        slot.ingress.bytes.set(9);
        slot.egress.rule.set(3);
        slot.identity.inherit.set(1);

        slots.release(&mut pool, key(7));
        assert_eq!((slots.get(key(7)), pool.noted(7)), (None, None));
        assert_eq!(
            (pool.used(shares::ALL), pool.used(shares::of_user(USER))),
            (0, 0)
        );
        slots.release(&mut pool, key(7));
        let next = slots.ensure(&mut pool, key(8), USER).unwrap();
        assert_eq!(next.slot, first.slot);
        assert_ne!(
            next, first,
            "sockets of the first owner are not the next one's"
        );
    }

    #[test]
    fn the_slot_that_the_kernel_gave_first_is_the_one() {
        let (mut slots, mut pool) = (Slots::default(), FakePool::of(4));
        pool.first = Some((3, key(7)));
        assert_eq!(slots.ensure(&mut pool, key(7), USER).unwrap().slot, 3);
        assert_eq!(pool.free, [2, 1, 0], "the other one is free again");
        assert_eq!(pool.used(shares::ALL), 0, "which the kernel has counted");
    }

    #[test]
    fn an_id_that_is_used_again_gets_a_slot_of_its_own_and_keeps_it() {
        let (mut slots, mut pool) = (Slots::default(), FakePool::of(4));
        let earlier = ProcessKey {
            start_ticks: 50,
            ..key(7)
        };
        let theirs = slots.ensure(&mut pool, earlier, 0).unwrap();
        let ours = slots.ensure(&mut pool, key(7), 0).unwrap();
        assert_ne!(ours.slot, theirs.slot);
        slots.release(&mut pool, earlier);
        assert_eq!(pool.noted(7), Some(ours));
        assert_eq!(slots.get(key(7)), Some(ours.slot));
    }

    #[test]
    fn without_a_free_slot_or_a_share_of_them_there_is_none() {
        let (mut slots, mut pool) = (Slots::default(), FakePool::of(1));
        slots.ensure(&mut pool, key(1), 0).unwrap();
        let error = slots.ensure(&mut pool, key(2), 0).unwrap_err();
        assert!(matches!(error, EngineError::TooManyProcesses(_)), "{error}");
        slots.release(&mut pool, key(1));
        // All others are another user's, and this one has its share.
        pool.shares[shares::ALL as usize].set(u64::from(MAX_PROCESSES) - 1);
        pool.shares[shares::of_user(USER) as usize].set(u64::from(MAX_PROCESSES) / 2);
        let error = slots.ensure(&mut pool, key(2), USER).unwrap_err();
        assert!(matches!(error, EngineError::TooManyProcesses(_)), "{error}");
        assert_eq!(pool.free, [0], "it is not taken");
        slots.ensure(&mut pool, key(2), 0).unwrap();
    }

    #[test]
    fn a_scan_finds_what_the_kernel_gave_out_beyond_a_few_that_are_not_named_yet() {
        let (mut slots, mut pool) = (Slots::default(), FakePool::of(200));
        let unknown = ProcessKey {
            pid: 2,
            start_ticks: 0,
        };
        pool.give(0, key(1));
        pool.give(LOOK_AHEAD as u32, unknown);
        pool.give(199, key(3));
        let started = |pid| (pid == 2).then_some(77);
        slots.scan(&pool.slots, started);
        let read = ProcessKey {
            start_ticks: 77,
            ..unknown
        };
        assert_eq!(slots.get(read), Some(LOOK_AHEAD as u32));
        assert_eq!((slots.get(key(1)), slots.get(key(3))), (Some(0), None));
        pool.give(100, key(4));
        slots.scan(&pool.slots, started);
        assert_eq!(slots.get(key(4)), Some(100));
    }

    #[test]
    fn a_note_without_a_start_time_means_any_process_of_that_id() {
        let noted = |pid, start_ticks| ProcessKey { pid, start_ticks };
        for (noted, is_same) in [
            (noted(7, 100), true),
            (noted(7, 0), true),
            (noted(7, 99), false),
            (noted(8, 100), false),
        ] {
            assert_eq!(same(noted, key(7)), is_same, "{noted:?}");
        }
    }
}
