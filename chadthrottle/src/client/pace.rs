//! Samples as often as one client wants them, from those that the engine takes as often as any of them does.

use std::{
    collections::{BTreeMap, HashMap},
    mem::take,
    time::Duration,
};

use crate::model::{Both, Direction, LimitId, ProcessKey, ProcessSample, Snapshot, Traffic};

/// Joins samples until the time between them is what was asked for.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// Since the one that was given last.
    since: Duration,
    joined: Joined,
}

/// What is in samples that were not given.
#[derive(Debug, Default)]
struct Joined {
    samples: usize,
    /// What each process has carried in them, and all members of each limit.
    processes: HashMap<ProcessKey, Both<Carried>>,
    limits: HashMap<LimitId, Both<Carried>>,
    /// Those that have ended, each as it was last: many samples have it.
    ended: BTreeMap<ProcessKey, ProcessSample>,
    warnings: Vec<String>,
}

/// Of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    bytes: f64,
    dropped: f64,
}

impl Both<Carried> {
    fn add(&mut self, traffic: Both<Traffic>, seconds: f64) {
        for direction in Direction::ALL {
            self[direction].bytes += traffic[direction].bytes_per_s * seconds;
            self[direction].dropped += traffic[direction].dropped_bytes_per_s * seconds;
        }
    }

    fn write_to(self, traffic: &mut Both<Traffic>, seconds: f64) {
        for direction in Direction::ALL {
            traffic[direction].bytes_per_s = self[direction].bytes / seconds;
            traffic[direction].dropped_bytes_per_s = self[direction].dropped / seconds;
        }
    }
}

impl Pace {
    /// A sample each interval.
    pub fn of(interval: Duration) -> Self {
        Self {
            interval,
            since: Duration::ZERO,
            joined: Joined::default(),
        }
    }

    /// The sample to give, where it is time for one: rates are over all the time since the one before.
    pub fn next(&mut self, mut snapshot: Snapshot) -> Option<Snapshot> {
        if snapshot.sequence == 1 {
            return Some(snapshot);
        }
        self.since += snapshot.interval;
        // Timers are late by milliseconds, and a sample that comes a little early is no reason to wait for another.
        let is_due = self.since * 10 >= self.interval * 9;
        if is_due && self.joined.samples == 0 {
            self.since = Duration::ZERO;
            return Some(snapshot);
        }
        self.joined.add(&mut snapshot);
        if !is_due {
            return None;
        }
        let seconds = take(&mut self.since);
        take(&mut self.joined).write_to(&mut snapshot, seconds);
        Some(snapshot)
    }
}

impl Joined {
    fn add(&mut self, snapshot: &mut Snapshot) {
        self.samples += 1;
        let seconds = snapshot.interval.as_secs_f64();
        for process in &snapshot.processes {
            let carried = self.processes.entry(process.key).or_default();
            carried.add(process.traffic, seconds);
            if process.ended {
                self.ended.insert(process.key, process.clone());
            }
        }
        for limit in &snapshot.limits {
            let carried = self.limits.entry(limit.id).or_default();
            carried.add(limit.traffic, seconds);
        }
        snapshot.processes.retain(|process| !process.ended);
        // Each sample has those that last.
        snapshot
            .warnings
            .retain(|warning| !self.warnings.contains(warning));
        self.warnings.append(&mut snapshot.warnings);
    }

    fn write_to(self, snapshot: &mut Snapshot, time: Duration) {
        let Self {
            processes,
            limits,
            ended,
            warnings,
            ..
        } = self;
        let seconds = time.as_secs_f64();
        snapshot.interval = time;
        snapshot.warnings = warnings;
        snapshot.processes.extend(ended.into_values());
        snapshot.processes.sort_by_key(|process| process.key);
        for process in &mut snapshot.processes {
            let carried = processes.get(&process.key).copied().unwrap_or_default();
            carried.write_to(&mut process.traffic, seconds);
        }
        for limit in &mut snapshot.limits {
            let carried = limits.get(&limit.id).copied().unwrap_or_default();
            carried.write_to(&mut limit.traffic, seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing;

    fn process(pid: u32, rate: f64, bytes: u64) -> ProcessSample {
        let mut process = testing::process(pid);
        process.traffic.down.bytes_per_s = rate;
        process.traffic.down.bytes = bytes;
        process
    }

    fn snapshot(sequence: u64, seconds: f64, processes: Vec<ProcessSample>) -> Snapshot {
        Snapshot {
            sequence,
            interval: Duration::from_secs_f64(seconds),
            processes,
            ..Snapshot::default()
        }
    }

    #[test]
    fn samples_at_the_interval_that_was_asked_for_come_as_they_are() {
        let mut pace = Pace::of(Duration::from_secs(1));
        for (sequence, seconds) in [(1, 0.0), (2, 1.0), (3, 0.98), (4, 3.0)] {
            let given = snapshot(sequence, seconds, vec![process(1, 7.0, 9)]);
            assert_eq!(pace.next(given.clone()), Some(given));
        }
    }

    #[test]
    fn shorter_ones_are_joined_and_nobody_who_ended_is_lost() {
        let mut pace = Pace::of(Duration::from_secs(1));
        let mut ended = process(2, 100.0, 50);
        ended.ended = true;
        let mut warned = snapshot(8, 0.5, vec![process(1, 10.0, 5), ended]);
        warned.warnings.push("it rains".to_owned());
        assert_eq!(pace.next(warned), None);
        let mut again = snapshot(9, 0.5, vec![process(1, 30.0, 20)]);
        again.warnings.push("it rains".to_owned());
        let given = pace.next(again);
        let given = given.unwrap();
        assert_eq!(given.interval, Duration::from_secs(1));
        assert_eq!(given.warnings, ["it rains"]);
        let rates = given.processes.iter().map(|process| {
            let down = process.traffic.down;
            (process.key.pid, down.bytes_per_s, down.bytes, process.ended)
        });
        let expected = [(1, 20.0, 20, false), (2, 50.0, 50, true)];
        assert_eq!(rates.collect::<Vec<_>>(), expected);
        // And the next time starts from nothing.
        assert_eq!(pace.next(snapshot(10, 0.5, Vec::new())), None);
        let last = pace
            .next(snapshot(11, 0.5, vec![process(1, 4.0, 22)]))
            .unwrap();
        assert_eq!(last.processes[0].traffic.down.bytes_per_s, 2.0);
    }

    #[test]
    fn who_has_ended_is_shown_once_though_many_samples_have_it() {
        let mut pace = Pace::of(Duration::from_secs(1));
        let ended = |rate, bytes| {
            let mut ended = process(2, rate, bytes);
            ended.ended = true;
            ended
        };
        let first = snapshot(8, 0.4, vec![ended(100.0, 50)]);
        assert_eq!(pace.next(first), None);
        let second = snapshot(9, 0.4, vec![ended(25.0, 60)]);
        assert_eq!(pace.next(second), None);
        let given = pace.next(snapshot(10, 0.2, vec![ended(0.0, 60)])).unwrap();
        let rates = given.processes.iter().map(|process| {
            let down = process.traffic.down;
            (process.key.pid, down.bytes_per_s, down.bytes, process.ended)
        });
        assert_eq!(rates.collect::<Vec<_>>(), [(2, 50.0, 60, true)]);
    }
}
