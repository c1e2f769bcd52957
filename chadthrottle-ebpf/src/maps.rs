// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! The maps. Their layout is `chadthrottle_common::abi`, their names `abi::names`.

use core::ptr;

use aya_ebpf::{
    Global,
    bindings::{
        BPF_F_CLONE, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE,
    },
    btf_maps::{Array, HashMap, PerCpuArray, Queue, Stack},
    macros::btf_map,
};
use chadthrottle_common::{
    abi::{
        KernelOffsets, MAX_EXECS, MAX_HEIRS, MAX_PATTERNS, MAX_PROCESSES, MAX_RULES, ProcessSlot,
        Rule, TcpOffsets, Totals,
    },
    connection::Connection,
    ownership::{Heir, Note, Owner, Pattern},
    shares,
    sys::Shared,
};

const SLOTS_LEN: usize = MAX_PROCESSES as usize;
const RULES_LEN: usize = MAX_RULES as usize;
const EXECS_LEN: usize = MAX_EXECS as usize;
const HEIRS_LEN: usize = MAX_HEIRS as usize;
const PATTERNS_LEN: usize = MAX_PATTERNS as usize;
const SHARES_LEN: usize = shares::WORDS as usize;
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// Where the kernel's structs keep what we read of them; filled in before loading.
#[unsafe(no_mangle)]
pub static KERNEL_OFFSETS: Global<KernelOffsets> = Global::new(KernelOffsets {
    task_tgid: 0,
    task_group_leader: 0,
    task_start_boottime: 0,
    task_comm: 0,
    task_flags: 0,
    sock_family: 0,
    sock_socket: 0,
    socket_file: 0,
    task_real_parent: 0,
    task_cred: 0,
    cred_euid: 0,
    task_mm: 0,
    mm_exe_file: 0,
    file_inode: 0,
    inode_number: 0,
    inode_super_block: 0,
    super_block_device: 0,
    sock_type: 0,
    sock_lock_owned: 0,
});

/// The same for what levers need of TCP sockets.
#[unsafe(no_mangle)]
pub static TCP_OFFSETS: Global<TcpOffsets> = Global::new(TcpOffsets {
    state: 0,
    v6_remote: 0,
    v6_local: 0,
    max_pacing_rate: 0,
    window_clamp: 0,
    snd_cwnd_clamp: 0,
    snd_cwnd: 0,
    srtt_us: 0,
    mss_cache: 0,
    bytes_received: 0,
    bytes_acked: 0,
    data_segs_out: 0,
    window_scales: 0,
    cb_flags: 0,
});

/// Whether the kernel finds the MPTCP socket of a subflow; filled in before loading.
#[unsafe(no_mangle)]
pub static FINDS_MPTCP: Global<u32> = Global::new(0);

#[btf_map(name = "chad_processes")]
pub static PROCESSES: HashMap<u32, Owner, SLOTS_LEN> = HashMap::new();

#[btf_map(name = "chad_free")]
pub static FREE_SLOTS: Stack<u32, SLOTS_LEN> = Stack::new();

#[btf_map(name = "chad_heirs")]
pub static HEIRS: HashMap<u32, Heir, HEIRS_LEN> = HashMap::new();

#[btf_map(name = "chad_patterns")]
pub static PATTERNS: Array<Pattern, PATTERNS_LEN, MMAPABLE> = Array::new();

#[btf_map(name = "chad_shares")]
pub static SHARES: Array<Shared, SHARES_LEN, MMAPABLE> = Array::new();

#[btf_map(name = "chad_execs")]
pub static EXECS: Queue<u32, EXECS_LEN> = Queue::new();

#[btf_map(name = "chad_slots")]
pub static SLOTS: Array<ProcessSlot, SLOTS_LEN, MMAPABLE> = Array::new();

#[btf_map(name = "chad_rules")]
pub static RULES: Array<Rule, RULES_LEN, MMAPABLE> = Array::new();

#[btf_map(name = "chad_totals")]
pub static TOTALS: PerCpuArray<Totals, 1> = PerCpuArray::new();

#[btf_map(name = "chad_owners")]
pub static OWNERS: SocketStorage<Note, INHERITED> = SocketStorage::new();

#[btf_map(name = "chad_conns")]
pub static CONNECTIONS: SocketStorage<Connection, OWN> = SocketStorage::new();

/// 1: levers may be set. User space says so once somebody would put things back, and that somebody takes
/// it away before it does.
#[btf_map(name = "chad_levers")]
pub static LEVERS: Array<u64, 1, MMAPABLE> = Array::new();

/// An accepted socket gets its listener's value.
const INHERITED: usize = (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize;
/// It does not.
const OWN: usize = BPF_F_NO_PREALLOC as usize;

/// `BPF_MAP_TYPE_SK_STORAGE`. By hand, because aya-ebpf's own type fixes the flags without CLONE.
///
/// The field order type, key, value, max_entries, map_flags is what loaders read from the BTF;
/// the pointers' pointee types carry the numbers.
#[repr(C)]
pub struct SocketStorage<V, const FLAGS: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const V,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the fields are placeholders that the loader reads from the BTF; no code follows them.
unsafe impl<V, const FLAGS: usize> Sync for SocketStorage<V, FLAGS> {}

impl<V, const FLAGS: usize> SocketStorage<V, FLAGS> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}
