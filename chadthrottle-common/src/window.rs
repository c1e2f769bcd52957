//! The window lever: how much a download asks for at once, and whether it pauses.

use crate::{
    connection::{FASTEST, Facts},
    gate::Mode,
    kernel::{INITIAL_WINDOW, LARGEST_WINDOW},
    tuning::{
        gate::CLOSED_WINDOW,
        window::{
            FASTER_TENTHS, FASTEST_PAUSING, FEWEST_FIRST, FIRST_MS, NEAR_US, REFUSING_FROM, SHARING,
        },
    },
};

/// The window that a download of `fair` bytes a second is made with, in segments; `None`: the kernel's own. What it
/// offers cannot be taken back, and while it is used up the kernel's tuning would take it for too small.
#[inline(always)]
pub const fn first(fair: u64) -> Option<u64> {
    /// Of an Ethernet, in bytes: its own is not known yet.
    const SEGMENT: u64 = 1_448;
    if fair == 0 || fair > FASTEST {
        return None;
    }
    let segments = fair * FIRST_MS / (1_000 * SEGMENT);
    Some(if segments > INITIAL_WINDOW {
        INITIAL_WINDOW
    } else if segments < FEWEST_FIRST {
        FEWEST_FIRST
    } else {
        segments
    })
}

/// Whether a download of `fair` bytes a second is to have small units of its window, should it have to pause one day.
/// With units of more than 256 bytes no window is less than a segment, and none could be closed.
#[inline(always)]
pub const fn has_small_units(fair: u64) -> bool {
    fair != 0 && fair <= SHARING * FASTEST_PAUSING
}

/// The smallest window that a connection can have, in bytes, with full segments.
///
/// A sender waits for room for a full segment, and where there never is any, for its timer: on
/// loopback, where one has 64 KB, and in networks with jumbo frames.
#[inline(always)]
const fn smallest(facts: &Facts) -> u64 {
    let least = if facts.full_segment > CLOSED_WINDOW {
        facts.full_segment
    } else {
        CLOSED_WINDOW
    };
    // Without units the kernel keeps what it has offered, a closed window too, until there is room for a segment more
    // (`__tcp_select_window`).
    if facts.window_unit == 1 {
        return least + CLOSED_WINDOW;
    }
    offered(least, facts.window_unit)
}

/// What a window of so many bytes is offered as, in units of so many, which is a power of two.
#[inline(always)]
const fn offered(window: u64, unit: u64) -> u64 {
    (window + unit - 1) & !(unit - 1)
}

/// How a download is kept to `fair` bytes a second. `may_close`: the kernel program sees its acknowledgements,
/// and its sender asks soon after a pause.
#[inline(always)]
pub const fn mode(fair: u64, facts: &Facts, may_close: bool) -> Mode {
    if fair > FASTEST_PAUSING || facts.bytes_of(fair) >= smallest(facts) {
        return Mode::Fair;
    }
    let near = facts.round_trip_us < NEAR_US;
    if may_close && offered(CLOSED_WINDOW, facts.window_unit) < facts.full_segment {
        Mode::Closing
    } else if near && fair >= REFUSING_FROM {
        Mode::Refusing
    } else {
        Mode::Fair
    }
}

/// The window of a download that is kept so, in bytes.
///
/// One that pauses makes up for it in between. A sender with nothing on its way fills the window to the
/// last byte (`tcp_mss_split_point`), so it is a little less than two segments at least: with a little more
/// than one, each second packet would be next to empty.
#[inline(always)]
pub const fn window(fair: u64, facts: &Facts, mode: Mode) -> u64 {
    let bytes = facts.bytes_of(fair);
    let bytes = if mode.pauses() {
        let bytes = bytes * FASTER_TENTHS / 10;
        let two = (2 * facts.full_segment) & !(facts.window_unit - 1);
        if bytes > two { bytes } else { two }
    } else {
        bytes
    };
    let smallest = smallest(facts);
    if bytes < smallest {
        smallest
    } else if bytes > LARGEST_WINDOW {
        LARGEST_WINDOW
    } else {
        bytes
    }
}
