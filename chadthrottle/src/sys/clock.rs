//! The clock that the kernel programs use.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock (`bpf_ktime_get_ns`).
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
    })
}
