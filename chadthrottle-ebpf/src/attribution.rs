// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! Whose socket is it?

use core::ffi::c_void;

use aya_ebpf::bindings::{bpf_sock, bpf_sock_ops};
use chadthrottle_common::{
    kernel::{AF_INET, AF_INET6, AF_PACKET, PF_KTHREAD, SOCK_RAW},
    ownership::{Note, Owner},
};

use crate::{
    maps::{KERNEL_OFFSETS, SLOTS},
    processes::{self, Holder, Process},
    sys,
};

/// Notes the running process as the owner of the socket it is making. Says whether it could.
#[inline(always)]
pub fn socket_created(sock: *mut bpf_sock) -> bool {
    match processes::holder(&Process::running()) {
        Some(Holder { owner, rule }) => {
            sys::note_owner(sock.cast(), owner, rule);
            true
        }
        None => false,
    }
}

/// The running process has received `result` bytes from a socket. `sk` is a `struct sock`.
#[inline(always)]
pub fn received(sk: *mut c_void, result: i32) {
    // Of several that wait for a packet, one gets it.
    if result > 0 && !is_own(sk) {
        used_by_another(sk);
    }
}

/// The running process has sent `result` bytes through a socket.
#[inline(always)]
pub fn sent(sk: *mut c_void, result: i32) {
    if result <= 0 || is_own(sk) {
        return;
    }
    if family(sk) == AF_PACKET {
        frame_sent(sk, result as u64);
    } else {
        used_by_another(sk);
    }
}

/// The running process is in the middle of a call that reads from a TCP connection, or sends. Not if
/// the kernel does by itself, for whoever happens to run: nobody has the socket then.
#[inline(always)]
pub fn used_under_way(sk: *mut c_void) {
    let offset = KERNEL_OFFSETS.load().sock_lock_owned;
    if !is_own(sk) && offset != 0 && sys::read_kernel::<u32>(sk as u64 + u64::from(offset)) != 0 {
        used_by_another(sk);
    }
}

/// Whether the socket is the running process's already. It costs a look at the owner.
#[inline(always)]
fn is_own(sk: *mut c_void) -> bool {
    let Some(note) = sys::note_of(sk) else {
        return false;
    };
    let owner = note.owner.get();
    let Some(slot) = SLOTS.get(Owner::from_word(owner).slot) else {
        return false;
    };
    if slot.identity.tgid.get() != u64::from(sys::current_tgid()) || !processes::is_of(slot, owner)
    {
        return false;
    }
    note.unused.clear();
    note.unused_loopback.clear();
    true
}

/// The socket is the running process's from now on, whoever made it. That is the one rule for
/// sockets that change hands, by fork, by SCM_RIGHTS or by socket activation, and for those that
/// were there before us.
#[inline(always)]
fn used_by_another(sk: *mut c_void) {
    let task = sys::current_task();
    if !is_internet(sk) || is_of_the_kernel(sk, task) {
        return;
    }
    let process = Process::of(sys::current_tgid(), task);
    if let Some(Holder { owner, rule }) = processes::holder(&process) {
        if let Some(note) = sys::note_of(sk) {
            move_unused(note, owner);
        }
        sys::note_owner(sk, owner, rule);
    }
}

/// A frame leaves past the network stack, where no limit is: it is counted here, without the
/// Ethernet header that the process has put before it.
#[inline(always)]
fn frame_sent(sk: *mut c_void, len: u64) {
    const ETHERNET_HEADER: u64 = 14;
    let offset = KERNEL_OFFSETS.load().sock_type;
    let task = sys::current_task();
    if offset == 0 || is_of_the_kernel(sk, task) {
        return;
    }
    let len = match sys::read_kernel::<u16>(sk as u64 + u64::from(offset)) {
        SOCK_RAW => len.saturating_sub(ETHERNET_HEADER),
        _ => len,
    };
    let process = Process::of(sys::current_tgid(), task);
    if let Some(Holder { owner, .. }) = processes::holder(&process)
        && let Some(slot) = SLOTS.get(Owner::from_word(owner).slot)
    {
        slot.egress.bytes.add(len);
    }
}

/// A connection has been accepted.
#[inline(always)]
pub fn connection_accepted(ops: *mut bpf_sock_ops) {
    let sk = sys::connection_socket(ops);
    if !sk.is_null() {
        sys::accepted(sk);
    }
}

/// What has passed since the last owner used the socket is the new one's: what he has come for, or
/// what he has been handing over since before his call returned.
#[inline(always)]
fn move_unused(note: &Note, to: u64) {
    let from = note.owner.get();
    let (from_slot, to_slot) = (
        SLOTS.get(Owner::from_word(from).slot),
        SLOTS.get(Owner::from_word(to).slot),
    );
    let (Some(from_slot), Some(to_slot)) = (from_slot, to_slot) else {
        return;
    };
    if from == to || !processes::is_of(from_slot, from) {
        return;
    }
    for (unused, from, to) in [
        (
            &note.unused.down,
            &from_slot.ingress.bytes,
            &to_slot.ingress.bytes,
        ),
        (
            &note.unused.up,
            &from_slot.egress.bytes,
            &to_slot.egress.bytes,
        ),
        (
            &note.unused_loopback.down,
            &from_slot.ingress.loopback_bytes,
            &to_slot.ingress.loopback_bytes,
        ),
        (
            &note.unused_loopback.up,
            &from_slot.egress.loopback_bytes,
            &to_slot.egress.loopback_bytes,
        ),
    ] {
        let bytes = unused.get();
        if bytes != 0 {
            unused.set(0);
            from.add(bytes.wrapping_neg());
            to.add(bytes);
        }
    }
}

#[inline(always)]
fn is_internet(sk: *mut c_void) -> bool {
    matches!(family(sk), AF_INET | AF_INET6)
}

#[inline(always)]
fn family(sk: *mut c_void) -> u16 {
    sys::read_kernel(sk as u64 + u64::from(KERNEL_OFFSETS.load().sock_family))
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
