// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! The kernel programs of ChadThrottle: sections and maps, thin over `chadthrottle-common`.
//!
//! Names are part of the contract: every program starts with `chadthrottle_` and has at most 15
//! characters, since the kernel cuts longer ones and the name is how anybody recognises ours.
#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the attribute macros generate entry points without any"
)]

use core::ffi::c_void;

mod account;
mod attribution;
mod levers;
mod maps;
mod patterns;
mod processes;
mod sys;
mod wire;

#[cfg(feature = "log")]
use aya_ebpf::EbpfContext;
use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RWND_INIT, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB,
    },
    macros::{btf_tracepoint, cgroup_skb, cgroup_sock, raw_tracepoint, sock_ops},
    programs::{
        BtfTracePointContext, RawTracePointContext, SkBuffContext, SockContext, SockOpsContext,
    },
};
use chadthrottle_common::policer::Verdict;
use levers::Event;

/// Arriving packets. Ingress knows only 0 (drop) and 1 (pass).
#[cgroup_skb(ingress)]
pub fn chadthrottle_in(ctx: SkBuffContext) -> i32 {
    match account::ingress(ctx.skb.skb) {
        Verdict::Pass | Verdict::Congested => 1,
        Verdict::Drop | Verdict::Blocked => 0,
    }
}

/// Packets being sent. 0 only for TCP, and where it is blocked: others than TCP would hear of EPERM. 2 is NET_XMIT_DROP, silent for UDP
/// and backpressure for TCP, 3 NET_XMIT_CN, sent, and TCP slows down (kernel 5.3,
/// `BPF_CGROUP_RUN_PROG_INET_EGRESS_RUN_ARRAY`).
#[cgroup_skb(egress)]
pub fn chadthrottle_eg(ctx: SkBuffContext) -> i32 {
    account::egress(ctx.skb.skb) as i32
}

/// The policer by itself, for the self-test: never attached, run by `BPF_PROG_TEST_RUN`. A packet
/// is an instant and a length, the bucket is that of rule 0, which no process has. Of the egress
/// kind, whose answers tell all three verdicts apart.
#[cgroup_skb(egress)]
pub fn chadthrottle_st(ctx: SkBuffContext) -> i32 {
    account::self_test(ctx.skb.skb) as i32
}

/// A process makes a socket. 1: allowed, always.
#[cgroup_sock(sock_create)]
pub fn chadthrottle_sc(ctx: SockContext) -> i32 {
    let noted = attribution::socket_created(ctx.sock);
    if cfg!(feature = "log") && !noted {
        #[cfg(feature = "log")]
        aya_log_ebpf::warn!(&ctx, "a socket of process {} was not noted", ctx.tgid());
    }
    1
}

/// Something becomes of a TCP connection. What we have no answer to is for others to decide, who share
/// the reply with us.
#[sock_ops]
pub fn chadthrottle_so(ctx: SockOpsContext) -> u32 {
    let event = match ctx.op() {
        BPF_SOCK_OPS_RWND_INIT => {
            if let Some(segments) = levers::first_window(ctx.ops) {
                ctx.set_reply(segments);
            }
            None
        }
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            levers::connection_begins(ctx.ops);
            None
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => Some(Event::Established),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            attribution::connection_accepted(ctx.ops);
            Some(Event::Established)
        }
        // Also without a packet, at each write (`tcp_current_mss`): what is set then is what the packet is cut
        // by. Eight uploads of 20 KB/s lose 80 KB in nine seconds where it is set with the packet only.
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => Some(Event::PacketLeaves),
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB => Some(Event::PacketHasItsWindow),
        _ => None,
    };
    // Once, since verifiers take their time over it.
    if let Some(event) = event {
        levers::connection(ctx.ops, event);
    }
    1
}

/// A pass over the TCP sockets of a network namespace: each is held, or put back. aya-ebpf has no macro
/// for iterators.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn chadthrottle_ho(ctx: *mut c_void) -> i32 {
    if let Some(sk) = sys::iterated_socket(ctx) {
        levers::pass(sk);
    }
    0
}

/// The same, and all are put back, from now on: for whoever comes after an engine.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn chadthrottle_pb(ctx: *mut c_void) -> i32 {
    sys::take_levers_away();
    if let Some(sk) = sys::iterated_socket(ctx)
        && levers::put_back(sk)
    {
        sys::tell_of_one(ctx);
    }
    0
}

/// A process forks: its child inherits its limit, if that is for children.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn chadthrottle_fk(ctx: RawTracePointContext) -> i32 {
    processes::forked(&ctx);
    0
}

/// A process has become another program: its name and its user may match a limit now.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn chadthrottle_ex(_ctx: RawTracePointContext) -> i32 {
    processes::execed();
    0
}

/// A `struct task_struct *` is given back.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub fn chadthrottle_fr(ctx: RawTracePointContext) -> i32 {
    processes::freed(&ctx);
    0
}

/// A process has sent through a socket: `(struct sock *sk, int ret, int flags)`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn chadthrottle_tx(ctx: BtfTracePointContext) -> i32 {
    attribution::sent(ctx.arg(0), ctx.arg(1));
    0
}

/// A process has received from a socket: `(struct sock *sk, int ret, int flags)`.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn chadthrottle_rx(ctx: BtfTracePointContext) -> i32 {
    attribution::received(ctx.arg(0), ctx.arg(1));
    0
}

/// A process has taken data from a TCP connection and may go on to take more, or splice:
/// `(struct sock *sk)`.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn chadthrottle_ru(ctx: BtfTracePointContext) -> i32 {
    attribution::used_under_way(ctx.arg(0));
    0
}

/// A process is about to hand over data to a TCP connection: `(const struct sock *sk, …)`.
#[btf_tracepoint(function = "tcp_sendmsg_locked")]
pub fn chadthrottle_tu(ctx: BtfTracePointContext) -> i32 {
    attribution::used_under_way(ctx.arg(0));
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers are only for programs that say they are GPL-compatible.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
