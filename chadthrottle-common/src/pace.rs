//! The pace of uploads.

use crate::tuning::pace::MUCH_FASTER;

/// Whether a connection whose pace goes from one value to another, in bytes a second, has so much more from now on that
/// BBR would take seconds to find out by itself.
#[inline(always)]
pub const fn is_much_faster(from: u64, to: u64) -> bool {
    to / MUCH_FASTER >= from
}
