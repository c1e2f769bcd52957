//! How many segments of a slow upload may be on their way at once.
//!
//! TCP hands over up to half of its congestion window in one piece, and to near ends as much as 64 KB,
//! whatever its pace (`tcp_tso_autosize`, `tcp_cwnd_test`): at a few kilobytes a second that is
//! seconds of traffic. A smaller congestion window makes it smaller pieces.

use crate::connection::Facts;

/// What a connection starts with by itself, in segments (RFC 6928): so many do no harm.
pub const USUAL: u64 = 10;

/// The kernel does not pace a connection's first segments (`tcp_update_skb_after_send`); those that
/// are refused count too.
pub const PACED_FROM: u32 = 10;

/// Until it is paced, a connection may have so many segments on their way at least: it hands over two
/// at once, of which the policer refuses what the limit has no room for, so that it is paced sooner.
const AT_FIRST: u64 = 4;

/// Two: with one, each would wait for an acknowledgement that may be held back.
const FEWEST: u64 = 2;

/// How long acknowledgements may be held back, in microseconds: 40 ms on Linux.
const HELD_BACK_US: u64 = 50_000;

/// This keeps rate times time within 64 bits. (`checked_mul` takes 128, which BPF has not.)
const FASTEST: u64 = 1 << 32;

/// The largest congestion window of a connection that sends `rate` bytes a second, in segments; `None`: as
/// many as TCP likes.
#[inline(always)]
pub fn largest(rate: u64, facts: &Facts) -> Option<u32> {
    if rate > FASTEST {
        return None;
    }
    let held_back = Facts {
        round_trip_us: facts.round_trip_us + HELD_BACK_US,
        ..*facts
    };
    let segments = FEWEST + held_back.bytes_of(rate).checked_div(facts.full_segment)?;
    if segments >= USUAL {
        None
    } else if segments < AT_FIRST && facts.segments_sent < PACED_FROM {
        Some(AT_FIRST as u32)
    } else {
        Some(segments as u32)
    }
}
