// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! A setting of a socket: holding it where a lever wants it, and putting it back.

use chadthrottle_common::{
    connection::{Facts, Setting},
    gate::Mode,
};

use crate::sys;

/// What levers decide by.
#[derive(Clone, Copy)]
pub struct Context {
    /// What the connection may send, in bytes a second; 0: as much as it likes.
    pub terms_up: u64,
    /// What it may receive.
    pub terms_down: u64,
    pub facts: Facts,
    pub mode: Mode,
    /// Whether its window is to be closed for now.
    pub is_closed: bool,
}

/// A lever: one setting of a socket.
pub trait Lever {
    /// What it is to be; 0: as the program likes.
    fn wanted(context: &Context) -> u64;
    /// What it is, of the socket at that address.
    fn present(address: u64) -> u64;
    /// Sets it, from a `sock_ops` program or on a socket of a pass.
    fn write<C>(ctx: *mut C, value: u64);
    /// It is near enough where it differs by this part of what is wanted at most, one in so many.
    const NEAR: u64;
    /// Whether it is near enough, of the socket at that address.
    #[inline(always)]
    fn is_near(_address: u64, present: u64, wanted: u64) -> bool {
        Setting::is_near(present, wanted, Self::NEAR)
    }
    /// It has been written, in place of another value.
    #[inline(always)]
    fn has_moved<C>(_ctx: *mut C, _from: u64, _to: u64) {}
}

/// Holds a setting at what is wanted, and no further than where its program has it.
#[inline(always)]
pub fn hold<L: Lever, C>(ctx: *mut C, setting: &mut Setting, address: u64, wanted: u64) {
    let wanted = sys::noted(&mut setting.wanted, wanted);
    if wanted == 0 {
        put_back::<L, C>(ctx, setting, address);
        return;
    }
    let present = L::present(address);
    if setting.set == 0 || present != setting.set {
        // New to us, or its program or the kernel's tuning has set it meanwhile.
        setting.before = present;
    }
    let wanted = if wanted < setting.before {
        wanted
    } else {
        setting.before
    };
    if L::is_near(address, present, wanted) {
        return;
    }
    // Noted first: what is set and not noted would stay.
    setting.set = wanted;
    L::write(ctx, wanted);
    L::has_moved(ctx, present, wanted);
    // The kernel has smallest values.
    setting.set = L::present(address);
}

/// Puts a setting back, where it is still as we have set it.
#[inline(always)]
pub fn put_back<L: Lever, C>(ctx: *mut C, setting: &mut Setting, address: u64) {
    let set = setting.set;
    if set == 0 {
        return;
    }
    if L::present(address) == set {
        L::write(ctx, setting.before);
        L::has_moved(ctx, set, setting.before);
    }
    setting.set = 0;
}
