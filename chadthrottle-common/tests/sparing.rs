//! What is spared, and what is refused, by the packets that there are.

use chadthrottle_common::{
    kernel::SHORTEST_TIMER_NS,
    sparing::{is_large, is_long, is_long_from, is_paced, is_small},
};

const IPV6: u64 = 40;
const TCP: u64 = 20;
const UDP: u64 = 8;

#[test]
fn handshakes_and_questions_are_small_and_data_is_not() {
    let options = 40;
    for (what, len) in [
        ("a SYN with all options", IPV6 + TCP + options),
        (
            "the question for a name of fifty letters",
            IPV6 + UDP + 12 + 52 + 4 + 11,
        ),
        ("an acknowledgement with blocks", IPV6 + TCP + 36),
    ] {
        assert!(is_small(len), "{what}: {len} bytes");
    }
    // Of those, twenty are a segment.
    for (what, len) in [
        ("a voice packet of 20 ms", IPV6 + UDP + 12 + 160),
        ("a tunnel's smallest packet that must fit", 576),
        ("a segment", 1_500),
    ] {
        assert!(!is_small(len), "{what}: {len} bytes");
    }
}

#[test]
fn what_tcp_hands_over_at_first_is_not_large_and_what_is_merged_is() {
    for (segments, expected) in [(1, false), (2, false), (4, false), (11, true), (44, true)] {
        assert_eq!(is_large(segments * 1_500), expected, "{segments} segments");
    }
}

#[test]
fn what_two_timers_wait_out_is_not_long_and_what_makes_them_double_is() {
    assert!(!is_long(2 * SHORTEST_TIMER_NS));
    assert!(is_long(4 * SHORTEST_TIMER_NS));
    // A satellite's round trip brings as much at once.
    let satellite_ns = 600_000_000;
    assert!(!is_long_from(4 * SHORTEST_TIMER_NS, satellite_ns));
    assert!(is_long_from(4 * SHORTEST_TIMER_NS, 1_000_000));
}

#[test]
fn a_pace_that_the_limit_has_set_goes_with_it() {
    let fair = 1_000_000;
    for (pace, expected) in [
        (fair / 2, true),
        (fair, true),
        // The credit makes so much of it.
        (fair * 104 / 100, true),
        // And the headers of small segments.
        (fair * 110 / 100, true),
        (fair * 125 / 100, false),
        (4 * fair, false),
        (0, false),
    ] {
        assert_eq!(is_paced(pace, fair), expected, "{pace}");
    }
    assert!(!is_paced(1_000, 0));
}
