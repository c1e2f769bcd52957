// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! Uploads: `SO_MAX_PACING_RATE`, at which TCP paces itself without any queue.

use chadthrottle_common::{kernel::NO_PACE, pace::is_much_faster, tuning::pace::NEAR};

use super::setting::{Context, Lever};
use crate::{maps::TCP_OFFSETS, sys};

pub struct Pace;

impl Lever for Pace {
    const NEAR: u64 = NEAR;

    #[inline(always)]
    fn wanted(context: &Context) -> u64 {
        if context.terms_up < NO_PACE {
            context.terms_up
        } else {
            0
        }
    }

    /// All ones, of 64 bits, is unlimited to the kernel; so is what we could not set.
    #[inline(always)]
    fn present(address: u64) -> u64 {
        let rate = sys::read_kernel::<u64>(address + u64::from(TCP_OFFSETS.load().max_pacing_rate));
        if rate < NO_PACE { rate } else { NO_PACE }
    }

    #[inline(always)]
    fn write<C>(ctx: *mut C, value: u64) {
        sys::set_max_pacing_rate(ctx, value as u32);
    }

    #[inline(always)]
    fn has_moved<C>(ctx: *mut C, from: u64, to: u64) {
        if is_much_faster(from, to) {
            sys::restart_bbr(ctx);
        }
    }
}
