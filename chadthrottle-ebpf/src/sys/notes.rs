// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! What is noted on sockets about their owners.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get, bpf_skc_to_mptcp_sock},
};
use chadthrottle_common::ownership::Note;

#[cfg(feature = "test-run")]
use super::packet_bytes;
use crate::maps::{FINDS_MPTCP, OWNERS};

/// What is noted on the packet's socket.
#[inline(always)]
pub fn note_of_packet(skb: *mut __sk_buff) -> Option<&'static Note> {
    let sk = socket_of_packet(skb)?;
    let note = note_of(sk);
    #[cfg(feature = "test-run")]
    if note.is_none() {
        const BEHIND_THE_HEADERS: u32 = 40;
        let owner = packet_bytes(skb, BEHIND_THE_HEADERS).map(u64::from_ne_bytes)?;
        note_owner(sk, owner, 0);
    }
    note
}

/// What is noted on the MPTCP socket that the packet's is a subflow of. The kernel makes those by
/// itself, so nothing is noted on them: whoever uses the MPTCP socket uses them.
#[inline(always)]
pub fn note_of_packets_parent(skb: *mut __sk_buff) -> Option<&'static Note> {
    /// `TCP_LISTEN` (include/net/tcp_states.h).
    const LISTENS: u32 = 10;
    let sk = socket_of_packet(skb)?;
    let note = note_of_parent(sk)?;
    // SAFETY: reading a field of what the verifier knows as a socket.
    if unsafe { (*sk.cast::<bpf_sock>()).state } == LISTENS {
        // Connections of clients without MPTCP have no parent, but they inherit.
        note_owner(sk, note.owner.get(), note.rule.get());
    }
    Some(note)
}

/// Whether the packet's connection is open at both ends, as far as this one knows.
#[inline(always)]
pub fn is_established(skb: *mut __sk_buff) -> bool {
    /// `TCP_ESTABLISHED` (include/net/tcp_states.h).
    const ESTABLISHED: u32 = 1;
    // SAFETY: reading a field of what the verifier knows as a socket.
    socket_of_packet(skb).is_some_and(|sk| unsafe { (*sk.cast::<bpf_sock>()).state } == ESTABLISHED)
}

#[inline(always)]
fn socket_of_packet(skb: *mut __sk_buff) -> Option<*mut c_void> {
    // SAFETY: reading a context field; the verifier knows it as a socket or null.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk.cast())
}

/// What is noted on the MPTCP socket that `sk` is a subflow of, where it is one.
#[inline(always)]
pub fn note_of_parent(sk: *mut c_void) -> Option<&'static Note> {
    note_of(parent_of(sk)?)
}

/// The MPTCP socket that `sk` is a subflow of. Kernel 5.19.
#[inline(always)]
fn parent_of(sk: *mut c_void) -> Option<*mut c_void> {
    if FINDS_MPTCP.load() == 0 {
        return None;
    }
    // SAFETY: a helper with what the verifier knows as a socket.
    let parent: *mut c_void = unsafe { bpf_skc_to_mptcp_sock(sk) }.cast();
    (!parent.is_null()).then_some(parent)
}

/// What is noted on a `struct sock`.
#[inline(always)]
pub fn note_of(sk: *mut c_void) -> Option<&'static Note> {
    let map = ptr::from_ref(&OWNERS).cast_mut().cast();
    // SAFETY: the helper takes null too; the result is the socket's own value or null, and lives
    // as long as the program runs; its words are shared.
    unsafe {
        bpf_sk_storage_get(map, sk, ptr::null_mut(), 0)
            .cast::<Note>()
            .as_ref()
    }
}

/// Notes an owner and his limit on a socket, in place of an earlier one.
#[inline(always)]
pub fn note_owner(sk: *mut c_void, owner: u64, rule: u64) {
    let map = ptr::from_ref(&OWNERS).cast_mut().cast();
    let mut words = [owner, rule, 0, 0, 0, 0, 0];
    let value = ptr::from_mut(&mut words).cast();
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: the value lives on the stack for the call, which copies it; the result is null or
    // the socket's own value, whose words are shared.
    unsafe {
        let noted = bpf_sk_storage_get(map, sk, value, create).cast::<Note>();
        if let Some(noted) = noted.as_ref() {
            noted.owner.set(owner);
            noted.rule.set(rule);
            noted.unused.clear();
            noted.unused_loopback.clear();
        }
    }
}

/// A connection has been accepted: what its listener's note says of itself is not the connection's,
/// and a subflow needs none where its parent has one.
#[inline(always)]
pub fn accepted(sk: *mut c_void) {
    if parent_of(sk).is_some() {
        let map = ptr::from_ref(&OWNERS).cast_mut().cast();
        // SAFETY: a helper with a map and a socket.
        let _ = unsafe { bpf_sk_storage_delete(map, sk) };
    } else if let Some(note) = note_of(sk) {
        note.unused.clear();
        note.unused_loopback.clear();
        note.hushed_ns.set(0);
    }
}
