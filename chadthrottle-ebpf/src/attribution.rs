//! Whose socket is it? Slots for processes, owners for sockets, rules for children.

use core::ffi::c_void;

use aya_ebpf::{bindings::bpf_sock, programs::RawTracePointContext};
use chadthrottle_common::abi::{Owner, TICK_NS};

use crate::{
    maps::{EXECS, FREE_SLOTS, KERNEL_OFFSETS, PROCESSES, SLOTS},
    sys,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// A full queue gives up its oldest entry (`queue_stack_map_push_elem` in
/// kernel/bpf/queue_stack_maps.c).
const BPF_EXIST: u64 = 2;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `task_struct.flags` of kernel threads (include/linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;

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
        let offsets = KERNEL_OFFSETS.load();
        if offsets.task_start_boottime == 0 {
            return Self {
                tgid,
                start_ticks: 0,
                leader: 0,
            };
        }
        let leader = sys::read_kernel::<u64>(task + u64::from(offsets.task_group_leader));
        let start_ns = sys::read_kernel::<u64>(leader + u64::from(offsets.task_start_boottime));
        Self {
            tgid,
            start_ticks: start_ns / TICK_NS,
            leader,
        }
    }

    /// `comm`; zeros where the kernel does not tell.
    #[inline(always)]
    fn name(&self) -> [u64; 2] {
        let offsets = KERNEL_OFFSETS.load();
        if offsets.task_comm == 0 {
            return [0; 2];
        }
        sys::read_kernel(self.leader + u64::from(offsets.task_comm))
    }
}

/// Notes the running process as the owner of the socket it is making. Says whether it could.
#[inline(always)]
pub fn socket_created(sock: *mut bpf_sock) -> bool {
    let process = Process::of(sys::current_tgid(), sys::current_task());
    match known(&process).or_else(|| claim_slot(&process)) {
        Some(owner) => {
            sys::set_owner_of_new(sock, owner);
            true
        }
        None => false,
    }
}

/// The running process has sent through a socket or received from it, `result` bytes: the socket
/// is its own from now on, whoever made it. That is the one rule for sockets that change hands,
/// by fork, by SCM_RIGHTS or by socket activation, and for those that were there before us.
///
/// `sk` is a `struct sock`. It costs a look at the owner where nothing changes.
#[inline(always)]
pub fn socket_used(sk: *mut c_void, result: i32) {
    // Of several that wait for a packet, one gets it.
    if result <= 0 {
        return;
    }
    let tgid = sys::current_tgid();
    if let Some(owner) = sys::owner_of_sock(sk)
        && let Some(slot) = SLOTS.get(owner.slot)
        && slot.identity.tgid.get() == u64::from(tgid)
        && slot.identity.generation.get() == u64::from(owner.generation)
    {
        return;
    }
    let task = sys::current_task();
    if !is_internet(sk) || is_of_the_kernel(sk, task) {
        return;
    }
    let process = Process::of(tgid, task);
    if let Some(owner) = known(&process).or_else(|| claim_slot(&process)) {
        sys::set_owner(sk, owner);
    }
}

#[inline(always)]
fn is_internet(sk: *mut c_void) -> bool {
    let family = sk as u64 + u64::from(KERNEL_OFFSETS.load().sock_family);
    matches!(sys::read_kernel::<u16>(family), AF_INET | AF_INET6)
}

/// A socket without a file is the kernel's own: whoever happens to run has no part in it. And a
/// kernel thread serves a socket for the process that opened it, as with iSCSI.
#[inline(always)]
fn is_of_the_kernel(sk: *mut c_void, task: u64) -> bool {
    let offsets = KERNEL_OFFSETS.load();
    let socket = sys::read_kernel::<u64>(sk as u64 + u64::from(offsets.sock_socket));
    sys::read_kernel::<u64>(socket + u64::from(offsets.socket_file)) == 0
        || sys::read_kernel::<u32>(task + u64::from(offsets.task_flags)) & PF_KTHREAD != 0
}

/// Tells user space that the running process has become another program.
#[inline(always)]
pub fn process_execed() {
    // With that flag a push into a full queue succeeds too.
    let _ = EXECS.push(sys::current_tgid(), BPF_EXIST);
}

/// Gives a child the rules of its parent, where they are inherited.
#[inline(always)]
pub fn process_forked(ctx: &RawTracePointContext) {
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
        generation: slot.identity.generation.get() as u32,
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
