//! The rates of late, and when limits held them.

use std::collections::{HashMap, VecDeque};

use super::held::Use;
use crate::model::{Both, Direction, LimitId, ProcessKey, Snapshot};

/// Samples that are kept: a quarter of an hour of one a second.
pub const SAMPLES: usize = 15 * 60;

/// Download and upload rate, in bytes a second.
pub type Rates = Both<f64>;

/// How much of it graphs show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// A minute.
    #[default]
    One,
    /// Five minutes.
    Five,
    /// A quarter of an hour.
    Fifteen,
}

impl Span {
    /// Samples of it.
    pub fn samples(self) -> usize {
        match self {
            Self::One => 60,
            Self::Five => 5 * 60,
            Self::Fifteen => SAMPLES,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "1 min",
            Self::Five => "5 min",
            Self::Fifteen => "15 min",
        }
    }

    /// The next longer one, or the longest.
    #[must_use]
    pub fn longer(self) -> Self {
        match self {
            Self::One => Self::Five,
            Self::Five | Self::Fifteen => Self::Fifteen,
        }
    }

    /// The next shorter one, or the shortest.
    #[must_use]
    pub fn shorter(self) -> Self {
        match self {
            Self::One | Self::Five => Self::One,
            Self::Fifteen => Self::Five,
        }
    }
}

/// One sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// In bytes a second; a graph needs no more digits.
    rates: Both<f32>,
    /// The directions that a limit held back.
    held: Both<bool>,
}

impl Point {
    /// In bytes a second.
    pub fn rate(self, direction: Direction) -> f64 {
        f64::from(self.rates[direction])
    }

    /// Whether a limit held that direction back.
    pub fn is_held(self, direction: Direction) -> bool {
        self.held[direction]
    }

    fn is_busy(self) -> bool {
        self.rates.down > 0.0 || self.rates.up > 0.0
    }

    /// Of each direction the higher rate, and whether either was held back.
    #[must_use]
    pub fn peak(self, other: Self) -> Self {
        let mut peak = Self {
            rates: Both::from_fn(|direction| self.rates[direction].max(other.rates[direction])),
            held: self.held,
        };
        peak.hold(other.held);
        peak
    }

    /// Both together.
    fn add(&mut self, other: Self) {
        self.rates += other.rates;
        self.hold(other.held);
    }

    fn hold(&mut self, held: Both<bool>) {
        self.held = Both::from_fn(|direction| self.held[direction] || held[direction]);
    }
}

/// The last samples, newest last.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    points: VecDeque<Point>,
    /// How many samples ago anything was carried.
    silent_for: usize,
}

impl Ring {
    fn push(&mut self, point: Point) {
        if self.points.len() == SAMPLES {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.silent_for = if point.is_busy() {
            0
        } else {
            self.silent_for + 1
        };
    }

    /// The sample that is so many samples old; the newest has the age 0.
    pub fn at(&self, age: usize) -> Option<Point> {
        let index = self.points.len().checked_sub(age + 1)?;
        self.points.get(index).copied()
    }

    /// The newest rate in bytes a second; 0 before the first sample.
    pub fn latest(&self, direction: Direction) -> f64 {
        self.at(0).map_or(0.0, |point| point.rate(direction))
    }
}

/// What was carried of late on the machine, and by each process that carried something.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of all processes together.
    pub total: Ring,
    /// Counts the samples, so that graphs can keep their steps.
    pub samples: usize,
    processes: HashMap<ProcessKey, Ring>,
}

impl History {
    /// Adds a sample.
    pub fn push(&mut self, snapshot: &Snapshot) {
        self.samples = self.samples.wrapping_add(1);
        let held: HashMap<LimitId, Both<bool>> = snapshot
            .limits
            .iter()
            .map(|limit| {
                let is_held =
                    |direction| Use::of(limit, direction).is_some_and(|used| used.holds_back());
                (limit.id, Both::from_fn(is_held))
            })
            .collect();
        let mut total = Rates::default();
        for process in &snapshot.processes {
            total += process.traffic.map(|traffic| traffic.bytes_per_s);
            let limit = process.limit.and_then(|(id, _)| held.get(&id));
            let mut point = Point {
                rates: process.traffic.map(|traffic| traffic.bytes_per_s as f32),
                held: Both::default(),
            };
            if let Some(held) = limit {
                // Of those that share a limit, who carries nothing is not held back.
                point.hold(Both::from_fn(|direction| {
                    let own = process.traffic[direction];
                    held[direction] && own.bytes_per_s + own.dropped_bytes_per_s > 0.0
                }));
            }
            if let Some(ring) = self.processes.get_mut(&process.key) {
                ring.push(point);
            } else if point.is_busy() {
                self.processes.entry(process.key).or_default().push(point);
            }
        }
        self.total.push(Point {
            rates: total.map(|rate| rate as f32),
            // Of many processes some are always held back where there are limits: that says nothing.
            held: Both::default(),
        });
        // Whoever has been silent for as long as anything is kept, or has gone.
        self.processes.retain(|key, ring| {
            let known = snapshot
                .processes
                .binary_search_by_key(key, |process| process.key)
                .is_ok();
            known && ring.silent_for < SAMPLES
        });
    }

    /// The last samples of some processes together, as many as that span has.
    pub fn of(&self, processes: impl Iterator<Item = ProcessKey>, span: Span) -> Ring {
        let mut sum: Vec<Point> = Vec::new();
        for ring in processes.filter_map(|key| self.processes.get(&key)) {
            let points = ring.points.iter().rev().take(span.samples());
            for (age, point) in points.enumerate() {
                match sum.get_mut(age) {
                    Some(sum) => sum.add(*point),
                    None => sum.push(*point),
                }
            }
        }
        sum.reverse();
        Ring {
            points: sum.into(),
            silent_for: 0,
        }
    }

    /// Whether the process carried something in the last few seconds.
    pub fn was_busy(&self, key: ProcessKey) -> bool {
        /// So that rows do not come and go between two requests.
        const RECENT: usize = 10;
        let ring = self.processes.get(&key);
        ring.is_some_and(|ring| ring.silent_for < RECENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures::{limit, process, snapshot};

    #[test]
    fn a_quarter_of_an_hour_is_kept_of_those_that_carry_something() {
        let mut history = History::default();
        for n in 0..1_000 {
            let busy = process(1, "a", f64::from(n), 1.0);
            let once = process(2, "b", if n == 30 { 5.0 } else { 0.0 }, 0.0);
            let idle = process(3, "c", 0.0, 0.0);
            history.push(&snapshot(vec![busy, once, idle]));
        }
        let keys = [1, 2, 3].map(|pid| process(pid, "", 0.0, 0.0).key);
        assert_eq!(history.processes.len(), 1);
        let ring = history.of(keys.into_iter(), Span::Fifteen);
        let down = |age| ring.at(age).map(|point| point.rate(Direction::Down));
        assert_eq!((down(0), down(899)), (Some(999.0), Some(100.0)));
        assert_eq!(down(900), None);
        assert!(history.was_busy(keys[0]) && !history.was_busy(keys[1]));
        let minute = history.of(keys.into_iter(), Span::One);
        assert!(minute.at(59).is_some() && minute.at(60).is_none());
        // It has gone.
        history.push(&snapshot(vec![]));
        assert_eq!(history.processes.len(), 0);
        assert_eq!(history.total.latest(Direction::Up), 0.0);
    }

    #[test]
    fn held_time_is_that_of_the_direction_and_of_who_carries_something() {
        let mut history = History::default();
        let mut sample = |rate: f64| {
            let mut busy = process(1, "a", rate, 5.0);
            let mut idle = process(2, "b", 0.0, 0.0);
            busy.limit = Some((LimitId(1), limit(Some(1_000), Some(1_000))));
            idle.limit = busy.limit;
            history.push(&snapshot(vec![busy, idle]));
        };
        sample(999.0);
        sample(100.0);
        let held = |ring: &Ring| {
            let of = |age| ring.at(age).unwrap().held;
            [of(1), of(0)]
        };
        let (down, none) = (
            Both {
                down: true,
                up: false,
            },
            Both::default(),
        );
        let keys = [1, 2].map(|pid| process(pid, "", 0.0, 0.0).key);
        assert_eq!(held(&history.of(keys.into_iter(), Span::One)), [down, none]);
        assert_eq!(held(&history.total), [none, none]);
        assert!(!history.was_busy(keys[1]));
    }

    #[test]
    fn spans_end_at_the_shortest_and_the_longest() {
        assert_eq!(Span::One.longer().longer().longer(), Span::Fifteen);
        assert_eq!(Span::Fifteen.shorter().shorter().shorter(), Span::One);
    }
}
