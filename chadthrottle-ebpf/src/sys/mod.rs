//! The helpers that aya-ebpf has no safe face for, and reads of context fields.

mod notes;

use core::{ffi::c_void, mem::MaybeUninit, ptr};

pub use notes::{accepted, note_of, note_of_packet, note_of_packets_parent, note_owner};

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock_addr, bpf_sock_ops, bpf_tcp_sock},
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task,
        bpf_get_current_uid_gid, bpf_getsockopt, bpf_ktime_get_ns, bpf_probe_read_kernel,
        bpf_setsockopt, bpf_sk_fullsock, bpf_sk_storage_get, bpf_skb_ecn_set_ce,
        bpf_skb_load_bytes, bpf_sock_ops_cb_flags_set, bpf_tcp_sock as bpf_tcp_sock_of,
    },
    programs::RawTracePointContext,
};
use chadthrottle_common::{
    abi::{HEARD, SocketOptions, Totals},
    gate::{self, Gate},
    ownership::{Heir, Owner},
    undo::Undo,
};

use crate::maps::{GATES, HEIRS, KERNEL_OFFSETS, PROCESSES, SOCKET_OPTIONS, TOTALS, UNDOS};

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

/// The `struct sock` that a `sock_addr` program is called for, or null.
#[inline(always)]
pub fn addressed_socket(addr: *mut bpf_sock_addr) -> *mut c_void {
    // SAFETY: reading a context field; the verifier knows it as a socket.
    unsafe { (*addr).__bindgen_anon_1.sk.cast() }
}

/// The pointer as a number. The verifier lets nobody calculate with a socket's pointer, so it is
/// read from where it lies.
#[inline(always)]
pub fn address_of(pointer: &*mut c_void) -> u64 {
    read_kernel(ptr::from_ref(pointer) as u64)
}

/// `AF_INET` or `AF_INET6`.
#[inline(always)]
pub fn connection_family(ops: *mut bpf_sock_ops) -> u32 {
    // SAFETY: reading a context field.
    unsafe { (*ops).family }
}

/// Remote and local address of an IPv4 connection.
#[inline(always)]
pub fn connection_v4(ops: *mut bpf_sock_ops) -> ([u8; 4], [u8; 4]) {
    // SAFETY: reading context fields, which are in network order.
    unsafe {
        (
            (*ops).remote_ip4.to_ne_bytes(),
            (*ops).local_ip4.to_ne_bytes(),
        )
    }
}

/// Remote and local address of an IPv6 connection.
#[inline(always)]
pub fn connection_v6(ops: *mut bpf_sock_ops) -> ([[u8; 4]; 4], [[u8; 4]; 4]) {
    // SAFETY: reading context fields, which are in network order.
    unsafe {
        (
            words(&raw const (*ops).remote_ip6),
            words(&raw const (*ops).local_ip6),
        )
    }
}

/// The words of an IPv6 address in a context, one at a time: wider reads are refused.
///
/// # Safety
/// The words are those of a context.
#[inline(always)]
unsafe fn words(address: *const [u32; 4]) -> [[u8; 4]; 4] {
    let first: *const u32 = address.cast();
    // SAFETY: four words.
    [0, 1, 2, 3].map(|n| unsafe { first.add(n).read_volatile() }.to_ne_bytes())
}

/// Smoothed round-trip time of the connection in microseconds; 0: not measured yet.
#[inline(always)]
pub fn round_trip_us(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: reading a context field, which has three fraction bits (`tcp_sock.srtt_us`).
    u64::from(unsafe { (*ops).srtt_us } >> 3)
}

/// Bytes of payload in a full segment of the connection, as far as both ends' networks say.
#[inline(always)]
pub fn full_segment(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: reading a context field (`tcp_sock.mss_cache`).
    u64::from(unsafe { (*ops).mss_cache })
}

/// Notes what a socket's options were, unless that is noted already. Says whether it is.
#[inline(always)]
pub fn note_options(sk: *mut c_void, mut options: SocketOptions) -> bool {
    let map = ptr::from_ref(&SOCKET_OPTIONS).cast_mut().cast();
    let value = ptr::from_mut(&mut options).cast();
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: the value lives on the stack for the call, which copies it.
    !unsafe { bpf_sk_storage_get(map, sk, value, create) }.is_null()
}

/// What is noted on a socket's options.
#[inline(always)]
pub fn options_of(sk: *mut c_void) -> Option<SocketOptions> {
    let map = ptr::from_ref(&SOCKET_OPTIONS).cast_mut().cast();
    // SAFETY: the result is the socket's own value or null, copied at once. User space replaces it
    // as a whole.
    unsafe {
        bpf_sk_storage_get(map, sk, ptr::null_mut(), 0)
            .cast::<SocketOptions>()
            .as_ref()
            .copied()
    }
}

/// Adds to what is noted on a socket's options that its packets are heard of.
#[inline(always)]
pub fn note_heard(sk: *mut c_void) {
    let map = ptr::from_ref(&SOCKET_OPTIONS).cast_mut().cast();
    // SAFETY: as in `note_flight`.
    unsafe {
        let noted = bpf_sk_storage_get(map, sk, ptr::null_mut(), 0).cast::<SocketOptions>();
        if !noted.is_null() {
            (*noted).heard = HEARD;
        }
    }
}

/// Adds to what is noted on a socket's options what its largest congestion window was, and is now.
#[inline(always)]
pub fn note_flight(sk: *mut c_void, before: u32, set: u32) {
    let map = ptr::from_ref(&SOCKET_OPTIONS).cast_mut().cast();
    // SAFETY: the result is the socket's own value or null. Nobody else writes these fields: user
    // space replaces the value as a whole, before it asks for the other end.
    unsafe {
        let noted = bpf_sk_storage_get(map, sk, ptr::null_mut(), 0).cast::<SocketOptions>();
        if !noted.is_null() {
            (*noted).flight_before = before;
            (*noted).flight_set = set;
        }
    }
}

/// The gate of a connection, if it has one.
#[inline(always)]
pub fn gate_of(sk: *mut c_void) -> Option<&'static Gate> {
    let map = ptr::from_ref(&GATES).cast_mut().cast();
    // SAFETY: the result is the socket's own value or null, and lives as long as the program runs;
    // its words are shared.
    unsafe {
        bpf_sk_storage_get(map, sk, ptr::null_mut(), 0)
            .cast::<Gate>()
            .as_ref()
    }
}

/// The gate of the connection that the packet is of.
#[inline(always)]
pub fn gate_of_packet(skb: *mut __sk_buff) -> Option<&'static Gate> {
    // SAFETY: reading a context field; the verifier knows it as a socket or null.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    gate_of(sk.cast())
}

/// What is known of the packet's connection where it is watched after a limit.
#[inline(always)]
pub fn undo_of_packet(skb: *mut __sk_buff) -> Option<&'static Undo> {
    let map = ptr::from_ref(&UNDOS).cast_mut().cast();
    // SAFETY: as in `gate_of_packet` and `gate_of`.
    unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), 0)
            .cast::<Undo>()
            .as_ref()
    }
}

/// Gives a connection a gate of these words, in the order of its fields. User space sets it again.
#[inline(always)]
pub fn make_gate(sk: *mut c_void, mut words: gate::Words) {
    let map = ptr::from_ref(&GATES).cast_mut().cast();
    let value = ptr::from_mut(&mut words).cast();
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: the value lives on the stack for the call, which copies it.
    let _ = unsafe { bpf_sk_storage_get(map, sk, value, create) };
}

/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`
const WRITE_HDR_OPT: u32 = 1 << 6;

/// Whether the program is called for each packet that the connection sends, before the window in
/// it is chosen (`__tcp_transmit_skb`): it might want to add an option. Kernel 5.10.
///
/// Programs of others may have asked for it too: that it is off then and comes no more is what
/// the kernel's one flag for all makes of it.
#[inline(always)]
pub fn hear_of_packets(ops: *mut bpf_sock_ops, yes: bool) {
    // SAFETY: reading a context field, and a helper with the context and a number.
    let _ = unsafe {
        let flags = (*ops).bpf_sock_ops_cb_flags;
        let flags = if yes {
            flags | WRITE_HDR_OPT
        } else {
            flags & !WRITE_HDR_OPT
        };
        bpf_sock_ops_cb_flags_set(ops, flags as i32)
    };
}

/// Sets `SO_MAX_PACING_RATE`, in bytes a second.
#[inline(always)]
pub fn set_max_pacing_rate(ops: *mut bpf_sock_ops, rate: u32) {
    const SOL_SOCKET: i32 = 1;
    const SO_MAX_PACING_RATE: i32 = 47;
    set_option(ops, SOL_SOCKET, SO_MAX_PACING_RATE, rate);
}

/// Sets `TCP_WINDOW_CLAMP`, in bytes. Kernel 5.11.
#[inline(always)]
pub fn set_window_clamp(ops: *mut bpf_sock_ops, window: u32) {
    const SOL_TCP: i32 = 6;
    const TCP_WINDOW_CLAMP: i32 = 10;
    set_option(ops, SOL_TCP, TCP_WINDOW_CLAMP, window);
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
/// (`TCP_BPF_SNDCWND_CLAMP`). Says whether the kernel took it. `ctx` is that of a `sock_ops` or a
/// `getpeername` program (kernel 5.12).
#[inline(always)]
pub fn set_largest_flight<C>(ctx: *mut C, segments: u32) -> bool {
    const SOL_TCP: i32 = 6;
    const TCP_BPF_SNDCWND_CLAMP: i32 = 1002;
    set_option(ctx, SOL_TCP, TCP_BPF_SNDCWND_CLAMP, segments)
}

/// The same as [`hear_of_packets`], from a `getpeername` program (kernel 6.12). Says whether it is called
/// from now on.
#[inline(always)]
pub fn hear_of_packets_of(addr: *mut bpf_sock_addr) -> bool {
    const SOL_TCP: i32 = 6;
    const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;
    let mut flags = 0u32;
    let size = size_of::<u32>() as i32;
    let value = ptr::from_mut(&mut flags).cast();
    // SAFETY: the value lives on the stack for the call, which writes it.
    let result =
        unsafe { bpf_getsockopt(addr.cast(), SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, value, size) };
    result == 0
        && set_option(
            addr,
            SOL_TCP,
            TCP_BPF_SOCK_OPS_CB_FLAGS,
            flags | WRITE_HDR_OPT,
        )
}

#[inline(always)]
fn set_option<C>(ctx: *mut C, level: i32, option: i32, mut value: u32) -> bool {
    let size = size_of::<u32>() as i32;
    let value = ptr::from_mut(&mut value).cast();
    // SAFETY: the value lives on the stack for the call. Where the kernel does not take it, user
    // space sets it soon.
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
    /// Segments with payload so far, the one at hand and refused ones included; it runs over.
    pub segments: u32,
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
            segments: (*tcp).data_segs_out,
            // In eighths of a microsecond.
            round_trip_ns: u64::from((*tcp).srtt_us) * 125,
        })
    }
}

/// Bytes of payload that have arrived in order on the packet's connection; `None`: not TCP.
#[inline(always)]
pub fn bytes_received(skb: *mut __sk_buff) -> Option<u64> {
    let tcp = tcp_of_packet(skb)?;
    // SAFETY: as in `tcp_sent`.
    Some(unsafe { (*tcp).bytes_received })
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
    let offset = KERNEL_OFFSETS.load().sock_max_pacing_rate;
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
