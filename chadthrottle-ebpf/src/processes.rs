// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! Slots for processes: who has one, who gets one, and which limit comes with it.
//!
//! A fork takes no slot. What a child inherits is noted beside (`HEIRS`) until it makes its first
//! socket, or is gone.

use aya_ebpf::programs::RawTracePointContext;
use chadthrottle_common::{
    abi::{ProcessSlot, TICK_NS},
    ownership::{Heir, Owner, RuleId, inheritance},
    shares,
};

use crate::{
    maps::{EXECS, FREE_SLOTS, HEIRS, KERNEL_OFFSETS, PROCESSES, RULES, SHARES, SLOTS},
    patterns, sys,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// A full queue gives up its oldest entry (`queue_stack_map_push_elem` in
/// kernel/bpf/queue_stack_maps.c).
const BPF_EXIST: u64 = 2;

/// How far up a process looks for who could have left it something.
const GENERATIONS: u32 = 4;

/// A process as the kernel knows it: an id that is used again, and when it started.
pub struct Process {
    pub tgid: u32,
    /// Since boot; 0 where the kernel does not tell.
    start_ns: u64,
    /// Its `task_struct`.
    leader: u64,
}

impl Process {
    #[inline(always)]
    pub fn of(tgid: u32, task: u64) -> Self {
        let offsets = KERNEL_OFFSETS.load();
        if offsets.task_start_boottime == 0 {
            return Self {
                tgid,
                start_ns: 0,
                leader: 0,
            };
        }
        let leader = sys::read_kernel::<u64>(task + u64::from(offsets.task_group_leader));
        let start_ns = sys::read_kernel::<u64>(leader + u64::from(offsets.task_start_boottime));
        Self {
            tgid,
            start_ns,
            leader,
        }
    }

    /// When it started, as slots and /proc say it.
    #[inline(always)]
    fn start_ticks(&self) -> u64 {
        self.start_ns / TICK_NS
    }

    #[inline(always)]
    pub fn running() -> Self {
        Self::of(sys::current_tgid(), sys::current_task())
    }

    /// `comm`; zeros where the kernel does not tell.
    #[inline(always)]
    pub fn name(&self) -> [u64; 2] {
        let offsets = KERNEL_OFFSETS.load();
        if offsets.task_comm == 0 {
            return [0; 2];
        }
        sys::read_kernel(self.leader + u64::from(offsets.task_comm))
    }
}

/// Whose a socket is from now on: an [`Owner`] and a [`RuleId`], as words.
#[derive(Clone, Copy)]
pub struct Holder {
    pub owner: u64,
    pub rule: u64,
}

/// A limit that a process comes under, with whether its children inherit it.
#[derive(Clone, Copy)]
pub struct Lot {
    pub rule: u64,
    pub inherit: u64,
}

impl Lot {
    const NONE: Self = Self {
        rule: 0,
        inherit: 0,
    };

    /// The one whose limit was set later. One that comes from a rule gives way to whatever matches: the patterns say
    /// which rule is the first, and all before it are among them.
    #[inline(always)]
    fn or(self, matched: Self) -> Self {
        let serial = |lot: &Self| RuleId::from_word(lot.rule).serial;
        // Without a branch, as in `execed`: 0 where it comes from a rule.
        let ours = serial(&self) * (serial(&self) / RuleId::BY_HAND);
        if serial(&matched) > ours {
            matched
        } else {
            self
        }
    }
}

/// Whose a socket is that the running process has made or used: its own slot's, which it gets
/// now if it has none. Where it cannot have one, its limit holds all the same.
#[inline(always)]
pub fn holder(process: &Process) -> Option<Holder> {
    if let Some((owner, slot)) = known(process) {
        return Some(Holder {
            owner: owner.word(),
            rule: slot.egress.rule.get(),
        });
    }
    let (inherited, from) = inherited(process);
    let lot = inherited.or(patterns::matched(process));
    if let Some(holder) = claim_slot(process, lot) {
        // It has what it has inherited.
        let _ = HEIRS.remove(process.tgid);
        return Some(holder);
    }
    if lot.rule == 0 {
        return None;
    }
    let owner = if lot.rule == inherited.rule {
        from
    } else {
        Owner::NONE.word()
    };
    Some(Holder {
        owner,
        rule: lot.rule,
    })
}

/// The running process has become another program: its name and its user may match a limit now.
/// User space is told, too.
#[inline(always)]
pub fn execed() {
    // With that flag a push into a full queue succeeds too.
    let _ = EXECS.push(sys::current_tgid(), BPF_EXIST);
    let process = Process::running();
    // Without a slot it is asked when it makes its first socket.
    let Some((_, slot)) = known(&process) else {
        return;
    };
    rename(slot, &process);
    let before = slot.egress.rule.get();
    let inherit = slot.identity.inherit.get();
    // 0 where it is `UNTIL_EXEC`, and else 1: a branch here would have verifiers before 5.15 look at each way through
    // all patterns twice.
    let stays = (inherit >> 1) ^ 1;
    let present = Lot {
        rule: before * stays,
        inherit,
    };
    let lot = present.or(patterns::matched(&process));
    if lot.rule != before {
        slot.identity.inherit.set(lot.inherit);
        slot.ingress.rule.set(lot.rule);
        slot.egress.rule.set(lot.rule);
    }
}

/// A process forks: what its child inherits is noted.
#[inline(always)]
pub fn forked(ctx: &RawTracePointContext) {
    let offsets = KERNEL_OFFSETS.load();
    if offsets.task_tgid == 0 {
        return;
    }
    let child_task = sys::tracepoint_argument(ctx, 1);
    let parent = sys::current_tgid(); // who forks is running
    let child = sys::read_kernel::<u32>(child_task + u64::from(offsets.task_tgid));
    if child == parent {
        return; // a thread
    }
    let parent = Process::of(parent, sys::current_task());
    let (from, rule) = match known(&parent) {
        Some((_, slot)) if slot.identity.inherit.get() == inheritance::NONE => return,
        Some((owner, slot)) => (owner.word(), slot.egress.rule.get()),
        None => match noted_heir(&parent) {
            Some(heir) => match left_to(&heir) {
                Some(rule) => (heir.from, rule),
                None => return,
            },
            None => return,
        },
    };
    let heir = Heir {
        start_ns: Process::of(child, child_task).start_ns,
        from,
        rule,
    };
    if HEIRS.insert(child, heir, BPF_ANY).is_err()
        && let Some(totals) = sys::totals()
    {
        totals.heirs_exhausted += 1;
    }
    // After the note: its parent may end now, and user space has seen one of the two, or this.
    if let Some(rule) = RULES.get(RuleId::from_word(rule).index) {
        rule.identity.forks.add(1);
    }
}

/// A `task_struct` is given back: nobody asks any more what that process has inherited.
#[inline(always)]
pub fn freed(ctx: &RawTracePointContext) {
    let offsets = KERNEL_OFFSETS.load();
    let task = sys::tracepoint_argument(ctx, 0);
    let process = Process::of(sys::read_kernel(task + u64::from(offsets.task_tgid)), task);
    // Its id may have been used again already.
    if process.leader == task && noted_heir(&process).is_some() {
        let _ = HEIRS.remove(process.tgid);
    }
}

/// The slot that the process has already.
#[inline(always)]
fn known(process: &Process) -> Option<(Owner, &'static ProcessSlot)> {
    let owner = sys::process(process.tgid)?;
    let slot = SLOTS.get(owner.slot)?;
    // An id that is used again belongs to somebody new.
    (slot.identity.start_ticks.get() == process.start_ticks()).then_some((owner, slot))
}

#[inline(always)]
fn noted_heir(process: &Process) -> Option<Heir> {
    sys::heir(process.tgid).filter(|heir| heir.start_ns == process.start_ns)
}

/// What the process has inherited, and whom from.
#[inline(always)]
fn inherited(process: &Process) -> (Lot, u64) {
    let nothing = (Lot::NONE, Owner::NONE.word());
    let heir = match noted_heir(process) {
        Some(heir) => heir,
        None => match ancestor(process) {
            Some(heir) => heir,
            None => return nothing,
        },
    };
    let Some(rule) = left_to(&heir) else {
        return nothing;
    };
    // Of a limit that comes from a rule user space says better when it looks.
    let inherit = inheritance::FOR_GOOD;
    (Lot { rule, inherit }, heir.from)
}

/// The rule that an heir has now: what its ancestor has, which may be another limit by now, or had last. `None` where
/// no child inherits any more.
#[inline(always)]
fn left_to(heir: &Heir) -> Option<u64> {
    match SLOTS.get(Owner::from_word(heir.from).slot) {
        Some(slot) if is_of(slot, heir.from) => {
            let inherits = slot.identity.inherit.get() != inheritance::NONE;
            inherits.then(|| slot.egress.rule.get())
        }
        _ => Some(still_set(heir.rule)),
    }
}

/// The nearest ancestor with a slot, as if it had been noted at the fork: there is room for so many
/// heirs only.
#[inline(always)]
fn ancestor(process: &Process) -> Option<Heir> {
    let offsets = KERNEL_OFFSETS.load();
    if offsets.task_real_parent == 0 {
        return None;
    }
    let mut task = process.leader;
    let mut generation = 0;
    while generation < GENERATIONS {
        generation += 1;
        task = sys::read_kernel(task + u64::from(offsets.task_real_parent));
        let tgid: u32 = sys::read_kernel(task + u64::from(offsets.task_tgid));
        if tgid <= 1 {
            return None;
        }
        let parent = Process::of(tgid, task);
        if let Some((owner, slot)) = known(&parent) {
            return Some(Heir {
                start_ns: 0,
                from: owner.word(),
                rule: slot.egress.rule.get(),
            });
        }
        task = parent.leader;
    }
    None
}

/// Whether a slot is still that owner's.
#[inline(always)]
pub fn is_of(slot: &ProcessSlot, owner: u64) -> bool {
    slot.identity.generation.get() == u64::from(Owner::from_word(owner).generation)
}

/// The same rule where its limit is still set; 0 where not.
#[inline(always)]
pub fn still_set(rule: u64) -> u64 {
    let RuleId { index, serial } = RuleId::from_word(rule);
    match RULES.get(index) {
        Some(set) if serial != 0 && set.identity.serial.get() == u64::from(serial) => rule,
        _ => 0,
    }
}

#[inline(always)]
fn rename(slot: &ProcessSlot, process: &Process) {
    let [first, second] = &slot.identity.name;
    let [head, tail] = process.name();
    first.set(head);
    second.set(tail);
}

/// Takes a free slot for the running process, with a limit. None left, or none of its user's share:
/// counted.
///
/// User space keeps a free slot's counters at zero and its rules at none.
#[inline(always)]
fn claim_slot(process: &Process, lot: Lot) -> Option<Holder> {
    let user = sys::current_user();
    let (all, own) = (SHARES.get(shares::ALL)?, SHARES.get(shares::of_user(user))?);
    let free = if shares::is_free_for(user, own.get(), all.get()) {
        FREE_SLOTS.pop()
    } else {
        Ok(None)
    };
    let Ok(Some(index)) = free else {
        if let Some(totals) = sys::totals() {
            totals.slots_exhausted += 1;
        }
        return None;
    };
    let slot = SLOTS.get(index)?;
    let owner = Owner {
        slot: index,
        generation: slot.identity.generation.get() as u32,
    };
    slot.identity.inherit.set(lot.inherit);
    slot.ingress.rule.set(lot.rule);
    slot.egress.rule.set(lot.rule);
    slot.identity.user.set(u64::from(user));
    slot.identity.start_ticks.set(process.start_ticks());
    rename(slot, process);
    slot.identity.tgid.set(u64::from(process.tgid));
    all.add(1);
    if user != 0 {
        own.add(1);
    }
    let holder = Holder {
        owner: owner.word(),
        rule: lot.rule,
    };
    if PROCESSES.insert(process.tgid, owner, BPF_NOEXIST).is_ok() {
        return Some(holder);
    }
    // Either another thread of the process was faster, and its slot is the one to use, or an
    // earlier process of this id left its entry, which gives way.
    if let Some((first, first_slot)) = known(process) {
        slot.identity.tgid.set(0);
        slot.ingress.rule.set(0);
        slot.egress.rule.set(0);
        all.add(u64::MAX);
        if user != 0 {
            own.add(u64::MAX);
        }
        // It came from there, so it fits; and user space finds what is lost all the same.
        let _ = FREE_SLOTS.push(index, BPF_ANY);
        return Some(Holder {
            owner: first.word(),
            rule: first_slot.egress.rule.get(),
        });
    }
    match PROCESSES.insert(process.tgid, owner, BPF_ANY) {
        Ok(()) => Some(holder),
        Err(_) => None,
    }
}
