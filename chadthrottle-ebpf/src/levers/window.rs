// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! Downloads: `TCP_WINDOW_CLAMP`, how much a connection asks for at once.

use chadthrottle_common::{
    connection::FASTEST,
    tuning::{gate::CLOSED_WINDOW, window::NEAR},
    window,
};

use super::setting::{Context, Lever};
use crate::{maps::TCP_OFFSETS, sys};

pub struct Window;

impl Lever for Window {
    const NEAR: u64 = NEAR;

    #[inline(always)]
    fn wanted(context: &Context) -> u64 {
        if context.is_closed {
            CLOSED_WINDOW
        } else if context.terms_down != 0 && context.terms_down <= FASTEST {
            window::window(context.terms_down, &context.facts, context.mode)
        } else {
            0
        }
    }

    #[inline(always)]
    fn present(address: u64) -> u64 {
        let clamp = TCP_OFFSETS.load().window_clamp;
        sys::read_kernel::<u32>(address + u64::from(clamp)).into()
    }

    #[inline(always)]
    fn write<C>(ctx: *mut C, value: u64) {
        sys::set_window_clamp(ctx, value as u32);
    }
}
