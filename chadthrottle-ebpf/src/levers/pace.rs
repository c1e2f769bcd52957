//! Uploads: `SO_MAX_PACING_RATE`, at which TCP paces itself without any queue.

use super::setting::{Context, Lever};
use crate::{maps::TCP_OFFSETS, sys};

/// As a BPF program sets it, it has 32 bits, of which the highest value means unlimited.
const UNLIMITED: u64 = u32::MAX as u64;

/// So many times faster is not what BBR would find by itself soon.
const MUCH_FASTER: u64 = 4;

pub struct Pace;

impl Lever for Pace {
    /// A finer step would set the option at nearly every look, for what the credit evens out anyway.
    const NEAR: u64 = 32;

    #[inline(always)]
    fn wanted(context: &Context<'_>) -> u64 {
        if context.terms_up < UNLIMITED {
            context.terms_up
        } else {
            0
        }
    }

    /// All ones, of 64 bits, is unlimited to the kernel; so is what we could not set.
    #[inline(always)]
    fn present(address: u64) -> u64 {
        let rate = sys::read_kernel::<u64>(address + u64::from(TCP_OFFSETS.load().max_pacing_rate));
        if rate < UNLIMITED { rate } else { UNLIMITED }
    }

    #[inline(always)]
    fn write<C>(ctx: *mut C, value: u64) {
        sys::set_max_pacing_rate(ctx, value as u32);
    }

    #[inline(always)]
    fn has_moved<C>(ctx: *mut C, from: u64, to: u64) {
        if to / MUCH_FASTER >= from {
            sys::restart_bbr(ctx);
        }
    }
}
