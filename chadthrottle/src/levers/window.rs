//! Downloads: a window that holds what a round trip may bring.

use chadthrottle_common::gate::CLOSED_WINDOW;

/// How much larger than rate times round-trip time: round trips are longer than the
/// shortest one, by queues on the way or acknowledgements that are held back.
const GAIN: std::ops::RangeInclusive<f64> = 1.0..=8.0;

/// Nearer ends than this, in seconds, wait for their programs rather than for the network.
pub const SHORTEST_ROUND_TRIP: f64 = 100e-6;

/// Up to so many seconds away, what a window does shows at once.
const NEAR: f64 = 0.001;

/// What is kept of a flow from one look to the next.
#[derive(Debug)]
pub struct State {
    gain: f64,
    /// Bytes that the windows so far were too small for; negative: too large.
    owed: f64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            gain: 1.0,
            owed: 0.0,
        }
    }
}

/// A flow at one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What it may carry, in bytes a second.
    pub share: f64,
    /// What it carries, in bytes a second.
    pub rate: f64,
    /// Shortest round-trip time, in seconds.
    pub round_trip: f64,
    /// Bytes of payload in a segment.
    pub segment: f64,
    /// Bytes of payload in the fullest segment that the other end may send.
    pub full_segment: f64,
    /// Windows are offered in multiples of so many bytes.
    pub unit: f64,
    /// Of the limit's bucket, as from [`chadthrottle_common::policer::Bucket::credit`].
    pub credit: f64,
}

/// The window for a flow, in bytes.
///
/// Not every window does something: one is offered in units, rounded up, and senders fill it with
/// whole segments. What a window is too small, or too large, is made up for in later looks.
pub fn window(state: &mut State, look: Look) -> u32 {
    let Look {
        share,
        rate,
        round_trip,
        segment,
        full_segment,
        unit,
        credit,
    } = look;
    // Far away a flow may still be on its way up.
    let (larger, smaller) = if round_trip < NEAR {
        (1.05, 0.95)
    } else {
        (1.01, 0.98)
    };
    if credit > 0.9 && (0.2..0.93).contains(&(rate / share)) {
        state.gain *= larger;
    } else if credit < 0.2 {
        state.gain *= smaller;
    }
    state.gain = state.gain.clamp(*GAIN.start(), *GAIN.end());
    let bytes = share * trim(credit) * round_trip.max(SHORTEST_ROUND_TRIP) * state.gain;
    let smallest = smallest(full_segment, unit);
    // Units of about a segment are what counts; smaller ones leave it to the segments.
    let step = if unit >= segment / 3.0 { unit } else { segment };
    let wanted = bytes + state.owed;
    let window = ((wanted / step).floor() * step).max(smallest);
    state.owed = (wanted - window).clamp(-step, step);
    window.min(1e9) as u32
}

/// The smallest window that a flow can have, in bytes, with full segments and in units of so many.
///
/// A sender waits for room for a full segment, and where there never is any, for its timer: on
/// loopback, where one has 64 KB, and in networks with jumbo frames.
pub fn smallest(full_segment: f64, unit: f64) -> f64 {
    offered(full_segment.max(f64::from(CLOSED_WINDOW)), unit)
}

/// What a window of so many bytes is offered as, in units of so many.
pub fn offered(window: f64, unit: f64) -> f64 {
    (window / unit).ceil() * unit
}

/// The window of a flow with a gate while it is open, in bytes: it makes up for its pauses.
///
/// A sender with nothing on its way fills the window to the last byte (`tcp_mss_split_point`). So
/// where a pulse is many segments, it has a little less than two: with a little more than one, each
/// second packet would be next to empty.
pub fn open(share: f64, round_trip: f64, full_segment: f64, unit: f64) -> f64 {
    const FASTER: f64 = 1.6;
    const PULSE_S: f64 = 0.25;
    const MANY: f64 = 16.0;
    let bytes = share * round_trip.max(SHORTEST_ROUND_TRIP) * FASTER;
    let window = offered(bytes, unit).max(smallest(full_segment, unit));
    if share * PULSE_S < MANY * full_segment {
        return window;
    }
    let two = (2.0 * full_segment / unit).floor() * unit;
    window.max(two)
}

/// As with pacing, the bucket's credit steers; more steeply, since windows are coarse.
fn trim(credit: f64) -> f64 {
    const KNEE: f64 = 0.3;
    let (at_empty, at_knee, at_full) = (0.4, 0.92, 1.06);
    if credit < KNEE {
        at_empty + (at_knee - at_empty) * credit.max(0.0) / KNEE
    } else {
        at_knee + (at_full - at_knee) * (credit - KNEE) / (1.0 - KNEE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender that sends whole segments, as many as fit into the window, each round trip. Gives
    /// its rate over 20 s, as a part of the limit.
    fn simulate(limit: f64, round_trip: f64, stretch: f64, unit: f64) -> f64 {
        const SEGMENT: f64 = 1_448.0;
        const TICK: f64 = 0.05;
        let mut state = State::default();
        let (mut credit, mut rate, mut sum) = (1.0f64, 0.0, 0.0);
        for _ in 0..400 {
            let look = Look {
                share: limit,
                rate,
                round_trip,
                segment: SEGMENT,
                full_segment: SEGMENT,
                unit,
                credit,
            };
            let window = f64::from(window(&mut state, look));
            let offered = (window / unit).ceil() * unit;
            // With units of about a segment, senders send parts of one too.
            let segments = match unit {
                ..500.0 => (offered / SEGMENT).floor().max(1.0),
                _ => offered / SEGMENT,
            };
            let sent = segments * SEGMENT / (round_trip * stretch);
            let packets = sent * 1_500.0 / SEGMENT;
            credit = (credit + (limit - packets) * TICK / (limit * 0.25)).clamp(-1.0, 1.0);
            rate += (sent - rate) * 0.18;
            sum += sent * TICK;
        }
        sum / (20.0 * limit)
    }

    #[test]
    fn whole_segments_add_up_to_the_limit() {
        for (limit, round_trip) in [(100e3, 0.02), (100e3, 0.1), (1e6, 0.02), (1e7, 0.1)] {
            let part = simulate(limit, round_trip, 1.0, 128.0);
            assert!(
                (0.955..0.99).contains(&part),
                "{limit} at {round_trip}: {part}"
            );
        }
    }

    #[test]
    fn a_round_trip_that_is_longer_than_the_shortest_is_made_up_for() {
        let part = simulate(1e6, 0.02, 1.5, 128.0);
        assert!((0.90..0.99).contains(&part), "{part}");
    }

    #[test]
    fn a_short_round_trip_leaves_the_smallest_window() {
        let look = Look {
            share: 1e6,
            rate: 1e6,
            round_trip: 30e-6,
            segment: 1_448.0,
            full_segment: 536.0,
            unit: 128.0,
            credit: 0.5,
        };
        assert_eq!(window(&mut State::default(), look), CLOSED_WINDOW);
    }

    #[test]
    fn there_is_always_room_for_a_full_segment() {
        for (full_segment, unit, least) in [(1_448.0, 128.0, 1_536), (65_483.0, 1_024.0, 65_536)] {
            let look = Look {
                share: 1e5,
                rate: 1e5,
                round_trip: 30e-6,
                segment: 1_000.0,
                full_segment,
                unit,
                credit: 0.5,
            };
            assert_eq!(window(&mut State::default(), look), least);
        }
    }
    #[test]
    fn a_pulse_of_many_segments_is_of_full_ones_and_a_small_one_goes_slowly() {
        // Two segments less a few bytes, in units of 256; and one, rounded up.
        assert_eq!(open(1e6, 50e-6, 1_448.0, 256.0), 2_816.0);
        assert_eq!(open(2e4, 50e-6, 1_448.0, 256.0), 1_536.0);
        // What a round trip brings, where that is more.
        assert_eq!(open(1e6, 0.02, 1_448.0, 256.0), 32_000.0);
    }

    #[test]
    fn a_near_window_that_is_too_small_grows_within_seconds() {
        let mut state = State::default();
        let mut seconds = 0.0;
        let mut present = 0;
        while present < 4_000 && seconds < 60.0 {
            present = window(
                &mut state,
                Look {
                    share: 12.5e6,
                    rate: 9e6,
                    round_trip: 20e-6,
                    segment: 1_448.0,
                    full_segment: 1_448.0,
                    unit: 256.0,
                    credit: 1.0,
                },
            );
            seconds += 0.05;
        }
        assert!(seconds < 3.0, "{seconds} s");
    }
}
