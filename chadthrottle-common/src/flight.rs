//! How many segments of a slow upload may be on their way at once.
//!
//! TCP hands over up to half of its congestion window in one piece, and to near ends as much as 64 KB,
//! whatever its pace (`tcp_tso_autosize`, `tcp_cwnd_test`): at a few kilobytes a second that is
//! seconds of traffic. A smaller congestion window makes it smaller pieces.

/// What a connection starts with by itself, in segments (RFC 6928): so many do no harm.
pub const USUAL: u64 = 10;

/// The kernel does not pace a connection's first segments (`tcp_update_skb_after_send`); those that
/// are refused count too.
pub const PACED_FROM: u32 = 10;

/// Until it is paced, a connection may have so many segments on their way at least: it hands over two
/// at once, of which the policer refuses what the limit has no room for, so that it is paced sooner.
const AT_FIRST: u32 = 4;

/// Two: with one, each would wait for an acknowledgement that may be held back.
const FEWEST: u64 = 2;

/// How long acknowledgements may be held back, in microseconds: 40 ms on Linux.
const HELD_BACK_US: u64 = 50_000;

/// These keep rate times time within 64 bits. (`checked_mul` takes 128, which BPF has not.)
const FASTEST: u64 = 1 << 32;
const LONGEST_US: u64 = 60_000_000;

const US_PER_S: u64 = 1_000_000;

/// The largest congestion window, in segments of so many bytes of payload, for `rate` bytes a second
/// at that round-trip time; `None`: as many as TCP likes.
#[inline(always)]
pub fn largest(rate: u64, round_trip_us: u64, segment: u64) -> Option<u32> {
    if rate > FASTEST {
        return None;
    }
    let us = if round_trip_us > LONGEST_US {
        LONGEST_US
    } else {
        round_trip_us
    };
    let bytes = rate * (us + HELD_BACK_US) / US_PER_S;
    let segments = FEWEST + bytes.checked_div(segment)?;
    if segments < USUAL {
        Some(segments as u32)
    } else {
        None
    }
}

/// The same for a connection that may not be paced yet.
#[inline(always)]
pub fn at_first(largest: u32, is_paced: bool) -> u32 {
    if is_paced || largest > AT_FIRST {
        largest
    } else {
        AT_FIRST
    }
}
