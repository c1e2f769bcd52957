//! Gates: downloads in pulses, where no window is small enough for their rate.
//!
//! A sender fills a window at least one segment long once a round trip, so a near one is too fast
//! with any window, and the policer would waste what comes too much. A gate is a token bucket of one
//! connection, for its share of the limit, that stops the connection where it has used it up. Two
//! ways stop a sender for the fifth of a second that its shortest timer lasts:
//!
//! - *Closing the window*: an acknowledgement offers less than a segment. The sender waits for its
//!   probe timer, and nothing is lost. It takes small enough units of the window, so a connection
//!   that was made under the limit.
//! - *Refusing all*: a few packets are lost, and the sender waits for its retransmission timer.
//!
//! A sender fills even a closed window each time its timer ends. Where a share is less than that, the
//! window is never open, and what is too much is refused, several packets in a row: the sender's
//! timer doubles each time, so that three in a row stop it for as long as seven that are not.
//!
//! Where neither is needed, or nothing small enough could be done, a gate sees to it that what the
//! limit has to refuse is that of connections that have had their share: by luck alone one of eight
//! takes everything, while the others wait for timers that double with each packet they lose.
//!
//! Fast shares pause once in each quarter of a second, so that each second brings the same number
//! of pulses; slow ones, whose pulses are a few segments, whenever they have to.

use crate::{policer::charge, sys::Shared};

/// How long a turn of pause and pulse is, in nanoseconds. More than the shortest timers of senders
/// (200 ms, and what rounding adds), and a whole part of a second.
pub const TURN_NS: u64 = 250_000_000;

/// A pause that began later in its turn would last into the next one.
const LATEST_PAUSE_NS: u64 = 70_000_000;

/// What is refused in a pause is refused to here in its turn: the first retransmission must pass.
const PAUSE_END_NS: u64 = 180_000_000;

/// A window that no segment fits into, in bytes: the kernel sets no smaller one
/// (`tcp_set_window_clamp`, `SOCK_MIN_RCVBUF`).
pub const CLOSED_WINDOW: u32 = 1_152;

/// Faster shares, in bytes a second, have no gate: the policer refuses little of them, and windows
/// of one segment cost senders and receivers much.
pub const FASTEST_SHARE: u64 = 5_000_000;

/// How much of a share may be used after a pause, in nanoseconds. Senders far away pause for as much
/// longer as a round trip.
const BURST_NS: u64 = 2 * TURN_NS;

/// What may still arrive after the window was closed, in nanoseconds of its share.
const MAX_DEBT_NS: u64 = TURN_NS;

/// What a slow share may owe before it is refused, in nanoseconds of it. More, and fewer packets are
/// lost, but connections that share a limit have more unequal parts of their first ten seconds.
pub const SLOW_DEBT_NS: u64 = 2_400_000_000;

/// It pauses no longer than this: three packets in a row, after which a near sender's timer is 0.83 s.
/// Longer ones lose less, but the sender would wait for them also where the limit has ended.
const LONGEST_PAUSE_NS: u64 = 1_300_000_000;

/// So much credit of a limit, in nanoseconds of it, is for whoever asks: it would be lost otherwise.
const SPARE_NS: u64 = 150_000_000;

/// What a connection can owe that others left more to than its share, in nanoseconds of it: when they
/// come back, it has not to wait for long.
const FAIR_DEBT_NS: u64 = 600_000_000;

/// The words of a gate, in the order of its fields.
pub type Words = [u64; 5];

/// The connection's window can be closed: its acknowledgements pass through the kernel program, and
/// its units are small enough.
pub const CLOSES: u64 = 1;
/// It pauses at the start of a turn only.
pub const TURNS: u64 = 2;
/// The kernel program sees the connection's acknowledgements.
pub const SEEN: u64 = 4;
/// User space has chosen when its pauses begin.
pub const SPREAD: u64 = 8;
/// Its share is less than what a closed window lets pass.
pub const SLOW: u64 = 16;
/// It does not pause: it is refused what the limit has to refuse, while it has had its share.
pub const FAIR: u64 = 32;

/// The gate of a connection.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Gate {
    /// Nanoseconds a byte of its share takes, as in [`crate::policer::Bucket`]; 0: no gate.
    pub ns_per_byte: Shared,
    /// The theoretical arrival time, in nanoseconds of the monotonic clock.
    pub tat_ns: Shared,
    /// In nanoseconds of the monotonic clock: where all is refused for a while, until when; where
    /// the window is closed, from when on it is.
    pub pause_ns: Shared,
    /// [`CLOSES`], [`TURNS`], [`SEEN`], [`SPREAD`], [`SLOW`] and [`FAIR`].
    pub mode: Shared,
    /// When a packet of it was refused last, by whatever, in nanoseconds of the monotonic clock.
    pub refused_ns: Shared,
}

impl Gate {
    /// Whether it is in use.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.ns_per_byte.get() != 0
    }

    #[inline(always)]
    fn has(&self, mode: u64) -> bool {
        self.mode.get() & mode != 0
    }

    /// Whether what it does not refuse passes also where the limit is used up: what comes after a window
    /// was closed was on its way, and who has not had its share is not to wait for those that have.
    #[inline(always)]
    pub fn tolerates(&self) -> bool {
        self.is_set() && self.has(CLOSES | FAIR)
    }

    /// Whether its window can be closed.
    #[inline(always)]
    pub fn closes(&self) -> bool {
        self.is_set() && self.has(CLOSES)
    }

    /// Whether an acknowledgement that leaves at `now` (nanoseconds, monotonic) closes the window.
    #[inline(always)]
    pub fn is_closed(&self, now: u64) -> bool {
        self.closes() && (self.has(SLOW) || self.tat_ns.get() > now && self.may_pause(now))
    }

    /// Whether a pause by closing the window may begin.
    #[inline(always)]
    fn may_pause(&self, now: u64) -> bool {
        if self.has(TURNS) {
            now % TURN_NS < LATEST_PAUSE_NS
        } else {
            now >= self.pause_ns.get()
        }
    }

    /// Whether a packet that arrives at `now` is refused. `limit_tat_ns` is the theoretical arrival time
    /// of the limit that the connection has a share of; both in nanoseconds of the monotonic clock.
    #[inline(always)]
    pub fn refuses(&self, now: u64, limit_tat_ns: u64) -> bool {
        if !self.is_set() {
            return false;
        }
        let tat = self.tat_ns.get();
        if self.has(SLOW) {
            return self.refuses_slow(now, tat, limit_tat_ns);
        }
        if self.has(FAIR) {
            return tat > now && limit_tat_ns > now;
        }
        if self.has(CLOSES) {
            // What was on its way when the window closed is not lost.
            let debt = if self.may_pause(now) { MAX_DEBT_NS } else { 0 };
            return tat > now + debt;
        }
        if now < self.pause_ns.get() {
            return true;
        }
        // The limit would refuse it, so a pause had better begin.
        if tat <= now && limit_tat_ns <= now {
            return false;
        }
        let turn = now % TURN_NS;
        if turn < LATEST_PAUSE_NS {
            self.pause_ns.set(now - turn + PAUSE_END_NS);
        }
        true
    }

    /// Once it owes too much, or the limit is used up and it owes something, until it owes nothing
    /// or its sender would wait too long.
    ///
    /// So those that have had the most pause while there are too many, and for long: by luck alone one of
    /// eight had four times as much as another. Where too many pause, whoever asks is let through.
    #[inline(always)]
    fn refuses_slow(&self, now: u64, tat: u64, limit_tat_ns: u64) -> bool {
        if limit_tat_ns + SPARE_NS < now {
            return false;
        }
        if now < self.pause_ns.get() {
            return true;
        }
        let bearable = if limit_tat_ns > now { 0 } else { SLOW_DEBT_NS };
        let pauses = tat > now + bearable;
        if pauses {
            let longest = now + LONGEST_PAUSE_NS;
            self.pause_ns.set(if tat < longest { tat } else { longest });
        }
        pauses
    }

    /// A packet of it was refused at `now` (nanoseconds, monotonic).
    #[inline(always)]
    pub fn note_refusal(&self, now: u64) {
        self.refused_ns.set(now);
    }

    /// The connection is not held any more.
    #[inline(always)]
    pub fn unset(&self) {
        self.ns_per_byte.set(0);
        self.tat_ns.set(0);
        self.mode.set(0);
    }

    /// Charges `len` bytes that arrived at `now` (nanoseconds, monotonic).
    #[inline(always)]
    pub fn charge(&self, now: u64, len: u64) {
        charge(&self.tat_ns, self.ns_per_byte.get(), BURST_NS, now, len);
        if self.has(FAIR) && self.tat_ns.get() > now + FAIR_DEBT_NS {
            self.tat_ns.set(now + FAIR_DEBT_NS);
        }
    }
}
