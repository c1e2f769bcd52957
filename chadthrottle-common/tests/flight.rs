//! The largest congestion windows of slow uploads.

use chadthrottle_common::{
    connection::Facts,
    kernel::{INITIAL_WINDOW, PACED_FROM},
};

const SEGMENT: u64 = 1_448;

fn largest(rate: u64, round_trip_us: u64, full_segment: u64) -> Option<u32> {
    largest_after(PACED_FROM, rate, round_trip_us, full_segment)
}

fn largest_after(
    segments_sent: u32,
    rate: u64,
    round_trip_us: u64,
    full_segment: u64,
) -> Option<u32> {
    chadthrottle_common::flight::largest(
        rate,
        &Facts {
            round_trip_us,
            full_segment,
            window_unit: 256,
            segments_sent,
        },
    )
}

#[test]
fn until_it_is_paced_a_connection_has_more_on_its_way() {
    assert_eq!(largest_after(0, 2_500, 100, SEGMENT), Some(4));
    assert_eq!(largest_after(0, 100_000, 100, SEGMENT), Some(5));
}

#[test]
fn the_slower_and_nearer_the_fewer_segments_at_once() {
    assert_eq!(largest(2_500, 100, SEGMENT), Some(2));
    assert_eq!(largest(100_000, 100, SEGMENT), Some(5));
    assert_eq!(largest(12_500, 100_000, SEGMENT), Some(3));
    // What no piece of it could be too large for.
    assert_eq!(largest(10_000_000, 100, SEGMENT), None);
    assert_eq!(largest(100_000, 400_000, SEGMENT), None);
}

#[test]
fn what_may_be_on_its_way_carries_the_rate_and_held_back_acknowledgements() {
    for rate in (0..40).map(|n| 100 << (n / 2)) {
        for round_trip_us in [30, 1_000, 20_000, 100_000, 2_000_000] {
            if let Some(segments) = largest(rate, round_trip_us, SEGMENT) {
                let in_flight = u64::from(segments - 1) * SEGMENT * 1_000_000;
                assert!(
                    in_flight >= rate * (round_trip_us + 40_000),
                    "{segments} segments at {rate} B/s and {round_trip_us} us"
                );
                assert!(u64::from(segments) < INITIAL_WINDOW);
            }
        }
    }
}

#[test]
fn nothing_overflows_and_a_connection_without_segments_is_left_alone() {
    assert_eq!(largest(u64::MAX, u64::MAX / 2, SEGMENT), None);
    assert_eq!(largest(1 << 33, u64::MAX / 2, SEGMENT), None);
    assert_eq!(largest(2_500, 100, 0), None);
    assert_eq!(largest(0, 0, SEGMENT), Some(2));
}
