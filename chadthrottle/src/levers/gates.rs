//! Downloads that are too fast with any window: held by a gate of the kernel program's
//! ([`chadthrottle_common::gate`]), which has them pause.

use std::os::fd::OwnedFd;

use aya::maps::{Map, MapData, MapError, SkStorage};
use chadthrottle_common::{
    gate::{
        CLOSED_WINDOW, CLOSES, FAIR, FASTEST_SHARE, SEEN, SLOW, SLOW_DEBT_NS, SPREAD, TURN_NS,
        TURNS, Words,
    },
    policer::ns_per_byte,
};

use super::window::{self, SHORTEST_ROUND_TRIP};

const BPF_ANY: u64 = 0;

/// A share that brings so many bytes a second pauses once in each turn; a smaller one brings too
/// few segments in a turn for what a pause costs.
const FAST_SHARE: f64 = 256e3;

/// Longer than any pause of a sender that starts again soon, in nanoseconds.
const LONG_STOP_NS: u64 = 1_000_000_000;

/// So many of them without a short one between are enough.
const LONG_STOPS: u8 = 2;

/// The golden section of a turn: however many begin in that distance, they are spread evenly.
const GOLDEN_NS: u64 = 154_508_497;

/// Refusing all for a while costs a few packets, so a turn should bring many more.
const LEAST_SHARE: f64 = 100e3;

/// How long a sender waits before it asks whether a closed window has opened, in seconds, and a round
/// trip (Linux: `TCP_RTO_MIN`, as its timers are rounded).
const PROBE_S: f64 = 0.208;

/// What a slow one owes at first at most, in nanoseconds of its share, and each another part of it: those
/// that begin together would all be refused together ever after.
const FIRST_DEBT_NS: u64 = SLOW_DEBT_NS * 6 / 10;

/// Headers of a packet, in bytes.
const HEADERS: f64 = 52.0;

/// Who has more than this part of the limit shares it with nobody.
const ALL: f64 = 0.9;

/// Further ends than this, in seconds, have longer timers, and more on its way to lose.
const FURTHEST: f64 = 0.005;

/// How a download is held to its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gating {
    /// Not at all: its window does it, or nothing would.
    Open,
    /// By refusing it what the limit has to refuse.
    Fair {
        /// Bytes a second.
        share: f64,
    },
    /// By closing its window.
    Closing {
        /// Bytes a second.
        share: f64,
        /// How its pauses lie.
        pauses: Pauses,
    },
    /// By refusing all for a while.
    Refusing {
        /// Bytes a second.
        share: f64,
    },
}

/// How the pauses of connections lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    /// At the start of each turn: what a fast one brings is the same each second.
    InTurns,
    /// Apart from those of others that began together: near ones have pauses of one length.
    Spread,
    /// As they come.
    Free,
    /// Nearly all the time, and what senders bring nevertheless is too much.
    Slow,
}

/// A download at one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What it may carry, in bytes a second.
    pub share: f64,
    /// What all together may carry, in bytes a second.
    pub limit: f64,
    /// Of the limit's bucket, as from [`chadthrottle_common::policer::Bucket::credit`].
    pub credit: f64,
    /// Shortest round-trip time, in seconds.
    pub round_trip: f64,
    /// The smallest window that it can have, in bytes.
    pub smallest: f64,
    /// Bytes of payload in the fullest segment that the other end may send.
    pub full_segment: f64,
    /// Windows are offered in multiples of so many bytes.
    pub unit: f64,
    /// Whether its window may be closed: the kernel program sees its packets, and the other end starts
    /// again soon.
    pub may_close: bool,
}

impl Gating {
    /// What the download wants.
    pub fn of(look: Look) -> Self {
        let Look {
            share,
            limit,
            credit,
            round_trip,
            smallest,
            full_segment,
            unit,
            may_close,
        } = look;
        if share <= 0.0 || share > FASTEST_SHARE as f64 {
            return Self::Open;
        }
        let fair = if share < ALL * limit {
            Self::Fair { share }
        } else {
            Self::Open
        };
        if share * round_trip.max(SHORTEST_ROUND_TRIP) >= smallest {
            return fair;
        }
        let share = share * trim(credit);
        let closed = window::offered(f64::from(CLOSED_WINDOW), unit);
        if may_close && closed < full_segment {
            let probes = (closed + HEADERS) / (PROBE_S + round_trip);
            let pauses = match round_trip < FURTHEST {
                _ if share < probes => Pauses::Slow,
                // The pauses of many do not show in what they bring together.
                true if share >= FAST_SHARE && share > limit / 3.0 => Pauses::InTurns,
                true => Pauses::Spread,
                false => Pauses::Free,
            };
            Self::Closing { share, pauses }
        } else if share >= LEAST_SHARE && round_trip < FURTHEST {
            Self::Refusing { share }
        } else {
            fair
        }
    }

    /// Whether it is the gate, and not the window, that holds the download.
    pub fn pauses(self) -> bool {
        matches!(self, Self::Closing { .. } | Self::Refusing { .. })
    }

    /// Whether it is by closing its window.
    pub fn closes(self) -> bool {
        matches!(self, Self::Closing { .. })
    }

    fn rate_and_mode(self) -> (f64, u64) {
        match self {
            Self::Open => (0.0, 0),
            Self::Closing { share, pauses } => {
                let pauses = match pauses {
                    Pauses::InTurns => TURNS,
                    Pauses::Spread => SPREAD,
                    Pauses::Free => 0,
                    Pauses::Slow => SLOW,
                };
                (share, CLOSES | pauses)
            }
            Self::Refusing { share } => (share, TURNS),
            Self::Fair { share } => (share, FAIR),
        }
    }
}

/// Whether a download's other end starts again soon after its window was closed. Linux asks after a
/// fifth of a second, others after five: for them, closed windows are no way to hold a limit.
#[derive(Debug, Default)]
pub struct Patience {
    /// Bytes that had arrived when a look found the window closed, and when that was.
    stopped: Option<(u64, u64)>,
    long_stops: u8,
}

impl Patience {
    /// A look, at `now_ns`, at a download of which so many bytes have arrived, and whether its
    /// window has been closed since the last one.
    pub fn look(&mut self, closed: bool, bytes: u64, now_ns: u64) {
        match self.stopped {
            Some((before, since)) if bytes != before => {
                self.long_stops = if now_ns - since < LONG_STOP_NS {
                    0
                } else {
                    self.long_stops.saturating_add(1)
                };
                self.stopped = closed.then_some((bytes, now_ns));
            }
            None if closed => self.stopped = Some((bytes, now_ns)),
            _ => {}
        }
    }

    /// It has lost packets since, and waits for other timers.
    pub fn look_away(&mut self) {
        self.stopped = None;
    }

    /// Whether it was long each time of late: a download at rest is, now and then.
    pub fn is_lost(&self) -> bool {
        self.long_stops >= LONG_STOPS
    }
}

/// As with pacing, the bucket's credit steers: gates alone would leave it in debt for ever.
fn trim(credit: f64) -> f64 {
    1.0 + 0.1 * (credit.max(-1.0) - 0.2).min(0.0) + 0.16 * (credit - 0.5).max(0.0)
}

/// The words of a socket's gate, if it has one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present(Option<Words>);

impl Present {
    /// Whether the kernel program sees the socket's acknowledgements: it has made the gate.
    pub fn is_seen(self) -> bool {
        self.0.is_some_and(|[.., mode, _]| mode & SEEN != 0)
    }

    /// A gate of which a packet was refused then.
    #[cfg(test)]
    pub fn fair(refused_ns: u64) -> Self {
        Self(Some([1, 0, 0, FAIR, refused_ns]))
    }

    /// Whether there is one at all.
    pub fn exists(self) -> bool {
        self.0.is_some()
    }

    /// Whether the window may be closed.
    pub fn may_be_closed(self) -> bool {
        self.0.is_some_and(|[.., mode, _]| mode & CLOSES != 0)
    }

    /// When a packet of its download was refused last, in nanoseconds of the monotonic clock.
    pub fn refused_ns(self) -> Option<u64> {
        self.0.map(|[.., refused]| refused).filter(|at| *at != 0)
    }
}

/// The gates of all sockets.
#[derive(Debug)]
pub struct Gates {
    map: SkStorage<MapData, Words>,
    /// When the last one was to pause first, in nanoseconds of a turn.
    phase: u64,
}

impl Gates {
    /// Over a descriptor of the map of gates.
    ///
    /// # Errors
    /// Where it is another kind of map.
    pub fn new(map: OwnedFd) -> Result<Self, MapError> {
        let map = Map::SkStorage(MapData::from_fd(map)?).try_into()?;
        Ok(Self { map, phase: 0 })
    }

    /// The gate that the socket has now.
    pub fn present(&self, socket: &OwnedFd) -> Present {
        Present(self.map.get(socket, 0).ok())
    }

    /// Sets the socket's gate in place of the present one, at `now_ns` of the monotonic clock.
    pub fn set(&mut self, socket: &OwnedFd, present: Present, gating: Gating, now_ns: u64) {
        let (rate, mode) = gating.rate_and_mode();
        if present.0.is_none() && gating == Gating::Open {
            return;
        }
        let [before, mut tat, mut pause, mode_before, refused] = present.0.unwrap_or_default();
        let cost = if gating == Gating::Open {
            0
        } else {
            ns_per_byte(rate as u64)
        };
        let mode = mode | mode_before & (SEEN | SPREAD);
        if tat == 0 {
            // What a rest would give is used up by now.
            tat = now_ns;
        }
        let begun = mode & !mode_before;
        if begun & (SLOW | SPREAD) != 0 {
            self.phase = (self.phase + GOLDEN_NS) % TURN_NS;
        }
        if (mode ^ mode_before) & SLOW != 0 {
            // To the kernel program it means something else now.
            pause = 0;
        }
        if begun & SLOW != 0 {
            tat = now_ns + self.phase * FIRST_DEBT_NS / TURN_NS;
        }
        if begun & SPREAD != 0 {
            pause = now_ns + self.phase;
        }
        // What the kernel program writes meanwhile is lost, so not for every little.
        if mode != mode_before || cost.abs_diff(before) > before / 32 {
            let words = [cost, tat, pause, mode, refused];
            let _ = self.map.insert(socket, words, BPF_ANY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Look = Look {
        share: 1e6,
        limit: 1e6,
        credit: 0.4,
        round_trip: 80e-6,
        smallest: 1_536.0,
        full_segment: 1_448.0,
        unit: 256.0,
        may_close: true,
    };

    #[test]
    fn a_window_that_can_hold_a_download_is_left_to_do_so() {
        let far = Look {
            round_trip: 0.02,
            ..NEAR
        };
        assert_eq!(Gating::of(far), Gating::Open);
        // And what it loses nevertheless is not what others have too much.
        let of_five = Look { share: 2e5, ..far };
        assert_eq!(Gating::of(of_five), Gating::Fair { share: 2e5 });
        let fast = Look { share: 1e8, ..NEAR };
        assert_eq!(Gating::of(fast), Gating::Open);
    }

    #[test]
    fn windows_are_closed_where_their_units_are_small_enough() {
        let closing = |share, pauses| Gating::Closing { share, pauses };
        assert_eq!(Gating::of(NEAR), closing(1e6, Pauses::InTurns));
        let of_eight = Look {
            share: 125e3,
            ..NEAR
        };
        assert_eq!(Gating::of(of_eight), closing(125e3, Pauses::Spread));
        let far = Look {
            share: 12.5e3,
            round_trip: 0.02,
            ..NEAR
        };
        assert_eq!(Gating::of(far), closing(12.5e3, Pauses::Free));
        // Less than 1,280 bytes and their headers each fifth of a second.
        for round_trip in [80e-6, 0.02] {
            let slow = Look {
                share: 5e3,
                round_trip,
                ..NEAR
            };
            assert_eq!(Gating::of(slow), closing(5e3, Pauses::Slow));
        }
        for other in [
            Look {
                unit: 1_024.0,
                ..NEAR
            },
            Look {
                may_close: false,
                ..NEAR
            },
        ] {
            assert_eq!(Gating::of(other), Gating::Refusing { share: 1e6 });
            // A turn would bring a few segments, or lose what is on a longer way.
            let (slow, far) = (
                Look {
                    share: 2e4,
                    ..other
                },
                Look {
                    round_trip: 0.02,
                    share: 2e4,
                    ..other
                },
            );
            assert_eq!(Gating::of(slow), Gating::Fair { share: 2e4 });
            assert_eq!(Gating::of(far), Gating::Fair { share: 2e4 });
        }
    }

    #[test]
    fn a_bucket_in_debt_slows_its_gates_down_and_one_at_rest_uses_it() {
        assert!(trim(-1.0) < 0.9 && trim(1.0) > 1.05);
        assert!((trim(0.3) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn who_needs_long_to_start_again_has_its_window_closed_no_more() {
        const MS: u64 = 1_000_000;
        let mut patience = Patience::default();
        // Soon, however often, and then a rest.
        for round in 0..20 {
            patience.look(true, round * 2, round * 300 * MS);
            patience.look(false, round * 2 + 1, round * 300 * MS + 208 * MS);
        }
        patience.look(true, 100, 10_000 * MS);
        patience.look(false, 101, 60_000 * MS);
        assert!(!patience.is_lost());
        // After packets that were lost, as often as it likes.
        for second in [70, 80, 90] {
            patience.look(true, second, second * 1_000 * MS);
            patience.look_away();
            patience.look(false, second + 1, (second + 3) * 1_000 * MS);
        }
        assert!(!patience.is_lost());
        // After five seconds, and again.
        patience.look(true, 102, 161_000 * MS);
        patience.look(true, 102, 163_000 * MS);
        patience.look(false, 103, 166_000 * MS);
        assert!(patience.is_lost());
    }
}
