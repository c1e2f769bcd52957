//! The policer: a token bucket in its GCRA form (generic cell rate algorithm, ITU-T I.371).
//!
//! The whole state of a bucket is one number, the *theoretical arrival time* (TAT): the instant,
//! in nanoseconds of the monotonic clock, at which the bucket would be empty of debt again.
//!
//! Concurrency: the kernel runs this on every CPU at once, and must load on 5.10, which has
//! neither fetch-and-add results nor compare-and-swap for BPF. So the state is moved by a plain
//! atomic add, and by a store when an idle bucket is brought up to date. Two callers can then
//! both be admitted on the same credit, and a store can swallow an add that ran between its load
//! and itself: per event, at most one packet a CPU passes uncharged. Nobody is ever charged
//! twice, so a race cannot starve a flow.

use crate::{scope::Scope, sys::Shared};

/// Fraction bits of [`Bucket::ns_per_byte`]. 1 KB/s is 10⁶ ns a byte (20 bits) and a packet has
/// at most 2¹⁹ bytes (BIG TCP), so with 24 bits the product stays under 2⁶³; at 100 Gbit/s the
/// step is still one part in a million.
pub const FRACTION_BITS: u32 = 24;

/// Slowest rate a bucket can hold, in bytes a second.
pub const MIN_RATE: u64 = 1_000;
/// Fastest rate a bucket can hold, in bytes a second.
pub const MAX_RATE: u64 = 1_000_000_000_000;

/// What TCP hands over at once at most, mostly, in bytes.
const AGGREGATE: u64 = 1 << 16;

/// Longest packet the arithmetic accepts, in bytes.
const MAX_LEN: u64 = 1 << 19;

const NS_PER_S: u64 = 1_000_000_000;

/// Nanoseconds a byte takes at `rate` bytes a second, with [`FRACTION_BITS`] fraction bits.
///
/// `rate` is brought into [`MIN_RATE`]..=[`MAX_RATE`] first.
pub const fn ns_per_byte(rate: u64) -> u64 {
    let rate = if rate < MIN_RATE {
        MIN_RATE
    } else if rate > MAX_RATE {
        MAX_RATE
    } else {
        rate
    };
    (NS_PER_S << FRACTION_BITS).div_ceil(rate)
}

/// What the policer says of a packet, in the numbers that a `cgroup_skb/egress` program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// Within the limit.
    Pass = 1,
    /// Over the limit, but not for long yet: it may pass where the sender will notice.
    Congested = 3,
    /// Over the limit.
    Drop = 2,
}

/// The token bucket of one rule in one direction. One cache line, shared with the kernel.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Bucket {
    /// Nanoseconds a byte takes, with [`FRACTION_BITS`] fraction bits; 0: no limit.
    pub ns_per_byte: Shared,
    /// How much time's worth of traffic may pass at once after a rest, in nanoseconds.
    pub burst_ns: Shared,
    /// The theoretical arrival time, in nanoseconds of the monotonic clock.
    pub tat_ns: Shared,
    /// The [`Scope`] that the rule covers.
    pub scope: Shared,
    /// The rate again, in bytes a second, for connections to start with; 0: as they like.
    pub rate: Shared,
    /// How long one aggregate of TCP takes, in nanoseconds; 0: aggregates are not tolerated.
    pub aggregate_ns: Shared,
    /// How many connections share it: those that user space has seen, and new ones.
    pub flows: Shared,
    /// How many connections have a gate: nobody looks for one where none has.
    pub gates: Shared,
}

/// How long `len` bytes take, in nanoseconds, at `ns_per_byte` with [`FRACTION_BITS`] fraction bits.
#[inline(always)]
fn cost_ns(ns_per_byte: u64, len: u64) -> u64 {
    let len = if len > MAX_LEN { MAX_LEN } else { len };
    (len * ns_per_byte) >> FRACTION_BITS
}

/// Charges `len` bytes at `now` to a token bucket: moves its theoretical arrival time, all in
/// nanoseconds of the monotonic clock, at `ns_per_byte` with [`FRACTION_BITS`] fraction bits.
#[inline(always)]
pub(crate) fn charge(tat_ns: &Shared, ns_per_byte: u64, burst_ns: u64, now: u64, len: u64) {
    let cost = cost_ns(ns_per_byte, len);
    let floor = now.saturating_sub(burst_ns);
    if tat_ns.get() < floor {
        tat_ns.set(floor + cost);
    } else {
        tat_ns.add(cost);
    }
}

impl Bucket {
    /// Whether a packet at `now` (nanoseconds, monotonic) is within the limit.
    ///
    /// The length plays no part: a bucket without debt admits any packet and goes into debt for
    /// it, so that one 64 KB aggregate is not starved by a small burst. [`Verdict::Congested`] is
    /// a debt of no more than the burst, or one such aggregate a connection where
    /// [`Bucket::tolerate_aggregates`] said so, which bounds what may
    /// pass on it: connections that are paced then send what TCP hands over at once each in
    /// its turn, and none waits for a timeout because the others did.
    #[inline(always)]
    pub fn verdict(&self, now: u64) -> Verdict {
        // `max(tat, now - burst) <= now` is `tat <= now`.
        let tat = self.tat_ns.get();
        if tat <= now {
            Verdict::Pass
        } else if tat - now <= self.tolerance_ns() {
            Verdict::Congested
        } else {
            Verdict::Drop
        }
    }

    #[inline(always)]
    fn tolerance_ns(&self) -> u64 {
        let flows = self.flows.get() & 0xffff_ffff;
        let aggregates = self.aggregate_ns.get() * if flows == 0 { 1 } else { flows };
        let burst = self.burst_ns.get();
        if aggregates > burst {
            aggregates
        } else {
            burst
        }
    }

    /// Charges `len` bytes sent at `now` (nanoseconds, monotonic), whatever the verdict was.
    #[inline(always)]
    pub fn charge(&self, now: u64, len: u64) {
        let (rate, burst) = (self.ns_per_byte.get(), self.burst_ns.get());
        charge(&self.tat_ns, rate, burst, now, len);
    }

    /// How long `len` bytes take at this rate, in nanoseconds.
    #[inline(always)]
    pub fn cost_ns(&self, len: u64) -> u64 {
        cost_ns(self.ns_per_byte.get(), len)
    }

    /// How much of the burst may be sent at `now` (nanoseconds, monotonic): from 1, after a rest,
    /// through 0 to as many times the burst as the debt has, negative.
    #[cfg(not(target_arch = "bpf"))]
    pub fn credit(&self, now: u64) -> f64 {
        let burst = self.burst_ns.get();
        if burst == 0 {
            return 0.0;
        }
        let tat = self.tat_ns.get();
        let credit = now.saturating_sub(tat) as f64 - tat.saturating_sub(now) as f64;
        (credit / burst as f64).min(1.0)
    }

    /// Sets rate (bytes a second; `None`: no limit), burst (nanoseconds) and scope of a bucket that
    /// is full.
    pub fn configure(&self, rate: Option<u64>, burst_ns: u64, scope: Scope) {
        self.burst_ns.set(burst_ns);
        self.scope.set(u64::from(scope.0));
        let ns_per_byte = rate.map_or(0, ns_per_byte);
        self.ns_per_byte.set(ns_per_byte);
        self.aggregate_ns.set(0);
        self.rate.set(0);
        self.flows.set(0);
        self.gates.set(0);
        self.tat_ns.set(0);
    }

    /// Tolerates one aggregate of each connection, as senders need.
    pub fn tolerate_aggregates(&self) {
        let cost = AGGREGATE * self.ns_per_byte.get();
        self.aggregate_ns.set(cost >> FRACTION_BITS);
    }

    /// The same for a bucket in use, at `now` (nanoseconds, monotonic): debt is forgiven, so that
    /// the new rate holds from the next packet, and credit stays as it is, so that changing a
    /// limit often gives nothing away.
    pub fn change(&self, rate: Option<u64>, burst_ns: u64, scope: Scope, now: u64) {
        let tat = self.tat_ns.get().min(now);
        self.configure(rate, burst_ns, scope);
        self.tat_ns.set(tat);
    }
}
