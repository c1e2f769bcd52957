//! How many segments of a slow upload may be on their way at once.
//!
//! TCP hands over up to half of its congestion window in one piece, and to near ends as much as 64 KB,
//! whatever its pace (`tcp_tso_autosize`, `tcp_cwnd_test`): at a few kilobytes a second that is
//! seconds of traffic. A smaller congestion window makes it smaller pieces.

use crate::{
    connection::{FASTEST, Facts},
    kernel::{DELAYED_ACK_US, INITIAL_WINDOW, PACED_FROM},
    tuning::flight::{AT_FIRST, FEWEST},
};

/// The largest congestion window of a connection that sends `rate` bytes a second, in segments; `None`: as
/// many as TCP likes.
#[inline(always)]
pub fn largest(rate: u64, facts: &Facts) -> Option<u32> {
    if rate > FASTEST {
        return None;
    }
    let held_back = Facts {
        round_trip_us: facts.round_trip_us + DELAYED_ACK_US,
        ..*facts
    };
    let segments = FEWEST + held_back.bytes_of(rate).checked_div(facts.full_segment)?;
    if segments >= INITIAL_WINDOW {
        None
    } else if segments < AT_FIRST && facts.segments_sent < PACED_FROM {
        Some(AT_FIRST as u32)
    } else {
        Some(segments as u32)
    }
}
