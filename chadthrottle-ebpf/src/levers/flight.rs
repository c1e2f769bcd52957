// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! Slow uploads: the largest congestion window, how much TCP hands over at once.

use chadthrottle_common::flight;

use super::setting::{Context, Lever};
use crate::{maps::TCP_OFFSETS, sys};

/// The most that the kernel takes; without a bound it is all ones before, which is as much.
const LARGEST: u64 = i32::MAX as u64;

pub struct Flight;

impl Lever for Flight {
    /// Whole segments, and few: it has its own way to tell.
    const NEAR: u64 = u64::MAX;

    #[inline(always)]
    fn wanted(context: &Context) -> u64 {
        if context.terms_up == 0 {
            return 0;
        }
        flight::largest(context.terms_up, &context.facts).map_or(0, u64::from)
    }

    #[inline(always)]
    fn present(address: u64) -> u64 {
        let clamp = TCP_OFFSETS.load().snd_cwnd_clamp;
        let segments = sys::read_kernel::<u32>(address + u64::from(clamp)).into();
        if segments < LARGEST {
            segments
        } else {
            LARGEST
        }
    }

    #[inline(always)]
    fn write<C>(ctx: *mut C, value: u64) {
        sys::set_largest_flight(ctx, value as u32);
    }

    /// Setting it makes no congestion window smaller, but where a packet was refused the kernel does, to what was
    /// set last (`tcp_end_cwnd_reduction`, the slow-start threshold); by itself three tenths a time.
    #[inline(always)]
    fn is_near(address: u64, present: u64, wanted: u64) -> bool {
        let cwnd = TCP_OFFSETS.load().snd_cwnd;
        present == wanted && u64::from(sys::read_kernel::<u32>(address + u64::from(cwnd))) <= wanted
    }
}
