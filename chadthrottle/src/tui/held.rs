//! Whether a limit holds something back, and why it is met or not.

use crate::{
    engine::NOT_HELD,
    model::{Connections, Direction, LimitSample, Traffic},
};

/// A limit counts as reached from this part of it on.
const REACHED: f64 = 0.9;

/// The same where connections pause: pulses are not spread evenly over seconds.
const REACHED_IN_PULSES: f64 = 0.75;

/// More than this part of it is over it. A second has a few percent more for minutes where the engine looks a little later
/// each time, or where pulses fall into it, and the limit is met all the same.
const OVER: f64 = 1.1;

/// Less than this part of it is next to nothing.
const QUIET: f64 = 0.01;

/// One direction of a limit and its use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// The limit, in bytes a second.
    pub limit: f64,
    /// What its members carry.
    pub traffic: Traffic,
    /// TCP connections that use a good part of what they may.
    pub connections: u64,
    /// Connections that pause where they have used their share up.
    pub pausing: u64,
    /// How many processes share it.
    pub members: usize,
    /// The kernel programs see none of what connections of its members carry.
    pub unseen: bool,
}

impl Use {
    /// Of one direction; `None` where that is not limited.
    pub fn of(sample: &LimitSample, direction: Direction) -> Option<Self> {
        let Connections { down, up, pausing } = sample.connections;
        let (connections, pausing) = match direction {
            Direction::Down => (down, pausing),
            Direction::Up => (up, 0),
        };
        let limit = sample.limit.rate(direction)?;
        Some(Self {
            limit: limit.bytes_per_second() as f64,
            traffic: sample.traffic[direction],
            connections,
            pausing,
            members: sample.members,
            unseen: sample.unseen_bytes > 0,
        })
    }

    /// How much of the limit is used, as a part of it.
    pub fn part(&self) -> f64 {
        if self.limit == 0.0 {
            return 0.0;
        }
        self.traffic.bytes_per_s / self.limit
    }

    /// From which part of it the limit counts as reached.
    fn reached(&self) -> f64 {
        if self.pausing > 0 {
            REACHED_IN_PULSES
        } else {
            REACHED
        }
    }

    /// Whether more would pass without it, right now.
    pub fn holds_back(&self) -> bool {
        let offered = self.traffic.bytes_per_s + self.traffic.dropped_bytes_per_s;
        offered >= self.reached() * self.limit
    }

    /// Of several limits, the one of which people want to hear first: one that does not hold, then one that holds
    /// something back, and of these the one that carries most.
    pub fn most_telling(uses: &[Self]) -> Option<&Self> {
        let offered = |it: &Self| it.traffic.bytes_per_s + it.traffic.dropped_bytes_per_s;
        uses.iter().max_by(|a, b| {
            let first = (a.unseen, a.holds_back()).cmp(&(b.unseen, b.holds_back()));
            first.then(offered(a).total_cmp(&offered(b)))
        })
    }

    /// Of what came, the part that was refused.
    pub fn refused(&self) -> f64 {
        let offered = self.traffic.bytes_per_s + self.traffic.dropped_bytes_per_s;
        if offered > 0.0 {
            self.traffic.dropped_bytes_per_s / offered
        } else {
            0.0
        }
    }

    /// In a word, how it is held back right now; empty where that cannot be told.
    pub fn by(&self) -> &'static str {
        if self.limit == 0.0 {
            "blocked"
        } else if self.refused() > 0.05 {
            "refused"
        } else if self.pausing > 0 {
            "paused"
        } else if self.connections > 0 {
            "slowed"
        } else {
            ""
        }
    }

    /// Whether nothing comes in that direction at all.
    fn is_idle(&self) -> bool {
        self.traffic.bytes_per_s == 0.0 && self.traffic.dropped_bytes_per_s == 0.0
    }

    /// Whether what comes is next to nothing, as the acknowledgements of what goes the other way are.
    pub fn is_quiet(&self) -> bool {
        self.is_idle() || self.part() < QUIET && self.traffic.dropped_bytes_per_s == 0.0
    }

    /// In words, how the limit is met, or why it is not.
    pub fn in_words(&self) -> &'static str {
        let much_refused = self.refused() > 0.05;
        if self.unseen {
            NOT_HELD
        } else if self.limit == 0.0 && self.traffic.dropped_bytes_per_s > 0.0 {
            "blocked: what comes is refused"
        } else if self.limit == 0.0 {
            "blocked"
        } else if self.is_idle() {
            "idle"
        } else if self.part() > OVER {
            "over it for a moment: up to a second's worth may pass after a rest"
        } else if self.part() >= self.reached() && much_refused {
            "held, by refusing packets: the sender does not slow down, or is very near"
        } else if self.part() >= self.reached() && self.pausing > 0 {
            "held, by pauses: the sender is near, or the share is small"
        } else if self.part() >= self.reached() && self.connections > 0 {
            "held, by slowing the senders down"
        } else if self.part() >= self.reached() {
            "held"
        } else if much_refused {
            "under it: senders wait after refused packets"
        } else if self.members > 1 {
            "not held back: together they carry less than the limit"
        } else {
            "not held back: program or network carry less than the limit"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(passed: f64, dropped: f64, connections: u64, members: usize) -> Use {
        let traffic = Traffic {
            bytes_per_s: passed,
            dropped_bytes_per_s: dropped,
            ..Traffic::default()
        };
        Use {
            limit: 1_000.0,
            traffic,
            connections,
            pausing: 0,
            members,
            unseen: false,
        }
    }

    #[test]
    fn each_case_has_its_words() {
        for (it, holds, words) in [
            (of(0.0, 0.0, 0, 1), false, "idle"),
            (of(2_000.0, 0.0, 1, 1), true, "over it"),
            (of(1_110.0, 0.0, 1, 1), true, "over it"),
            (of(1_090.0, 5.0, 2, 1), true, "held, by slowing"),
            (of(990.0, 500.0, 1, 1), true, "by refusing"),
            (of(990.0, 5.0, 2, 1), true, "by slowing"),
            (of(990.0, 0.0, 0, 1), true, "held"),
            (of(500.0, 500.0, 1, 1), true, "under it: senders"),
            (of(500.0, 0.0, 1, 1), false, "program or network"),
            (of(500.0, 0.0, 1, 3), false, "together"),
        ] {
            assert_eq!(it.holds_back(), holds, "{it:?}");
            assert!(it.in_words().contains(words), "{it:?}: {}", it.in_words());
        }
        assert!(of(5.0, 0.0, 0, 1).is_quiet() && !of(5.0, 1.0, 0, 1).is_quiet());
        assert!(!of(50.0, 0.0, 0, 1).is_quiet());
        for (it, by) in [
            (of(990.0, 500.0, 1, 1), "refused"),
            (of(990.0, 5.0, 2, 1), "slowed"),
            (of(990.0, 0.0, 0, 1), ""),
        ] {
            assert_eq!(it.by(), by, "{it:?}");
        }
        let several = [
            of(0.0, 0.0, 0, 1),
            of(500.0, 0.0, 1, 1),
            of(990.0, 5.0, 2, 1),
        ];
        assert_eq!(Use::most_telling(&several), several.last());
        assert_eq!(Use::most_telling(&several[..2]), Some(&several[1]));
        assert_eq!(Use::most_telling(&[]), None);
        let pausing = Use {
            pausing: 1,
            ..of(800.0, 5.0, 1, 1)
        };
        let unseen = Use {
            unseen: true,
            ..of(0.0, 0.0, 0, 1)
        };
        assert!(unseen.in_words().contains("NOT HELD"));
        assert_eq!(
            Use::most_telling(&[of(990.0, 5.0, 2, 1), unseen]),
            Some(&unseen)
        );
        assert_eq!(pausing.by(), "paused");
        assert!(pausing.holds_back() && pausing.in_words().contains("by pauses"));
    }
}
