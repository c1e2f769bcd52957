//! Whose socket is it? Slots for processes, owners for sockets, rules for children.

use aya_ebpf::{bindings::bpf_sock, programs::RawTracePointContext};
use chadthrottle_common::abi::{Owner, TICK_NS};

use crate::{
    maps::{FREE_SLOTS, PROCESSES, SLOTS, TASK_OFFSETS},
    sys,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// A process as the kernel knows it: an id that is used again, and when it started.
struct Process {
    tgid: u32,
    /// In [`TICK_NS`] since boot; 0 where the kernel does not tell.
    start_ticks: u64,
    /// Its `task_struct`.
    leader: u64,
}

impl Process {
    #[inline(always)]
    fn of(tgid: u32, task: u64) -> Self {
        let offsets = TASK_OFFSETS.load();
        if offsets.start_boottime == 0 {
            return Self {
                tgid,
                start_ticks: 0,
                leader: 0,
            };
        }
        let leader = sys::read_kernel::<u64>(task + u64::from(offsets.group_leader));
        let start_ns = sys::read_kernel::<u64>(leader + u64::from(offsets.start_boottime));
        Self {
            tgid,
            start_ticks: start_ns / TICK_NS,
            leader,
        }
    }

    /// `comm`; zeros where the kernel does not tell.
    #[inline(always)]
    fn name(&self) -> [u64; 2] {
        let offsets = TASK_OFFSETS.load();
        if offsets.comm == 0 {
            return [0; 2];
        }
        sys::read_kernel(self.leader + u64::from(offsets.comm))
    }
}

/// Notes the running process as the owner of the socket it is making. Says whether it could.
#[inline(always)]
pub fn socket_created(sock: *mut bpf_sock) -> bool {
    let process = Process::of(sys::current_tgid(), sys::current_task());
    let owner = match known(&process) {
        Some(owner) => owner,
        None => match claim_slot(&process) {
            Some(owner) => owner,
            None => return false,
        },
    };
    sys::set_owner(sock, owner);
    true
}

/// Gives a child the rules of its parent, where they are inherited.
#[inline(always)]
pub fn process_forked(ctx: &RawTracePointContext) {
    let offsets = TASK_OFFSETS.load();
    if offsets.tgid == 0 {
        return;
    }
    let child_task = sys::tracepoint_argument(ctx, 1);
    let parent = sys::current_tgid(); // who forks is running
    let child = sys::read_kernel::<u32>(child_task + u64::from(offsets.tgid));
    if child == parent {
        return; // a thread
    }
    let parent = Process::of(parent, sys::current_task());
    let Some(slot) = known(&parent).and_then(|owner| SLOTS.get(owner.slot)) else {
        return;
    };
    if slot.identity.inherit.get() == 0 {
        return;
    }
    let process = Process::of(child, child_task);
    let Some(owner) = claim_slot(&process) else {
        return;
    };
    if let Some(heir) = SLOTS.get(owner.slot) {
        heir.identity.inherit.set(1);
        heir.ingress.rule.set(slot.ingress.rule.get());
        heir.egress.rule.set(slot.egress.rule.get());
    }
}

/// The slot that the process has already.
#[inline(always)]
fn known(process: &Process) -> Option<Owner> {
    let owner = sys::process(process.tgid)?;
    let slot = SLOTS.get(owner.slot)?;
    // An id that is used again belongs to somebody new.
    (slot.identity.start_ticks.get() == process.start_ticks).then_some(owner)
}

/// Takes a free slot for the process. None left: counted, and the socket stays unattributed.
///
/// User space keeps a free slot's counters at zero and its rules at none.
#[inline(always)]
fn claim_slot(process: &Process) -> Option<Owner> {
    let Ok(Some(index)) = FREE_SLOTS.pop() else {
        if let Some(totals) = sys::totals() {
            totals.slots_exhausted += 1;
        }
        return None;
    };
    let slot = SLOTS.get(index)?;
    let owner = Owner {
        slot: index,
        generation: slot.ingress.generation.get() as u32,
    };
    slot.identity.inherit.set(0);
    slot.identity.start_ticks.set(process.start_ticks);
    let [first, second] = &slot.identity.name;
    let [head, tail] = process.name();
    first.set(head);
    second.set(tail);
    slot.identity.tgid.set(u64::from(process.tgid));
    if PROCESSES.insert(process.tgid, owner, BPF_NOEXIST).is_ok() {
        return Some(owner);
    }
    // Either another thread of the process was faster, and its slot is the one to use, or an
    // earlier process of this id left its entry, which gives way.
    if let Some(first) = known(process) {
        slot.identity.tgid.set(0);
        // It came from there, so it fits; and user space finds what is lost all the same.
        let _ = FREE_SLOTS.push(index, 0);
        return Some(first);
    }
    match PROCESSES.insert(process.tgid, owner, BPF_ANY) {
        Ok(()) => Some(owner),
        Err(_) => None,
    }
}
