//! Senders that stay slow after a limit, and what has them forget why.
//!
//! A download that was policed had losses, and BBR takes a fifth of them, again and again, for what a
//! policer leaves it: it keeps to that rate for 48 round trips (net/ipv4/tcp_bbr.c,
//! `bbr_lt_bw_sampling`), each of which is one packet there, so for seconds after a slow limit. It
//! forgets that where a timeout turns out to have been needless (`bbr_undo_cwnd`). What was lost in
//! earnest cannot be unlost, but one needless timeout can be had: acknowledgements are withheld until the
//! sender's timer has it send something again, and the one that answers says that nothing was missing, by
//! its timestamp (the Eifel algorithm, RFC 3522 and 4015) or by naming what came twice (RFC 3708).
//!
//! That costs a sender a fifth of a second, so only those are asked to that are still slow after an
//! acknowledgement, on which any other sender with something to send would have sped up.

use crate::sys::Shared;

/// How long acknowledgements may be held back by themselves, in nanoseconds: 40 ms on Linux.
const HELD_BACK_NS: u64 = 40_000_000;

/// Full packets that say nothing about how fast their sender is, in bytes of payload.
const FEW: u64 = 6 * 1_460;

/// So many times its share is fast.
const MUCH_FASTER: u64 = 2;

/// Senders' shortest timers, less what rounding takes (`TCP_RTO_MIN`).
const SHORTEST_TIMER_NS: u64 = 190_000_000;

/// A sender that has sent nothing again by then has no timer of that kind.
const LONGEST_NS: u64 = 1_500_000_000;

/// What an acknowledgement says of what came twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// That nothing has.
    Nothing,
    /// That the last segment has. That may be a probe for a lost tail (RFC 8985, 7), which is no timeout.
    Last,
    /// That one before it has, as the first one does after a timeout.
    Earlier,
}

/// The words of a watched download, in the order of its fields.
pub type Words = [u64; 7];

/// A download that is watched after its limit. All times in nanoseconds of the monotonic clock.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Undo {
    /// Nanoseconds a byte of the share that it had.
    pub ns_per_byte: Shared,
    /// Its round-trip time, in nanoseconds.
    pub round_trip_ns: Shared,
    /// When an acknowledgement left that its sender may have sped up on; 0: none yet.
    pub since_ns: Shared,
    /// Bytes of payload that had arrived then.
    pub bytes: Shared,
    /// When an acknowledgement was withheld first; 0: none yet.
    pub withheld_ns: Shared,
    /// 1: the last segment has come twice since.
    pub probed: Shared,
    /// 1: nothing more is to be done.
    pub over: Shared,
}

impl Undo {
    /// Whether an acknowledgement that leaves at `now` is withheld. So many bytes of payload have arrived
    /// in order by then.
    #[inline(always)]
    pub fn withholds(&self, now: u64, bytes: u64, duplicate: Duplicate) -> bool {
        if self.over.get() != 0 {
            return false;
        }
        let withheld = self.withheld_ns.get();
        if withheld == 0 {
            let slow = self.is_still_slow(now, bytes);
            if slow {
                self.withheld_ns.set(now);
            }
            return slow;
        }
        let waited = now.saturating_sub(withheld);
        let timed_out = match duplicate {
            Duplicate::Nothing => false,
            Duplicate::Last => self.probed.get() != 0,
            Duplicate::Earlier => true,
        };
        if duplicate == Duplicate::Last {
            self.probed.set(1);
        }
        let is_enough = timed_out && waited > SHORTEST_TIMER_NS || waited > LONGEST_NS;
        if is_enough {
            self.over.set(1);
        }
        !is_enough
    }

    /// Whether its sender could have sped up by now, and has not. One that is fast is left alone.
    #[inline(always)]
    fn is_still_slow(&self, now: u64, bytes: u64) -> bool {
        let since = self.since_ns.get();
        if since == 0 {
            self.since_ns.set(now);
            self.bytes.set(bytes);
            return false;
        }
        let (waited, came) = (
            now.saturating_sub(since),
            bytes.saturating_sub(self.bytes.get()),
        );
        let cost = came.saturating_sub(FEW) * self.ns_per_byte.get();
        if cost > MUCH_FASTER * waited {
            self.over.set(1);
            return false;
        }
        came != 0 && waited > HELD_BACK_NS + 2 * self.round_trip_ns.get()
    }
}
