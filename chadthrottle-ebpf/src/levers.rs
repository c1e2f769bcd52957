//! Connections of a limited process are held back from their first segment: paced where they
//! send, with a small window where they receive. User space takes over from here; what the policer
//! would refuse in the meantime is not sent at all.

use core::ffi::c_void;

use aya_ebpf::bindings::{bpf_sock_addr, bpf_sock_ops};
use chadthrottle_common::{
    abi::{Rule, SocketOptions, TO_BE_HEARD},
    flight, gate,
    ownership::{Owner, RuleId},
    policer::{Bucket, ns_per_byte},
    scope::{self, Scope},
};

use crate::{
    maps::{KERNEL_OFFSETS, RULES, SLOTS},
    processes, sys,
};

const AF_INET: u32 = 2;

/// `SO_MAX_PACING_RATE` as a BPF program sets it has 32 bits, of which the highest value means
/// unlimited.
const MAX_PACING: u64 = u32::MAX as u64 - 1;

/// The smallest window to start with, in bytes: two segments, so that they are acknowledged at
/// once.
const MIN_WINDOW: u64 = 2 * SEGMENT;

/// The largest. More than so many segments in the first round trip, and the kernel tunes the window
/// away (`tcp_init_buffer_space` and `tcp_rcv_space_adjust`).
const FIRST_SEGMENTS: u64 = flight::USUAL;

/// Bytes of payload in a segment, mostly.
const SEGMENT: u64 = 1_448;

/// Keeps rate times round-trip time within 64 bits.
const MAX_WINDOW_RATE: u64 = 1 << 33;

const US_PER_S: u64 = 1_000_000;

/// The window that a connection is made with, in segments. What it offers cannot be taken back,
/// and while it is used up the kernel's tuning would take it for too small.
#[inline(always)]
pub fn first_window(ops: *mut bpf_sock_ops) -> Option<u32> {
    // The round-trip time is not known yet: enough for a near one.
    const FIRST_MS: u64 = 20;
    const FEWEST: u64 = 2;
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return None;
    }
    let rate = share_of(&rule_of(sk)?.ingress, class(ops));
    if rate == 0 || rate > MAX_WINDOW_RATE {
        return None;
    }
    let segments = rate * FIRST_MS / (1_000 * SEGMENT);
    Some(if segments > FIRST_SEGMENTS {
        FIRST_SEGMENTS as u32
    } else if segments < FEWEST {
        FEWEST as u32
    } else {
        segments as u32
    })
}

/// The rule of the process that the socket belongs to, if it has one.
#[inline(always)]
fn rule_of(sk: *mut c_void) -> Option<&'static Rule> {
    let owner = sys::note_of(sk)?.owner.get();
    let slot = SLOTS.get(Owner::from_word(owner).slot)?;
    let rule = RuleId::from_word(slot.egress.rule.get());
    if rule.index == 0 || !processes::is_of(slot, owner) {
        return None;
    }
    RULES.get(rule.index)
}

/// A connection is established: the socket's owner is known, and so is the round-trip time of its
/// handshake.
#[inline(always)]
pub fn connection_established(ops: *mut bpf_sock_ops) {
    let offsets = KERNEL_OFFSETS.load();
    if offsets.sock_max_pacing_rate == 0 || offsets.tcp_window_clamp == 0 {
        return;
    }
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return;
    }
    let Some(rule) = rule_of(sk) else {
        return;
    };
    let class = class(ops);
    let up = share_of(&rule.egress, class);
    let down = share_of(&rule.ingress, class);
    if up == 0 && down == 0 {
        return;
    }
    rule.egress.flows.add(1);
    rule.ingress.flows.add(1);
    let address = sys::address_of(&sk);
    let mut options = SocketOptions {
        pacing_before: sys::read_kernel(address + u64::from(offsets.sock_max_pacing_rate)),
        clamp_before: sys::read_kernel(address + u64::from(offsets.tcp_window_clamp)),
        ..SocketOptions::default()
    };
    if up != 0 && up <= MAX_PACING && up < options.pacing_before {
        options.pacing_set = up;
    }
    let round_trip_us = sys::round_trip_us(ops);
    let mut first_window = window(down, round_trip_us);
    // Senders wait for room for a full segment; on loopback, and with jumbo frames, that is more.
    let full_segment = sys::full_segment(ops);
    if first_window != 0 && first_window < full_segment {
        first_window = full_segment;
    }
    if first_window != 0 && first_window < u64::from(options.clamp_before) {
        options.clamp_set = first_window as u32;
    }
    let largest_flight = if options.pacing_set != 0 && offsets.tcp_snd_cwnd_clamp != 0 {
        flight::largest(up, round_trip_us, full_segment)
            .map(|segments| flight::at_first(segments, false))
    } else {
        None
    };
    if let Some(segments) = largest_flight {
        options.flight_before = sys::read_kernel(address + u64::from(offsets.tcp_snd_cwnd_clamp));
        (options.flight_wanted, options.flight_set) = (segments, segments);
    }
    // Noted first: what is set and not noted would stay.
    if !sys::note_options(sk, options) {
        return;
    }
    if options.pacing_set != 0 {
        sys::set_max_pacing_rate(ops, options.pacing_set as u32);
        // The first flight would not be paced.
        let segments = match largest_flight {
            Some(segments) => u64::from(segments),
            None => window(up, round_trip_us) / SEGMENT,
        };
        if segments != 0 && segments < FIRST_SEGMENTS {
            sys::set_first_flight(ops, segments as u32);
        }
        if let Some(segments) = largest_flight {
            sys::set_largest_flight(ops, segments);
        }
    }
    if options.clamp_set != 0 {
        sys::set_window_clamp(ops, options.clamp_set);
        sys::hear_of_packets(ops, true);
        let gated = down != 0
            && down <= gate::FASTEST_SHARE
            && bytes_of(down, round_trip_us) < full_segment;
        // By the unit of its window: as `connection_begins` saw to it, if not by itself.
        if gated && options.clamp_before <= LARGEST_WINDOW {
            let cost = ns_per_byte(down);
            sys::make_gate(sk, [cost, sys::now_ns(), 0, gate::SEEN | gate::CLOSES, 0]);
            rule.ingress.gates.add(1);
        } else {
            sys::make_gate(sk, [0, 0, 0, gate::SEEN, 0]);
        }
    }
}

/// Bytes that a rate brings in a round trip. Nearer ends than a tenth of a millisecond wait for their
/// programs rather than for the network.
#[inline(always)]
fn bytes_of(rate: u64, round_trip_us: u64) -> u64 {
    const SHORTEST_US: u64 = 100;
    let us = if round_trip_us < SHORTEST_US {
        SHORTEST_US
    } else {
        round_trip_us
    };
    rate * us / US_PER_S
}

/// Windows up to this, in bytes, are offered in units of 256 bytes.
const LARGEST_WINDOW: u32 = (1 << 24) - 1;

/// A connection is about to be asked for. How large the units of its window are is decided now, by
/// the largest window that it may ever have: with units of more than 256 bytes no window is less
/// than a segment, and none could be closed.
#[inline(always)]
pub fn connection_begins(ops: *mut bpf_sock_ops) {
    /// In bytes a second: of eight connections that share it, each may have a gate.
    const FASTEST: u64 = 8 * gate::FASTEST_SHARE;
    let offsets = KERNEL_OFFSETS.load();
    let sk = sys::connection_socket(ops);
    if sk.is_null() || offsets.tcp_window_clamp == 0 {
        return;
    }
    let Some(rule) = rule_of(sk) else {
        return;
    };
    let rate = share_of(&rule.ingress, class(ops));
    let address = sys::address_of(&sk) + u64::from(offsets.tcp_window_clamp);
    if rate != 0 && rate <= FASTEST && sys::read_kernel::<u32>(address) == 0 {
        sys::set_window_clamp(ops, LARGEST_WINDOW);
    }
}

/// A packet, say an acknowledgement, is about to offer the window of a connection that started with
/// a small one. The kernel sets one of its own when it has seen the first data
/// (`tcp_measure_rcv_mss`), and when it tunes the buffer (`tcp_rcv_space_adjust`).
#[inline(always)]
pub fn packet_leaves(ops: *mut bpf_sock_ops) {
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return;
    }
    let Some(options) = sys::options_of(sk) else {
        // The limit has ended.
        sys::hear_of_packets(ops, false);
        if let Some(gate) = sys::gate_of(sk) {
            gate.unset();
        }
        return;
    };
    // User space takes the rate away first and puts the window back then: what it puts back is not
    // to be set again. The note is for user space to write, which sets what it has noted.
    let covered = rule_of(sk).is_some_and(|rule| share_of(&rule.ingress, class(ops)) != 0);
    let offset = u64::from(KERNEL_OFFSETS.load().tcp_window_clamp);
    let present = sys::read_kernel::<u32>(sys::address_of(&sk) + offset);
    if !covered || options.clamp_set == 0 {
        return;
    }
    let closed =
        sys::gate_of(sk).is_some_and(|gate| gate.closes() && gate.is_closed(sys::now_ns()));
    let window = if closed {
        gate::CLOSED_WINDOW
    } else {
        options.clamp_set
    };
    if present != window {
        sys::set_window_clamp(ops, window);
    }
}

/// Somebody asks for the other end of a socket. User space does when it has noted what only a program can
/// set: what the largest congestion window is to be, or that packets are to be heard of.
#[inline(always)]
pub fn peer_asked_for(addr: *mut bpf_sock_addr) {
    let sk = sys::addressed_socket(addr);
    if sk.is_null() {
        return;
    }
    let Some(options) = sys::options_of(sk) else {
        return;
    };
    if options.heard == TO_BE_HEARD && sys::hear_of_packets_of(addr) {
        sys::note_heard(sk);
    }
    let offset = u64::from(KERNEL_OFFSETS.load().tcp_snd_cwnd_clamp);
    if offset == 0 {
        return;
    }
    let present: u32 = sys::read_kernel(sys::address_of(&sk) + offset);
    let before = if options.flight_before == 0 {
        present
    } else {
        options.flight_before
    };
    let wanted = options.flight_wanted;
    let set = wanted != 0 && wanted != options.flight_set && sys::set_largest_flight(addr, wanted);
    sys::note_flight(sk, before, if set { wanted } else { options.flight_set });
}

/// Bytes a second for one connection more to an address of that class; 0: as many as it likes.
#[inline(always)]
fn share_of(bucket: &Bucket, class: Scope) -> u64 {
    if bucket.ns_per_byte.get() != 0 && Scope(bucket.scope.get() as u32).contains(class) {
        // By something that the compiler sees is not 0: a panic could not be linked.
        bucket.rate.get() / (1 + (bucket.flows.get() & 0xffff_ffff))
    } else {
        0
    }
}

/// Bytes that fill `rate` at that round-trip time, from two segments to what a connection starts
/// with by itself; 0: not known.
#[inline(always)]
fn window(rate: u64, round_trip_us: u64) -> u64 {
    if rate == 0 || round_trip_us == 0 {
        return 0;
    }
    let rate = if rate > MAX_WINDOW_RATE {
        MAX_WINDOW_RATE
    } else {
        rate
    };
    let window = rate * round_trip_us / US_PER_S;
    if window < MIN_WINDOW {
        MIN_WINDOW
    } else if window > FIRST_SEGMENTS * SEGMENT {
        FIRST_SEGMENTS * SEGMENT
    } else {
        window
    }
}

/// The class of the other end. A connection with this machine itself has one address twice.
#[inline(always)]
fn class(ops: *mut bpf_sock_ops) -> Scope {
    if sys::connection_family(ops) == AF_INET {
        let (remote, local) = sys::connection_v4(ops);
        if remote == local {
            return Scope::LOOPBACK;
        }
        return scope::classify_v4(remote);
    }
    let (remote, local) = sys::connection_v6(ops);
    if remote == local {
        return Scope::LOOPBACK;
    }
    scope::classify_v6(remote)
}
