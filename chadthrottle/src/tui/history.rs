//! The rates of the last minute.

use std::collections::{HashMap, VecDeque};

use crate::model::{Both, Direction, ProcessKey, Snapshot};

/// Samples that are kept: a minute of one a second.
pub const SAMPLES: usize = 60;

/// Download and upload rate, in bytes a second.
pub type Rates = Both<f64>;

/// Rates of the last samples, newest last.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    rates: VecDeque<Rates>,
}

impl Ring {
    fn push(&mut self, rates: Rates) {
        if self.rates.len() == SAMPLES {
            self.rates.pop_front();
        }
        self.rates.push_back(rates);
    }

    /// Whether anything was carried in the last `samples`.
    fn was_busy(&self, samples: usize) -> bool {
        let recent = self.rates.iter().rev().take(samples);
        recent.copied().any(is_busy)
    }

    /// One direction, newest first.
    pub fn latest_first(&self, direction: Direction) -> impl Iterator<Item = f64> {
        self.rates.iter().rev().map(move |rates| rates[direction])
    }
}

fn is_busy(rates: Rates) -> bool {
    rates.down > 0.0 || rates.up > 0.0
}

/// The last minute of the machine, and of each process that carried something in it.
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
        let mut total = Rates::default();
        for process in &snapshot.processes {
            let rates = process.traffic.map(|traffic| traffic.bytes_per_s);
            total += rates;
            if let Some(ring) = self.processes.get_mut(&process.key) {
                ring.push(rates);
            } else if is_busy(rates) {
                self.processes.entry(process.key).or_default().push(rates);
            }
        }
        self.total.push(total);
        // Whoever has been silent for a minute, or has gone.
        self.processes.retain(|key, ring| {
            let known = snapshot
                .processes
                .binary_search_by_key(key, |process| process.key)
                .is_ok();
            known && ring.was_busy(SAMPLES)
        });
    }

    /// The last minute of some processes together.
    pub fn of(&self, processes: impl Iterator<Item = ProcessKey>) -> Ring {
        let mut sum: Vec<Rates> = Vec::new();
        for ring in processes.filter_map(|key| self.processes.get(&key)) {
            for (index, rates) in ring.rates.iter().rev().enumerate() {
                match sum.get_mut(index) {
                    Some(sum) => *sum += *rates,
                    None => sum.push(*rates),
                }
            }
        }
        sum.reverse();
        Ring { rates: sum.into() }
    }

    /// Whether the process carried something in the last few seconds.
    pub fn was_busy(&self, key: ProcessKey) -> bool {
        /// So that rows do not come and go between two requests.
        const RECENT: usize = 10;
        let ring = self.processes.get(&key);
        ring.is_some_and(|ring| ring.was_busy(RECENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures::{process, snapshot};

    #[test]
    fn a_minute_is_kept_of_those_that_carry_something() {
        let mut history = History::default();
        for n in 0..100 {
            let busy = process(1, "a", f64::from(n), 1.0);
            let once = process(2, "b", if n == 30 { 5.0 } else { 0.0 }, 0.0);
            let idle = process(3, "c", 0.0, 0.0);
            history.push(&snapshot(vec![busy, once, idle]));
        }
        let keys = [1, 2, 3].map(|pid| process(pid, "", 0.0, 0.0).key);
        assert_eq!(history.processes.len(), 1);
        let ring = history.of(keys.into_iter());
        let down: Vec<f64> = ring.latest_first(Direction::Down).collect();
        assert_eq!((down.len(), down[0], down[59]), (SAMPLES, 99.0, 40.0));
        assert!(history.was_busy(keys[0]) && !history.was_busy(keys[1]));
        // It has gone.
        history.push(&snapshot(vec![]));
        assert_eq!(history.processes.len(), 0);
        assert_eq!(history.total.latest_first(Direction::Up).next(), Some(0.0));
    }
}
