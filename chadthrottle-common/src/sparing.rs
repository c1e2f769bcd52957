//! Which packets the policer spares, and which it refuses though the limit has room: inside the bound, for the sake of
//! what their loss, or their passing, would cost.

use crate::tuning::sparing::{LARGE, LONG_NS, PACE_ABOVE, SMALL_PACKET};

/// Whether a packet of `len` bytes is refused only where the bound has no room for it.
#[inline(always)]
pub const fn is_small(len: u64) -> bool {
    len <= SMALL_PACKET
}

/// Whether a packet of `len` bytes may be an aggregate that takes long.
#[inline(always)]
pub const fn is_large(len: u64) -> bool {
    len > LARGE
}

/// Whether what arrives takes so long, in nanoseconds of the limit, that it would leave nothing to anybody for seconds.
#[inline(always)]
pub const fn is_long(cost_ns: u64) -> bool {
    cost_ns > LONG_NS
}

/// The same of what comes from `round_trip_ns` (nanoseconds) away: from very far what a round trip may bring comes at
/// once.
#[inline(always)]
pub const fn is_long_from(cost_ns: u64, round_trip_ns: u64) -> bool {
    cost_ns > LONG_NS + 2 * round_trip_ns
}

/// Whether a pace goes with a fair rate, both in bytes a second; 0: there is none.
#[inline(always)]
pub const fn is_paced(pace: u64, fair: u64) -> bool {
    fair != 0 && pace != 0 && pace <= fair + fair / PACE_ABOVE
}
