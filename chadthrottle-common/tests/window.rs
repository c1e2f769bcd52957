//! The windows of downloads, and how each is kept to the fair rate.

use chadthrottle_common::{
    connection::{FASTEST, Facts, is_busy},
    gate::Mode,
    tuning::{gate::CLOSED_WINDOW, window::SMALL_UNITS},
    window::{first, has_small_units, mode, window},
};

const NEAR: Facts = Facts {
    round_trip_us: 50,
    full_segment: 1_448,
    window_unit: 256,
    segments_sent: 100,
};

const FAR: Facts = Facts {
    round_trip_us: 20_000,
    ..NEAR
};

#[test]
fn near_and_slow_connections_pause_and_others_are_held_by_their_window() {
    for (fair, facts, expected) in [
        (4_000_000, NEAR, Mode::Closing),
        (1_000_000, NEAR, Mode::Closing),
        (20_000, NEAR, Mode::Closing),
        (20_000, FAR, Mode::Closing),
        (1_000_000, FAR, Mode::Fair),
        (10_000_000, NEAR, Mode::Fair),
    ] {
        assert_eq!(mode(fair, &facts, true), expected, "{fair} {facts:?}");
    }
}

#[test]
fn windows_that_cannot_be_closed_pause_by_refusals_where_those_are_few_of_many() {
    let coarse = Facts {
        window_unit: 2_048,
        ..NEAR
    };
    assert_eq!(mode(1_000_000, &coarse, true), Mode::Refusing);
    assert_eq!(mode(1_000_000, &NEAR, false), Mode::Refusing);
    assert_eq!(mode(20_000, &NEAR, false), Mode::Fair);
    assert_eq!(mode(50_000, &FAR, false), Mode::Fair);
    assert_eq!(mode(31_999, &NEAR, false), Mode::Fair);
    assert_eq!(mode(32_000, &NEAR, false), Mode::Refusing);
    let after = |round_trip_us| {
        mode(
            200_000,
            &Facts {
                round_trip_us,
                ..NEAR
            },
            false,
        )
    };
    assert_eq!(after(4_999), Mode::Refusing);
    assert_eq!(after(5_000), Mode::Fair);
}

#[test]
fn a_window_is_what_a_round_trip_brings_and_has_room_for_a_full_segment() {
    assert_eq!(window(1_000_000, &FAR, Mode::Fair), 20_000);
    assert_eq!(window(1_000, &FAR, Mode::Fair), 1_536);
    let jumbo = Facts {
        full_segment: 65_483,
        window_unit: 1_024,
        ..NEAR
    };
    assert_eq!(window(100_000, &jumbo, Mode::Fair), 65_536);
    // A closed one is less than a segment.
    const { assert!(CLOSED_WINDOW < NEAR.full_segment) };
}

#[test]
fn who_pauses_makes_up_for_it_with_full_segments() {
    // Two segments less a few bytes.
    assert_eq!(window(1_000_000, &NEAR, Mode::Closing), 2_816);
    assert_eq!(window(70_000, &FAR, Mode::Closing), 2_816);
    assert_eq!(window(1_000_000, &FAR, Mode::Closing), 32_000);
}

#[test]
fn nothing_overflows() {
    let slow = Facts {
        round_trip_us: u64::MAX,
        ..FAR
    };
    assert_eq!(window(FASTEST, &slow, Mode::Fair), 1 << 30);
    assert_eq!(mode(u64::MAX, &FAR, true), Mode::Fair);
}

#[test]
fn who_carries_a_good_part_of_the_fair_rate_is_busy() {
    assert!(is_busy(50_000, 100_000));
    assert!(is_busy(6_250, 100_000));
    assert!(!is_busy(6_249, 100_000));
    assert!(!is_busy(0, 0));
}

#[test]
fn a_first_window_is_for_a_near_sender_and_has_room_for_two_segments() {
    const GBIT: u64 = 125_000_000;
    for (fair, segments) in [
        (0, None),
        (1_000, Some(2)),
        (100_000, Some(2)),
        (500_000, Some(6)),
        (10_000_000, Some(10)),
        (100 * GBIT, Some(10)),
        (u64::MAX, None),
    ] {
        assert_eq!(first(fair), segments, "{fair} B/s");
    }
}

/// What the kernel makes of the largest window that a connection may ever have (`tcp_select_initial_window`): units that
/// let 16 bits say it.
#[test]
fn units_are_small_where_eight_may_share_a_limit_and_pause() {
    assert!(has_small_units(1_000) && has_small_units(40_000_000));
    assert!(!has_small_units(0) && !has_small_units(50_000_000));
    let scale = SMALL_UNITS.ilog2() - 15;
    assert_eq!(1 << scale, 256, "bytes: less than a segment can be offered");
}
