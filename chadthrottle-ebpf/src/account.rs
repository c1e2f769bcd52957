// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! What happens to every packet of the machine: find the owner, count, police.

use aya_ebpf::bindings::__sk_buff;
use chadthrottle_common::{
    abi::{Meter, ProcessSlot, Rule, Totals, Unattributed},
    gate::Gate,
    kernel::{ETH_P_IP, ETH_P_IPV6, LOOPBACK_IFINDEX},
    ownership::{Note, Owner, RuleId, Unused},
    policer::{Bucket, Verdict},
    scope::{self, Scope},
    sparing,
    sys::Shared,
};

use crate::{
    maps::{RULES, SLOTS},
    processes, sys,
    wire::{is_bare_acknowledgement, wire_len},
};

/// What differs between the two directions.
trait Direction {
    /// Offset of the remote address in the IPv4 header, in bytes.
    const REMOTE_V4: u32;
    /// Offset of the remote address in the IPv6 header, in bytes.
    const REMOTE_V6: u32;
    fn meter(slot: &ProcessSlot) -> &Meter;
    fn bucket(rule: &Rule) -> &Bucket;
    fn unattributed(totals: &mut Totals) -> &mut Unattributed;
    fn unused(unused: &Unused) -> &Shared;
    /// Whether a packet passes that is over the limit, but not for long yet.
    fn tolerated(bucket: &Bucket, skb: *mut __sk_buff, gate: Option<&Gate>) -> bool;
    /// Whether a packet passes however far over the limit it is.
    fn restrains_itself(bucket: &Bucket, skb: *mut __sk_buff) -> bool;
    /// Whether a packet within the limit would use it up for too long.
    fn is_too_much(bucket: &Bucket, skb: *mut __sk_buff, len: u64) -> bool;
    /// The gate of the packet's connection.
    fn gate(bucket: &Bucket, skb: *mut __sk_buff) -> Option<&'static Gate>;
    /// What becomes of a packet that the bound has no room for.
    fn without_room(bucket: &Bucket, skb: *mut __sk_buff) -> Verdict;
    /// Whether a packet of a hushed socket does not pass.
    fn is_hushed(note: &Note, skb: *mut __sk_buff, len: u64) -> bool;
}

struct Ingress;

impl Direction for Ingress {
    const REMOTE_V4: u32 = 12;
    const REMOTE_V6: u32 = 8;

    #[inline(always)]
    fn meter(slot: &ProcessSlot) -> &Meter {
        &slot.ingress
    }

    #[inline(always)]
    fn bucket(rule: &Rule) -> &Bucket {
        &rule.ingress
    }

    #[inline(always)]
    fn unattributed(totals: &mut Totals) -> &mut Unattributed {
        &mut totals.ingress
    }

    #[inline(always)]
    fn unused(unused: &Unused) -> &Shared {
        &unused.down
    }

    /// By its connection's gate. And who negotiated ECN (RFC 3168, RFC 9000) is told before anything is
    /// dropped.
    #[inline(always)]
    fn tolerated(_bucket: &Bucket, skb: *mut __sk_buff, gate: Option<&Gate>) -> bool {
        gate.is_some_and(Gate::tolerates) || sys::mark_congestion(skb)
    }

    #[inline(always)]
    fn restrains_itself(_bucket: &Bucket, _skb: *mut __sk_buff) -> bool {
        false
    }

    /// What TCP received at once when it was fast yet would leave nothing to anybody for seconds, in which
    /// timers double. Its sender goes on with single segments. From very far away what a round trip may
    /// bring comes at once.
    #[inline(always)]
    fn is_too_much(bucket: &Bucket, skb: *mut __sk_buff, len: u64) -> bool {
        let cost = bucket.cost_ns(len);
        sparing::is_large(len)
            && sparing::is_long(cost)
            && sys::segment_count(skb) > 1
            && sys::tcp_sent(skb)
                .is_some_and(|sent| sparing::is_long_from(cost, sent.round_trip_ns))
    }

    #[inline(always)]
    fn gate(bucket: &Bucket, skb: *mut __sk_buff) -> Option<&'static Gate> {
        if bucket.gate_ns_per_byte.get() == 0 {
            return None;
        }
        sys::gate_of_packet(skb)
    }

    #[inline(always)]
    fn without_room(_bucket: &Bucket, _skb: *mut __sk_buff) -> Verdict {
        Verdict::Drop
    }

    /// What comes ends the hush.
    #[inline(always)]
    fn is_hushed(note: &Note, skb: *mut __sk_buff, len: u64) -> bool {
        if !is_bare_acknowledgement(skb, len) {
            note.hushed_ns.set(0);
        }
        false
    }
}

struct Egress;

impl Direction for Egress {
    const REMOTE_V4: u32 = 16;
    const REMOTE_V6: u32 = 24;

    #[inline(always)]
    fn meter(slot: &ProcessSlot) -> &Meter {
        &slot.egress
    }

    #[inline(always)]
    fn bucket(rule: &Rule) -> &Bucket {
        &rule.egress
    }

    #[inline(always)]
    fn unattributed(totals: &mut Totals) -> &mut Unattributed {
        &mut totals.egress
    }

    #[inline(always)]
    fn unused(unused: &Unused) -> &Shared {
        &unused.up
    }

    /// TCP with nothing on its way would wait for its probe timer. Of the others, who negotiated ECN is
    /// told before anything is dropped.
    #[inline(always)]
    fn tolerated(_bucket: &Bucket, skb: *mut __sk_buff, _gate: Option<&Gate>) -> bool {
        match sys::tcp_sent(skb) {
            Some(sent) => waits_for_its_packet(sent),
            None => sys::mark_congestion(skb),
        }
    }

    /// TCP that waits for its only packet cannot run away. With aggregates it could, with 64 KB in each
    /// round trip, unless it is paced.
    #[inline(always)]
    fn restrains_itself(bucket: &Bucket, skb: *mut __sk_buff) -> bool {
        let Some(sent) = sys::tcp_sent(skb) else {
            return false;
        };
        waits_for_its_packet(sent) && (sys::segment_count(skb) <= 1 || is_paced(bucket, skb))
    }

    /// What TCP hands over at once when it was fast would take seconds at the pace that it has now, in which
    /// it sends nothing, also where the limit has ended. It goes on with a single segment when its probe
    /// timer ends, and with as few as its congestion window has by then.
    #[inline(always)]
    fn is_too_much(_bucket: &Bucket, skb: *mut __sk_buff, len: u64) -> bool {
        if !sparing::is_large(len) || sys::segment_count(skb) <= 1 {
            return false;
        }
        let a_second = sys::max_pacing_rate(skb);
        a_second != 0 && len > a_second
    }

    #[inline(always)]
    fn gate(_bucket: &Bucket, _skb: *mut __sk_buff) -> Option<&'static Gate> {
        None
    }

    #[inline(always)]
    fn without_room(bucket: &Bucket, skb: *mut __sk_buff) -> Verdict {
        if bucket.is_blocked() && sys::tcp_sent(skb).is_some() {
            Verdict::Blocked
        } else {
            Verdict::Drop
        }
    }

    /// Whoever closes the connection says so: a reset is sent once.
    #[inline(always)]
    fn is_hushed(note: &Note, skb: *mut __sk_buff, _len: u64) -> bool {
        sys::now_ns() < note.hushed_ns.get() && sys::is_established(skb)
    }
}

/// Whether the packet's socket has a pace that goes with the limit.
#[inline(always)]
fn is_paced(bucket: &Bucket, skb: *mut __sk_buff) -> bool {
    sparing::is_paced(sys::max_pacing_rate(skb), bucket.fair_rate.get())
}

/// Whether the connection has at most one packet on its way: if this one were refused, it could have to
/// wait for a timer.
#[inline(always)]
fn waits_for_its_packet(sent: sys::Sent) -> bool {
    sent.in_flight <= 1
}

/// Accounts for an arriving packet.
#[inline(always)]
pub fn ingress(skb: *mut __sk_buff) -> Verdict {
    account::<Ingress>(skb)
}

/// Accounts for a packet being sent.
#[inline(always)]
pub fn egress(skb: *mut __sk_buff) -> Verdict {
    account::<Egress>(skb)
}

#[inline(always)]
fn account<D: Direction>(skb: *mut __sk_buff) -> Verdict {
    let len = sys::packet_len(skb);
    let wire = wire_len(skb, len);
    let loopback = sys::packet_ifindex(skb) == LOOPBACK_IFINDEX;

    let mut note = sys::note_of_packet(skb);
    let mut slot = note.and_then(living_owner::<D>);
    if slot.is_none()
        && let Some(parent) = sys::note_of_packets_parent(skb)
    {
        note = Some(parent);
        slot = living_owner::<D>(parent);
    }
    // Where the owner has ended, his limit goes on to hold until somebody else uses the socket.
    let rule = match (slot, note) {
        (Some(slot), _) => D::meter(slot).rule.get(),
        (None, Some(note)) => processes::still_set(note.rule.get()),
        (None, None) => 0,
    };
    // TCP tries again by itself, and nobody is told of a refusal.
    if let Some(note) = note
        && note.hushed_ns.get() != 0
        && D::is_hushed(note, skb, len)
    {
        return Verdict::Drop;
    }
    let mut verdict = Verdict::Pass;
    if rule != 0
        && let Some(rule) = RULES.get(RuleId::from_word(rule).index)
    {
        verdict = police::<D>(D::bucket(rule), skb, len, wire, loopback);
    }
    let (Some(slot), Some(note)) = (slot, note) else {
        if !verdict.is_refusal() {
            count_unattributed::<D>(wire, loopback);
        }
        return verdict;
    };
    let meter = D::meter(slot);
    if verdict.is_refusal() {
        meter.dropped_bytes.add(wire);
        meter.dropped_packets.add(1);
        return verdict;
    }
    if note.rule.get() != rule {
        note.rule.set(rule);
    }
    let unused = if loopback {
        meter.loopback_bytes.add(wire);
        meter.loopback_packets.add(1);
        &note.unused_loopback
    } else {
        meter.bytes.add(wire);
        &note.unused
    };
    let unused = D::unused(unused);
    // Not as one step: two packets at once of one socket are rare, and one of them is not much.
    unused.set(unused.get() + wire);
    verdict
}

/// The slot of the socket's owner, unless he has ended.
#[inline(always)]
fn living_owner<D: Direction>(note: &'static Note) -> Option<&'static ProcessSlot> {
    let owner = Owner::from_word(note.owner.get());
    let slot = SLOTS.get(owner.slot)?;
    (D::meter(slot).generation.get() == u64::from(owner.generation)).then_some(slot)
}

/// What happens to a packet of `len` bytes, and of `wire` bytes on the wire, which are charged.
#[inline(always)]
fn police<D: Direction>(
    bucket: &Bucket,
    skb: *mut __sk_buff,
    len: u64,
    wire: u64,
    loopback: bool,
) -> Verdict {
    if bucket.ns_per_byte.get() == 0 {
        return Verdict::Pass;
    }
    let scope = Scope(bucket.scope.get() as u32);
    if !scope.contains(class::<D>(skb, scope, loopback)) {
        return Verdict::Pass;
    }
    // Others than TCP sockets can send what looks like one.
    if is_bare_acknowledgement(skb, len) && sys::tcp_sent(skb).is_some() {
        return Verdict::Pass;
    }
    let now = sys::now_ns();
    let gate = D::gate(bucket, skb);
    let limit_tat_ns = bucket.tat_ns.get();
    let verdict = match bucket.verdict(now) {
        _ if !bucket.has_room(now, wire) => D::without_room(bucket, skb),
        _ if sparing::is_small(len) => Verdict::Pass,
        _ if gate.is_some_and(|gate| gate.refuses(now, limit_tat_ns)) => Verdict::Drop,
        _ if D::is_too_much(bucket, skb, len) => Verdict::Drop,
        Verdict::Pass => Verdict::Pass,
        Verdict::Congested if D::tolerated(bucket, skb, gate) => Verdict::Congested,
        Verdict::Drop if gate.is_some_and(|gate| gate.is_owed(now)) => Verdict::Congested,
        Verdict::Drop if D::restrains_itself(bucket, skb) => Verdict::Congested,
        _ => Verdict::Drop,
    };
    if !verdict.is_refusal() {
        bucket.charge(now, wire);
        if let Some(gate) = gate {
            gate.charge(now, wire, bucket.gate_ns_per_byte.get());
        }
    }
    verdict
}

/// The policer's verdict on a packet that says when it comes and how long it is.
#[inline(always)]
pub fn self_test(skb: *mut __sk_buff) -> Verdict {
    let word = |offset| sys::packet_bytes::<8>(skb, offset).map(u64::from_ne_bytes);
    let (Some(now), Some(len), Some(rule)) = (word(0), word(8), RULES.get(0)) else {
        return Verdict::Drop;
    };
    let verdict = rule.ingress.verdict(now);
    if verdict != Verdict::Drop {
        rule.ingress.charge(now, len);
    }
    verdict
}

/// The packet's class of remote address, read from the header only where `scope` needs it.
#[inline(always)]
fn class<D: Direction>(skb: *mut __sk_buff, scope: Scope, loopback: bool) -> Scope {
    if loopback {
        return Scope::LOOPBACK;
    }
    if scope.contains(Scope::DEFAULT) {
        return Scope::INTERNET;
    }
    match sys::packet_protocol(skb) {
        ETH_P_IP => sys::packet_bytes::<4>(skb, D::REMOTE_V4).map(scope::classify_v4),
        ETH_P_IPV6 => remote_v6::<D>(skb).map(scope::classify_v6),
        _ => None,
    }
    .unwrap_or(Scope::INTERNET)
}

#[inline(always)]
fn remote_v6<D: Direction>(skb: *mut __sk_buff) -> Option<[[u8; 4]; 4]> {
    Some([
        sys::packet_bytes(skb, D::REMOTE_V6)?,
        sys::packet_bytes(skb, D::REMOTE_V6 + 4)?,
        sys::packet_bytes(skb, D::REMOTE_V6 + 8)?,
        sys::packet_bytes(skb, D::REMOTE_V6 + 12)?,
    ])
}

#[inline(always)]
fn count_unattributed<D: Direction>(len: u64, loopback: bool) {
    if let Some(totals) = sys::totals() {
        let unattributed = D::unattributed(totals);
        if loopback {
            unattributed.loopback_bytes += len;
            unattributed.loopback_packets += 1;
        } else {
            unattributed.bytes += len;
            unattributed.packets += 1;
        }
    }
}
