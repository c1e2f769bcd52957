//! What is known of connections, and how long they are new.

use chadthrottle_common::{
    connection::{EPOCH_NS, FASTEST, Facts, Setting, is_busy, new_ns},
    kernel::{INITIAL_WINDOW, SHORTEST_TIMER_NS},
    pace::is_much_faster,
    policer::MAX_RATE,
    tuning::{gate::TURN_NS, pace, window},
};

const SECOND: u64 = 1_000_000_000;
const SEGMENT: u64 = 1_448;

fn at(round_trip_us: u64) -> Facts {
    Facts {
        round_trip_us,
        full_segment: SEGMENT,
        window_unit: 256,
        segments_sent: 0,
    }
}

#[test]
fn an_epoch_has_two_pulses_and_counts_are_no_older_than_a_second() {
    assert!((2 * TURN_NS..SECOND).contains(&EPOCH_NS));
}

/// Slow start, from the first round trip on: how long it takes until the connection is busy, in nanoseconds.
fn until_busy_ns(fair: u64, round_trip_us: u64) -> u64 {
    let (mut window, mut carried, mut round_trips) = (INITIAL_WINDOW, 0, 0);
    while !is_busy(carried, fair) {
        carried += window * SEGMENT;
        window *= 2;
        round_trips += 1;
    }
    round_trips * round_trip_us * 1_000
}

#[test]
fn a_connection_is_new_until_slow_start_has_made_it_busy() {
    for round_trip_us in [1_000, 10_000, 50_000, 100_000] {
        for fair in [20_000, 1_000_000, 10_000_000, 125_000_000] {
            let busy = until_busy_ns(fair, round_trip_us);
            let new = new_ns(round_trip_us);
            assert!(
                new >= busy,
                "{fair} B/s, {round_trip_us} us: {new} < {busy} ns"
            );
        }
        // Not for long after that: the others are to have what an idle one leaves.
        let most = SHORTEST_TIMER_NS + 16 * 1_000 * round_trip_us;
        assert!(new_ns(round_trip_us) <= most, "{round_trip_us} us");
    }
}

#[test]
fn a_connection_is_new_for_a_timer_at_least_and_a_second_at_most() {
    assert!((SHORTEST_TIMER_NS..2 * SHORTEST_TIMER_NS).contains(&new_ns(0)));
    for round_trip_us in [500_000, 10_000_000] {
        let new = new_ns(round_trip_us);
        assert!(
            (SECOND / 2..=3 * SECOND / 2).contains(&new),
            "{round_trip_us} us: {new}"
        );
    }
}

#[test]
fn round_trips_are_believed_from_a_tenth_of_a_millisecond_to_a_minute() {
    // What waits for programs is no shorter: a window for less would hold 40 MB/s up next door.
    let next_door = at(30).bytes_of(40_000_000);
    assert!(
        (2 * SEGMENT..8 * SEGMENT).contains(&next_door),
        "{next_door}"
    );
    // A queue of half a minute there is.
    assert_eq!(at(30_000_000).bytes_of(10_000), 300_000);
    let never = at(u64::MAX).bytes_of(10_000);
    assert!(never < 10_000 * 100, "{never}");
    // What no machine carries fits.
    assert_eq!(at(u64::MAX).bytes_of(FASTEST), FASTEST * 60);
    const { assert!(FASTEST > 200_000_000_000) };
}

#[test]
fn a_setting_that_differs_by_what_credit_does_is_near_and_by_a_segment_is_not() {
    let near = |percent: u64, part| Setting::is_near(10_000 * percent / 100, 10_000, part);
    // A pace moves by a few hundredths from look to look.
    assert!(near(102, pace::NEAR) && near(98, pace::NEAR));
    assert!(!near(104, pace::NEAR) && !near(96, pace::NEAR));
    // A window of ten segments, and half of one more or less.
    assert!(near(105, window::NEAR) && near(95, window::NEAR));
    assert!(!near(110, window::NEAR) && !near(90, window::NEAR));
    assert!(Setting::is_near(5, 5, u64::MAX) && !Setting::is_near(6, 5, u64::MAX));
}

#[test]
fn bbr_is_restarted_where_its_pace_is_more_than_doubled_twice() {
    // By its own probing it finds a quarter more each eighth round trip, and what is not limited at once.
    for (from, to, expected) in [
        (1_000_000, 1_250_000, false),
        (1_000_000, 3_000_000, false),
        (1_000_000, 5_000_000, true),
        (100_000, MAX_RATE, true),
        (1_000_000, 100_000, false),
    ] {
        assert_eq!(is_much_faster(from, to), expected, "{from} to {to}");
    }
}
