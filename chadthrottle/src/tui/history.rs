//! The rates of late, and when limits held them.

use std::collections::{HashMap, VecDeque};

use super::held::Use;
use crate::{
    model::{Both, Direction, LimitId, ProcessKey, Snapshot},
    protocol,
};

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
}

/// What was carried of late on the machine, and by each process that carried something.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of all processes together.
    pub total: Ring,
    /// Counts the samples, so that graphs can keep their steps.
    pub samples: usize,
    processes: HashMap<ProcessKey, Ring>,
    past: Past,
    /// The last sample before those of `of_engine`.
    before: u64,
    /// Samples of this engine, for as long as its past is not known.
    of_engine: VecDeque<u64>,
}

/// Where the time before an engine's first sample stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Past {
    #[default]
    Wanted,
    Asked,
    Known,
}

impl History {
    /// How many samples ago that one was, of which there were so many before it; `None`: it has not come yet.
    pub fn age_of(&self, moment: usize) -> Option<usize> {
        self.samples.checked_sub(moment + 1)
    }

    /// Adds a sample.
    pub fn push(&mut self, snapshot: &Snapshot) {
        self.count(snapshot.sequence);
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

    fn count(&mut self, sequence: u64) {
        if self.past == Past::Known {
            self.before = sequence;
            return;
        }
        if self.of_engine.len() == SAMPLES {
            self.of_engine.pop_front();
        }
        self.of_engine.push_back(sequence);
    }

    /// Whether the engine is to be asked for its past: once there is a sample of it, so that both overlap.
    pub fn ask_past(&mut self) -> bool {
        let ask = self.past == Past::Wanted && !self.of_engine.is_empty();
        if ask {
            self.past = Past::Asked;
        }
        ask
    }

    /// Samples come from another engine from now on, or from the same one after a gap.
    pub fn reopened(&mut self) {
        if let Some(last) = self.of_engine.drain(..).next_back() {
            self.before = last;
        }
        self.past = Past::Wanted;
    }

    /// Puts the engine's past before the samples that came after it.
    pub fn merge(&mut self, past: &protocol::History) {
        if self.past != Past::Asked {
            return;
        }
        self.past = Past::Known;
        let sequences = std::mem::take(&mut self.of_engine);
        let later = sequences.iter().filter(|it| **it > past.sequence).count();
        let is_same = sequences.front().is_some_and(|first| *first > self.before);
        self.before = sequences.back().copied().unwrap_or_default();
        if past.seconds.is_empty() {
            return;
        }
        let points = &mut self.total.points;
        let later = points.split_off(points.len().saturating_sub(later));
        // The engine's own, which it has in its past as well.
        let in_past = sequences.len() - later.len();
        points.truncate(points.len().saturating_sub(in_past));
        if is_same {
            // It counts on: what we have seen of it before a gap is in its past too.
            points.truncate(points.len().saturating_sub(past.seconds.len()));
        }
        points.extend(past.seconds.iter().map(|bytes| Point {
            rates: bytes.map(|bytes| bytes as f32),
            held: Both::default(),
        }));
        points.extend(later);
        // A hostile engine may say more than it should.
        points.drain(..points.len().saturating_sub(SAMPLES));
        // Graphs look no further back than samples are counted.
        self.samples = self.samples.max(points.len());
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

    /// What some processes carried together so many samples ago.
    pub fn at(&self, processes: impl Iterator<Item = ProcessKey>, age: usize) -> Point {
        let mut sum = Point::default();
        let rings = processes.filter_map(|key| self.processes.get(&key));
        for point in rings.filter_map(|ring| ring.at(age)) {
            sum.add(point);
        }
        sum
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
        assert_eq!(history.total.at(0).unwrap().rate(Direction::Up), 0.0);
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
    fn the_past_of_the_engine_comes_before_what_came_after_it() {
        let mut history = History::default();
        let push = |history: &mut History, sequence: u64, rate: f64| {
            let mut sample = (*snapshot(vec![process(1, "a", rate, 0.0)])).clone();
            sample.sequence = sequence;
            history.push(&sample);
        };
        let past = |sequence, downs: &[u64]| protocol::History {
            sequence,
            seconds: downs
                .iter()
                .map(|down| Both { down: *down, up: 0 })
                .collect(),
        };
        let downs = |history: &History| -> Vec<f32> {
            let points = history.total.points.iter();
            points.map(|point| point.rates.down).collect()
        };
        assert!(
            !history.ask_past(),
            "there is no sample to tell the two apart by"
        );
        push(&mut history, 40, 5.0);
        assert!(history.ask_past() && !history.ask_past());
        push(&mut history, 41, 6.0);
        push(&mut history, 42, 7.0);
        history.merge(&past(41, &[1, 2, 3, 6]));
        assert_eq!(downs(&history), [1.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(history.samples, 5);
        // It is asked for once.
        history.merge(&past(42, &[9]));
        assert_eq!(downs(&history).len(), 5);
        // The connection broke; the engine went on.
        history.reopened();
        push(&mut history, 50, 8.0);
        assert!(history.ask_past());
        history.merge(&past(50, &[1, 2, 3, 6, 7, 4, 8]));
        assert_eq!(downs(&history), [1.0, 2.0, 3.0, 6.0, 7.0, 4.0, 8.0]);
        // Another engine knows nothing of the one before.
        history.reopened();
        push(&mut history, 1, 9.0);
        assert!(history.ask_past());
        history.merge(&past(1, &[5, 9]));
        assert_eq!(
            downs(&history),
            [1.0, 2.0, 3.0, 6.0, 7.0, 4.0, 8.0, 5.0, 9.0]
        );
        // One that cannot say leaves all as it is.
        history.reopened();
        push(&mut history, 1, 2.0);
        assert!(history.ask_past());
        history.merge(&protocol::History::default());
        assert_eq!(downs(&history).len(), 10);
        history.reopened();
        push(&mut history, 1, 2.0);
        assert!(history.ask_past());
        history.merge(&past(1, &[3; 5_000]));
        assert_eq!(downs(&history), [3.0; SAMPLES]);
    }

    #[test]
    fn spans_end_at_the_shortest_and_the_longest() {
        assert_eq!(Span::One.longer().longer().longer(), Span::Fifteen);
        assert_eq!(Span::Fifteen.shorter().shorter().shorter(), Span::One);
    }
}
