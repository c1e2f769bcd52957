//! The policer: a token bucket in its GCRA form (generic cell rate algorithm, ITU-T I.371).
//!
//! The whole state of a bucket is one number, the *theoretical arrival time* (TAT): the instant,
//! in nanoseconds of the monotonic clock, at which the bucket would be empty of debt again.
//!
//! **The bound.** Whatever a limited process does, what passes in any time *t* is at most
//! limit × *t* and an allowance: one second of the limit, or [`LEAST_ALLOWANCE`] bytes where that is
//! more. A bucket saves no more than its burst, and [`Bucket::has_room`] lets no packet take its debt
//! beyond what the allowance leaves above that. Rules that spare packets decide who is refused first,
//! inside the bound.
//!
//! Concurrency: the kernel runs this on every CPU at once, and must load on 5.10, which has
//! neither fetch-and-add results nor compare-and-swap for BPF. So the state is moved by a plain
//! atomic add, and by a store when an idle bucket is brought up to date. Two callers can then
//! both be admitted on the same credit, and a store can swallow an add that ran between its load
//! and itself: per event, at most one packet a CPU passes uncharged. Nobody is ever charged
//! twice, so a race cannot starve a flow.

#[cfg(not(target_arch = "bpf"))]
use crate::scope::Scope;
use crate::sys::Shared;

/// Fraction bits of [`Bucket::ns_per_byte`]. 1 KB/s is 10⁶ ns a byte (20 bits) and a packet has
/// at most 2¹⁹ bytes (BIG TCP), so with 24 bits the product stays under 2⁶³; at 100 Gbit/s the
/// step is still one part in a million.
pub const FRACTION_BITS: u32 = 24;

/// Slowest rate a bucket can hold, in bytes a second.
pub const MIN_RATE: u64 = 1_000;
/// Fastest rate a bucket can hold, in bytes a second.
pub const MAX_RATE: u64 = 1_000_000_000_000;

/// What may pass beyond limit × time at least, in bytes: the longest packet there is, mostly.
pub const LEAST_ALLOWANCE: u64 = 1 << 16;

/// How long what may pass beyond limit × time takes at least, in nanoseconds.
#[cfg(not(target_arch = "bpf"))]
const ALLOWANCE_NS: u64 = NS_PER_S;

/// Longest packet the arithmetic accepts, in bytes.
const MAX_LEN: u64 = 1 << 19;

const NS_PER_S: u64 = 1_000_000_000;

/// An instant that does not come, in nanoseconds of the monotonic clock, from which a packet's cost can still be counted.
const NEVER_NS: u64 = 1 << 62;

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
    /// Blocked, of TCP: its sender is told that the packet could not be sent, which no program hears of (`EPERM` in
    /// `tcp_transmit_skb`), and waits longer and longer. Were it dropped for want of room, TCP would try twice a second,
    /// and give the connection up after fifteen times (`tcp_send_probe0`).
    Blocked = 0,
}

impl Verdict {
    /// Whether the packet does not pass.
    #[inline(always)]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Drop | Self::Blocked)
    }
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
    /// The [`crate::scope::Scope`] that the rule covers.
    pub scope: Shared,
    /// The fair rate: what one connection may have, in bytes a second, which levers hold it to;
    /// 0: as much as it likes.
    pub fair_rate: Shared,
    /// Nanoseconds a byte of the fair rate takes for gates, with [`FRACTION_BITS`] fraction bits;
    /// 0: there are no gates.
    pub gate_ns_per_byte: Shared,
    /// How far into debt senders that notice may take the bucket, in nanoseconds; never beyond
    /// [`Bucket::most_debt_ns`].
    pub tolerance_ns: Shared,
    /// How far into debt anybody may take it, in nanoseconds.
    pub most_debt_ns: Shared,
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
    /// a debt of no more than the tolerance.
    #[inline(always)]
    pub fn verdict(&self, now: u64) -> Verdict {
        // `max(tat, now - burst) <= now` is `tat <= now`.
        let tat = self.tat_ns.get();
        if tat <= now {
            Verdict::Pass
        } else if tat - now <= self.tolerance_ns.get() {
            Verdict::Congested
        } else {
            Verdict::Drop
        }
    }

    /// Whether the bound has room for `len` bytes at `now` (nanoseconds, monotonic): whoever sends
    /// them, and however small they are.
    #[inline(always)]
    pub fn has_room(&self, now: u64, len: u64) -> bool {
        let (tat, floor) = (self.tat_ns.get(), now.saturating_sub(self.burst_ns.get()));
        let from = if tat < floor { floor } else { tat };
        from + self.cost_ns(len) <= now + self.most_debt_ns.get()
    }

    /// Charges `len` bytes sent at `now` (nanoseconds, monotonic), whatever the verdict was.
    #[inline(always)]
    pub fn charge(&self, now: u64, len: u64) {
        let (rate, burst) = (self.ns_per_byte.get(), self.burst_ns.get());
        charge(&self.tat_ns, rate, burst, now, len);
    }

    /// Whether nothing is to pass.
    #[inline(always)]
    pub fn is_blocked(&self) -> bool {
        self.tat_ns.get() >= NEVER_NS
    }

    /// How long `len` bytes take at this rate, in nanoseconds.
    #[inline(always)]
    pub fn cost_ns(&self, len: u64) -> u64 {
        cost_ns(self.ns_per_byte.get(), len)
    }
}

/// What user space does with a bucket.
#[cfg(not(target_arch = "bpf"))]
impl Bucket {
    /// How much of the burst may be sent at `now` (nanoseconds, monotonic): from 1, after a rest,
    /// through 0 to as many times the burst as the debt has, negative.
    pub fn credit(&self, now: u64) -> f64 {
        match self.burst_ns.get() {
            0 => 0.0,
            burst => (self.saved_ns(now) as f64 / burst as f64).min(1.0),
        }
    }

    /// Sets rate (bytes a second; `None`: no limit), burst (nanoseconds) and scope of a bucket that
    /// is full.
    pub fn configure(&self, rate: Option<u64>, burst_ns: u64, scope: Scope) {
        let ns_per_byte = rate.map_or(0, ns_per_byte);
        let allowance_ns = ALLOWANCE_NS.max(cost_ns(ns_per_byte, LEAST_ALLOWANCE) + 1);
        self.burst_ns.set(burst_ns);
        self.scope.set(u64::from(scope.0));
        self.most_debt_ns.set(allowance_ns.saturating_sub(burst_ns));
        self.tolerance_ns.set(burst_ns);
        self.fair_rate.set(0);
        self.gate_ns_per_byte.set(0);
        self.tat_ns.set(0);
        self.ns_per_byte.set(ns_per_byte);
    }

    /// Has nothing of that scope pass: the bound has no room for anything.
    pub fn block(&self, scope: Scope) {
        self.configure(Some(MIN_RATE), 0, scope);
        self.most_debt_ns.set(0);
        self.tolerance_ns.set(0);
        self.tat_ns.set(NEVER_NS);
    }

    /// The same for a bucket in use, at `now` (nanoseconds, monotonic). The new rate holds from the next
    /// packet, and the bytes that are owed, or saved, stay: changing a limit often gives nothing away.
    pub fn change(&self, rate: Option<u64>, burst_ns: u64, scope: Scope, now: u64) {
        let (saved_ns, before) = (self.saved_ns(now), self.ns_per_byte.get());
        let was_blocked = self.is_blocked();
        self.configure(rate, burst_ns, scope);
        let after = self.ns_per_byte.get();
        if before == 0 || was_blocked {
            return;
        }
        let saved_ns = i128::from(saved_ns) * i128::from(after) / i128::from(before);
        let most_debt_ns = i128::from(self.most_debt_ns.get());
        let saved_ns = saved_ns.clamp(-most_debt_ns, i128::from(burst_ns));
        self.tat_ns.set((i128::from(now) - saved_ns).max(0) as u64);
    }

    /// How long what may be sent at once takes; what is owed is negative.
    fn saved_ns(&self, now: u64) -> i64 {
        let saved = i128::from(now) - i128::from(self.tat_ns.get());
        saved.clamp(i128::from(i64::MIN), i128::from(self.burst_ns.get())) as i64
    }
}
