// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! The helpers that aya-ebpf has no safe face for, and reads of context fields.

mod notes;

use core::{ffi::c_void, mem::MaybeUninit, ptr};

pub use notes::{
    accepted, is_established, note_of, note_of_packet, note_of_packets_parent, note_of_parent,
    note_owner,
};

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock_ops, bpf_tcp_sock, seq_file},
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task,
        bpf_get_current_uid_gid, bpf_getsockopt, bpf_ktime_get_ns, bpf_probe_read_kernel,
        bpf_reserve_hdr_opt, bpf_seq_write, bpf_setsockopt, bpf_sk_fullsock, bpf_sk_storage_delete,
        bpf_sk_storage_get, bpf_skb_ecn_set_ce, bpf_skb_load_bytes, bpf_skc_to_tcp_sock,
        bpf_sock_ops_cb_flags_set, bpf_tcp_sock as bpf_tcp_sock_of,
    },
    programs::RawTracePointContext,
};
use chadthrottle_common::{
    abi::Totals,
    connection::Connection,
    gate::Gate,
    ownership::{Heir, Owner},
};

use crate::maps::{CONNECTIONS, HEIRS, LEVERS, PROCESSES, TCP_OFFSETS, TOTALS};

/// Nanoseconds of the monotonic clock.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Thread-group id of the running task.
#[inline(always)]
pub fn current_tgid() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// Real user id of the running task.
#[inline(always)]
pub fn current_user() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_get_current_uid_gid() }) as u32
}

/// Id of the running task's cgroup.
#[inline(always)]
pub fn current_cgroup() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Address of the running task's `task_struct`.
#[inline(always)]
pub fn current_task() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() }
}

/// Argument `n` of a raw tracepoint, a kernel address.
#[inline(always)]
pub fn tracepoint_argument(ctx: &RawTracePointContext, n: usize) -> u64 {
    // SAFETY: the context is an array of u64; the verifier checks the bound of its prototype.
    unsafe { *ctx.as_ptr().cast::<u64>().add(n) }
}

/// Reads a `T` from kernel memory; 0 where that address cannot be read.
#[inline(always)]
pub fn read_kernel<T: Copy + Default>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    let size = size_of::<T>() as u32;
    // SAFETY: the helper writes all of the destination when it succeeds, and checks the source.
    unsafe {
        match bpf_probe_read_kernel(value.as_mut_ptr().cast(), size, address as *const c_void) {
            0 => value.assume_init(),
            _ => T::default(),
        }
    }
}

/// The `struct sock` of a connection that a `sock_ops` program is called for, or null.
#[inline(always)]
pub fn connection_socket(ops: *mut bpf_sock_ops) -> *mut c_void {
    // SAFETY: reading a context field; the verifier knows it as a socket or null.
    unsafe { (*ops).__bindgen_anon_2.sk.cast() }
}

/// The pointer as a number. The verifier lets nobody calculate with a socket's pointer, so it is
/// read from where it lies.
#[inline(always)]
pub fn address_of(pointer: &*mut c_void) -> u64 {
    read_kernel(ptr::from_ref(pointer) as u64)
}

/// The TCP socket that an `iter/tcp` program is called for; `None`: it is none that is whole.
#[inline(always)]
pub fn iterated_socket(ctx: *mut c_void) -> Option<*mut c_void> {
    // SAFETY: the context is an array of the arguments of `bpf_iter_tcp` (net/ipv4/tcp_ipv4.c): meta,
    // sk_common, uid. The verifier knows the second as a socket or null.
    unsafe {
        let common = *ctx.cast::<*mut c_void>().add(1);
        if common.is_null() {
            return None;
        }
        let tcp = bpf_skc_to_tcp_sock(common);
        (!tcp.is_null()).then_some(tcp.cast())
    }
}

/// Has whoever reads the pass read one byte more.
#[inline(always)]
pub fn tell_of_one(ctx: *mut c_void) {
    let byte = 1u8;
    // SAFETY: the first argument is a `struct bpf_iter_meta`, which begins with the file that is read; the byte
    // lives on the stack for the call.
    let _ = unsafe {
        let meta = *ctx.cast::<*mut *mut seq_file>();
        bpf_seq_write(*meta, ptr::from_ref(&byte).cast(), 1)
    };
}

/// Whether levers may be set.
#[inline(always)]
pub fn levers_are_on() -> bool {
    // SAFETY: the word is user space's to write; a read of it is one instruction.
    LEVERS
        .get_ptr(0)
        .is_some_and(|on| unsafe { on.read_volatile() } != 0)
}

/// Takes levers away: nothing is set from now on.
#[inline(always)]
pub fn take_levers_away() {
    if let Some(on) = LEVERS.get_ptr_mut(0) {
        // SAFETY: as in `levers_are_on`.
        unsafe { on.write_volatile(0) }
    }
}

/// What is known of a limited connection, or may be noted from now on. The socket is the caller's: it is
/// locked.
#[inline(always)]
pub fn connection(sk: *mut c_void, create: bool) -> Option<&'static mut Connection> {
    let map = ptr::from_ref(&CONNECTIONS).cast_mut().cast();
    let flags = if create {
        u64::from(BPF_SK_STORAGE_GET_F_CREATE)
    } else {
        0
    };
    // SAFETY: the helper makes a value of zeros; the result is the socket's own value or null, and lives
    // as long as the program runs. Programs that have the socket locked write it, one at a time.
    unsafe {
        bpf_sk_storage_get(map, sk, ptr::null_mut(), flags)
            .cast::<Connection>()
            .as_mut()
    }
}

/// What is there, as if nobody had looked before: verifiers forget what comparisons have told them of it, and go on once,
/// rather than once for each way in which they may have come out.
#[inline(always)]
pub fn again<T: Copy>(place: &mut T) -> T {
    // SAFETY: a value that is the caller's.
    unsafe { ptr::from_mut(place).read_volatile() }
}

/// Notes a number in the value of a map, and gives it as it is there. Of what it can be verifiers know nothing
/// then, so that they go on once, rather than once for each way in which it came about.
#[inline(always)]
pub fn noted(place: &mut u64, value: u64) -> u64 {
    // SAFETY: a word that is the caller's.
    unsafe {
        ptr::from_mut(place).write_volatile(value);
        ptr::from_mut(place).read_volatile()
    }
}

/// Nothing is to be put back on the socket any more.
#[inline(always)]
pub fn forget_connection(sk: *mut c_void) {
    let map = ptr::from_ref(&CONNECTIONS).cast_mut().cast();
    // SAFETY: a helper with a map and a socket.
    let _ = unsafe { bpf_sk_storage_delete(map, sk) };
}

/// The gate of the connection that the packet is of, if it is a limited one.
#[inline(always)]
pub fn gate_of_packet(skb: *mut __sk_buff) -> Option<&'static Gate> {
    let map = ptr::from_ref(&CONNECTIONS).cast_mut().cast();
    // SAFETY: reading a context field, which the verifier knows as a socket or null. The result is the
    // socket's own value or null, and lives as long as the program runs; a gate's words are shared.
    unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let connection =
            bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), 0).cast::<Connection>();
        if connection.is_null() {
            return None;
        }
        (&raw const (*connection).gate).as_ref()
    }
}

/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`
pub const WRITE_HDR_OPT: u32 = 1 << 6;

/// Has the kernel call the program for each packet that the connection sends, before the window in
/// it is chosen (`__tcp_transmit_skb`): it might want to add an option. Kernel 5.10.
///
/// Says whether somebody else had it do so already.
#[inline(always)]
pub fn hear_of_packets(ops: *mut bpf_sock_ops) -> bool {
    // SAFETY: reading a context field, and a helper with the context and a number.
    unsafe {
        let flags = (*ops).bpf_sock_ops_cb_flags;
        let _ = bpf_sock_ops_cb_flags_set(ops, (flags | WRITE_HDR_OPT) as i32);
        flags & WRITE_HDR_OPT != 0
    }
}

/// The opposite of [`hear_of_packets`].
#[inline(always)]
pub fn hear_no_more(ops: *mut bpf_sock_ops) {
    // SAFETY: as in `hear_of_packets`.
    let _ = unsafe {
        let flags = (*ops).bpf_sock_ops_cb_flags & !WRITE_HDR_OPT;
        bpf_sock_ops_cb_flags_set(ops, flags as i32)
    };
}

/// Has the kernel call the program once more for the packet at hand, when its header is written: by asking for
/// room for an option, which it fills with padding. Kernel 5.10.
#[inline(always)]
pub fn ask_for_the_header(ops: *mut bpf_sock_ops) {
    /// The kernel asks how long the options of a packet would be, if there was one.
    const CURRENT_MSS: u32 = 1;
    /// Options are multiples of so many bytes.
    const LEN: u32 = 4;
    // SAFETY: reading a context field, and a helper with the context and numbers.
    let _ = unsafe {
        if (*ops).__bindgen_anon_1.args[0] == CURRENT_MSS {
            return;
        }
        bpf_reserve_hdr_opt(ops, LEN, 0)
    };
}

/// For what the kernel calls `sock_ops` programs on the socket at that address.
#[inline(always)]
pub fn callback_flags(address: u64) -> u32 {
    read_kernel::<u8>(address + u64::from(TCP_OFFSETS.load().cb_flags)).into()
}

/// Changes that, on a socket of a pass (kernel 6.12). Says whether the kernel does.
#[inline(always)]
pub fn set_callback_flags(sk: *mut c_void, flags: u32) -> bool {
    const SOL_TCP: i32 = 6;
    const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;
    set_option(sk, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, flags)
}

/// Has a sender's congestion control forget what it has learnt of the network, if it is BBR: that takes
/// the pace that it was held to for all that the network can do, and looks for a quarter more in eight
/// round trips (net/ipv4/tcp_bbr.c). Other algorithms have lost nothing to a pace.
///
/// It starts as on a new connection when it is chosen again, which takes another one in between: choosing
/// what there is does nothing (`tcp_set_congestion_control`). Nobody sees that, as the socket is locked.
#[inline(always)]
pub fn restart_bbr<C>(ctx: *mut C) {
    const SOL_TCP: i32 = 6;
    const TCP_CONGESTION: i32 = 13;
    /// `TCP_CA_NAME_MAX`
    const LEN: usize = 16;
    let mut name = [0u8; LEN];
    // Every kernel has it.
    let mut another = *b"reno";
    let present = name.as_mut_ptr().cast::<c_void>();
    let reno = another.as_mut_ptr().cast::<c_void>();
    // SAFETY: the names live on the stack for the calls.
    unsafe {
        let size = LEN as i32;
        if bpf_getsockopt(ctx.cast(), SOL_TCP, TCP_CONGESTION, present, size) != 0
            || !matches!(name, [b'b', b'b', b'r', ..])
        {
            return;
        }
        let _ = bpf_setsockopt(ctx.cast(), SOL_TCP, TCP_CONGESTION, reno, 4);
        let _ = bpf_setsockopt(ctx.cast(), SOL_TCP, TCP_CONGESTION, present, size);
    }
}

/// Sets `SO_MAX_PACING_RATE`, in bytes a second.
#[inline(always)]
pub fn set_max_pacing_rate<C>(ctx: *mut C, rate: u32) {
    const SOL_SOCKET: i32 = 1;
    const SO_MAX_PACING_RATE: i32 = 47;
    set_option(ctx, SOL_SOCKET, SO_MAX_PACING_RATE, rate);
}

/// Sets `TCP_WINDOW_CLAMP`, in bytes. Kernel 5.11.
#[inline(always)]
pub fn set_window_clamp<C>(ctx: *mut C, window: u32) {
    const SOL_TCP: i32 = 6;
    const TCP_WINDOW_CLAMP: i32 = 10;
    set_option(ctx, SOL_TCP, TCP_WINDOW_CLAMP, window);
}

/// Sets the congestion window that the connection starts with, in segments (`TCP_BPF_IW`). It is
/// no option that would stay: it grows from there.
#[inline(always)]
pub fn set_first_flight(ops: *mut bpf_sock_ops, segments: u32) {
    const SOL_TCP: i32 = 6;
    const TCP_BPF_IW: i32 = 1001;
    set_option(ops, SOL_TCP, TCP_BPF_IW, segments);
}

/// Sets the largest congestion window, in segments, and the slow-start threshold with it
/// (`TCP_BPF_SNDCWND_CLAMP`).
#[inline(always)]
pub fn set_largest_flight<C>(ctx: *mut C, segments: u32) {
    const SOL_TCP: i32 = 6;
    const TCP_BPF_SNDCWND_CLAMP: i32 = 1002;
    set_option(ctx, SOL_TCP, TCP_BPF_SNDCWND_CLAMP, segments);
}

/// Sets an option of the socket that the program is called for; `ctx` is the context of a `sock_ops` program,
/// or the socket of a pass. Says whether the kernel took it.
#[inline(always)]
fn set_option<C>(ctx: *mut C, level: i32, option: i32, mut value: u32) -> bool {
    let size = size_of::<u32>() as i32;
    let value = ptr::from_mut(&mut value).cast();
    // SAFETY: the value lives on the stack for the call.
    unsafe { bpf_setsockopt(ctx.cast(), level, option, value, size) == 0 }
}

/// IP bytes of the packet, headers included.
#[inline(always)]
pub fn packet_len(skb: *mut __sk_buff) -> u64 {
    // SAFETY: reading a context field.
    u64::from(unsafe { (*skb).len })
}

/// What a TCP connection has sent.
#[derive(Clone, Copy)]
pub struct Sent {
    /// Packets that are not acknowledged yet.
    pub in_flight: u32,
    /// How long until it is acknowledged, smoothed, in nanoseconds.
    pub round_trip_ns: u64,
}

/// What the packet's connection has sent; `None`: not TCP.
#[inline(always)]
pub fn tcp_sent(skb: *mut __sk_buff) -> Option<Sent> {
    let tcp = tcp_of_packet(skb)?;
    // SAFETY: reading what the verifier knows as a connection's.
    unsafe {
        Some(Sent {
            in_flight: (*tcp).packets_out,
            // In eighths of a microsecond.
            round_trip_ns: u64::from((*tcp).srtt_us) * 125,
        })
    }
}

/// The packet's TCP connection.
#[inline(always)]
fn tcp_of_packet(skb: *mut __sk_buff) -> Option<*mut bpf_tcp_sock> {
    // SAFETY: the verifier knows each as a pointer or null, and null is looked for.
    unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() {
            return None;
        }
        let tcp = bpf_tcp_sock_of(sk);
        (!tcp.is_null()).then_some(tcp)
    }
}

/// Sets "congestion experienced" in the packet's IP header (RFC 3168). Says whether it is set now:
/// not where the sender does not understand ECN.
#[inline(always)]
pub fn mark_congestion(skb: *mut __sk_buff) -> bool {
    // SAFETY: a helper with the context.
    unsafe { bpf_skb_ecn_set_ce(skb) > 0 }
}

/// `SO_MAX_PACING_RATE` of the packet's socket, in bytes a second; 0: not known.
#[inline(always)]
pub fn max_pacing_rate(skb: *mut __sk_buff) -> u64 {
    let offset = TCP_OFFSETS.load().max_pacing_rate;
    // SAFETY: reading a context field; the verifier knows it as a socket or null.
    let sk: *mut c_void = unsafe { (*skb).__bindgen_anon_2.sk.cast() };
    if sk.is_null() || offset == 0 {
        return 0;
    }
    read_kernel(address_of(&sk) + u64::from(offset))
}

/// Bytes of payload of each segment of an aggregate (GSO, GRO); 0: the packet is not one. Kernel
/// 5.7.
#[inline(always)]
pub fn segment_size(skb: *mut __sk_buff) -> u32 {
    // SAFETY: reading a context field.
    unsafe { (*skb).gso_size }
}

/// How many segments an aggregate has; 0: nobody has counted yet.
#[inline(always)]
pub fn segment_count(skb: *mut __sk_buff) -> u32 {
    // SAFETY: reading a context field.
    unsafe { (*skb).gso_segs }
}

/// Index of the packet's interface in its network namespace.
#[inline(always)]
pub fn packet_ifindex(skb: *mut __sk_buff) -> u32 {
    // SAFETY: reading a context field.
    unsafe { (*skb).ifindex }
}

/// Ethernet protocol number of the packet, in network order.
#[inline(always)]
pub fn packet_protocol(skb: *mut __sk_buff) -> u32 {
    // SAFETY: reading a context field.
    unsafe { (*skb).protocol }
}

/// `N` bytes at `offset` from the IP header; `None` where the packet is shorter.
#[inline(always)]
pub fn packet_bytes<const N: usize>(skb: *mut __sk_buff, offset: u32) -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    // SAFETY: the destination has N bytes; the helper checks the source.
    let error =
        unsafe { bpf_skb_load_bytes(skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) };
    (error == 0).then_some(bytes)
}

/// The slot noted for a thread-group id.
#[inline(always)]
pub fn process(tgid: u32) -> Option<Owner> {
    // SAFETY: copied at once. An entry that is replaced meanwhile gives an owner whose generation
    // or start time does not fit, which callers check.
    unsafe { PROCESSES.get(tgid).copied() }
}

/// What the process of that thread-group id has inherited.
#[inline(always)]
pub fn heir(tgid: u32) -> Option<Heir> {
    // SAFETY: copied at once; whose it is, callers check.
    unsafe { HEIRS.get(tgid).copied() }
}

/// This CPU's totals.
#[inline(always)]
pub fn totals() -> Option<&'static mut Totals> {
    // SAFETY: per CPU, and a BPF program does not migrate while it runs. A program that
    // interrupts another one here can lose one count; these are counters of the exceptional.
    unsafe { TOTALS.get_ptr_mut(0)?.as_mut() }
}
